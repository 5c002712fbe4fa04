//! The settings of the autoscaler for all revisions: ConfigMap `config-autoscaler`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use thiserror::Error;

use crate::duration;

/// The class of the autoscaler implemented here.
pub const KPA_CLASS: &str = "kpa.autoscaling.knative.dev";

/// The class of the Kubernetes autoscaler, which scales by CPU and memory.
pub const HPA_CLASS: &str = "hpa.autoscaling.knative.dev";

/// The least value of the scaling metric to aim for in one replica.
pub const TARGET_MIN: f64 = 0.01;

/// The permitted stable windows.
pub const STABLE_WINDOW: RangeInclusive<Duration> =
    Duration::from_secs(6)..=Duration::from_secs(3600);

/// The permitted panic windows, in percent of the stable window.
pub const PANIC_WINDOW_PERCENTAGE: RangeInclusive<f64> = 1.0..=100.0;

/// The settings for all revisions. A revision's annotations come before them.
///
/// # Source
///
/// knative/serving pkg/autoscaler/config, keys, defaults and bounds. Differs: a value that is not
/// a finite number is refused everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `pod-autoscaler-class`.
    pub pod_autoscaler_class: String,
    /// `enable-scale-to-zero`.
    pub enable_scale_to_zero: bool,
    /// `allow-zero-initial-scale`.
    pub allow_zero_initial_scale: bool,
    /// `container-concurrency-target-percentage` as a fraction, more than 0 and at most 1. In the
    /// ConfigMap a value up to 1 is a fraction already, a larger one a percentage.
    pub container_concurrency_target_fraction: f64,
    /// `container-concurrency-target-default`: requests in flight in a replica without a limit.
    pub container_concurrency_target_default: f64,
    /// `requests-per-second-target-default`.
    pub requests_per_second_target_default: f64,
    /// `target-burst-capacity`.
    pub target_burst_capacity: BurstCapacity,
    /// `stable-window`, whole seconds.
    pub stable_window: Duration,
    /// `panic-window-percentage`, of the stable window.
    pub panic_window_percentage: f64,
    /// `panic-threshold-percentage`, of the ready replicas.
    pub panic_threshold_percentage: f64,
    /// `max-scale-up-rate`: replicas after one decision per replica before it, more than 1.
    pub max_scale_up_rate: f64,
    /// `max-scale-down-rate`: replicas before one decision per replica after it, more than 1.
    pub max_scale_down_rate: f64,
    /// `scale-down-delay`, whole seconds.
    pub scale_down_delay: Duration,
    /// `scale-to-zero-grace-period`, not zero.
    pub scale_to_zero_grace_period: Duration,
    /// `scale-to-zero-pod-retention-period`.
    pub scale_to_zero_pod_retention_period: Duration,
    /// `activator-capacity`: at least 1. It is read and has no effect: there is one activator, which
    /// is always in the path.
    pub activator_capacity: f64,
    /// `initial-scale`.
    pub initial_scale: u32,
    /// `min-scale`.
    pub min_scale: u32,
    /// `max-scale`; 0 is unlimited.
    pub max_scale: u32,
    /// `max-scale-limit`: the largest `max-scale` that a revision may ask for; 0 is unlimited.
    pub max_scale_limit: u32,
}

/// How many requests at once a revision must be able to take beyond what it has.
///
/// While it cannot, the activator is in the request path to hold the excess.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BurstCapacity {
    /// 0: the activator is in the path only at zero replicas.
    None,
    /// This many requests, more than 0.
    Requests(f64),
    /// -1: the activator is always in the path.
    Unlimited,
}

impl BurstCapacity {
    /// The meaning of the setting or annotation `value`; `None` for a negative one other than -1.
    #[must_use]
    pub fn from_value(value: f64) -> Option<Self> {
        if value == 0.0 {
            Some(Self::None)
        } else if value == -1.0 {
            Some(Self::Unlimited)
        } else {
            (value > 0.0 && value.is_finite()).then_some(Self::Requests(value))
        }
    }
}

/// Why a ConfigMap is refused. The first problem found is reported.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The value does not have the form that the key needs.
    #[error("failed to parse \"{key}\": \"{value}\" is not {expected}")]
    Form {
        /// The key in the ConfigMap.
        key: &'static str,
        /// The value found.
        value: String,
        /// What was expected, with its article.
        expected: &'static str,
    },
    /// The value is outside of what the key permits. The message has both.
    #[error("{message}")]
    Bounds {
        /// The key in the ConfigMap.
        key: &'static str,
        /// Key, value and the bounds.
        message: String,
    },
}

