//! Bounds, activity and the last replica: from what is wanted to what is run.
//!
//! Input: the [`Decision`](super::Decision) and what is observed. Output: the replicas to run, the
//! Active condition of the revision and whether the activator must be in the request path.
//!
//! ```text
//!                    ready ≥ threshold
//!   ┌────────────┐ ────────────────────► ┌────────┐
//!   │ Activating │                       │ Active │
//!   │ (Unknown)  │ ◄──────────────────── │ (True) │
//!   └────────────┘    ready < threshold  └────────┘
//!      │      ▲                               │
//!      │      │ wanted > 0                    │ 0 wanted, and active
//!      │      │                               │ for the stable window
//!      │   ┌─────────────────────────────┐    │
//!      └──►│      Inactive (False)       │◄───┘
//!          │ NoTraffic       or TimedOut │
//!          └─────────────────────────────┘
//!    0 wanted for the            0 wanted, and the activator in the path for the
//!    progress deadline + 30 s:   grace period and the retention over: 0 replicas
//!    0 replicas, TimedOut
//! ```
//!
//! Becoming inactive only puts the activator into the path. The last replica goes later, so that a
//! request that is on its way past the activator still finds it.

use std::time::Duration;

use super::spec::{BurstCapacity, Spec};
use crate::conditions::ConditionStatus;
use crate::time::Timestamp;

/// How much longer than the progress deadline a revision may be activating, so that the failure
/// of its replicas is reported before they go.
///
/// Source: knative/serving pkg/reconciler/autoscaling/kpa/scaler.go, `activationTimeoutBuffer`.
const ACTIVATION_TIMEOUT_BUFFER: Duration = Duration::from_secs(30);

/// When to look again whether the activator came into the path.
const PROXY_CHECK: Duration = Duration::from_secs(1);

/// Whether a revision serves requests: its Active condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Replicas are on their way: Unknown.
    Activating,
    /// Enough replicas are ready: True.
    Active,
    /// No replicas are wanted: False.
    Inactive(InactiveReason),
}

/// Why a revision is inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InactiveReason {
    /// Nothing asks for it.
    NoTraffic,
    /// Its replicas did not become ready in time. It stays so until it is wanted again.
    TimedOut,
}

/// Who takes the requests for a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The replicas.
    Serve,
    /// The activator, which passes them on to replicas.
    Proxy,
}

/// What is remembered of a revision between plans, and restored from its status after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Its activity.
    pub activity: Activity,
    /// When that began. A change of the reason alone does not count.
    pub since: Timestamp,
    /// Whether its initial scale was ready at least once: condition ScaleTargetInitialized.
    pub initialized: bool,
}

/// What is known of a revision when a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the newest decision wants; `None` before the first one.
    pub desired: Option<u32>,
    /// The excess burst capacity of the newest decision, or the initial one.
    pub excess_burst_capacity: i32,
    /// The replicas that can take requests.
    pub ready_replicas: u32,
    /// Since when all requests come through the activator; `None` while some do not.
    pub proxied_since: Option<Timestamp>,
}

/// What to do for a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The number of replicas to run, or `None` to leave it as it is.
    pub scale: Option<u32>,
    /// The number of replicas that are wanted, for the status; `None` when that is unknown.
    pub wanted: Option<u32>,
    /// The state for the next plan, and the Active condition.
    pub state: State,
    /// Who must take the requests.
    pub mode: Mode,
    /// When to plan again even if nothing happens.
    pub check_after: Option<Duration>,
}

impl Activity {
    /// The status of the Active condition.
    #[must_use]
    pub fn status(self) -> ConditionStatus {
        match self {
            Self::Activating => ConditionStatus::Unknown,
            Self::Active => ConditionStatus::True,
            Self::Inactive(_) => ConditionStatus::False,
        }
    }

    /// The reason of the Active condition; empty when active.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Activating => "Queued",
            Self::Active => "",
            Self::Inactive(InactiveReason::NoTraffic) => "NoTraffic",
            Self::Inactive(InactiveReason::TimedOut) => "TimedOut",
        }
    }

    /// The message of the Active condition; empty when active.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Activating => {
                "Requests to the target are being buffered as resources are provisioned."
            }
            Self::Active => "",
            Self::Inactive(InactiveReason::NoTraffic) => "The target is not receiving traffic.",
            Self::Inactive(InactiveReason::TimedOut) => "The target could not be activated.",
        }
    }
}

impl State {
    /// The state of a new revision.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            activity: Activity::Activating,
            since: now,
            initialized: false,
        }
    }

    /// The state of a revision that was ready once and went to zero.
    #[must_use]
    pub fn asleep(now: Timestamp) -> Self {
        Self {
            activity: Activity::Inactive(InactiveReason::NoTraffic),
            since: now,
            initialized: true,
        }
    }

    fn is_inactive(&self) -> bool {
        matches!(self.activity, Activity::Inactive(_))
    }

    fn becoming(self, activity: Activity, now: Timestamp) -> Self {
        let changed = activity.status() != self.activity.status();
        Self {
            activity,
            since: if changed { now } else { self.since },
            ..self
        }
    }
}

