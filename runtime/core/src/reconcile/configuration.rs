//! The Configuration reconciler: makes a Revision for each generation, and keeps track of the
//! latest one that is ready.
//!
//! # Source
//!
//! knative/serving pkg/reconciler/configuration/configuration.go and
//! pkg/apis/serving/v1/configuration_lifecycle.go. Differs: a name that another Configuration's
//! Revision has without having been asked for is shown as a failure, and is no endless retry; when
//! the ready Revision was deleted, Ready turns Unknown at once and not at the next reconciliation;
//! Revisions of an earlier Configuration of the same name are not taken for its own.

use std::cmp::Reverse;

use super::{Event, Plan, Write};
use crate::api::{Configuration, ConfigurationStatus, Revision};
use crate::conditions::{self, ConditionStatus, Manager, READY, Set};
use crate::keys;
use crate::names;
use crate::resources;
use crate::time::Timestamp;

/// What the reconciler looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub configuration: &'a Configuration,
    /// All Revisions of the namespace that carry the Configuration's label, and whatever Revision
    /// has the name of the next one: that in the template, or that for the generation.
    pub revisions: &'a [&'a Revision],
}

/// Plans for a Configuration that exists; one that is being deleted needs nothing.
#[must_use]
pub fn configuration(view: &View<'_>, now: Timestamp) -> Plan<ConfigurationStatus> {
    let mut plan = Plan::default();
    let metadata = &view.configuration.metadata;
    if metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let before = &view.configuration.status;
    let new_generation = !conditions::is_observed(metadata, before.observed_generation);
    let mut status = before.clone();
    let mut conditions = Manager::begin(Set::CONFIGURATION, &before.conditions, new_generation);
    match latest_created(view) {
        Created::Is(revision) => {
            follow(view, revision, &mut plan, &mut status, &mut conditions);
        }
        Created::Missing => {
            let revision = resources::make_revision(view.configuration, now);
            let name = &revision.metadata.name;
            let message = format!("Created Revision \"{name}\"");
            plan.events.push(Event::normal("Created", message));
            follow(view, &revision, &mut plan, &mut status, &mut conditions);
            // It may have the name of a ready one that was deleted, and is not ready for that.
            if conditions.status(READY) == ConditionStatus::True {
                conditions.mark_unknown(READY, "", "");
            }
            plan.writes.push(Write::Create(revision.into()));
        }
        Created::Taken(name) => {
            let message = format!(
                "Revision creation failed with message: revisions.serving.knative.dev \"{name}\" already exists."
            );
            conditions.mark_false(READY, "RevisionFailed", &message);
        }
    }
    status.conditions = conditions.finish(now);
    status.observed_generation = Some(metadata.generation);
    plan.set_status(before, status);
    plan
}

/// The names that the Revision of the current generation can have: a view must hold whatever has
/// one of them.
#[must_use]
pub fn next_revision_names(configuration: &Configuration) -> Vec<String> {
    let template = &configuration.spec.template.metadata.name;
    vec![if template.is_empty() {
        let metadata = &configuration.metadata;
        names::revision_name(&metadata.name, metadata.generation)
    } else {
        template.clone()
    }]
}

/// What there is under the name that a template gives to its Revision.
#[derive(Clone, Copy, Debug)]
pub(super) enum NamedRevision<'a> {
    /// The template gives no name.
    Unnamed,
    Free,
    Ours(&'a Revision),
    /// Another Configuration's, or this one's with another spec.
    Taken,
}

pub(super) fn named_revision<'a>(
    configuration: &Configuration,
    revisions: &[&'a Revision],
) -> NamedRevision<'a> {
    let template = &configuration.spec.template;
    if template.metadata.name.is_empty() {
        return NamedRevision::Unnamed;
    }
    let Some(revision) = find(revisions, &template.metadata.name) else {
        return NamedRevision::Free;
    };
    let is_ours = revision
        .metadata
        .is_controlled_by(&configuration.metadata.uid);
    // A change of metadata only, as of the template's labels, is no other Revision.
    let is_same = generation_of(revision) == Some(configuration.metadata.generation)
        || revision.spec == template.spec;
    if is_ours && is_same {
        NamedRevision::Ours(revision)
    } else {
        NamedRevision::Taken
    }
}

enum Created<'a> {
    Is(&'a Revision),
    Missing,
    Taken(String),
}

/// The Revision of the current generation.
fn latest_created<'a>(view: &View<'a>) -> Created<'a> {
    let configuration = view.configuration;
    match named_revision(configuration, view.revisions) {
        NamedRevision::Ours(revision) => return Created::Is(revision),
        NamedRevision::Free => return Created::Missing,
        NamedRevision::Taken => {
            return Created::Taken(configuration.spec.template.metadata.name.clone());
        }
        NamedRevision::Unnamed => {}
    }
    let generation = Some(configuration.metadata.generation);
    let mut ours = view
        .revisions
        .iter()
        .copied()
        .filter(|r| is_of(r, configuration));
    if let Some(revision) = ours.find(|revision| generation_of(revision) == generation) {
        return Created::Is(revision);
    }
    let metadata = &configuration.metadata;
    let name = names::revision_name(&metadata.name, metadata.generation);
    match find(view.revisions, &name) {
        Some(_) => Created::Taken(name),
        None => Created::Missing,
    }
}

