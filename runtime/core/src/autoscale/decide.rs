//! The decision: how many replicas the load asks for.
//!
//! Input: the [`Load`] and the ready replicas. Output: a [`Decision`], which
//! [`super::plan`] brings into bounds and applies.
//!
//! ```text
//!            panic average asks for ≥ panic_threshold × ready replicas
//!          ┌────────────────────────────────────────────────────────────┐
//!          │                                                            ▼
//!   ┌─────────────┐                                             ┌──────────────┐
//!   │   stable    │                                             │    panic     │ ◄─┐ asked for
//!   │ stable only │                                             │ never fewer  │ ──┘ again
//!   └─────────────┘                                             └──────────────┘
//!          ▲                                                            │
//!          └────────────────────────────────────────────────────────────┘
//!                  not asked for during more than a stable window
//! ```

use super::delay::DelayWindow;
use super::spec::{BurstCapacity, Spec};
use super::window::Load;
use crate::time::Timestamp;

/// What is known of a revision when a decision is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The replicas that can take requests.
    pub ready_replicas: u32,
    /// The averages, or `None` when nothing was recorded for a whole stable window.
    pub load: Option<Load>,
}

/// What the load asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The number of replicas, not yet within the revision's bounds.
    pub desired: u32,
    /// How many requests more could be taken at once than `target_burst_capacity` asks for. Below
    /// zero, the activator must be in the request path.
    pub excess_burst_capacity: i32,
    /// Whether the revision is in panic mode.
    pub panic: bool,
}

/// What is remembered between the decisions for one revision.
#[derive(Clone, Debug)]
pub struct State {
    panic: Option<Panic>,
    delay: DelayWindow,
}

#[derive(Clone, Copy, Debug)]
struct Panic {
    /// When the panic average last asked for it.
    since: Timestamp,
    /// The most replicas wanted since it began.
    most: u32,
}

impl State {
    /// The state of a revision that has `ready_replicas` already.
    ///
    /// With more than one it begins in panic mode: after a restart of the host the averages know
    /// nothing of the load that these replicas bear, so they are kept for a stable window.
    #[must_use]
    pub fn new(ready_replicas: u32, now: Timestamp) -> Self {
        Self {
            panic: (ready_replicas > 1).then_some(Panic {
                since: now,
                most: ready_replicas,
            }),
            delay: DelayWindow::default(),
        }
    }

    /// Whether the revision is in panic mode.
    #[must_use]
    pub fn is_panicking(&self) -> bool {
        self.panic.is_some()
    }
}

/// How many replicas the load asks for, or `None` when nothing is known: then what was decided
/// before holds.
///
/// # Source
///
/// knative/serving pkg/autoscaler/scaling, `Scale`. Differs: while the activator is always in the
/// path (burst capacity -1), absent values are a load of 0 here and not in the metrics client.
pub fn decide(
    spec: &Spec,
    state: &mut State,
    observation: Observation,
    now: Timestamp,
) -> Option<Decision> {
    let load = match (observation.load, spec.target_burst_capacity) {
        (Some(load), _) => load,
        // Only the activator reports such a revision, and it reports only what it holds.
        (None, BurstCapacity::Unlimited) => Load::default(),
        (None, _) => return None,
    };
    let ready = f64::from(observation.ready_replicas.max(1));
    let asked_by_panic = (load.panic / spec.target).ceil();
    state.follow_panic(spec, asked_by_panic / ready >= spec.panic_threshold, now);

    let stable = within_rates(spec, ready, (load.stable / spec.target).ceil());
    let desired = match &mut state.panic {
        None => stable,
        Some(panic) => {
            let wanted = stable.max(within_rates(spec, ready, asked_by_panic));
            panic.most = panic.most.max(wanted);
            panic.most
        }
    };
    Some(Decision {
        desired: state.delayed(spec, desired, now),
        excess_burst_capacity: excess_burst_capacity(spec, observation.ready_replicas, load.panic),
        panic: state.is_panicking(),
    })
}

/// The excess burst capacity of a new revision, before the first decision.
///
/// Source: knative/serving pkg/autoscaler/scaling/multiscaler.go, `createScaler`.
#[must_use]
pub fn initial_excess_burst_capacity(spec: &Spec) -> i32 {
    match spec.target_burst_capacity {
        BurstCapacity::None => 0,
        BurstCapacity::Unlimited => -1,
        BurstCapacity::Requests(requests) => {
            (f64::from(spec.initial_scale) * spec.total - requests) as i32
        }
    }
}

impl State {
    /// Enters, prolongs or leaves panic mode.
    fn follow_panic(&mut self, spec: &Spec, asked_for: bool, now: Timestamp) {
        match &mut self.panic {
            Some(panic) if asked_for => panic.since = now,
            None if asked_for => {
                self.panic = Some(Panic {
                    since: now,
                    most: 0,
                });
            }
            // By then the surge is part of the stable average.
            Some(panic) if now.since(panic.since) > spec.stable_window => self.panic = None,
            _ => {}
        }
    }

    /// An unreachable revision is not delayed: nothing comes back to it.
    fn delayed(&mut self, spec: &Spec, desired: u32, now: Timestamp) -> u32 {
        if spec.scale_down_delay.is_zero() || !spec.reachable {
            return desired;
        }
        self.delay.record(now, desired, spec.scale_down_delay)
    }
}

/// What the load asks for, not further from the ready replicas than one decision may go.
fn within_rates(spec: &Spec, ready: f64, asked: f64) -> u32 {
    // Rounded up and down, so that a rate of little more than 1 still moves by one replica.
    let most = (spec.max_scale_up_rate * ready).ceil();
    let least = if spec.reachable {
        (ready / spec.max_scale_down_rate).floor()
    } else {
        0.0
    };
    let wanted = asked.max(least).min(most) as u32;
    match spec.activation_scale {
        Some(activation) if asked > 0.0 => wanted.max(activation),
        _ => wanted,
    }
}

fn excess_burst_capacity(spec: &Spec, ready_replicas: u32, panic_average: f64) -> i32 {
    match spec.target_burst_capacity {
        BurstCapacity::None => 0,
        BurstCapacity::Unlimited => -1,
        BurstCapacity::Requests(requests) => {
            let capacity = f64::from(ready_replicas) * spec.total;
            (capacity - requests - panic_average).floor() as i32
        }
    }
}

#[cfg(test)]
mod tests;
