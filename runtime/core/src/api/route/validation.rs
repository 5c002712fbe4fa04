//! Whether a Route and its traffic are valid.
//!
//! # Source
//!
//! knative/serving pkg/apis/serving/v1/route_validation.go.

use std::collections::BTreeMap;

use super::{Route, TrafficTarget};
use crate::api::{annotations, metadata, syntax};
use crate::field_error::{FieldError, FieldErrors};
use crate::keys::SERVICE_LABEL;
use crate::text::{bracketed, quote};

/// Whose traffic it is: targets of a Service name no Configuration, as there is only its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum TrafficOf {
    Service,
    Route,
}

/// All that is wrong with a Route.
pub(in crate::api) fn validate(route: &Route, old: Option<&Route>) -> FieldErrors {
    let meta = &route.metadata;
    let rollout = annotations::rollout_duration(&meta.annotations);
    let mut errors = metadata::name(meta)
        .and(metadata::no_autoscaling(&meta.annotations))
        .and(rollout.via_field("annotations"))
        .and(metadata::visibility(meta))
        .and(metadata::owner_label(meta, SERVICE_LABEL, "Service"))
        .via_field("metadata")
        .and(validate_traffic(&route.spec.traffic, TrafficOf::Route).via_field("spec.traffic"));
    if let Some(old) = old.filter(|_| meta.owner_references.is_empty()) {
        let users = metadata::user_unchanged(&old.metadata, meta, old.spec != route.spec);
        errors.add(users.via_field("metadata"));
    }
    errors
}

/// All that is wrong with a list of targets, paths relative to the list.
pub(in crate::api) fn validate_traffic(traffic: &[TrafficTarget], of: TrafficOf) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut first_with_tag = BTreeMap::new();
    for (index, target) in traffic.iter().enumerate() {
        errors.add(validate_target(target, of).via_index(index));
        if target.tag.is_empty() {
            continue;
        }
        let problems = syntax::dns_1035_label(&target.tag);
        if !problems.is_empty() {
            let problem = format!("not a DNS 1035 label: {}", bracketed(&problems));
            // Upstream has the index behind the field here.
            let error = FieldErrors::from(FieldError::invalid_value(problem, ""));
            errors.add(error.via_field_index("tag", index));
        }
        let first = *first_with_tag.entry(&target.tag).or_insert(index);
        if first != index {
            let paths = [first, index].map(|index| format!("[{index}].tag"));
            let message = format!("Multiple definitions for {}", quote(&target.tag));
            errors.add(FieldError::new(message, paths));
        }
    }
    let percents = traffic.iter().filter_map(|target| target.percent);
    let sum = percents.fold(0, i64::saturating_add);
    if sum != 100 {
        let message = format!("Traffic targets sum to {sum}, want 100");
        errors.add(FieldError::new(message, [""]));
    }
    errors
}

fn validate_target(target: &TrafficTarget, of: TrafficOf) -> FieldErrors {
    let revision = target.revision_name.as_str();
    let mut errors = FieldErrors::from(aim(target, of));
    if let Some(latest) = target.latest_revision
        && latest != revision.is_empty()
    {
        let name = quote(revision);
        let message = format!("may not set revisionName {name} when latestRevision is {latest}");
        errors.add(FieldError::new(message, ["latestRevision"]));
    }
    if let Some(percent) = target
        .percent
        .filter(|percent| !(0..=100).contains(percent))
    {
        errors.add(FieldError::out_of_bounds(percent, 0, 100, "percent"));
    }
    if target.url.as_ref().is_some_and(|url| !url.is_empty()) {
        errors.add(FieldError::disallowed(["url"]));
    }
    errors
}

/// A target names a revision or a configuration, and not both.
fn aim(target: &TrafficTarget, of: TrafficOf) -> Option<FieldError> {
    let both = ["revisionName", "configurationName"];
    let (revision, configuration) = (&target.revision_name, &target.configuration_name);
    match (revision.is_empty(), configuration.is_empty(), of) {
        (_, false, TrafficOf::Service) => Some(FieldError::disallowed(["configurationName"])),
        (true, true, TrafficOf::Service) => None,
        (false, false, TrafficOf::Route) => Some(FieldError::multiple_one_of(both)),
        (true, true, TrafficOf::Route) => Some(FieldError::missing_one_of(both)),
        (false, true, _) => name(revision, "revisionName"),
        (true, false, TrafficOf::Route) => name(configuration, "configurationName"),
    }
}

fn name(name: &str, path: &str) -> Option<FieldError> {
    let problems = syntax::qualified_name(name);
    (!problems.is_empty())
        .then(|| FieldError::invalid_key(name, path).with_details(problems.join(", ")))
}
