//! How revisions are started: ConfigMap `config-deployment`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Error;
use super::reader::{Reader, out_of_bounds};
use crate::duration;

/// The settings for starting revisions.
///
/// # Source
///
/// knative/serving pkg/deployment/config.go. Differs: what concerns the queue proxy's container,
/// `queue-sidecar-image` included, is accepted and not used; there is no such container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// `registries-skipping-tag-resolving`.
    pub registries_skipping_tag_resolving: BTreeSet<String>,
    /// `digest-resolution-timeout`, more than zero.
    pub digest_resolution_timeout: Duration,
    /// `progress-deadline`: whole seconds, more than zero.
    pub progress_deadline: Duration,
}

impl Default for Deployment {
    fn default() -> Self {
        let registries = ["kind.local", "ko.local", "dev.local"];
        Self {
            registries_skipping_tag_resolving: registries.map(str::to_owned).into(),
            digest_resolution_timeout: Duration::from_secs(10),
            progress_deadline: Duration::from_secs(600),
        }
    }
}

impl Deployment {
    /// Reads the `data` of the ConfigMap.
    ///
    /// # Errors
    ///
    /// The first key at fault.
    pub fn from_map(data: &BTreeMap<String, String>) -> Result<Self, Error> {
        let default = Self::default();
        let read = Reader::new(data);
        let deployment = Self {
            registries_skipping_tag_resolving: read.set(
                "registries-skipping-tag-resolving",
                default.registries_skipping_tag_resolving,
            ),
            digest_resolution_timeout: read.duration(
                "digest-resolution-timeout",
                default.digest_resolution_timeout,
            )?,
            progress_deadline: read.duration("progress-deadline", default.progress_deadline)?,
        };
        deployment.check()
    }

    fn check(self) -> Result<Self, Error> {
        for (key, value) in [
            ("progress-deadline", self.progress_deadline),
            ("digest-resolution-timeout", self.digest_resolution_timeout),
        ] {
            if value.is_zero() {
                let rule = "cannot be a non-positive duration, was 0s";
                return Err(out_of_bounds(key, &rule));
            }
        }
        if self.progress_deadline.subsec_nanos() != 0 {
            let found = duration::format(self.progress_deadline);
            let rule = format!("must be rounded to a whole second, was: {found}");
            return Err(out_of_bounds("progress-deadline", &rule));
        }
        Ok(self)
    }
}