/// What to do for a revision now.
///
/// # Source
///
/// knative/serving pkg/reconciler/autoscaling/kpa: scaler.go and kpa.go. Differs: a revision that
/// timed out keeps that reason until it is wanted again, where Knative's next pass replaces it by
/// NoTraffic; a probe of the activator is the fact `proxied_since`.
#[must_use]
pub fn plan(spec: &Spec, state: State, facts: Facts, now: Timestamp) -> Plan {
    let step = scale(spec, state, facts, now);
    let mode = match step.wanted {
        Some(0) => Mode::Proxy,
        _ if facts.excess_burst_capacity < 0 => Mode::Proxy,
        // Known from before a restart to be at zero.
        None if state.is_inactive() => Mode::Proxy,
        _ => Mode::Serve,
    };
    let threshold = active_threshold(spec, state);
    let next = State {
        initialized: state.initialized || facts.ready_replicas >= threshold,
        ..state
    };
    Plan {
        scale: step.apply.then_some(step.wanted).flatten(),
        wanted: step.wanted,
        state: next.becoming(
            activity(state.activity, step.wanted, facts.ready_replicas, threshold),
            now,
        ),
        mode,
        check_after: step.check_after,
    }
}

/// The number of replicas, and whether it is to be applied.
struct Step {
    wanted: Option<u32>,
    apply: bool,
    check_after: Option<Duration>,
}

impl Step {
    fn apply(wanted: u32) -> Self {
        Self {
            wanted: Some(wanted),
            apply: true,
            check_after: None,
        }
    }

    /// Wants zero, and leaves the replicas for `delay`.
    fn keep_last(delay: Duration) -> Self {
        Self {
            wanted: Some(0),
            apply: false,
            check_after: Some(delay),
        }
    }
}

fn scale(spec: &Spec, state: State, facts: Facts, now: Timestamp) -> Step {
    if facts.desired.is_none() && state.activity != Activity::Activating {
        return Step {
            wanted: None,
            apply: false,
            check_after: None,
        };
    }
    match bounded(spec, state, facts.desired.unwrap_or(0)) {
        0 if !spec.enable_scale_to_zero => Step::apply(1),
        0 => scale_to_zero(spec, state, facts, now),
        wanted => Step::apply(wanted),
    }
}

/// `desired` within the bounds of the revision. A minimum above the maximum wins.
fn bounded(spec: &Spec, state: State, desired: u32) -> u32 {
    let starting = spec.initial_scale > 1 && !state.initialized && spec.reachable;
    let min = if starting {
        spec.first_scale()
    } else {
        spec.min_scale
    };
    desired.min(spec.max_scale.unwrap_or(u32::MAX)).max(min)
}

/// What is wanted is zero: whether it may be.
fn scale_to_zero(spec: &Spec, state: State, facts: Facts, now: Timestamp) -> Step {
    let elapsed = now.since(state.since);
    match state.activity {
        Activity::Activating => {
            let timeout = spec
                .progress_deadline
                .saturating_add(ACTIVATION_TIMEOUT_BUFFER);
            if elapsed >= timeout {
                return Step::apply(0);
            }
            Step {
                wanted: None,
                apply: false,
                check_after: Some(timeout.saturating_sub(elapsed)),
            }
        }
        Activity::Active if elapsed < spec.stable_window => Step {
            check_after: Some(spec.stable_window.saturating_sub(elapsed)),
            ..Step::apply(1)
        },
        Activity::Active => Step::keep_last(Duration::ZERO),
        Activity::Inactive(_) => match time_to_keep_last(spec, facts, elapsed, now) {
            Duration::ZERO => Step::apply(0),
            delay => Step::keep_last(delay),
        },
    }
}

/// How much longer the last replica of a revision stays that is inactive for `inactive`; zero when
/// it may go.
fn time_to_keep_last(spec: &Spec, facts: Facts, inactive: Duration, now: Timestamp) -> Duration {
    let always_proxied = spec.target_burst_capacity == BurstCapacity::Unlimited;
    if facts.proxied_since.is_none() && !always_proxied {
        return PROXY_CHECK;
    }
    let grace = spec.scale_to_zero_grace_period;
    let retention = spec.scale_to_zero_pod_retention_period;
    let by_retention = retention.saturating_sub(inactive);
    let by_inactivity = grace.max(retention).saturating_sub(inactive);
    let proxied = facts
        .proxied_since
        .map_or(Duration::ZERO, |since| now.since(since));
    let by_proxy = grace.saturating_sub(proxied).max(by_retention);
    by_inactivity.min(by_proxy)
}

/// The ready replicas that make a revision active.
fn active_threshold(spec: &Spec, state: State) -> u32 {
    if state.initialized {
        spec.min_scale.max(1)
    } else {
        spec.first_scale()
    }
}

/// The activity that follows from `wanted` and the ready replicas.
fn activity(before: Activity, wanted: Option<u32>, ready: u32, threshold: u32) -> Activity {
    match (before, wanted) {
        // An initial scale of zero: nothing is wanted before the first request.
        _ if threshold == 0 => Activity::Inactive(InactiveReason::NoTraffic),
        // Zero is applied to an activating revision only when its time is over.
        (Activity::Activating, Some(0)) => Activity::Inactive(InactiveReason::TimedOut),
        (Activity::Active, Some(0)) => Activity::Inactive(InactiveReason::NoTraffic),
        (Activity::Inactive(reason), Some(0) | None) => Activity::Inactive(reason),
        _ if ready < threshold => Activity::Activating,
        _ => Activity::Active,
    }
}

#[cfg(test)]
mod tests;
