//! Whether a Configuration is valid.
//!
//! # Source
//!
//! knative/serving pkg/apis/serving/v1/configuration_validation.go.

use super::Configuration;
use crate::api::{metadata, revision};
use crate::field_error::FieldErrors;
use crate::keys::SERVICE_LABEL;
use crate::settings::Settings;

/// All that is wrong with a Configuration.
pub(in crate::api) fn validate(
    configuration: &Configuration,
    old: Option<&Configuration>,
    settings: &Settings,
) -> FieldErrors {
    let Configuration {
        metadata: meta,
        spec,
        ..
    } = configuration;
    let template = revision::validate_template(&spec.template, meta, settings);
    let mut errors = metadata::name(meta)
        .and(metadata::no_autoscaling(&meta.annotations))
        .and(metadata::owner_label(meta, SERVICE_LABEL, "Service"))
        .via_field("metadata")
        .and(template.via_field("spec.template"));
    if let Some(old) = old {
        if meta.owner_references.is_empty() {
            let users = metadata::user_unchanged(&old.metadata, meta, old.spec != *spec);
            errors.add(users.via_field("metadata"));
        }
        let name = revision::name_change(&old.spec.template, &spec.template);
        errors.add(name.via_field("spec.template"));
    }
    errors
}
