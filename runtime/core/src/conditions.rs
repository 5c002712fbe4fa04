//! Conditions: what a status says about its object, and how the happy one follows from the others.
//!
//! Input: the conditions of a stored status and what a reconciler marks. Output: the conditions of
//! the next status, sorted by type, each with the time of its last change.

use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;
use crate::time::Timestamp;

/// `status` of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    True,
    False,
    #[default]
    Unknown,
}

/// One entry of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: ConditionStatus,
    /// Empty means an error-level condition, `Info` one that the happy condition ignores.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub severity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Condition {
    /// Whether all but the time is the same.
    fn says_the_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.status == other.status
            && self.severity == other.severity
            && self.reason == other.reason
            && self.message == other.message
    }
}

/// The name of the happy condition of every serving kind.
pub const READY: &str = "Ready";

// Of a Service.
pub const CONFIGURATIONS_READY: &str = "ConfigurationsReady";
pub const ROUTES_READY: &str = "RoutesReady";
// Of a Revision.
pub const RESOURCES_AVAILABLE: &str = "ResourcesAvailable";
pub const CONTAINER_HEALTHY: &str = "ContainerHealthy";
/// Not among those that make a Revision ready, since one at zero replicas is ready too.
pub const ACTIVE: &str = "Active";
// Of a PodAutoscaler.
pub const SCALE_TARGET_INITIALIZED: &str = "ScaleTargetInitialized";
pub const SKS_READY: &str = "SKSReady";
// Of a Route.
pub const ALL_TRAFFIC_ASSIGNED: &str = "AllTrafficAssigned";
pub const INGRESS_READY: &str = "IngressReady";
pub const CERTIFICATE_PROVISIONED: &str = "CertificateProvisioned";

// Of a DomainMapping, with the two above.
pub const DOMAIN_CLAIMED: &str = "DomainClaimed";
pub const REFERENCE_RESOLVED: &str = "ReferenceResolved";

/// The severity of a condition that the happy one does not depend on.
const INFO: &str = "Info";
/// Reason of the happy condition while nothing is known about a new generation.
const NEW_GENERATION: &str = "NewObservedGenFailure";

/// The conditions that [`READY`] of a kind follows from.
///
/// The order counts as it does in Knative, where [`Manager::mark_unknown`] looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    dependents: &'static [&'static str],
}

impl Set {
    pub const SERVICE: Self = Self {
        dependents: &[CONFIGURATIONS_READY, ROUTES_READY],
    };
    pub const CONFIGURATION: Self = Self { dependents: &[] };
    pub const REVISION: Self = Self {
        dependents: &[RESOURCES_AVAILABLE, CONTAINER_HEALTHY],
    };
    pub const ROUTE: Self = Self {
        dependents: &[ALL_TRAFFIC_ASSIGNED, INGRESS_READY, CERTIFICATE_PROVISIONED],
    };
    pub const DOMAIN_MAPPING: Self = Self {
        dependents: &[
            DOMAIN_CLAIMED,
            REFERENCE_RESOLVED,
            INGRESS_READY,
            CERTIFICATE_PROVISIONED,
        ],
    };

    pub const POD_AUTOSCALER: Self = Self {
        dependents: &[ACTIVE, SCALE_TARGET_INITIALIZED, SKS_READY],
    };

    fn depends_on(self, kind: &str) -> bool {
        self.dependents.contains(&kind)
    }

    fn severity(self, kind: &str) -> &'static str {
        if kind == READY || self.depends_on(kind) {
            ""
        } else {
            INFO
        }
    }
}

/// The condition of type `kind`.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

/// The status of the condition of type `kind`; Unknown when it is absent.
#[must_use]
pub fn status_of(conditions: &[Condition], kind: &str) -> ConditionStatus {
    find(conditions, kind).map_or(ConditionStatus::Unknown, |condition| condition.status)
}

/// The status of [`READY`] for the generation of `metadata`, if `observed` is that one.
///
/// Every question whether an object is ready or has failed is asked this way, so that what was
/// true of an older spec does not count.
#[must_use]
pub fn settled(
    metadata: &ObjectMeta,
    observed: Option<i64>,
    conditions: &[Condition],
) -> Option<ConditionStatus> {
    is_observed(metadata, observed).then(|| status_of(conditions, READY))
}

/// Whether the status that carries `observed` is about the current spec.
#[must_use]
pub fn is_observed(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    observed.unwrap_or_default() == metadata.generation
}

/// Changes the conditions of one object during one reconciliation.
///
/// Each mark sets its condition and then [`READY`], as far as other conditions allow. When marks
/// compete for [`READY`] the later one counts, so their order is part of what a reconciler decides.
///
/// # Source
///
/// knative/pkg apis/condition_set.go and reconciler/reconcile_common.go. Differs: while nothing is
/// said about a new generation, [`READY`] follows from the other conditions and does not say
/// "unsuccessfully observed a new generation".
#[derive(Debug)]
pub struct Manager {
    set: Set,
    before: Vec<Condition>,
    entries: Vec<Entry>,
    /// How many changes there were; stands for the time within this reconciliation.
    changes: u32,
}

#[derive(Debug)]
struct Entry {
    condition: Condition,
    /// Which change made it what it is; 0 when it is as it was.
    change: u32,
}

