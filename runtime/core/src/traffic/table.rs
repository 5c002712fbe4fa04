//! The table that tells which Route a request is for.
//!
//! Input: the [`Ingress`] of each Route, the [`Mapping`] of each domain. Output: for a host, the
//! [`Entry`] with the Revisions that answer. A table never changes; a changed Route makes a new table, which shares what stayed the
//! same with the old one, so that it costs the same at ten hosts and at a hundred thousand.
//!
//! Invariants: an entry has at least one target; of several claims on one host the oldest Route's
//! is first, after it mappings that lost their domain, whatever the order in which they came.

use std::collections::HashMap;
use std::collections::hash_map;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::{Ingress, Mapping, Target, Visibility, pick};
use crate::meta::ObjectKey;
use crate::time::Timestamp;

/// How many parts the hosts are divided into, chosen by one byte of the hash. A change copies the parts of the changed hosts:
/// with 100 000 hosts about 400 pointers each.
const SHARDS: usize = 256;
/// The longest name of the domain name system, as text.
const LONGEST_HOST: usize = 253;

/// All hosts that are served.
#[derive(Clone, Debug)]
pub struct RouteTable {
    shards: Vec<Arc<Shard>>,
    /// Chooses the shard. Keyed at random, so that nobody can choose hosts that fall into one.
    hasher: RandomState,
}

type Shard = HashMap<Arc<str>, Claims, RandomState>;

/// Who wants a host.
#[derive(Clone, Debug)]
struct Claims {
    first: Claim,
    /// Those who get it when it is given up, the next one first.
    others: Vec<Claim>,
}

#[derive(Clone, Debug)]
struct Claim {
    rank: Rank,
    visibility: Visibility,
    leads_to: Goal,
}

/// Where a host leads.
#[derive(Clone, Debug)]
enum Goal {
    Entry(Arc<Entry>),
    /// To wherever this host of the table does, within the cluster.
    Host(Arc<str>),
}

/// The lowest one has the host: the oldest Route, and the main host before a tag's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// A mapping whose claim is lost comes after all others.
    has_lost_claim: bool,
    /// A Route without a time counts as the youngest.
    has_no_time: bool,
    created: Option<Timestamp>,
    route: ObjectKey,
    tag: Option<Arc<str>>,
}

/// Where the requests for one host go.
#[derive(Debug)]
pub struct Entry {
    route: ObjectKey,
    tag: Option<Arc<str>>,
    targets: Vec<Target>,
    /// For the main host, the entries of the tags by their name.
    tags: Vec<(Arc<str>, Arc<Entry>)>,
}

impl Entry {
    /// The Route whose host it is.
    #[must_use]
    pub fn route(&self) -> &ObjectKey {
        &self.route
    }

    /// The tag whose host or header was asked for; `None` on the main host's default split.
    #[must_use]
    pub fn tag(&self) -> Option<&Arc<str>> {
        self.tag.as_ref()
    }

    /// Never empty.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The target of one request; see [`pick::pick`].
    #[must_use]
    pub fn pick(&self, random: u64) -> &Target {
        pick::pick(&self.targets, random).expect("an entry is made only with targets")
    }

    fn tagged(&self, tag: &str) -> Option<&Self> {
        let found = self.tags.iter().find(|(name, _)| **name == *tag);
        found.map(|(_, entry)| entry.as_ref())
    }
}

impl Default for RouteTable {
    /// The table without hosts.
    fn default() -> Self {
        Self {
            shards: vec![Arc::default(); SHARDS],
            hasher: RandomState::default(),
        }
    }
}

