//! What a template has when it does not say: ConfigMap `config-defaults`.

use std::collections::BTreeMap;

use super::reader::{Reader, out_of_bounds};
use super::{Error, Template};
use crate::quantity::Quantity;

/// The defaults and limits of revisions.
///
/// # Source
///
/// knative/serving pkg/apis/config/defaults.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// `revision-timeout-seconds`, at most the maximum.
    pub revision_timeout_seconds: i64,
    /// `max-revision-timeout-seconds`.
    pub max_revision_timeout_seconds: i64,
    /// `revision-response-start-timeout-seconds`; follows the time-out when not given.
    pub revision_response_start_timeout_seconds: i64,
    /// `revision-idle-timeout-seconds`; 0 is none.
    pub revision_idle_timeout_seconds: i64,
    /// `container-concurrency`; 0 is unlimited.
    pub container_concurrency: i64,
    /// `container-concurrency-max-limit`.
    pub container_concurrency_max_limit: i64,
    /// `allow-container-concurrency-zero`.
    pub allow_container_concurrency_zero: bool,
    /// `enable-service-links`; `None` is `default`: the field is left as it is.
    pub enable_service_links: Option<bool>,
    /// `container-name-template`.
    pub container_name_template: Template,
    /// `init-container-name-template`.
    pub init_container_name_template: Template,
    /// `revision-cpu-request`.
    pub cpu_request: Option<Quantity>,
    /// `revision-cpu-limit`.
    pub cpu_limit: Option<Quantity>,
    /// `revision-memory-request`.
    pub memory_request: Option<Quantity>,
    /// `revision-memory-limit`.
    pub memory_limit: Option<Quantity>,
    /// `revision-ephemeral-storage-request`.
    pub ephemeral_storage_request: Option<Quantity>,
    /// `revision-ephemeral-storage-limit`.
    pub ephemeral_storage_limit: Option<Quantity>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            revision_timeout_seconds: 300,
            max_revision_timeout_seconds: 600,
            revision_response_start_timeout_seconds: 300,
            revision_idle_timeout_seconds: 0,
            container_concurrency: 0,
            container_concurrency_max_limit: 1000,
            allow_container_concurrency_zero: true,
            enable_service_links: Some(false),
            container_name_template: Template::constant("user-container"),
            init_container_name_template: Template::constant("init-container"),
            cpu_request: None,
            cpu_limit: None,
            memory_request: None,
            memory_limit: None,
            ephemeral_storage_request: None,
            ephemeral_storage_limit: None,
        }
    }
}

impl Defaults {
    /// Reads the `data` of the ConfigMap.
    ///
    /// # Errors
    ///
    /// The first key at fault.
    pub fn from_map(data: &BTreeMap<String, String>) -> Result<Self, Error> {
        let default = Self::default();
        let read = Reader::new(data);
        let timeout = read.integer("revision-timeout-seconds", default.revision_timeout_seconds)?;
        let defaults = Self {
            revision_timeout_seconds: timeout,
            max_revision_timeout_seconds: read.integer(
                "max-revision-timeout-seconds",
                default.max_revision_timeout_seconds,
            )?,
            revision_response_start_timeout_seconds: read
                .integer("revision-response-start-timeout-seconds", timeout)?,
            revision_idle_timeout_seconds: read.integer(
                "revision-idle-timeout-seconds",
                default.revision_idle_timeout_seconds,
            )?,
            container_concurrency: read
                .integer("container-concurrency", default.container_concurrency)?,
            container_concurrency_max_limit: read.integer(
                "container-concurrency-max-limit",
                default.container_concurrency_max_limit,
            )?,
            allow_container_concurrency_zero: read.boolean(
                "allow-container-concurrency-zero",
                default.allow_container_concurrency_zero,
            )?,
            enable_service_links: enable_service_links(read, default.enable_service_links),
            container_name_template: read
                .template("container-name-template", default.container_name_template)?,
            init_container_name_template: read.template(
                "init-container-name-template",
                default.init_container_name_template,
            )?,
            cpu_request: read.quantity("revision-cpu-request", None)?,
            cpu_limit: read.quantity("revision-cpu-limit", None)?,
            memory_request: read.quantity("revision-memory-request", None)?,
            memory_limit: read.quantity("revision-memory-limit", None)?,
            ephemeral_storage_request: read.quantity("revision-ephemeral-storage-request", None)?,
            ephemeral_storage_limit: read.quantity("revision-ephemeral-storage-limit", None)?,
        };
        defaults.check_timeouts()?;
        defaults.check_concurrency()?;
        Ok(defaults)
    }

    fn check_timeouts(&self) -> Result<(), Error> {
        let timeout = ("revision-timeout-seconds", self.revision_timeout_seconds);
        let max = (
            "max-revision-timeout-seconds",
            self.max_revision_timeout_seconds,
        );
        let start = (
            "revision-response-start-timeout-seconds",
            self.revision_response_start_timeout_seconds,
        );
        let idle = (
            "revision-idle-timeout-seconds",
            self.revision_idle_timeout_seconds,
        );
        for ((key, value), (limit_key, limit)) in
            [(timeout, max), (start, timeout), (idle, timeout)]
        {
            if value > limit {
                let rule = format!("({value}) cannot be greater than {limit_key} ({limit})");
                return Err(out_of_bounds(key, &rule));
            }
        }
        Ok(())
    }

    fn check_concurrency(&self) -> Result<(), Error> {
        let (default, limit) = (
            self.container_concurrency,
            self.container_concurrency_max_limit,
        );
        for (key, value, lower, upper) in [
            (
                "container-concurrency-max-limit",
                limit,
                1,
                i64::from(i32::MAX),
            ),
            ("container-concurrency", default, 0, limit),
        ] {
            if value < lower || value > upper {
                let message = format!("expected {lower} <= {value} <= {upper}: {key}");
                let key = key.to_owned();
                return Err(Error { key, message });
            }
        }
        Ok(())
    }
}

/// Any other word than true and false means `default`.
fn enable_service_links(read: Reader<'_>, default: Option<bool>) -> Option<bool> {
    let Some(text) = read.text("enable-service-links") else {
        return default;
    };
    [("true", true), ("false", false)]
        .into_iter()
        .find_map(|(name, value)| text.eq_ignore_ascii_case(name).then_some(value))
}
