//! Garbage collection of Revisions that no Route names any more.
//!
//! Input: a Configuration, its Revisions, the settings and the time. Output: the Revisions to
//! delete, and when to look again.
//!
//! # Source
//!
//! knative/serving pkg/reconciler/gc/gc.go. Differs: of more than the maximum exactly the oldest are
//! deleted, where Knative's order is partly reversed by its sweep for stale ones.

use std::time::Duration;

use crate::api::{Configuration, Revision};
use crate::keys;
use crate::settings::Gc;
use crate::time::Timestamp;

/// The names of the Revisions to delete, of those of one Configuration.
#[must_use]
pub fn collect<'a>(
    configuration: &Configuration,
    revisions: &[&'a Revision],
    settings: &Gc,
    now: Timestamp,
) -> Vec<&'a str> {
    let all = revisions.iter().copied();
    let mut idle: Vec<_> = all.filter(|r| !is_active(r, configuration)).collect();
    idle.sort_by_key(|revision| last_active(revision));

    let least = index(settings.min_non_active_revisions);
    let most_stale = idle.len().saturating_sub(least);
    let (stale, mut kept): (Vec<_>, Vec<_>) = idle
        .into_iter()
        .partition(|revision| is_stale(revision, settings, now));
    let mut deleted = stale;
    if deleted.len() > most_stale {
        // Those that stay though stale are newer than what goes, and older than the others.
        let staying = deleted.split_off(most_stale);
        kept.splice(0..0, staying);
    }
    if let Some(most) = settings.max_non_active_revisions {
        let excess = kept.len().saturating_sub(index(most));
        kept.sort_by_key(|revision| last_active(revision));
        deleted.extend(kept.drain(..excess));
    }
    deleted
        .iter()
        .map(|revision| revision.metadata.name.as_str())
        .collect()
}

/// How long until [`collect`] may find more, if nothing but the time changes; `None` when it will
/// not. The Revisions are those that it left.
#[must_use]
pub fn next(
    configuration: &Configuration,
    revisions: &[&Revision],
    settings: &Gc,
    now: Timestamp,
) -> Option<Duration> {
    let idle = || revisions.iter().filter(|r| !is_active(r, configuration));
    if idle().count() <= index(settings.min_non_active_revisions) {
        return None;
    }
    let times = idle().filter_map(|revision| stale_at(revision, settings));
    let next = times.filter(|at| *at > now).min()?;
    Some(next.since(now))
}

/// When a Revision becomes older than both times, as far as they are enabled.
fn stale_at(revision: &Revision, settings: &Gc) -> Option<Timestamp> {
    let at = |retain: Option<Duration>, point: Option<Timestamp>| {
        retain.map(|retain| point.unwrap_or_default() + retain)
    };
    let created = revision.metadata.creation_timestamp;
    at(settings.retain_since_create_time, created).max(at(
        settings.retain_since_last_active_time,
        last_active(revision),
    ))
}

/// Whether a Revision must stay: the latest ready one, one that asks for it, and all that the
/// Route has not called `reserve`.
fn is_active(revision: &Revision, configuration: &Configuration) -> bool {
    let metadata = &revision.metadata;
    let preserved = metadata.annotation(keys::NO_GC_ANNOTATION);
    metadata.name == configuration.status.latest_ready_revision_name
        || preserved.is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || metadata.label(keys::ROUTING_STATE_LABEL) != Some(keys::ROUTING_STATE_RESERVE)
}

/// Whether a Revision is older than both times, as far as they are enabled.
fn is_stale(revision: &Revision, settings: &Gc, now: Timestamp) -> bool {
    let since_create = settings.retain_since_create_time;
    let since_active = settings.retain_since_last_active_time;
    if since_create.is_none() && since_active.is_none() {
        return false;
    }
    let is_past = |retain: Option<Duration>, point: Option<Timestamp>| {
        retain.is_none_or(|retain| now.since(point.unwrap_or_default()) >= retain)
    };
    is_past(since_create, revision.metadata.creation_timestamp)
        && is_past(since_active, last_active(revision))
}

/// When its routing state changed last, else when it was made.
fn last_active(revision: &Revision) -> Option<Timestamp> {
    let metadata = &revision.metadata;
    let modified = metadata.annotation(keys::ROUTING_STATE_MODIFIED_ANNOTATION);
    let modified = modified.and_then(|text| text.parse().ok());
    modified.or(metadata.creation_timestamp)
}

fn index(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
