//! What traffic targets have when they do not say.

use super::TrafficTarget;

/// Completes targets: one without a revision follows the latest, one without a share has none.
pub(in crate::api) fn apply_defaults(traffic: &mut [TrafficTarget]) {
    for target in traffic {
        let follows_latest = target.revision_name.is_empty();
        target.latest_revision.get_or_insert(follows_latest);
        target.percent.get_or_insert(0);
        target.url = target.url.take().filter(|url| !url.is_empty());
    }
}