impl Error {
    /// The key in the ConfigMap that is at fault.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Form { key, .. } | Self::Bounds { key, .. } => key,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pod_autoscaler_class: KPA_CLASS.to_owned(),
            enable_scale_to_zero: true,
            allow_zero_initial_scale: false,
            container_concurrency_target_fraction: 0.7,
            container_concurrency_target_default: 100.0,
            requests_per_second_target_default: 200.0,
            target_burst_capacity: BurstCapacity::Requests(211.0),
            stable_window: Duration::from_secs(60),
            panic_window_percentage: 10.0,
            panic_threshold_percentage: 200.0,
            max_scale_up_rate: 1000.0,
            max_scale_down_rate: 2.0,
            scale_down_delay: Duration::ZERO,
            scale_to_zero_grace_period: Duration::from_secs(30),
            scale_to_zero_pod_retention_period: Duration::ZERO,
            activator_capacity: 100.0,
            initial_scale: 1,
            min_scale: 0,
            max_scale: 0,
            max_scale_limit: 0,
        }
    }
}

impl Config {
    /// Reads the `data` of the ConfigMap. Absent keys have their defaults, unknown keys, such as
    /// `_example`, are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Form`] and [`Error::Bounds`], for the first key at fault.
    pub fn from_map(data: &BTreeMap<String, String>) -> Result<Self, Error> {
        let default = Self::default();
        let read = Reader { data };
        let config = Self {
            pod_autoscaler_class: read
                .text("pod-autoscaler-class")
                .map_or(default.pod_autoscaler_class, str::to_owned),
            enable_scale_to_zero: read
                .boolean("enable-scale-to-zero", default.enable_scale_to_zero)?,
            allow_zero_initial_scale: read
                .boolean("allow-zero-initial-scale", default.allow_zero_initial_scale)?,
            container_concurrency_target_fraction: as_fraction(read.number(
                "container-concurrency-target-percentage",
                default.container_concurrency_target_fraction,
            )?),
            container_concurrency_target_default: read.number(
                "container-concurrency-target-default",
                default.container_concurrency_target_default,
            )?,
            requests_per_second_target_default: read.number(
                "requests-per-second-target-default",
                default.requests_per_second_target_default,
            )?,
            target_burst_capacity: read
                .burst_capacity("target-burst-capacity", default.target_burst_capacity)?,
            stable_window: read.duration("stable-window", default.stable_window)?,
            panic_window_percentage: read
                .number("panic-window-percentage", default.panic_window_percentage)?,
            panic_threshold_percentage: read.number(
                "panic-threshold-percentage",
                default.panic_threshold_percentage,
            )?,
            max_scale_up_rate: read.number("max-scale-up-rate", default.max_scale_up_rate)?,
            max_scale_down_rate: read.number("max-scale-down-rate", default.max_scale_down_rate)?,
            scale_down_delay: read.duration("scale-down-delay", default.scale_down_delay)?,
            scale_to_zero_grace_period: read.duration(
                "scale-to-zero-grace-period",
                default.scale_to_zero_grace_period,
            )?,
            scale_to_zero_pod_retention_period: read.duration(
                "scale-to-zero-pod-retention-period",
                default.scale_to_zero_pod_retention_period,
            )?,
            activator_capacity: read.number("activator-capacity", default.activator_capacity)?,
            initial_scale: read.scale("initial-scale", default.initial_scale)?,
            min_scale: read.scale("min-scale", default.min_scale)?,
            max_scale: read.scale("max-scale", default.max_scale)?,
            max_scale_limit: read.scale("max-scale-limit", default.max_scale_limit)?,
        };
        config.check_bounds()?;
        Ok(config)
    }

    fn check_bounds(&self) -> Result<(), Error> {
        self.check_durations()?;
        self.check_targets()?;
        self.check_rates()?;
        self.check_scales()
    }

    fn check_durations(&self) -> Result<(), Error> {
        let (grace, window) = (self.scale_to_zero_grace_period, self.stable_window);
        let show = duration::format;
        bound("scale-to-zero-grace-period", !grace.is_zero(), || {
            format!("must be positive, was: {}", show(grace))
        })?;
        bound("stable-window", STABLE_WINDOW.contains(&window), || {
            let (min, max) = (show(*STABLE_WINDOW.start()), show(*STABLE_WINDOW.end()));
            format!("= {}, must be in [{min}; {max}] range", show(window))
        })?;
        for (key, value) in [
            ("stable-window", window),
            ("scale-down-delay", self.scale_down_delay),
        ] {
            bound(key, value.subsec_nanos() == 0, || {
                let value = show(value);
                format!("= {value}, must be specified with at most second precision")
            })?;
        }
        Ok(())
    }

