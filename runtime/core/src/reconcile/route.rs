//! The Route reconciler: assigns the targets, makes the rules for the data plane, and shows how far
//! these are.
//!
//! ```text
//!   targets ── not all ready ──► AllTrafficAssigned Unknown or False, traffic stays as it was
//!      │
//!      ▼ all ready
//!   Ingress ── not given out ──► IngressReady Unknown IngressNotConfigured
//!      │ given out
//!      ▼
//!   Programming ───────────────► IngressReady Unknown Uninitialized
//!      │ the data plane uses it
//!      ▼
//!   Ready ─────────────────────► Ready True
//! ```
//!
//! # Source
//!
//! knative/serving pkg/reconciler/route/**, pkg/apis/serving/v1/route_lifecycle.go, and
//! knative/networking pkg/apis/networking/v1alpha1/ingress_lifecycle.go.

mod placeholders;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::rules::Rules;
use super::{Event, Plan, Write, routing_state};
use crate::api::{Address, Configuration, Revision, Route, RouteStatus, TrafficTarget};
use crate::conditions::{
    self, ALL_TRAFFIC_ASSIGNED, CERTIFICATE_PROVISIONED, INGRESS_READY, Manager, Set,
};
use crate::keys;
use crate::meta::ObjectKey;
use crate::object::Dynamic;
use crate::time::Timestamp;
use crate::traffic::build::{self, Assigned, Candidates};
use crate::traffic::hosts::{self, Naming};
use crate::traffic::rollout::Rollout;
use crate::traffic::{Ingress, Visibility};

/// What the reconciler looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub route: &'a Route,
    /// Those of the namespace; at least those that the targets name, those that made a Revision
    /// that they name, and those that the Route is noted on.
    pub configurations: &'a [&'a Configuration],
    /// Those of the namespace; at least those that the targets of spec and status name, the latest
    /// created and latest ready ones of the Configurations, and those that the Route is noted on.
    pub revisions: &'a [&'a Revision],
    /// The rules that were given to the data plane last.
    pub ingress: Option<&'a Ingress>,
    /// How far the data plane is with `ingress`.
    pub ingress_state: IngressState,
    /// Kubernetes Services of the namespace; at least those with the names of the Route and its tags,
    /// and those that the Route controls.
    pub services: &'a [&'a Dynamic],
    pub naming: Naming<'a>,
    /// How long a new Revision takes to get all requests, for Routes that do not say:
    /// `rollout-duration` of config-network.
    pub rollout_duration: Duration,
}

/// How far the data plane is with the rules of a Route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IngressState {
    /// It has not looked at them.
    #[default]
    NotConfigured,
    /// It is going to use them.
    Programming,
    /// Every new request is routed by them.
    Ready,
    /// An earlier run of this program gave out rules. They are not there any more, to be compared,
    /// but what the status says of them still holds.
    Restored,
}

