//! The rules that a Route's data plane follows: hosts, their Revisions, and how far a rollout is.

use std::time::Duration;

use super::{IngressState, View};
use crate::conditions::{self, ConditionStatus, INGRESS_READY};
use crate::duration;
use crate::keys;
use crate::meta::ObjectMeta;
use crate::time::Timestamp;
use crate::traffic::build::Assignment;
use crate::traffic::hosts;
use crate::traffic::rollout::{
    ConfigurationRollout, RevisionRollout, Rollout, StepParams, Stepped,
};
use crate::traffic::{Host, Ingress, Visibility};

/// The rules of now.
pub(super) struct Rules {
    pub ingress: Ingress,
    /// What `ingress` remembers as its annotation.
    pub rollout: Rollout,
    /// When the rollout goes on.
    pub next_step: Option<Timestamp>,
}

/// Makes the rules for what was assigned.
pub(super) fn make(
    view: &View<'_>,
    assignment: &Assignment,
    now: Timestamp,
) -> Result<Rules, hosts::Error> {
    let Stepped { rollout, next } = step(view, assignment.goal(), now);
    let metadata = &view.route.metadata;
    let mut ingress = Ingress {
        route: metadata.key(),
        uid: metadata.uid.clone(),
        generation: 1,
        created: metadata.creation_timestamp,
        hosts: make_hosts(view, assignment, &rollout)?,
        rollout: Some(rollout.to_annotation()),
    };
    if let Some(before) = view.ingress {
        let step = i64::from(!before.routes_like(&ingress));
        ingress.generation = before.generation + step;
    }
    Ok(Rules {
        ingress,
        rollout,
        next_step: next,
    })
}

/// The rollout of now. A Route without a duration has all that is asked for at once.
///
/// What was given out before the process started is gone with it; then the status tells how far the
/// rollout was.
fn step(view: &View<'_>, goal: Rollout, now: Timestamp) -> Stepped {
    let duration = rollout_duration(view);
    if duration.is_zero() {
        return Stepped {
            rollout: goal,
            next: None,
        };
    }
    let mut previous = match view.ingress {
        Some(before) => Rollout::from_annotation(before.rollout.as_deref().unwrap_or_default()),
        None => Some(shown(view, &goal, now)),
    };
    let shown = conditions::status_of(&view.route.status.conditions, INGRESS_READY);
    let turned_ready = view.ingress_state == IngressState::Ready && shown != ConditionStatus::True;
    if let Some(previous) = previous.as_mut().filter(|_| turned_ready) {
        previous.observe_ready(now, duration);
    }
    goal.step(previous, now)
}

/// The rollout that status.traffic shows, of the targets that are asked for. One in progress goes on
/// with the steps that the status remembers, and without them takes its whole duration from here.
fn shown(view: &View<'_>, goal: &Rollout, now: Timestamp) -> Rollout {
    let traffic = &view.route.status.traffic;
    let remembered = view.route.status.annotations.get(keys::ROLLOUT_ANNOTATION);
    let remembered = remembered.and_then(|text| Rollout::from_annotation(text));
    let steps = |shown: &ConfigurationRollout| {
        let mut all = remembered.iter().flat_map(|known| &known.configurations);
        let same = all.find(|known| {
            (&known.tag, &known.configuration_name) == (&shown.tag, &shown.configuration_name)
                && known.revisions == shown.revisions
        });
        // Steps that were not planned yet are planned when this program serves the first percent:
        // the time that it did not run is not the time that this takes.
        same.map(|known| known.step_params)
            .filter(|steps| steps.step_duration_nanos > 0 && steps.step_size_percent > 0)
            .unwrap_or(StepParams {
                start_time_nanos: now.unix_nanos(),
                ..StepParams::default()
            })
    };
    let made_by = |revision: &str| {
        let mut all = view.revisions.iter();
        let revision = all.find(|known| known.metadata.name == revision)?;
        revision.metadata.label(keys::CONFIGURATION_LABEL)
    };
    let of = |tag: Option<&str>, configuration: &str| -> Vec<RevisionRollout> {
        let shares = traffic.iter().filter(|target| {
            target.latest_revision == Some(true)
                && tag.is_none_or(|tag| target.tag == tag)
                && made_by(&target.revision_name) == Some(configuration)
        });
        let shares = shares.map(|target| RevisionRollout {
            revision_name: target.revision_name.clone(),
            percent: u8::try_from(target.percent.unwrap_or_default()).unwrap_or_default(),
        });
        shares.filter(|share| share.percent > 0).collect()
    };
    Rollout::from_goals(goal.configurations.iter().filter_map(|wanted| {
        let mut revisions = of(Some(&wanted.tag), &wanted.configuration_name);
        if revisions.is_empty() && wanted.tag.is_empty() {
            // The main host's share is shown with the tag when the target has one.
            revisions = of(None, &wanted.configuration_name);
        }
        let percent = revisions
            .iter()
            .fold(0_u8, |sum, share| sum.saturating_add(share.percent));
        let mut shown = ConfigurationRollout {
            percent,
            revisions,
            step_params: StepParams::default(),
            ..wanted.clone()
        };
        if !shown.is_done() {
            shown.step_params = steps(&shown);
        }
        (!shown.revisions.is_empty() && percent <= 100).then_some(shown)
    }))
}

/// In whole seconds, as the annotation is checked to be.
fn rollout_duration(view: &View<'_>) -> Duration {
    let metadata: &ObjectMeta = &view.route.metadata;
    let asked = metadata
        .annotation(keys::ROLLOUT_DURATION_ANNOTATION)
        .or_else(|| metadata.annotation(keys::ROLLOUT_DURATION_ALIAS_ANNOTATION));
    let asked = asked.and_then(|text| duration::parse(text).ok());
    let asked = asked
        .map(|duration| duration.as_secs())
        .filter(|seconds| *seconds > 0);
    asked.map_or(view.rollout_duration, Duration::from_secs)
}

fn make_hosts(
    view: &View<'_>,
    assignment: &Assignment,
    rollout: &Rollout,
) -> Result<Vec<Host>, hosts::Error> {
    let metadata = &view.route.metadata;
    let mut made = Vec::new();
    for tag in assignment.by_tag.keys() {
        let name = view.naming.name(metadata, tag)?;
        hosts::local(&metadata.namespace, &name)?;
        let local = hosts::local_names(&metadata.namespace, &name).into_iter();
        let mut names: Vec<_> = local.map(|host| (host, Visibility::ClusterLocal)).collect();
        if view.visibility(tag)? == Visibility::Public {
            names.push((view.naming.public(&name)?, Visibility::Public));
        }
        let targets = assignment.shares(&metadata.namespace, tag, rollout);
        if targets.is_empty() {
            continue;
        }
        made.extend(names.into_iter().map(|(host, visibility)| Host {
            host,
            visibility,
            tag: (!tag.is_empty()).then(|| tag.clone()),
            targets: targets.clone(),
        }));
    }
    Ok(made)
}