impl Manager {
    /// Starts from the conditions of the stored status.
    ///
    /// Missing ones are added: Unknown, or True when [`READY`] is True, which implies them. With a
    /// `new_generation` [`READY`] starts as Unknown.
    #[must_use]
    pub fn begin(set: Set, before: &[Condition], new_generation: bool) -> Self {
        let entries = before.iter().map(|condition| Entry {
            condition: condition.clone(),
            change: 0,
        });
        let mut manager = Self {
            set,
            before: before.to_vec(),
            entries: entries.collect(),
            changes: 0,
        };
        if manager.get(READY).is_none() {
            manager.set(READY, ConditionStatus::Unknown, "", "");
        }
        let implied = match manager.status(READY) {
            ConditionStatus::True => ConditionStatus::True,
            _ => ConditionStatus::Unknown,
        };
        for kind in set.dependents {
            if manager.get(kind).is_none() {
                manager.set(kind, implied, "", "");
            }
        }
        if new_generation {
            manager.mark_unknown(READY, NEW_GENERATION, "");
        }
        manager
    }

    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&Condition> {
        let mut conditions = self.entries.iter().map(|entry| &entry.condition);
        conditions.find(|condition| condition.kind == kind)
    }

    /// Unknown when there is no such condition.
    #[must_use]
    pub fn status(&self, kind: &str) -> ConditionStatus {
        self.get(kind)
            .map_or(ConditionStatus::Unknown, |condition| condition.status)
    }

    pub fn mark_true(&mut self, kind: &str) {
        self.mark_true_because(kind, "", "");
    }

    pub fn mark_true_because(&mut self, kind: &str, reason: &str, message: &str) {
        self.set(kind, ConditionStatus::True, reason, message);
        self.follow(kind);
    }

    pub fn mark_unknown(&mut self, kind: &str, reason: &str, message: &str) {
        self.set(kind, ConditionStatus::Unknown, reason, message);
        let failed = self
            .set
            .dependents
            .iter()
            .any(|dependent| self.is_false(dependent));
        if failed {
            if !self.is_false(READY) {
                self.set(READY, ConditionStatus::False, reason, message);
            }
        } else if self.set.depends_on(kind) {
            self.set(READY, ConditionStatus::Unknown, reason, message);
        }
    }

    pub fn mark_false(&mut self, kind: &str, reason: &str, message: &str) {
        self.set(kind, ConditionStatus::False, reason, message);
        if self.set.depends_on(kind) {
            self.set(READY, ConditionStatus::False, reason, message);
        }
    }

    /// Marks `kind` with what another object's condition says.
    pub fn copy(&mut self, kind: &str, from: &Condition) {
        match from.status {
            ConditionStatus::True => self.mark_true(kind),
            ConditionStatus::False => self.mark_false(kind, &from.reason, &from.message),
            ConditionStatus::Unknown => self.mark_unknown(kind, &from.reason, &from.message),
        }
    }

    /// The conditions sorted by type. Those that say something else than before have the time
    /// `now`, in whole seconds as all times of objects are, and the others the time they had.
    #[must_use]
    pub fn finish(mut self, now: Timestamp) -> Vec<Condition> {
        if self
            .get(READY)
            .is_some_and(|ready| ready.reason == NEW_GENERATION)
        {
            let unhappy = self.unhappy().unwrap_or_default();
            self.set(READY, unhappy.status, &unhappy.reason, &unhappy.message);
        }
        let Self {
            before, entries, ..
        } = self;
        let mut conditions: Vec<_> = entries.into_iter().map(|entry| entry.condition).collect();
        for condition in &mut conditions {
            let same = find(&before, &condition.kind)
                .filter(|old| old.says_the_same(condition))
                .and_then(|old| old.last_transition_time);
            condition.last_transition_time = same.or(Some(now.truncated()));
        }
        conditions.sort_by(|a, b| a.kind.cmp(&b.kind));
        conditions
    }

    fn is_false(&self, kind: &str) -> bool {
        self.status(kind) == ConditionStatus::False
    }

    fn set(&mut self, kind: &str, status: ConditionStatus, reason: &str, message: &str) {
        let condition = Condition {
            kind: kind.to_owned(),
            status,
            severity: self.set.severity(kind).to_owned(),
            last_transition_time: None,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let old = self
            .entries
            .iter_mut()
            .find(|entry| entry.condition.kind == kind);
        match old {
            Some(old) if old.condition.says_the_same(&condition) => {}
            Some(old) => {
                self.changes += 1;
                *old = Entry {
                    condition,
                    change: self.changes,
                };
            }
            None => {
                self.changes += 1;
                self.entries.push(Entry {
                    condition,
                    change: self.changes,
                });
            }
        }
    }

    /// Makes [`READY`] follow from its dependents after `kind` became True.
    fn follow(&mut self, kind: &str) {
        if let Some(unhappy) = self.unhappy() {
            self.set(READY, unhappy.status, &unhappy.reason, &unhappy.message);
        } else if kind != READY {
            self.set(READY, ConditionStatus::True, "", "");
        }
    }

    /// The dependent that keeps the object from being ready: the False one that changed last,
    /// else the Unknown one that did.
    fn unhappy(&self) -> Option<Condition> {
        self.latest(ConditionStatus::False)
            .or_else(|| self.latest(ConditionStatus::Unknown))
            .cloned()
    }

    /// The dependent with this status that changed last.
    fn latest(&self, status: ConditionStatus) -> Option<&Condition> {
        let with_status = self.entries.iter().filter(|entry| {
            entry.condition.status == status && self.set.depends_on(&entry.condition.kind)
        });
        let latest = with_status.max_by(|a, b| {
            let age = |entry: &Entry| (entry.change, entry.condition.last_transition_time);
            // Of two that changed together the first by name counts.
            age(a)
                .cmp(&age(b))
                .then_with(|| b.condition.kind.cmp(&a.condition.kind))
        });
        latest.map(|entry| &entry.condition)
    }
}

#[cfg(test)]
mod tests;