/// Plans for a Route, and makes its rules for the data plane.
///
/// The rules are `None` when not all targets can be assigned: then those given out before stay.
/// They are equal to those of the view when nothing changed.
#[must_use]
pub fn route(view: &View<'_>, now: Timestamp) -> (Plan<RouteStatus>, Option<Ingress>) {
    let mut plan = Plan::default();
    let metadata = &view.route.metadata;
    if metadata.deletion_timestamp.is_some() {
        plan.writes = routing_state::forget(&metadata.name, view.candidates(), now);
        return (plan, None);
    }
    let before = &view.route.status;
    let new_generation = !conditions::is_observed(metadata, before.observed_generation);
    let mut status = before.clone();
    let mut conditions = Manager::begin(Set::ROUTE, &before.conditions, new_generation);

    let ingress = match assign(view, &mut status, now) {
        Ok((rules, writes)) => {
            plan.writes = writes;
            conditions.mark_true(ALL_TRAFFIC_ASSIGNED);
            show_ingress(view, &rules, &mut conditions);
            plan.events = created_events(view, &rules.ingress);
            plan.requeue_after = rules.next_step.map(|next| next.since(now));
            Some(rules.ingress)
        }
        Err(Unassigned::Target(error)) => {
            let (reason, message) = (error.reason(), error.to_string());
            if error.is_failure() {
                conditions.mark_false(ALL_TRAFFIC_ASSIGNED, reason, &message);
            } else {
                conditions.mark_unknown(ALL_TRAFFIC_ASSIGNED, reason, &message);
            }
            None
        }
        Err(Unassigned::Service(name)) => {
            conditions.mark_true(ALL_TRAFFIC_ASSIGNED);
            let message =
                format!("There is an existing placeholder Service \"{name}\" that we do not own.");
            conditions.mark_false(INGRESS_READY, "NotOwned", &message);
            let route = &metadata.name;
            let message = format!("route: \"{route}\" does not own Service: \"{name}\"");
            plan.events.push(Event::warning("InternalError", message));
            None
        }
        Err(Unassigned::Host(error)) => {
            let message = error.to_string();
            conditions.mark_false(ALL_TRAFFIC_ASSIGNED, "ErrorConfig", &message);
            plan.events.push(Event::warning("InternalError", message));
            None
        }
    };
    status.conditions = conditions.finish(now);
    status.observed_generation = Some(metadata.generation);
    let notes = routing_state::sync(view.route, &status, view.candidates(), now);
    plan.writes.extend(notes);
    plan.set_status(before, status);
    (plan, ingress)
}

/// The writes that remove all notes about a Route that is gone.
#[must_use]
pub fn forget(
    route: &ObjectKey,
    configurations: &[&Configuration],
    revisions: &[&Revision],
    now: Timestamp,
) -> Vec<Write> {
    let candidates = Candidates {
        configurations,
        revisions,
    };
    routing_state::forget(&route.name, candidates, now)
}

enum Unassigned {
    Target(build::TargetError),
    /// Another one's Kubernetes Service has a name that the Route needs.
    Service(String),
    Host(hosts::Error),
}