    fn check_targets(&self) -> Result<(), Error> {
        let fraction = self.container_concurrency_target_fraction;
        bound(
            "container-concurrency-target-percentage",
            fraction > 0.0 && fraction <= 1.0,
            || format!("= {fraction}, is outside of valid range of (0, 100]"),
        )?;
        let target = fraction * self.container_concurrency_target_default;
        bound(
            "container-concurrency-target-default",
            target >= TARGET_MIN,
            || format!("yields target concurrency of {target}, can't be less than {TARGET_MIN}"),
        )?;
        let rate = self.requests_per_second_target_default;
        bound(
            "requests-per-second-target-default",
            rate >= TARGET_MIN,
            || format!("must be at least {TARGET_MIN}, was: {rate}"),
        )
    }

    fn check_rates(&self) -> Result<(), Error> {
        let capacity = self.activator_capacity;
        bound("activator-capacity", capacity >= 1.0, || {
            format!("= {capacity}, must be at least 1")
        })?;
        for (key, rate) in [
            ("max-scale-up-rate", self.max_scale_up_rate),
            ("max-scale-down-rate", self.max_scale_down_rate),
        ] {
            bound(key, rate > 1.0, || {
                format!("= {rate}, must be greater than 1.0")
            })?;
        }
        let percentage = self.panic_window_percentage;
        bound(
            "panic-window-percentage",
            PANIC_WINDOW_PERCENTAGE.contains(&percentage),
            || format!("= {percentage}, must be in [1, 100] interval"),
        )
    }

    fn check_scales(&self) -> Result<(), Error> {
        let (min, max, limit) = (self.min_scale, self.max_scale, self.max_scale_limit);
        bound(
            "initial-scale",
            self.initial_scale > 0 || self.allow_zero_initial_scale,
            || "= 0, must be at least 1 when allow-zero-initial-scale is false".to_owned(),
        )?;
        bound(
            "max-scale",
            limit == 0 || (1..=limit).contains(&max),
            || format!("= {max}, must be in [1, max-scale-limit({limit})] range"),
        )?;
        bound("min-scale", max == 0 || min <= max, || {
            format!("= {min}, must be in [0, max-scale({max})] range")
        })
    }
}

/// A value of more than 1 is a percentage, else a fraction already.
fn as_fraction(value: f64) -> f64 {
    if value > 1.0 { value / 100.0 } else { value }
}

/// An error for `key` unless the condition holds; `rule` continues the sentence after the key.
fn bound(key: &'static str, holds: bool, rule: impl FnOnce() -> String) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Bounds {
        key,
        message: format!("{key} {}", rule()),
    })
}

struct Reader<'a> {
    data: &'a BTreeMap<String, String>,
}

impl Reader<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key).map(String::as_str)
    }

    /// The value of `key` as `parse` reads it, or `default` when the key is absent.
    fn value<T>(
        &self,
        key: &'static str,
        default: T,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let Some(text) = self.text(key) else {
            return Ok(default);
        };
        parse(text).ok_or_else(|| Error::Form {
            key,
            value: text.to_owned(),
            expected,
        })
    }

    /// The spellings are those of Go's `strconv.ParseBool`.
    fn boolean(&self, key: &'static str, default: bool) -> Result<bool, Error> {
        self.value(key, default, "true or false", |text| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
    }

    fn number(&self, key: &'static str, default: f64) -> Result<f64, Error> {
        self.value(key, default, "a number", finite)
    }

    fn duration(&self, key: &'static str, default: Duration) -> Result<Duration, Error> {
        let expected = "a duration of zero or more, such as \"1m30s\"";
        self.value(key, default, expected, |text| duration::parse(text).ok())
    }

    fn scale(&self, key: &'static str, default: u32) -> Result<u32, Error> {
        self.value(key, default, "an integer from 0 to 2147483647", scale)
    }

    fn burst_capacity(
        &self,
        key: &'static str,
        default: BurstCapacity,
    ) -> Result<BurstCapacity, Error> {
        let expected = "a non-negative number or -1 (for unlimited)";
        self.value(key, default, expected, |text| {
            BurstCapacity::from_value(finite(text)?)
        })
    }
}

/// Reads a number that is neither infinite nor NaN: those would make every decision meaningless.
pub(super) fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Reads a number of replicas; on the wire it is a 32-bit integer with a sign.
pub(super) fn scale(text: &str) -> Option<u32> {
    u32::try_from(text.parse::<i32>().ok()?).ok()
}
