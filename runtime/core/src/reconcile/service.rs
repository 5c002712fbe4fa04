//! The Service reconciler: keeps the Configuration and the Route, and shows how they are.
//!
//! # Source
//!
//! knative/serving pkg/reconciler/service/service.go, pkg/apis/serving/v1/service_lifecycle.go.
//! Differs: targets of the spec that status.traffic shows as one, since they have the same tag and
//! Revision, are compared as one, where Knative never calls such a Service ready.

use super::configuration::{NamedRevision, named_revision};
use super::{Event, Plan, Write};
use crate::api::{Configuration, Revision, Route, Service, ServiceStatus, TrafficTarget};
use crate::conditions::{
    self, CONFIGURATIONS_READY, ConditionStatus, Manager, READY, ROUTES_READY, Set,
};
use crate::kind::Kind;
use crate::meta::ObjectMeta;
use crate::object::Object;
use crate::resources;
use crate::time::Timestamp;

/// What the reconciler looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub service: &'a Service,
    /// The Configuration with the Service's name, whoever owns it.
    pub configuration: Option<&'a Configuration>,
    /// The Route with the Service's name, whoever owns it.
    pub route: Option<&'a Route>,
    /// At least the Revision that the template names, if it names one that exists.
    pub revisions: &'a [&'a Revision],
}

/// Plans for a Service that exists; one that is being deleted needs nothing.
#[must_use]
pub fn service(view: &View<'_>, now: Timestamp) -> Plan<ServiceStatus> {
    let mut plan = Plan::default();
    let metadata = &view.service.metadata;
    if metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let before = &view.service.status;
    let new_generation = !conditions::is_observed(metadata, before.observed_generation);
    let mut status = before.clone();
    let mut conditions = Manager::begin(Set::SERVICE, &before.conditions, new_generation);
    reconcile(view, &mut plan, &mut status, &mut conditions);
    status.conditions = conditions.finish(now);
    status.observed_generation = Some(metadata.generation);
    plan.set_status(before, status);
    plan
}

/// What a Service keeps beside itself; the two kinds differ in their spec alone.
trait Kept: Clone + Into<Object> {
    const KIND: Kind;

    fn metadata(&self) -> &ObjectMeta;
    fn observed_generation(&self) -> Option<i64>;
    fn has_spec_of(&self, other: &Self) -> bool;
    /// Takes spec, labels and annotations; the rest is the store's and other reconcilers'.
    fn take(&mut self, wanted: Self);
}

macro_rules! kept {
    ($($kind:ident)*) => {$(
        impl Kept for $kind {
            const KIND: Kind = Kind::$kind;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn observed_generation(&self) -> Option<i64> {
                self.status.observed_generation
            }

            fn has_spec_of(&self, other: &Self) -> bool {
                self.spec == other.spec
            }

            fn take(&mut self, wanted: Self) {
                self.spec = wanted.spec;
                self.metadata.labels = wanted.metadata.labels;
                self.metadata.annotations = wanted.metadata.annotations;
            }
        }
    )*};
}

kept!(Configuration Route);

/// A child as it is once the plan is carried out.
struct Child<T> {
    object: T,
    /// Its status is about its spec.
    is_observed: bool,
}

fn reconcile(
    view: &View<'_>,
    plan: &mut Plan<ServiceStatus>,
    status: &mut ServiceStatus,
    conditions: &mut Manager,
) {
    let wanted = resources::make_configuration(view.service, view.configuration);
    let Some(configuration) = keep(view.service, view.configuration, wanted, plan) else {
        mark_not_owned::<Configuration>(CONFIGURATIONS_READY, view.service, conditions);
        return;
    };
    let template_name = &configuration.object.spec.template.metadata.name;
    if configuration.is_observed {
        propagate_configuration(&configuration.object, status, conditions);
    } else {
        mark_out_of_date::<Configuration>(CONFIGURATIONS_READY, conditions);
        // With a name of its own the Revision may be another one's; so the Route waits.
        if !template_name.is_empty() {
            return;
        }
    }
    if let NamedRevision::Taken = named_revision(&configuration.object, view.revisions) {
        let message = format!(
            "The revision name \"{template_name}\" is taken by a conflicting Revision, so traffic will not be migrated"
        );
        conditions.mark_false(ROUTES_READY, "RevisionNameTaken", &message);
        return;
    }
    let wanted = resources::make_route(view.service);
    let Some(route) = keep(view.service, view.route, wanted, plan) else {
        mark_not_owned::<Route>(ROUTES_READY, view.service, conditions);
        return;
    };
    if route.is_observed {
        propagate_route(&route.object, status, conditions);
    } else {
        mark_out_of_date::<Route>(ROUTES_READY, conditions);
    }
    let ready = conditions.status(ROUTES_READY) == ConditionStatus::True;
    if ready && !is_migrated(&route.object, &configuration.object) {
        conditions.mark_unknown(
            ROUTES_READY,
            "TrafficNotMigrated",
            "Traffic is not yet migrated to the latest revision.",
        );
    }
}

