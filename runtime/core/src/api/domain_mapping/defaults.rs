//! What a DomainMapping has when it does not say.

use super::DomainMapping;

/// Completes a DomainMapping: what it leads to is in its own namespace.
pub(in crate::api) fn apply_defaults(mapping: &mut DomainMapping) {
    let DomainMapping { metadata, spec, .. } = mapping;
    if spec.reference.namespace.is_empty() {
        spec.reference.namespace.clone_from(&metadata.namespace);
    }
}