impl From<build::TargetError> for Unassigned {
    fn from(error: build::TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<hosts::Error> for Unassigned {
    fn from(error: hosts::Error) -> Self {
        Self::Host(error)
    }
}

/// Fills in URL, address and traffic, and makes the rules and what has to be written before they are
/// given out. What cannot be known stays as it was.
fn assign(
    view: &View<'_>,
    status: &mut RouteStatus,
    now: Timestamp,
) -> Result<(Rules, Vec<Write>), Unassigned> {
    status.url = Some(view.url("")?);
    let assignment = build::build(view.route, view.candidates())?;
    let writes = placeholders::sync(view, &assignment)?;
    let rules = rules::make(view, &assignment, now)?;
    let mut traffic = Vec::new();
    for target in &assignment.flat {
        traffic.extend(view.shown(target, &rules.rollout)?);
    }
    let metadata = &view.route.metadata;
    status.annotations = remembered(&rules);
    let address = hosts::local(&metadata.namespace, &metadata.name)?;
    status.address = Some(Address {
        url: Some(hosts::local_url(&address)),
    });
    status.traffic = traffic;
    Ok((rules, writes))
}

/// What the status keeps over a restart of the program: the steps of a rollout in progress.
fn remembered(rules: &Rules) -> BTreeMap<String, String> {
    let rollout = rules.ingress.rollout.clone();
    let rollout = rollout.filter(|_| !rules.rollout.is_done());
    let key = keys::ROLLOUT_ANNOTATION.to_owned();
    rollout.map(|rollout| (key, rollout)).into_iter().collect()
}

impl<'a> View<'a> {
    fn candidates(&self) -> Candidates<'a> {
        Candidates {
            configurations: self.configurations,
            revisions: self.revisions,
        }
    }

    fn visibility(&self, tag: &str) -> Result<Visibility, hosts::Error> {
        let domain = if self.naming.local_domain {
            Visibility::ClusterLocal
        } else {
            Visibility::Public
        };
        let route = self.route.metadata.label(keys::VISIBILITY_LABEL);
        let name = self.naming.name(&self.route.metadata, tag)?;
        Ok(domain
            .and(Visibility::of_label(route))
            .and(self.placeholder_visibility(&name)))
    }

    fn url(&self, tag: &str) -> Result<String, hosts::Error> {
        let metadata = &self.route.metadata;
        let name = self.naming.name(metadata, tag)?;
        Ok(match self.visibility(tag)? {
            Visibility::Public => self.naming.public_url(&self.naming.public(&name)?),
            Visibility::ClusterLocal => {
                hosts::local_url(&hosts::local(&metadata.namespace, &name)?)
            }
        })
    }

    /// A target as status.traffic shows it: one entry, or one for each Revision of a rollout in
    /// progress, from oldest to newest.
    fn shown(
        &self,
        target: &Assigned,
        rollout: &Rollout,
    ) -> Result<Vec<TrafficTarget>, hosts::Error> {
        let url = if target.tag.is_empty() {
            None
        } else {
            Some(self.url(&target.tag)?)
        };
        let revisions = target.revisions(&target.tag, rollout).into_iter();
        let entries = revisions.map(|(name, percent)| TrafficTarget {
            tag: target.tag.clone(),
            revision_name: name.to_owned(),
            configuration_name: String::new(),
            latest_revision: Some(target.latest),
            percent: Some(i64::from(percent)),
            url: url.clone(),
        });
        Ok(entries.collect())
    }
}

fn show_ingress(view: &View<'_>, rules: &Rules, conditions: &mut Manager) {
    conditions.mark_true_because(
        CERTIFICATE_PROVISIONED,
        "TLSNotEnabled",
        "external-domain-tls is not enabled",
    );
    if !rules.rollout.is_done() {
        conditions.mark_unknown(
            INGRESS_READY,
            "RolloutInProgress",
            "A gradual rollout of the latest revision(s) is in progress.",
        );
        return;
    }
    if view.ingress_state == IngressState::Restored {
        return;
    }
    let given_out = view
        .ingress
        .filter(|before| before.routes_like(&rules.ingress));
    let state = given_out.map_or(IngressState::NotConfigured, |_| view.ingress_state);
    match state {
        IngressState::NotConfigured => conditions.mark_unknown(
            INGRESS_READY,
            "IngressNotConfigured",
            "Ingress has not yet been reconciled.",
        ),
        IngressState::Programming => conditions.mark_unknown(
            INGRESS_READY,
            "Uninitialized",
            "Waiting for load balancer to be ready",
        ),
        IngressState::Ready | IngressState::Restored => conditions.mark_true(INGRESS_READY),
    }
}

/// Events for the placeholder Services and the Ingress that come with the first assignment and
/// with new tags.
fn created_events(view: &View<'_>, ingress: &Ingress) -> Vec<Event> {
    let before = &view.route.status;
    let is_first = before.address.is_none();
    let known: BTreeSet<_> = before
        .traffic
        .iter()
        .map(|target| target.tag.as_str())
        .collect();
    let tags: BTreeSet<_> = ingress
        .hosts
        .iter()
        .map(|host| host.tag.as_deref())
        .collect();
    let is_new = |tag: Option<&str>| match tag {
        None => is_first,
        Some(tag) => !known.contains(tag),
    };
    let mut events: Vec<_> = tags
        .into_iter()
        .filter(|tag| is_new(*tag))
        .filter_map(|tag| {
            let name = view
                .naming
                .name(&view.route.metadata, tag.unwrap_or_default());
            let name = name.ok()?;
            let message = format!("Created placeholder service \"{name}\"");
            Some(Event::normal("Created", message))
        })
        .collect();
    if is_first {
        let message = format!("Created Ingress \"{}\"", ingress.route.name);
        events.push(Event::normal("Created", message));
    }
    events
}

#[cfg(test)]
mod tests;
