//! Which Revision answers a request: from a Route's targets to the choice for one request.
//!
//! ```text
//!   Route ─ build ─► targets ─ reconcile::route ─► Ingress ─┐
//!   Route ─ build ─► targets ─ reconcile::route ─► Ingress ─┴ table ─► Entry ─ pick ─► Target
//! ```
//!
//! [`Ingress`] is what the data plane publishes for one Route; all of them make one
//! [`table::RouteTable`].

pub mod build;
pub mod hosts;
pub mod pick;
pub mod rollout;
pub mod table;

pub use table::RouteTable;

use crate::keys;
use crate::meta::ObjectKey;
use crate::time::Timestamp;

/// Who can reach a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Everybody: both listeners serve the host.
    #[default]
    Public,
    /// Guests, and clients of the cluster-local listener.
    ClusterLocal,
}

impl Visibility {
    /// What the value of the visibility label says; everything but `cluster-local` is public.
    #[must_use]
    pub fn of_label(value: Option<&str>) -> Self {
        match value {
            Some(keys::CLUSTER_LOCAL_VISIBILITY) => Self::ClusterLocal,
            _ => Self::Public,
        }
    }

    /// The lower one of two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == Self::Public { other } else { self }
    }
}

/// The routing rules of one Route.
///
/// One that is not equal to the one before is to be kept instead of it, as it remembers more; it
/// is to be published unless it [routes like](Self::routes_like) it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingress {
    /// The Route, whose namespace is also that of every Revision it names.
    pub route: ObjectKey,
    /// The Route's uid, which tells it from an earlier one of the same name.
    pub uid: String,
    /// Counts the changes of these rules, from 1. It is not the Route's generation, since a new
    /// spec may mean the same rules and new rules may come without a new spec.
    pub generation: i64,
    /// When the Route was made: where two claim one host, the oldest has it.
    pub created: Option<Timestamp>,
    /// The main host first, then those of the tags in alphabetical order.
    pub hosts: Vec<Host>,
    /// The value of annotation `networking.internal.knative.dev/rollout`.
    pub rollout: Option<String>,
}

/// One name that requests may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Lower case, without port.
    pub host: String,
    pub visibility: Visibility,
    /// The tag that the host is for; `None` for the main host.
    pub tag: Option<String>,
    /// Never empty; each gets requests.
    pub targets: Vec<Target>,
}

/// A Revision and its share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub revision: ObjectKey,
    /// 1 to 100. The percents of one host add up to 100 in a valid Route, but need not.
    pub percent: u8,
}

/// A domain that leads to a host of the cluster: what the data plane publishes for one
/// DomainMapping. Its name has a dot, so that it is never that of a Route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The DomainMapping.
    pub key: ObjectKey,
    /// When it was made: where two claim one host, the oldest has it.
    pub created: Option<Timestamp>,
    /// Its namespace no longer has the ClusterDomainClaim: it is served until one that has it is.
    pub has_lost_claim: bool,
    /// Lower case, without port.
    pub domain: String,
    /// The cluster-local host that it leads to: `name.namespace.svc.cluster.local`.
    pub host: String,
}

impl Ingress {
    /// Whether `other` routes each request in the same way. What they remember may differ.
    #[must_use]
    pub fn routes_like(&self, other: &Self) -> bool {
        self.route == other.route
            && self.uid == other.uid
            && self.created == other.created
            && self.hosts == other.hosts
    }
}