fn mark_not_owned<T: Kept>(condition: &str, service: &Service, conditions: &mut Manager) {
    let (kind, name) = (T::KIND.names().kind, &service.metadata.name);
    let message = format!("There is an existing {kind} \"{name}\" that we do not own.");
    conditions.mark_false(condition, "NotOwned", &message);
}

fn mark_out_of_date<T: Kept>(condition: &str, conditions: &mut Manager) {
    let kind = T::KIND.names().kind;
    let message =
        format!("The {kind} is still working to reflect the latest desired specification.");
    conditions.mark_unknown(condition, "OutOfDate", &message);
}

/// Makes a child, or makes it as it should be; `None` when it is another's.
fn keep<T: Kept>(
    service: &Service,
    existing: Option<&T>,
    wanted: T,
    plan: &mut Plan<ServiceStatus>,
) -> Option<Child<T>> {
    let (names, name) = (T::KIND.names(), &wanted.metadata().name);
    let Some(existing) = existing else {
        let message = format!("Created {} \"{name}\"", names.kind);
        plan.writes.push(Write::Create(wanted.clone().into()));
        plan.events.push(Event::normal("Created", message));
        return Some(Child {
            object: wanted,
            is_observed: false,
        });
    };
    let metadata = existing.metadata();
    if !metadata.is_controlled_by(&service.metadata.uid) {
        let kind = names.singular;
        let message = format!("service: \"{name}\" does not own {kind}: \"{name}\"");
        plan.events.push(Event::warning("InternalError", message));
        return None;
    }
    let mut object = existing.clone();
    let mut is_observed = conditions::is_observed(metadata, existing.observed_generation());
    let has_spec = existing.has_spec_of(&wanted);
    if !has_spec || differs(metadata, wanted.metadata()) {
        is_observed &= has_spec;
        object.take(wanted);
        plan.writes.push(Write::Update(object.clone().into()));
    }
    Some(Child {
        object,
        is_observed,
    })
}

fn differs(existing: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    existing.labels != wanted.labels || existing.annotations != wanted.annotations
}

fn propagate_configuration(
    configuration: &Configuration,
    status: &mut ServiceStatus,
    conditions: &mut Manager,
) {
    let from = &configuration.status;
    status
        .latest_created_revision_name
        .clone_from(&from.latest_created_revision_name);
    status
        .latest_ready_revision_name
        .clone_from(&from.latest_ready_revision_name);
    if let Some(ready) = conditions::find(&from.conditions, READY) {
        conditions.copy(CONFIGURATIONS_READY, ready);
    }
}

fn propagate_route(route: &Route, status: &mut ServiceStatus, conditions: &mut Manager) {
    let from = &route.status;
    status.url.clone_from(&from.url);
    status.address.clone_from(&from.address);
    status.traffic.clone_from(&from.traffic);
    if let Some(ready) = conditions::find(&from.conditions, READY) {
        conditions.copy(ROUTES_READY, ready);
    }
}

/// Whether the Route shows the traffic that its spec asks for now. It may not, although it is
/// ready, when the Configuration has a newer Revision than the Route has seen.
fn is_migrated(route: &Route, configuration: &Configuration) -> bool {
    let mut wanted: Vec<TrafficTarget> = Vec::new();
    for target in &route.spec.traffic {
        let mut target = target.clone();
        if target.configuration_name == configuration.metadata.name {
            let latest = &configuration.status.latest_ready_revision_name;
            target.revision_name.clone_from(latest);
            target.configuration_name.clear();
        }
        let same = wanted.iter_mut().find(|known| {
            known.tag == target.tag
                && known.revision_name == target.revision_name
                && known.latest_revision == target.latest_revision
        });
        match same {
            Some(known) => {
                let sum = known.percent.unwrap_or_default() + target.percent.unwrap_or_default();
                known.percent = Some(sum);
            }
            None => wanted.push(target),
        }
    }
    let shown = &route.status.traffic;
    let agree = |(wanted, shown): (&TrafficTarget, &TrafficTarget)| {
        wanted.tag == shown.tag
            && wanted.revision_name == shown.revision_name
            && wanted.configuration_name == shown.configuration_name
            && wanted.percent.unwrap_or_default() == shown.percent.unwrap_or_default()
    };
    wanted.len() == shown.len() && wanted.iter().zip(shown).all(agree)
}

#[cfg(test)]
mod tests;