fn find<'a>(revisions: &[&'a Revision], name: &str) -> Option<&'a Revision> {
    let mut all = revisions.iter().copied();
    all.find(|revision| revision.metadata.name == name)
}

/// A Revision of a deleted Configuration of the same name is not ours.
fn is_of(revision: &Revision, configuration: &Configuration) -> bool {
    let (revision, configuration) = (&revision.metadata, &configuration.metadata);
    revision.label(keys::CONFIGURATION_LABEL) == Some(&configuration.name)
        && revision
            .controller()
            .is_none_or(|owner| owner.uid == configuration.uid)
}

fn generation_of(revision: &Revision) -> Option<i64> {
    let label = revision
        .metadata
        .label(keys::CONFIGURATION_GENERATION_LABEL)?;
    label.parse().ok()
}

fn is_ready(revision: &Revision) -> bool {
    let status = &revision.status;
    let observed = status.observed_generation;
    conditions::settled(&revision.metadata, observed, &status.conditions)
        == Some(ConditionStatus::True)
}

/// Shows how the latest created Revision is.
fn follow(
    view: &View<'_>,
    created: &Revision,
    plan: &mut Plan<ConfigurationStatus>,
    status: &mut ConfigurationStatus,
    conditions: &mut Manager,
) {
    let name = &created.metadata.name;
    status.latest_created_revision_name.clone_from(name);
    if status.latest_ready_revision_name != *name {
        conditions.mark_unknown(READY, "", "");
    }
    let ready = conditions::find(&created.status.conditions, READY);
    match ready.map_or(ConditionStatus::Unknown, |ready| ready.status) {
        ConditionStatus::Unknown => {}
        ConditionStatus::True => {
            if status.latest_ready_revision_name.is_empty() {
                let event = Event::normal("ConfigurationReady", "Configuration becomes ready");
                plan.events.push(event);
            }
        }
        ConditionStatus::False => {
            let detail = ready
                .map(|ready| ready.message.as_str())
                .unwrap_or_default();
            let message = format!("Revision \"{name}\" failed with message: {detail}.");
            conditions.mark_false(READY, "RevisionFailed", &message);
            let before = conditions::find(&view.configuration.status.conditions, READY);
            if before.is_none_or(|before| before.message != message) {
                let event = if status.latest_ready_revision_name == *name {
                    let text = format!("Latest ready revision \"{name}\" has failed");
                    Event::warning("LatestReadyFailed", text)
                } else {
                    let text = format!("Latest created revision \"{name}\" has failed");
                    Event::warning("LatestCreatedFailed", text)
                };
                plan.events.push(event);
            }
        }
    }
    if let Some(latest) = latest_ready(view, created) {
        if status.latest_ready_revision_name != latest {
            let message = format!("LatestReadyRevisionName updated to \"{latest}\"");
            plan.events
                .push(Event::normal("LatestReadyUpdate", message));
            status.latest_ready_revision_name = latest;
        }
        if status.latest_ready_revision_name == *name {
            conditions.mark_true(READY);
        } else if conditions.status(READY) == ConditionStatus::True {
            conditions.mark_unknown(READY, "", "");
        }
    }
}

/// The newest ready Revision that is not older than the latest ready one so far. When that one was
/// deleted, all count.
fn latest_ready(view: &View<'_>, created: &Revision) -> Option<String> {
    let configuration = view.configuration;
    let current = configuration.metadata.generation;
    let so_far = find(
        view.revisions,
        &configuration.status.latest_ready_revision_name,
    );
    let oldest = so_far.map(|revision| generation_of(revision).unwrap_or(current));
    let template_name = &configuration.spec.template.metadata.name;
    let has_name = |revision: &Revision| revision.metadata.name == *template_name;

    let in_range = |revision: &Revision| {
        let generation = generation_of(revision);
        oldest.is_none_or(|oldest| {
            generation.is_some_and(|generation| (oldest..=current).contains(&generation))
                || has_name(revision) && generation == generation_of(created)
        })
    };
    let newest = view
        .revisions
        .iter()
        .copied()
        .filter(|revision| is_of(revision, configuration) && in_range(revision))
        .filter(|revision| is_ready(revision))
        // The one with a name of its own may have the label of an older generation.
        .min_by_key(|revision| (!has_name(revision), Reverse(generation_of(revision))));
    newest.map(|revision| revision.metadata.name.clone())
}

#[cfg(test)]
mod tests;
