//! Whether a Service is valid.
//!
//! # Source
//!
//! knative/serving pkg/apis/serving/v1/service_validation.go.

use super::Service;
use crate::api::{annotations, metadata, revision, route};
use crate::field_error::FieldErrors;
use crate::settings::Settings;

/// All that is wrong with a Service.
pub(in crate::api) fn validate(
    service: &Service,
    old: Option<&Service>,
    settings: &Settings,
) -> FieldErrors {
    let Service {
        metadata: meta,
        spec,
        ..
    } = service;
    let rollout = annotations::rollout_duration(&meta.annotations);
    let template = revision::validate_template(&spec.template, meta, settings);
    let traffic = route::validate_traffic(&spec.traffic, route::TrafficOf::Service);
    let mut errors = metadata::name(meta)
        .and(metadata::no_autoscaling(&meta.annotations))
        .and(rollout.via_field("annotations"))
        .and(metadata::visibility(meta))
        .via_field("metadata")
        .and(template.via_field("spec.template"))
        .and(traffic.via_field("spec.traffic"));
    if let Some(old) = old {
        let users = metadata::user_unchanged(&old.metadata, meta, old.spec != *spec);
        errors.add(users.via_field("metadata"));
        let name = revision::name_change(&old.spec.template, &spec.template);
        errors.add(name.via_field("spec.template"));
    }
    errors
}
