//! The resources of the API: which groups, versions and verbs there are.

use serve_core::kind::{Kind, Names};

/// What can be done with most resources.
const VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// What can be done with the objects of a kind, in the order in which discovery lists it.
#[must_use]
pub fn verbs(kind: Kind) -> &'static [&'static str] {
    match kind {
        // What shows the run of a Revision is read only, but for the end of a replica.
        Kind::Pod | Kind::Event => &["delete", "deletecollection", "get", "list", "watch"],
        kind if kind.is_derived() => &["get", "list", "watch"],
        _ => &VERBS,
    }
}

/// What can be done with the status of a resource.
pub const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];

/// A group in one version; the core group has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupVersion {
    pub group: &'static str,
    pub version: &'static str,
}

/// All of them, the preferred version of a group first.
pub const GROUP_VERSIONS: [GroupVersion; 6] = [
    GroupVersion {
        group: "",
        version: "v1",
    },
    GroupVersion {
        group: "apps",
        version: "v1",
    },
    GroupVersion {
        group: "autoscaling.internal.knative.dev",
        version: "v1alpha1",
    },
    GroupVersion {
        group: "serving.knative.dev",
        version: "v1",
    },
    GroupVersion {
        group: "serving.knative.dev",
        version: "v1beta1",
    },
    GroupVersion {
        group: "networking.internal.knative.dev",
        version: "v1alpha1",
    },
];

impl GroupVersion {
    /// The kinds of this group and version.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL
            .into_iter()
            .filter(move |kind| Self::of(kind.names()) == self)
    }

    fn of(names: Names) -> Self {
        Self {
            group: names.group,
            version: names.version,
        }
    }

    /// `group/version`, or the version alone.
    #[must_use]
    pub fn text(self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Where its resources are, without the first slash: `apis/serving.knative.dev/v1`.
    #[must_use]
    pub fn path(self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }

    #[must_use]
    pub fn find(group: &str, version: &str) -> Option<Self> {
        GROUP_VERSIONS
            .into_iter()
            .find(|gv| gv.group == group && gv.version == version)
    }
}

/// The kind whose resource has this plural.
#[must_use]
pub fn find(gv: GroupVersion, plural: &str) -> Option<Kind> {
    gv.kinds().find(|kind| kind.names().plural == plural)
}

/// Whether a kind is one of Kubernetes' own and not a custom resource.
#[must_use]
pub fn is_core(kind: Kind) -> bool {
    kind.is_built_in()
}

/// Whether a kind has a `/status` of its own. Nothing is said in that of a claim.
#[must_use]
pub fn has_status(kind: Kind) -> bool {
    !is_core(kind) && kind != Kind::ClusterDomainClaim && !kind.is_derived()
}

/// What belongs to the objects of a kind beside a status: its name, the group and version, kind
/// and verbs of what it is.
#[must_use]
pub fn subresource(kind: Kind) -> Option<Subresource> {
    match kind {
        Kind::Pod => Some(Subresource {
            name: "log",
            group: "",
            version: "v1",
            kind: "Pod",
            verbs: &["get"],
        }),
        Kind::Deployment | Kind::ReplicaSet => Some(Subresource {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            verbs: &["get", "patch", "update"],
        }),
        _ => None,
    }
}

/// See [`subresource`].
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    pub name: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_one_group_and_version() {
        for kind in Kind::ALL {
            let homes = GROUP_VERSIONS
                .into_iter()
                .filter(|gv| find(*gv, kind.names().plural) == Some(kind));
            assert_eq!(homes.count(), 1, "{kind:?}");
        }
    }
}
