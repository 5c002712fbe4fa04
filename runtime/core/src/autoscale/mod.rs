//! The autoscaler: how many replicas a revision should have, and when it may have none.
//!
//! ```text
//! Config + template annotations ──► Spec
//!
//! counted requests ─► Windows ─► Observation ─► decide ─► Decision ─► plan ─► replicas to run
//!                     (window)                 (decide,              (to_zero) Active condition
//!                                               delay)                         Serve or Proxy
//! ```
//!
//! Everything here is a value or a pure step from one value to the next. The host counts requests,
//! calls [`Windows::record`] once a second for a revision that has replicas, and [`decide()`] then
//! [`plan`] every [`TICK`], and at once for the first request to a revision at zero. All `now`
//! arguments come from one clock that does not jump; buckets are aligned to its whole seconds.
//!
//! # Source
//!
//! knative/serving pkg/autoscaler and pkg/reconciler/autoscaling/kpa. Differs: the host counts
//! every request itself, so there is no scraping and no sampling of replicas.

pub mod decide;
pub mod delay;
pub mod spec;
pub mod to_zero;
pub mod window;

use std::time::Duration;

pub use decide::{Decision, Observation, decide};
pub use spec::{Config, Spec, Template};
pub use to_zero::{Facts, Plan, plan};
pub use window::{Load, Windows};

/// How often a decision is made for a revision.
///
/// Source: knative/serving pkg/autoscaler/scaling, `tickInterval`.
pub const TICK: Duration = Duration::from_secs(2);

/// Names of the annotations on a revision template that steer the autoscaler.
///
/// Each is a list: the name, then the older spelling that means the same. The first one that is
/// present counts.
///
/// Source: knative/serving pkg/apis/autoscaling, register.go.
pub mod annotation {
    /// An annotation name and its older spellings.
    pub type Names = &'static [&'static str];

    pub const CLASS: Names = &["autoscaling.knative.dev/class"];
    pub const METRIC: Names = &["autoscaling.knative.dev/metric"];
    pub const MIN_SCALE: Names = &[
        "autoscaling.knative.dev/min-scale",
        "autoscaling.knative.dev/minScale",
    ];
    pub const MAX_SCALE: Names = &[
        "autoscaling.knative.dev/max-scale",
        "autoscaling.knative.dev/maxScale",
    ];
    pub const INITIAL_SCALE: Names = &[
        "autoscaling.knative.dev/initial-scale",
        "autoscaling.knative.dev/initialScale",
    ];
    pub const ACTIVATION_SCALE: Names = &["autoscaling.knative.dev/activation-scale"];
    pub const TARGET: Names = &["autoscaling.knative.dev/target"];
    pub const TARGET_UTILIZATION_PERCENTAGE: Names = &[
        "autoscaling.knative.dev/target-utilization-percentage",
        "autoscaling.knative.dev/targetUtilizationPercentage",
    ];
    pub const TARGET_BURST_CAPACITY: Names = &[
        "autoscaling.knative.dev/target-burst-capacity",
        "autoscaling.knative.dev/targetBurstCapacity",
    ];
    pub const WINDOW: Names = &["autoscaling.knative.dev/window"];
    pub const PANIC_WINDOW_PERCENTAGE: Names = &[
        "autoscaling.knative.dev/panic-window-percentage",
        "autoscaling.knative.dev/panicWindowPercentage",
    ];
    pub const PANIC_THRESHOLD_PERCENTAGE: Names = &[
        "autoscaling.knative.dev/panic-threshold-percentage",
        "autoscaling.knative.dev/panicThresholdPercentage",
    ];
    pub const SCALE_DOWN_DELAY: Names = &[
        "autoscaling.knative.dev/scale-down-delay",
        "autoscaling.knative.dev/scaleDownDelay",
    ];
    pub const SCALE_TO_ZERO_POD_RETENTION_PERIOD: Names = &[
        "autoscaling.knative.dev/scale-to-zero-pod-retention-period",
        "autoscaling.knative.dev/scaleToZeroPodRetentionPeriod",
    ];
    pub const METRIC_AGGREGATION_ALGORITHM: Names = &[
        "autoscaling.knative.dev/metric-aggregation-algorithm",
        "autoscaling.knative.dev/metricAggregationAlgorithm",
    ];
    pub const PROGRESS_DEADLINE: Names = &[crate::keys::PROGRESS_DEADLINE_ANNOTATION];
}
