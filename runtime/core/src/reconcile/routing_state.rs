//! Which Configurations and Revisions a Route uses, as noted on them.
//!
//! The annotation `serving.knative.dev/routes` holds the names of the Routes. On a Revision the
//! label `serving.knative.dev/routingState` follows from it: `active` with a Route, `reserve`
//! without; it decides about scaling to zero, garbage collection and what kn may prune.
//!
//! # Source
//!
//! knative/serving pkg/reconciler/labeler/{metasync,accessors}.go. Differs: the Configuration of the
//! Service that owns the Route is always noted, since the Service reconciler notes the Route on it.

use std::collections::BTreeSet;

use super::Write;
use crate::api::{Route, RouteStatus, TrafficTarget};
use crate::conditions::{self, ConditionStatus};
use crate::keys;
use crate::meta::ObjectMeta;
use crate::resources;
use crate::time::Timestamp;
use crate::traffic::build::Candidates;

/// The changes that make the notes about `route` right, where it will show `status`.
///
/// Old notes go only when the Route is ready or has failed, so that a Revision is not put in
/// reserve while requests may still come to it.
pub(super) fn sync(
    route: &Route,
    status: &RouteStatus,
    candidates: Candidates<'_>,
    now: Timestamp,
) -> Vec<Write> {
    let used = Used::of(route, status, candidates);
    let observed = status.observed_generation;
    let settled = conditions::settled(&route.metadata, observed, &status.conditions);
    let is_settled = settled.is_some_and(|ready| ready != ConditionStatus::Unknown);
    let change = |is_used: bool| match (is_used, is_settled) {
        (true, _) => Some(Change::Note),
        (false, true) => Some(Change::Forget),
        (false, false) => None,
    };
    writes(
        &route.metadata.name,
        candidates,
        now,
        |kind, name| match kind {
            Noted::Revision => change(used.revisions.contains(name)),
            Noted::Configuration => change(used.configurations.contains(name)),
        },
    )
}

/// The changes that remove all notes about a Route.
pub(super) fn forget(route: &str, candidates: Candidates<'_>, now: Timestamp) -> Vec<Write> {
    writes(route, candidates, now, |_, _| Some(Change::Forget))
}

#[derive(Clone, Copy)]
enum Noted {
    Revision,
    Configuration,
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    Note,
    Forget,
}

fn writes(
    route: &str,
    candidates: Candidates<'_>,
    now: Timestamp,
    change: impl Fn(Noted, &str) -> Option<Change>,
) -> Vec<Write> {
    let mut writes = Vec::new();
    for revision in candidates.revisions {
        let wanted = change(Noted::Revision, &revision.metadata.name);
        let noted = wanted.and_then(|c| changed(&revision.metadata, route, c));
        if noted.is_none() && wanted != Some(Change::Note) {
            continue;
        }
        let before = noted.as_ref().unwrap_or(&revision.metadata);
        if let Some(metadata) = in_routing_state(before, now).or(noted) {
            let mut revision = (*revision).clone();
            revision.metadata = metadata;
            writes.push(Write::Update(revision.into()));
        }
    }
    for configuration in candidates.configurations {
        let wanted = change(Noted::Configuration, &configuration.metadata.name);
        if let Some(metadata) = wanted.and_then(|c| changed(&configuration.metadata, route, c)) {
            let mut configuration = (*configuration).clone();
            configuration.metadata = metadata;
            writes.push(Write::Update(configuration.into()));
        }
    }
    writes
}

/// The metadata with the note about `route`, or without it; `None` when it is so already.
fn changed(metadata: &ObjectMeta, route: &str, change: Change) -> Option<ObjectMeta> {
    let mut routes = resources::routes_of(metadata);
    let is_changed = match change {
        Change::Note => routes.insert(route),
        Change::Forget => routes.remove(route),
    };
    if !is_changed {
        return None;
    }
    let mut changed = metadata.clone();
    let key = keys::ROUTES_ANNOTATION;
    if routes.is_empty() {
        changed.annotations.remove(key);
    } else {
        let routes = resources::join_routes(&routes);
        changed.annotations.insert(key.to_owned(), routes);
    }
    Some(changed)
}

/// The metadata with the state that follows from the Routes on it; `None` when it is in it already.
fn in_routing_state(metadata: &ObjectMeta, now: Timestamp) -> Option<ObjectMeta> {
    let state = if resources::routes_of(metadata).is_empty() {
        keys::ROUTING_STATE_RESERVE
    } else {
        keys::ROUTING_STATE_ACTIVE
    };
    if metadata.label(keys::ROUTING_STATE_LABEL) == Some(state) {
        return None;
    }
    let mut changed = metadata.clone();
    let label = keys::ROUTING_STATE_LABEL.to_owned();
    changed.labels.insert(label, state.to_owned());
    let modified = keys::ROUTING_STATE_MODIFIED_ANNOTATION.to_owned();
    changed.annotations.insert(modified, now.to_string());
    Some(changed)
}

/// The names of what a Route uses.
#[derive(Default)]
struct Used<'a> {
    revisions: BTreeSet<&'a str>,
    configurations: BTreeSet<&'a str>,
}

impl<'a> Used<'a> {
    /// What the targets of spec and status name, directly or by the Configuration.
    fn of(route: &'a Route, status: &'a RouteStatus, candidates: Candidates<'a>) -> Self {
        let mut used = Self::default();
        for target in status.traffic.iter().chain(&route.spec.traffic) {
            used.add(target, candidates);
        }
        if let Some(owner) = route.metadata.controller() {
            let of_owner = candidates
                .configurations
                .iter()
                .filter(|configuration| configuration.metadata.is_controlled_by(&owner.uid));
            used.configurations
                .extend(of_owner.map(|c| c.metadata.name.as_str()));
        }
        used
    }

    fn add(&mut self, target: &'a TrafficTarget, candidates: Candidates<'a>) {
        let mut configuration = target.configuration_name.as_str();
        if !target.revision_name.is_empty() {
            let name = &target.revision_name;
            let mut all = candidates.revisions.iter().copied();
            let Some(revision) = all.find(|revision| revision.metadata.name == *name) else {
                return;
            };
            self.revisions.insert(name);
            if let Some(owner) = revision.metadata.controller()
                && owner.kind == "Configuration"
            {
                configuration = &owner.name;
            }
        }
        let mut all = candidates.configurations.iter().copied();
        let Some(configuration) = all.find(|c| c.metadata.name == configuration) else {
            return;
        };
        self.configurations.insert(&configuration.metadata.name);
        // The newest Revision is about to get the requests of such a target, so it is kept awake
        // from its creation on.
        let created = &configuration.status.latest_created_revision_name;
        if target.latest_revision == Some(true) && !created.is_empty() {
            self.revisions.insert(created);
        }
    }
}
