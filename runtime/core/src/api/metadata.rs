//! What is common to the metadata of all serving kinds: names, labels, who made and changed it.
//!
//! # Source
//!
//! knative/pkg apis/metadata_validation.go, knative/serving pkg/apis/serving/metadata_validation.go.

use std::collections::BTreeMap;

use super::syntax;
use crate::field_error::{FieldError, FieldErrors};
use crate::keys::{
    AUTOSCALING_GROUP, CLUSTER_LOCAL_VISIBILITY, CREATOR_ANNOTATION, LAST_MODIFIER_ANNOTATION,
    VISIBILITY_LABEL,
};
use crate::meta::ObjectMeta;
use crate::text::bracketed;

/// The name, paths relative to the metadata.
pub(super) fn name(meta: &ObjectMeta) -> FieldErrors {
    if !meta.generate_name.is_empty() {
        let problems = syntax::dns_1035_prefix(&meta.generate_name);
        if !problems.is_empty() {
            let message = format!("not a DNS 1035 label prefix: {}", bracketed(&problems));
            return FieldError::new(message, ["generateName"]).into();
        }
    }
    if !meta.name.is_empty() {
        let problems = syntax::dns_1035_label(&meta.name);
        if !problems.is_empty() {
            let message = format!("not a DNS 1035 label: {}", bracketed(&problems));
            return FieldError::new(message, ["name"]).into();
        }
    }
    if meta.generate_name.is_empty() && meta.name.is_empty() {
        return FieldError::new("name or generateName is required", ["name"]).into();
    }
    FieldErrors::none()
}

/// Annotations that steer the autoscaler belong to the template, not here; paths relative to the
/// metadata.
pub(super) fn no_autoscaling(annotations: &BTreeMap<String, String>) -> FieldErrors {
    let details = "autoscaling annotations must be put under \
        \"spec.template.metadata.annotations\" to work";
    let mut errors = FieldErrors::none();
    for key in annotations
        .keys()
        .filter(|key| key.starts_with(AUTOSCALING_GROUP))
    {
        errors.add(FieldError::invalid_key(key, "").with_details(details));
    }
    errors.via_field("annotations")
}

/// The visibility label has one value; paths relative to the metadata.
pub(super) fn visibility(meta: &ObjectMeta) -> FieldErrors {
    let value = meta.label(VISIBILITY_LABEL);
    let wrong = value.filter(|value| *value != CLUSTER_LOCAL_VISIBILITY);
    let error = wrong.map(|value| FieldError::invalid_value(value, VISIBILITY_LABEL));
    FieldErrors::from(error).via_field("labels")
}

/// A label that names an owner needs that owner; paths relative to the metadata.
pub(super) fn owner_label(meta: &ObjectMeta, label: &str, kind: &str) -> FieldErrors {
    let owned_by = |name: &str| {
        let mut owners = meta.owner_references.iter();
        owners.any(|owner| owner.kind == kind && owner.name == name)
    };
    let wrong = meta.label(label).is_some_and(|name| !owned_by(name));
    let error = wrong.then(|| FieldError::missing(label));
    FieldErrors::from(error).via_field("labels")
}

/// Writes the user down under these annotations.
pub(super) fn set_user(meta: &mut ObjectMeta, user: &str, annotations: &[&str]) {
    for key in annotations {
        meta.annotations.insert((*key).to_owned(), user.to_owned());
    }
}

/// Nobody may say that someone else made or changed the object; paths relative to the metadata.
pub(super) fn user_unchanged(
    old: &ObjectMeta,
    new: &ObjectMeta,
    spec_changed: bool,
) -> FieldErrors {
    let differs = |key: &str| old.annotation(key) != new.annotation(key);
    let mut errors = FieldErrors::none();
    if differs(CREATOR_ANNOTATION) {
        let message = "annotation value is immutable";
        errors.add(FieldError::new(message, [CREATOR_ANNOTATION]));
    }
    if !spec_changed && differs(LAST_MODIFIER_ANNOTATION) {
        let found = new.annotation(LAST_MODIFIER_ANNOTATION).unwrap_or_default();
        errors.add(FieldError::invalid_value(found, LAST_MODIFIER_ANNOTATION));
    }
    errors.via_field("annotations")
}
