//! Whether a DomainMapping is valid.
//!
//! # Source
//!
//! knative/serving pkg/apis/serving/v1beta1/domainmapping_validation.go, knative/pkg
//! apis/duck/v1/knative_reference.go.

use super::{DomainMapping, Reference};
use crate::api::{metadata, syntax};
use crate::field_error::{FieldError, FieldErrors};
use crate::settings::CLUSTER_DOMAIN;
use crate::text::quote;

/// All that is wrong with a DomainMapping.
pub(in crate::api) fn validate(
    mapping: &DomainMapping,
    old: Option<&DomainMapping>,
) -> FieldErrors {
    let DomainMapping {
        metadata: meta,
        spec,
        ..
    } = mapping;
    let mut errors = FieldErrors::none();
    if !meta.generate_name.is_empty() {
        errors.add(FieldError::disallowed(["generateName"]));
    }
    errors.add(name(&meta.name));
    if let Some(old) = old {
        errors.add(metadata::user_unchanged(
            &old.metadata,
            meta,
            old.spec != *spec,
        ));
    }
    let reference = reference(&spec.reference, &meta.namespace).via_field("spec.ref");
    errors.via_field("metadata").and(reference)
}

fn name(name: &str) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut invalid = |problem: &str| {
        let message = format!("invalid name {}: {problem}", quote(name));
        errors.add(FieldError::new(message, ["name"]));
    };
    match syntax::fully_qualified_domain(name).as_slice() {
        [] => {}
        [only] => invalid(only),
        several => invalid(&format!("[{}]", several.join(", "))),
    }
    if name.ends_with(&format!(".{CLUSTER_DOMAIN}")) {
        let domain = quote(CLUSTER_DOMAIN);
        invalid(&format!(
            "must not be a subdomain of cluster local domain {domain}"
        ));
    }
    errors
}

fn reference(reference: &Reference, namespace: &str) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let has_version = !reference.api_version.is_empty() || !reference.group.is_empty();
    for (is_set, name) in [
        (!reference.name.is_empty(), "name"),
        (has_version, "apiVersion"),
        (!reference.kind.is_empty(), "kind"),
    ] {
        if !is_set {
            errors.add(FieldError::missing(name));
        }
    }
    if !reference.namespace.is_empty() && reference.namespace != namespace {
        let details = format!(
            "parent namespace: {} does not match ref: {}",
            quote(namespace),
            quote(&reference.namespace)
        );
        let error = FieldError::new("mismatched namespaces", ["namespace"]);
        errors.add(error.with_details(details));
    }
    errors
}