impl RouteTable {
    /// The table of these Routes.
    #[must_use]
    pub fn build<'a>(ingresses: impl IntoIterator<Item = &'a Ingress>) -> Self {
        Self::default().with(ingresses)
    }

    /// The table in which one Route has other rules: `old` as they were given before, `None` for a
    /// new Route; `new` as they are, `None` for a deleted one.
    #[must_use]
    pub fn replace(&self, old: Option<&Ingress>, new: Option<&Ingress>) -> Self {
        let mut table = self.clone();
        if let Some(old) = old {
            table.remove(old);
        }
        if let Some(new) = new {
            table.insert(new);
        }
        table
    }

    /// The table that has the rules of more Routes, none of which it had before.
    #[must_use]
    pub fn with<'a>(&self, ingresses: impl IntoIterator<Item = &'a Ingress>) -> Self {
        let mut table = self.clone();
        for ingress in ingresses {
            table.insert(ingress);
        }
        table
    }

    /// The table in which one domain leads elsewhere: `old` as it was mapped before, `None` for a
    /// new one; `new` as it is, `None` for one that is no longer mapped.
    #[must_use]
    pub fn remap(&self, old: Option<&Mapping>, new: Option<&Mapping>) -> Self {
        let mut table = self.clone();
        if let Some(old) = old {
            table.give_up(&old.domain, &old.key);
        }
        if let Some(new) = new {
            let claim = Claim {
                rank: Rank {
                    has_lost_claim: new.has_lost_claim,
                    has_no_time: new.created.is_none(),
                    created: new.created,
                    route: new.key.clone(),
                    tag: None,
                },
                visibility: Visibility::Public,
                leads_to: Goal::Host(new.host.as_str().into()),
            };
            table.claim(&new.domain, claim);
        }
        table
    }

    /// How many hosts are served.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }

    /// Where a request goes that came in on a listener with this visibility.
    ///
    /// `host` is the value of the Host header: upper or lower case, with or without a port and one
    /// dot at the end. `tag_header` is the value of `Knative-Serving-Tag` where that header counts;
    /// a tag that the Route does not have is as if absent. `None` when nobody has the host, or when
    /// it is cluster-local and the listener is not.
    #[must_use]
    pub fn lookup(
        &self,
        host: &str,
        listener: Visibility,
        tag_header: Option<&str>,
    ) -> Option<&Entry> {
        let mut buffer = [0; LONGEST_HOST];
        let host = normalize(host, &mut buffer)?;
        let claim = self.claimant(host)?;
        if claim.visibility == Visibility::ClusterLocal && listener == Visibility::Public {
            return None;
        }
        let goal = match &claim.leads_to {
            // One step and no more, so that nothing leads in a circle.
            Goal::Host(host) => &self.claimant(host)?.leads_to,
            entry @ Goal::Entry(_) => entry,
        };
        let Goal::Entry(entry) = goal else {
            return None;
        };
        let tagged = tag_header.and_then(|tag| entry.tagged(tag));
        Some(tagged.unwrap_or(entry))
    }

    fn claimant(&self, host: &str) -> Option<&Claim> {
        Some(&self.shards.get(self.shard_of(host))?.get(host)?.first)
    }

    fn shard_of(&self, host: &str) -> usize {
        usize::from(self.hasher.hash_one(host).to_le_bytes()[0]) % SHARDS
    }

    fn shard_mut(&mut self, host: &str) -> &mut Shard {
        let index = self.shard_of(host);
        Arc::make_mut(&mut self.shards[index])
    }

    fn insert(&mut self, ingress: &Ingress) {
        let entries = make_entries(ingress);
        for host in &ingress.hosts {
            let of_host = |(tag, _): &&(Option<Arc<str>>, _)| tag.as_deref() == host.tag.as_deref();
            let Some((tag, entry)) = entries.iter().find(of_host) else {
                continue;
            };
            let claim = Claim {
                rank: Rank {
                    has_lost_claim: false,
                    has_no_time: ingress.created.is_none(),
                    created: ingress.created,
                    route: ingress.route.clone(),
                    tag: tag.clone(),
                },
                visibility: host.visibility,
                leads_to: Goal::Entry(entry.clone()),
            };
            self.claim(&host.host, claim);
        }
    }

    fn remove(&mut self, ingress: &Ingress) {
        for host in &ingress.hosts {
            self.give_up(&host.host, &ingress.route);
        }
    }

    fn claim(&mut self, host: &str, claim: Claim) {
        match self.shard_mut(host).entry(host.into()) {
            hash_map::Entry::Occupied(mut claims) => claims.get_mut().add(claim),
            hash_map::Entry::Vacant(place) => {
                place.insert(Claims {
                    first: claim,
                    others: Vec::new(),
                });
            }
        }
    }

    /// Takes away the claims that a Route or mapping has on a host.
    fn give_up(&mut self, host: &str, claimant: &ObjectKey) {
        let shard = self.shard_mut(host);
        if let Some(claims) = shard.get_mut(host)
            && !claims.remove(claimant)
        {
            shard.remove(host);
        }
    }
}

impl Claims {
    fn add(&mut self, claim: Claim) {
        let loser = if claim.rank < self.first.rank {
            std::mem::replace(&mut self.first, claim)
        } else {
            claim
        };
        let place = self.others.partition_point(|other| other.rank < loser.rank);
        self.others.insert(place, loser);
    }

    /// Takes away the claims of a Route; `false` when there are no others.
    fn remove(&mut self, route: &ObjectKey) -> bool {
        self.others.retain(|claim| claim.rank.route != *route);
        if self.first.rank.route != *route {
            return true;
        }
        if self.others.is_empty() {
            return false;
        }
        self.first = self.others.remove(0);
        true
    }
}

/// One entry for each tag that has targets, and the one of the main host, which knows the others.
fn make_entries(ingress: &Ingress) -> Vec<(Option<Arc<str>>, Arc<Entry>)> {
    let mut entries: Vec<(Option<Arc<str>>, Arc<Entry>)> = Vec::new();
    let tagged = ingress.hosts.iter().filter(|host| host.tag.is_some());
    let main = ingress.hosts.iter().filter(|host| host.tag.is_none());
    // The main host comes last, when the tags are there.
    for host in tagged.chain(main) {
        let known = entries
            .iter()
            .any(|(tag, _)| tag.as_deref() == host.tag.as_deref());
        if known || host.targets.is_empty() {
            continue;
        }
        let tag: Option<Arc<str>> = host.tag.as_deref().map(Arc::from);
        let tags = if tag.is_none() {
            let by_name = entries.iter().filter_map(|(tag, entry)| {
                let name = tag.clone()?;
                Some((name, entry.clone()))
            });
            by_name.collect()
        } else {
            Vec::new()
        };
        let entry = Entry {
            route: ingress.route.clone(),
            tag: tag.clone(),
            targets: host.targets.clone(),
            tags,
        };
        entries.push((tag, Arc::new(entry)));
    }
    entries
}

/// The host as it is in the table, in `buffer` if it has to be changed; `None` when it is too long
/// or empty, which no host is.
fn normalize<'a>(host: &'a str, buffer: &'a mut [u8; LONGEST_HOST]) -> Option<&'a str> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.len() > LONGEST_HOST {
        return None;
    }
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(host);
    }
    let lower = &mut buffer[..host.len()];
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).ok()
}

#[cfg(test)]
mod tests;
