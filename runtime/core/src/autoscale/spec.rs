//! What a revision asks of the autoscaler.
//!
//! Input: [`Config`] for all revisions, and the annotations of one revision's template. Output: a
//! [`Spec`] with every default applied, which is what [`super::decide()`] and [`super::plan`] read.

mod config;

use std::collections::BTreeMap;
use std::time::Duration;

pub use config::{
    BurstCapacity, Config, Error, HPA_CLASS, KPA_CLASS, PANIC_WINDOW_PERCENTAGE, STABLE_WINDOW,
    TARGET_MIN,
};

use super::annotation::{self, Names};
use crate::duration;

/// The part of a target that is aimed for when scaling by requests per second.
///
/// Source: knative/serving pkg/autoscaler/config, `TargetUtilization`, which no key sets.
const REQUESTS_PER_SECOND_UTILIZATION: f64 = 0.7;

/// Who scales a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// This autoscaler.
    Kpa,
    /// The Kubernetes autoscaler.
    Hpa,
    /// Another one, by its name.
    Other(String),
}

/// What is averaged and compared with the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests in flight.
    Concurrency,
    /// Requests that began in each second.
    RequestsPerSecond,
}

/// How the values of a window become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// All seconds count alike.
    Linear,
    /// The newest second counts most.
    WeightedExponential,
}

/// What a [`Spec`] is made from, besides the [`Config`].
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    /// The annotations of the revision. They were validated when the object was admitted; what
    /// cannot be read is as if absent.
    pub annotations: &'a BTreeMap<String, String>,
    /// `containerConcurrency`: the hard limit of requests in flight in a replica; 0 is none.
    pub container_concurrency: u32,
    /// `progress-deadline` of ConfigMap `config-deployment`.
    pub progress_deadline: Duration,
    /// Whether a route sends requests to the revision: its routing state is not `reserve`.
    pub reachable: bool,
}

/// What one revision asks of the autoscaler, all defaults applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Who scales the revision.
    pub class: Class,
    /// What is measured.
    pub metric: Metric,
    /// How it is averaged.
    pub aggregation: Aggregation,
    /// The value of the metric to hold in each replica: `total` times `utilization`, at least
    /// [`TARGET_MIN`].
    pub target: f64,
    /// The value of the metric that a replica can bear.
    pub total: f64,
    /// The part of `total` that is aimed for.
    pub utilization: f64,
    /// The least number of replicas; 0 for an unreachable revision.
    pub min_scale: u32,
    /// The largest number of replicas; `None` is unlimited.
    pub max_scale: Option<u32>,
    /// The replicas of a new revision, which count as a minimum until they once were ready.
    pub initial_scale: u32,
    /// The least number of replicas other than zero, when asked for; at least 2.
    pub activation_scale: Option<u32>,
    /// The window of the stable average.
    pub stable_window: Duration,
    /// The window of the panic average: whole seconds, at least one.
    pub panic_window: Duration,
    /// Panic begins when the panic average asks for this many times the ready replicas.
    pub panic_threshold: f64,
    /// How much more must be bearable at once.
    pub target_burst_capacity: BurstCapacity,
    /// Replicas after one decision per replica before it.
    pub max_scale_up_rate: f64,
    /// Replicas before one decision per replica after it.
    pub max_scale_down_rate: f64,
    /// How long less must be wanted until there is less.
    pub scale_down_delay: Duration,
    /// Whether the last replica may go.
    pub enable_scale_to_zero: bool,
    /// How long the activator must be in the path before the last replica goes.
    pub scale_to_zero_grace_period: Duration,
    /// How long the last replica stays after the revision became inactive; zero for an
    /// unreachable one.
    pub scale_to_zero_pod_retention_period: Duration,
    /// How long a revision may take to become active.
    pub progress_deadline: Duration,
    /// Whether a route sends requests to the revision.
    pub reachable: bool,
}

