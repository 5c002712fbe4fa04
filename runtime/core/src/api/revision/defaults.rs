//! What a template and a Revision have when they do not say.

use super::{Revision, RevisionTemplate};
use crate::api::admit::Operation;
use crate::api::podspec;
use crate::meta::ObjectMeta;
use crate::settings::Settings;

/// Completes a Revision when it is made; afterwards its spec stays as it is.
pub(in crate::api) fn apply_defaults(
    revision: &mut Revision,
    operation: Operation,
    settings: &Settings,
) {
    if operation == Operation::Create {
        let Revision { metadata, spec, .. } = revision;
        podspec::apply_defaults(spec, settings, metadata, operation);
    }
}

/// Completes a template of `parent`. One that keeps the revision name that it had is left alone:
/// the Revision of that name exists, and a default that is new since would be a change to it.
pub(in crate::api) fn apply_template_defaults(
    template: &mut RevisionTemplate,
    previous: Option<&RevisionTemplate>,
    parent: &ObjectMeta,
    operation: Operation,
    settings: &Settings,
) {
    let name = &template.metadata.name;
    if !name.is_empty() && previous.is_some_and(|previous| previous.metadata.name == *name) {
        return;
    }
    podspec::apply_defaults(&mut template.spec, settings, parent, operation);
}
