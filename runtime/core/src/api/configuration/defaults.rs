//! What a Configuration has when it does not say.

use super::Configuration;
use crate::api::admit::Operation;
use crate::api::revision;
use crate::settings::Settings;

/// Completes a Configuration.
pub(in crate::api) fn apply_defaults(
    configuration: &mut Configuration,
    old: Option<&Configuration>,
    operation: Operation,
    settings: &Settings,
) {
    let previous = old.map(|old| &old.spec.template);
    let Configuration { metadata, spec, .. } = configuration;
    let template = &mut spec.template;
    revision::apply_template_defaults(template, previous, metadata, operation, settings);
}
