//! Whether a template or a Revision is valid.
//!
//! # Source
//!
//! knative/serving pkg/apis/serving/v1/revision_validation.go.

use serde_json::Value;

use super::{Revision, RevisionTemplate};
use crate::api::{annotations, diff, metadata, podspec, syntax};
use crate::field_error::{FieldError, FieldErrors};
use crate::keys::CONFIGURATION_LABEL;
use crate::meta::ObjectMeta;
use crate::settings::Settings;
use crate::text::{bracketed, quote};

/// All that is wrong with a Revision. One that exists keeps its spec.
pub(in crate::api) fn validate(
    revision: &Revision,
    old: Option<&Revision>,
    settings: &Settings,
) -> FieldErrors {
    if let Some(old) = old {
        let changes = diff::revision_spec(&old.spec, &revision.spec);
        if !changes.is_empty() {
            let error = FieldError::new("Immutable fields changed (-old +new)", ["spec"]);
            return error.with_details(changes).into();
        }
    }
    let meta = &revision.metadata;
    let steering = annotations::autoscaling(&meta.annotations, &settings.autoscaler);
    let mut errors = metadata::name(meta)
        .and(steering.via_field("annotations"))
        .and(metadata::owner_label(
            meta,
            CONFIGURATION_LABEL,
            "Configuration",
        ))
        .via_field("metadata");
    if old.is_none() {
        errors.add(podspec::validate(&revision.spec, settings).via_field("spec"));
    }
    errors
}

/// All that is wrong with a template of `parent`, paths relative to the template.
pub(in crate::api) fn validate_template(
    template: &RevisionTemplate,
    parent: &ObjectMeta,
    settings: &Settings,
) -> FieldErrors {
    let given = &template.metadata.annotations;
    let annotations = annotations::autoscaling(given, &settings.autoscaler)
        .and(annotations::queue_sidecar(given))
        .and(annotations::progress_deadline(given));
    podspec::validate(&template.spec, settings)
        .via_field("spec")
        .and(annotations.via_field("metadata.annotations"))
        .and(name(template, parent))
}

/// A name that the user brings must be a name, and begin with that of the parent.
fn name(template: &RevisionTemplate, parent: &ObjectMeta) -> Option<FieldError> {
    let generate_name = template
        .metadata
        .rest
        .get("generateName")
        .and_then(Value::as_str);
    if let Some(prefix) = generate_name.filter(|prefix| !prefix.is_empty()) {
        let problems = syntax::dns_1035_prefix(prefix);
        if !problems.is_empty() {
            let problem = format!("not a DNS 1035 label prefix: {}", bracketed(&problems));
            return Some(FieldError::invalid_value(problem, "metadata.generateName"));
        }
    }
    let name = template.metadata.name.as_str();
    if name.is_empty() {
        return None;
    }
    let problems = syntax::dns_1035_label(name);
    if !problems.is_empty() {
        let problem = format!("not a DNS 1035 label: {}", bracketed(&problems));
        return Some(FieldError::invalid_value(problem, "metadata.name"));
    }
    if parent.name.is_empty() && !parent.generate_name.is_empty() {
        return Some(FieldError::disallowed(["metadata.name"]));
    }
    let prefix = format!("{}-", parent.name);
    (!name.starts_with(&prefix)).then(|| {
        let problem = format!("{} must have prefix {}", quote(name), quote(&prefix));
        FieldError::invalid_value(problem, "metadata.name")
    })
}

/// A template that changes must not keep the revision name that the user brought; paths relative
/// to the template.
pub(in crate::api) fn name_change(old: &RevisionTemplate, new: &RevisionTemplate) -> FieldErrors {
    if new.metadata.name.is_empty() || new.metadata.name != old.metadata.name {
        return FieldErrors::none();
    }
    let changes = diff::template(old, new);
    if changes.is_empty() {
        return FieldErrors::none();
    }
    let message = "Saw the following changes without a name change (-old +new)";
    let error = FieldError::new(message, ["metadata.name"]);
    error.with_details(changes).into()
}
