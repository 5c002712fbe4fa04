//! The task that scales one revision: it watches the load, asks `serve_core::autoscale`, and sets
//! the pool's replicas and the activator's capacity.
//!
//! ```text
//!            first request (poke)                 no load for a stable window
//!   zero ───────────────────────────▶ active ─────────────────────────────────▶ zero
//!   sleeps until a poke               a look each second, a decision every two
//! ```
//!
//! At zero the first request does not wait for this task: it takes the capacity of one replica, starts
//! the instance where it runs, and the task learns of it by the poke.
//!
//! Invariants: at zero nothing happens periodically; above one replica capacity is given only after
//! an instance was started; capacity is taken before the instances go.

use std::sync::Arc;
use std::time::Duration;

use serve_core::autoscale::decide::{State as Decisions, initial_excess_burst_capacity};
use serve_core::autoscale::spec::Metric;
use serve_core::autoscale::to_zero::{self, Activity};
use serve_core::autoscale::{Facts, Observation, Spec, Windows, decide, plan};
use serve_core::breaker::Capacity;
use serve_core::time::Timestamp;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::activator::{Activator, Used};
use crate::clock::Clock;
use crate::pool::Pool;
use crate::tasks::Stop;

/// How often the load is looked at while there are replicas.
const LOOK: Duration = Duration::from_secs(1);
/// A decision is made at every second look.
///
/// Source: `serve_core::autoscale::TICK`.
const LOOKS_PER_DECISION: u32 = 2;

/// What the autoscaler does for a revision, for its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Replicas that take requests.
    pub actual: u32,
    /// Replicas that are wanted; none before that is known.
    pub desired: Option<u32>,
    pub activity: Activity,
    /// Whether the initial scale was reached at least once.
    pub initialized: bool,
}

/// Where the scale of a revision is told, each time it changes.
pub type Report = Box<dyn Fn(Scale) + Send + Sync>;

/// Scales one revision.
pub struct Scaler {
    activator: Arc<Activator>,
    pool: Pool,
    clock: Clock,
    /// `containerConcurrency`: requests at once in a replica; 0 is no bound.
    container_concurrency: u32,
    specs: watch::Receiver<Arc<Spec>>,
    report: Report,

    spec: Arc<Spec>,
    windows: Windows,
    decisions: Decisions,
    state: to_zero::State,
    desired: Option<u32>,
    wanted: Option<u32>,
    excess_burst_capacity: i32,
    replicas: u32,
    /// All requests come through the activator from the start.
    started: Timestamp,
    told: Option<Scale>,
}

impl Scaler {
    /// A scaler for a revision whose pool has started its first instance.
    #[must_use]
    pub fn new(
        activator: Arc<Activator>,
        pool: Pool,
        clock: Clock,
        container_concurrency: u32,
        mut specs: watch::Receiver<Arc<Spec>>,
        report: Report,
    ) -> Self {
        let now = clock.now();
        let spec = specs.borrow_and_update().clone();
        Self {
            windows: Windows::new(&spec),
            decisions: Decisions::new(spec.first_scale(), now),
            state: to_zero::State::new(now),
            desired: None,
            wanted: None,
            excess_burst_capacity: initial_excess_burst_capacity(&spec),
            replicas: 0,
            started: now,
            told: None,
            activator,
            pool,
            clock,
            container_concurrency,
            specs,
            report,
            spec,
        }
    }

    /// Scales until the stop signal, or until nobody can change the spec any more.
    pub async fn run(mut self, mut stop: Stop) {
        self.set_replicas(self.spec.first_scale()).await;
        self.decide().await;
        let mut looks = looks();
        let mut count = 0;
        loop {
            let is_idle =
                self.replicas == 0 && matches!(self.state.activity, Activity::Inactive(_));
            tokio::select! {
                biased;
                () = stop.stopped() => return,
                changed = self.specs.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.spec = self.specs.borrow_and_update().clone();
                    self.windows.resize(&self.spec);
                    self.decide().await;
                }
                () = self.activator.poked(), if self.replicas == 0 => {
                    if self.activator.take_woken() {
                        // The first request did not wait for us: it is starting the instance.
                        self.replicas = 1;
                        tracing::info!(replicas = 1, "revision is scaled up from zero");
                    }
                    // What waits is the load; there is no second of it yet to average.
                    let load = self.activator.load();
                    #[allow(clippy::cast_precision_loss, reason = "a queue is far below 2^52")]
                    let waiting = (load.running + load.waiting).max(1) as f64;
                    self.windows.record(self.clock.now(), waiting);
                    let _ = self.activator.take_usage();
                    self.decide().await;
                    looks.reset();
                    count = 0;
                }
                _ = looks.tick(), if !is_idle => {
                    let used = self.activator.take_usage();
                    self.windows.record(self.clock.now(), measured(&self.spec, used));
                    count += 1;
                    if count >= LOOKS_PER_DECISION {
                        count = 0;
                        self.decide().await;
                    }
                }
            }
        }
    }

    async fn decide(&mut self) {
        let now = self.clock.now();
        let observation = Observation {
            ready_replicas: self.replicas,
            load: self.windows.load(now),
        };
        if let Some(decision) = decide(&self.spec, &mut self.decisions, observation, now) {
            self.desired = Some(decision.desired);
            self.excess_burst_capacity = decision.excess_burst_capacity;
        }
        let wanted = self.plan(now);
        if let Some(replicas) = wanted
            && replicas != self.replicas
        {
            self.set_replicas(replicas).await;
            // What is ready has changed, and with it what the revision's condition says.
            self.plan(now);
        }
        self.tell();
    }

    /// Makes a plan from what is known and returns the replicas to run, if it says.
    fn plan(&mut self, now: Timestamp) -> Option<u32> {
        let facts = Facts {
            desired: self.desired,
            excess_burst_capacity: self.excess_burst_capacity,
            ready_replicas: self.replicas,
            proxied_since: Some(self.started),
        };
        let plan = plan(&self.spec, self.state, facts, now);
        self.state = plan.state;
        self.wanted = plan.wanted.or(self.wanted);
        plan.scale
    }

    async fn set_replicas(&mut self, replicas: u32) {
        if replicas == 0 {
            self.activator.set_capacity(Capacity::Limited(0));
            self.pool.set_target(0);
            // After the instances went: from here on a request may start one.
            self.activator
                .sleep(Capacity::of(1, self.container_concurrency));
            if self.replicas > 0 {
                tracing::info!("revision is scaled to zero");
            }
        } else {
            self.pool.set_target(replicas as usize);
            if self.replicas == 0 {
                if let Err(error) = self.pool.warm().await {
                    tracing::warn!(%error, "no instance starts");
                    self.pool.set_target(0);
                    return;
                }
                tracing::info!(replicas, "revision is scaled up from zero");
            }
            self.activator
                .set_capacity(Capacity::of(replicas, self.container_concurrency));
        }
        self.replicas = replicas;
    }

    fn tell(&mut self) {
        let scale = Scale {
            actual: self.replicas,
            desired: self.wanted,
            activity: self.state.activity,
            initialized: self.state.initialized,
        };
        if self.told != Some(scale) {
            self.told = Some(scale);
            (self.report)(scale);
        }
    }
}

fn looks() -> Interval {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.reset();
    looks
}

fn measured(spec: &Spec, used: Used) -> f64 {
    match spec.metric {
        Metric::Concurrency => used.concurrency,
        Metric::RequestsPerSecond => used.requests_per_second,
    }
}

#[cfg(test)]
mod tests;
