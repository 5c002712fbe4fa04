//! What a Service has when it does not say.

use super::Service;
use crate::api::admit::Operation;
use crate::api::{TrafficTarget, revision, route};
use crate::settings::Settings;

/// Completes a Service. Without traffic all of it goes to the latest revision.
pub(in crate::api) fn apply_defaults(
    service: &mut Service,
    old: Option<&Service>,
    operation: Operation,
    settings: &Settings,
) {
    let previous = old.map(|old| &old.spec.template);
    let Service { metadata, spec, .. } = service;
    let template = &mut spec.template;
    revision::apply_template_defaults(template, previous, metadata, operation, settings);
    if spec.traffic.is_empty() {
        spec.traffic.push(TrafficTarget {
            percent: Some(100),
            latest_revision: Some(true),
            ..TrafficTarget::default()
        });
    }
    route::apply_defaults(&mut spec.traffic);
}