impl Spec {
    /// The spec of a revision made from `template`.
    ///
    /// # Source
    ///
    /// knative/serving pkg/reconciler/autoscaling: resources/target.go, resources/metric.go,
    /// kpa/resources/decider.go. Differs: a stable window that was never validated is brought into
    /// its bounds.
    #[must_use]
    pub fn new(config: &Config, template: Template<'_>) -> Self {
        // Long because it is one literal: a new field cannot be forgotten here.
        let annotations = Annotations(template.annotations);
        let metric = annotations.metric();
        let (total, utilization) = annotations.load(config, metric, template.container_concurrency);
        let stable_window = annotations
            .duration(annotation::WINDOW)
            .unwrap_or(config.stable_window)
            .clamp(*STABLE_WINDOW.start(), *STABLE_WINDOW.end());
        let number = |names, default| annotations.number(names).unwrap_or(default);
        let scale = |names, default| annotations.scale(names).unwrap_or(default);
        let panic_percentage = number(
            annotation::PANIC_WINDOW_PERCENTAGE,
            config.panic_window_percentage,
        );
        Self {
            class: annotations.class(config),
            metric,
            aggregation: annotations.aggregation(),
            target: (total * utilization).max(TARGET_MIN),
            total,
            utilization,
            min_scale: if template.reachable {
                scale(annotation::MIN_SCALE, config.min_scale)
            } else {
                0
            },
            max_scale: Some(scale(annotation::MAX_SCALE, config.max_scale)).filter(|max| *max > 0),
            initial_scale: Some(scale(annotation::INITIAL_SCALE, config.initial_scale))
                .filter(|scale| *scale > 0 || config.allow_zero_initial_scale)
                .unwrap_or(config.initial_scale),
            activation_scale: annotations
                .scale(annotation::ACTIVATION_SCALE)
                .filter(|scale| *scale > 1),
            stable_window,
            panic_window: panic_window(stable_window, panic_percentage),
            panic_threshold: number(
                annotation::PANIC_THRESHOLD_PERCENTAGE,
                config.panic_threshold_percentage,
            ) / 100.0,
            target_burst_capacity: annotations
                .number(annotation::TARGET_BURST_CAPACITY)
                .and_then(BurstCapacity::from_value)
                .unwrap_or(config.target_burst_capacity),
            max_scale_up_rate: config.max_scale_up_rate,
            max_scale_down_rate: config.max_scale_down_rate,
            scale_down_delay: annotations
                .duration(annotation::SCALE_DOWN_DELAY)
                .unwrap_or(config.scale_down_delay),
            enable_scale_to_zero: config.enable_scale_to_zero,
            scale_to_zero_grace_period: config.scale_to_zero_grace_period,
            scale_to_zero_pod_retention_period: if template.reachable {
                annotations
                    .duration(annotation::SCALE_TO_ZERO_POD_RETENTION_PERIOD)
                    .unwrap_or(config.scale_to_zero_pod_retention_period)
            } else {
                Duration::ZERO
            },
            progress_deadline: annotations
                .duration(annotation::PROGRESS_DEADLINE)
                .unwrap_or(template.progress_deadline),
            reachable: template.reachable,
        }
    }

    /// The replicas that a new revision starts with, before anything was measured.
    #[must_use]
    pub fn first_scale(&self) -> u32 {
        self.initial_scale.max(self.min_scale)
    }
}

/// Rounded to whole seconds, because that is the width of a bucket.
fn panic_window(stable_window: Duration, percentage: f64) -> Duration {
    let seconds = (stable_window.as_secs_f64() * percentage / 100.0).round();
    Duration::from_secs((seconds as u64).max(1))
}

/// The annotations of a template, read leniently.
struct Annotations<'a>(&'a BTreeMap<String, String>);

impl Annotations<'_> {
    fn text(&self, names: Names) -> Option<&str> {
        let value = names.iter().find_map(|name| self.0.get(*name));
        value.map(String::as_str)
    }

    fn number(&self, names: Names) -> Option<f64> {
        self.text(names).and_then(config::finite)
    }

    fn scale(&self, names: Names) -> Option<u32> {
        self.text(names).and_then(config::scale)
    }

    fn duration(&self, names: Names) -> Option<Duration> {
        duration::parse(self.text(names)?).ok()
    }

    fn class(&self, config: &Config) -> Class {
        let name = self
            .text(annotation::CLASS)
            .unwrap_or(&config.pod_autoscaler_class);
        match name {
            KPA_CLASS => Class::Kpa,
            HPA_CLASS => Class::Hpa,
            other => Class::Other(other.to_owned()),
        }
    }

    fn metric(&self) -> Metric {
        match self.text(annotation::METRIC) {
            Some("rps") => Metric::RequestsPerSecond,
            _ => Metric::Concurrency,
        }
    }

    fn aggregation(&self) -> Aggregation {
        match self.text(annotation::METRIC_AGGREGATION_ALGORITHM) {
            Some("weighted-exponential" | "weightedExponential") => {
                Aggregation::WeightedExponential
            }
            _ => Aggregation::Linear,
        }
    }

    /// What a replica can bear, and the part of it to aim for.
    fn load(&self, config: &Config, metric: Metric, container_concurrency: u32) -> (f64, f64) {
        let hard_limit = match metric {
            Metric::Concurrency if container_concurrency > 0 => f64::from(container_concurrency),
            _ => f64::INFINITY,
        };
        let (default_total, default_utilization) = match metric {
            Metric::Concurrency => (
                config.container_concurrency_target_default,
                config.container_concurrency_target_fraction,
            ),
            Metric::RequestsPerSecond => (
                config.requests_per_second_target_default,
                REQUESTS_PER_SECOND_UTILIZATION,
            ),
        };
        let total = match self.number(annotation::TARGET) {
            Some(target) => target.min(hard_limit),
            None if hard_limit.is_finite() => hard_limit,
            None => default_total,
        };
        let utilization = self
            .number(annotation::TARGET_UTILIZATION_PERCENTAGE)
            .map_or(default_utilization, |percentage| percentage / 100.0);
        (total, utilization)
    }
}

#[cfg(test)]
mod tests;
