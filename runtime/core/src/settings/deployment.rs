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
/// knative/serving pkg/deployment/config.go. Differs: what concerns the queue proxy's container
/// (`queue-sidecar-…`), several nodes (`default-affinity-type`) and container runtimes
/// (`runtime-class-name`) is accepted and not used; there are none of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// `registries-skipping-tag-resolving`.
    pub registries_skipping_tag_resolving: BTreeSet<String>,
    /// `digest-resolution-timeout`, more than zero.
    pub digest_resolution_timeout: Duration,
    /// `progress-deadline`: whole seconds, more than zero.
    pub progress_deadline: Duration,
    /// `pod-is-always-schedulable`: a revision waits for room on the machine, and does not fail for
    /// want of it.
    pub pod_is_always_schedulable: bool,
}

impl Default for Deployment {
    fn default() -> Self {
        let registries = ["kind.local", "ko.local", "dev.local"];
        Self {
            registries_skipping_tag_resolving: registries.map(str::to_owned).into(),
            digest_resolution_timeout: Duration::from_secs(10),
            progress_deadline: Duration::from_secs(600),
            pod_is_always_schedulable: false,
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
        // The older spelling counts where the newer one is absent.
        let present = |new, old| read.first(&[new, old]).map_or(new, |(key, _)| key);
        let deployment = Self {
            registries_skipping_tag_resolving: read.set(
                present(
                    "registries-skipping-tag-resolving",
                    "registriesSkippingTagResolving",
                ),
                default.registries_skipping_tag_resolving,
            ),
            digest_resolution_timeout: read.duration(
                present("digest-resolution-timeout", "digestResolutionTimeout"),
                default.digest_resolution_timeout,
            )?,
            progress_deadline: read.duration(
                present("progress-deadline", "progressDeadline"),
                default.progress_deadline,
            )?,
            pod_is_always_schedulable: read.boolean(
                "pod-is-always-schedulable",
                default.pod_is_always_schedulable,
            )?,
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
