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
use crate::traffic::rollout::{Rollout, Stepped};
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

/// The rollout of now. Rules that were never given out, or are without a duration, begin with all
/// that is asked for.
fn step(view: &View<'_>, goal: Rollout, now: Timestamp) -> Stepped {
    let duration = rollout_duration(view);
    let before = view.ingress.filter(|_| !duration.is_zero());
    let Some(before) = before else {
        return Stepped {
            rollout: goal,
            next: None,
        };
    };
    let annotation = before.rollout.as_deref().unwrap_or_default();
    let mut previous = Rollout::from_annotation(annotation);
    let shown = conditions::status_of(&view.route.status.conditions, INGRESS_READY);
    let turned_ready = view.ingress_state == IngressState::Ready && shown != ConditionStatus::True;
    if let Some(previous) = previous.as_mut().filter(|_| turned_ready) {
        previous.observe_ready(now, duration);
    }
    goal.step(previous, now)
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
        if view.visibility(tag) == Visibility::Public {
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
