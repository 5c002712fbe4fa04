//! The task that scales one revision: it watches the load, asks `serve_core::autoscale`, and sets
//! the pool's replicas and the activator's capacity.
//!
//! ```text
//!            first request (poke)                 no load for a stable window
//!   zero ───────────────────────────▶ active ─────────────────────────────────▶ zero
//!   sleeps until a poke               a look each second, a decision every two;
//!                                     one at once when a request has to wait
//! ```
//!
//! At zero the first request does not wait for this task: it takes the capacity of one replica, starts
//! the instance where it runs, and the task learns of it by the poke. Where probes have to pass
//! first it waits for them.
//!
//! Invariants: at zero nothing happens periodically; above one replica capacity is given only after
//! an instance was started; capacity is given only while the probes pass, and taken before the
//! instances go.

use std::sync::Arc;
use std::time::Duration;

use serve_core::autoscale::decide::{State as Decisions, initial_excess_burst_capacity};
use serve_core::autoscale::spec::Metric;
use serve_core::autoscale::to_zero::{self, Activity, InactiveReason, Mode};
use serve_core::autoscale::{Facts, Load, Observation, Spec, Windows, decide, plan};
use serve_core::breaker::{Capacity, REVISION_QUEUE_DEPTH, replica_queue_depth};
use serve_core::probe::Probes;
use serve_core::time::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::activator::{Activator, Used};
use crate::clock::Clock;
use crate::node::Share;
use crate::pool::Pool;
use crate::probe::{Health, Prober};
use crate::tasks::Stop;

/// How often the load is looked at while there are replicas.
const LOOK: Duration = Duration::from_secs(1);
/// A decision is made at every second look.
///
/// Source: `serve_core::autoscale::TICK`.
const LOOKS_PER_DECISION: u32 = 2;

/// The pause between two decisions that waiting requests bring about, so that a flood of them does
/// not keep the autoscaler busy.
const HURRY: Duration = Duration::from_millis(50);

/// What the autoscaler does for a revision, for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Replicas that take requests.
    pub actual: u32,
    /// Replicas that there are, whether or not their probes let them take requests.
    pub running: u32,
    /// How often each of those was restarted.
    pub restarts: u32,
    /// How often code of theirs ended by itself, and the exit code of the last time.
    pub ends: (u32, i32),
    /// Replicas that are wanted; none before that is known.
    pub desired: Option<u32>,
    pub activity: Activity,
    /// Whether the initial scale was reached at least once.
    pub initialized: bool,
    /// Whether it was not reached within the progress deadline.
    pub is_late: bool,
    /// Why there are fewer replicas than wanted, when the machine has no room for more.
    pub shortage: Option<String>,
}

impl Scale {
    /// That of a revision whose initial scale is zero.
    #[must_use]
    pub fn before_the_first_request() -> Self {
        Self {
            actual: 0,
            running: 0,
            restarts: 0,
            ends: (0, 0),
            desired: None,
            activity: Activity::Inactive(InactiveReason::NoTraffic),
            initialized: true,
            is_late: false,
            shortage: None,
        }
    }
}

/// Where the scale of a revision is told, each time it changes.
pub type Report = Box<dyn Fn(Scale) + Send + Sync>;

/// The revision that is scaled.
pub struct Subject {
    pub activator: Arc<Activator>,
    /// Has started its first instance.
    pub pool: Pool,
    /// `containerConcurrency`: requests at once in a replica; 0 is no bound.
    pub container_concurrency: u32,
    pub probes: Arc<Probes>,
    /// The container's port, as its probes name it.
    pub port: u16,
    /// What the replicas have of the machine.
    pub share: Share,
    pub begin: Begin,
}

/// What there is of a revision when its scaler begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nothing: it begins with its first scale.
    New,
    /// It was ready once and went to zero; a request that came since may have started it.
    Asleep,
}

/// Scales one revision.
pub struct Scaler {
    activator: Arc<Activator>,
    pool: Pool,
    clock: Clock,
    container_concurrency: u32,
    probes: Arc<Probes>,
    port: u16,
    share: Share,
    shortage: Option<String>,
    /// What was to run when the machine had room for less.
    lacking: Option<u32>,
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
    /// There while there are replicas.
    prober: Option<Prober>,
    /// How often code had ended by itself when these replicas began.
    ends_before: u32,
    /// When waiting requests may bring about the next decision.
    hurry: Instant,
    /// All requests come through the activator from the start.
    started: Timestamp,
    begin: Begin,
    told: Option<Scale>,
}

impl Scaler {
    /// A scaler that has not begun.
    #[must_use]
    pub fn new(
        subject: Subject,
        clock: Clock,
        mut specs: watch::Receiver<Arc<Spec>>,
        report: Report,
    ) -> Self {
        let now = clock.now();
        let spec = specs.borrow_and_update().clone();
        let (state, desired) = match subject.begin {
            Begin::New => (to_zero::State::new(now), None),
            Begin::Asleep => (to_zero::State::asleep(now), Some(0)),
        };
        Self {
            windows: Windows::new(&spec),
            // None of its replicas is ready yet: there is nothing to keep for a stable window.
            decisions: Decisions::new(0, now),
            state,
            desired,
            wanted: None,
            excess_burst_capacity: initial_excess_burst_capacity(&spec),
            replicas: 0,
            prober: None,
            ends_before: 0,
            hurry: Instant::now(),
            started: now,
            begin: subject.begin,
            told: None,
            activator: subject.activator,
            pool: subject.pool,
            clock,
            container_concurrency: subject.container_concurrency,
            probes: subject.probes,
            port: subject.port,
            share: subject.share,
            shortage: None,
            lacking: None,
            specs,
            report,
            spec,
        }
    }

    /// Scales until the stop signal. When nobody can change the spec any more the revision is
    /// deleted: those who wait for it are served, then it takes no request any more.
    pub async fn run(mut self, mut stop: Stop) {
        if self.begin == Begin::New {
            self.set_replicas(self.spec.first_scale()).await;
        }
        self.decide().await;
        let mut looks = looks();
        let mut count = 0;
        let mut is_deleted = false;
        loop {
            let is_idle =
                self.replicas == 0 && matches!(self.state.activity, Activity::Inactive(_));
            tokio::select! {
                biased;
                () = stop.stopped() => return,
                changed = self.specs.changed(), if !is_deleted => {
                    if changed.is_err() {
                        is_deleted = true;
                        // Not at once: who has just found the revision in a route is still to come.
                        looks.reset();
                        continue;
                    }
                    self.spec = self.specs.borrow_and_update().clone();
                    self.windows.follow(&self.spec);
                    self.decide().await;
                }
                () = self.activator.poked(), if self.replicas == 0 => {
                    self.notice_wake();
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
                health = health(&mut self.prober) => {
                    tracing::debug!(ready = health.is_ready, restarts = health.restarts, "probes");
                    self.give_capacity();
                    self.plan(self.clock.now());
                    self.tell();
                }
                () = waiting(&self.activator, self.hurry), if self.can_grow() => {
                    self.hurry = Instant::now() + HURRY;
                    self.decide_for_those_who_wait().await;
                }
                _ = looks.tick(), if !is_idle || is_deleted => {
                    if is_deleted && self.activator.load().requests() == 0 {
                        return self.retire();
                    }
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

    /// The first request at zero may not have waited for us: it is starting the instance.
    fn notice_wake(&mut self) {
        if self.activator.take_woken() {
            self.replicas = 1;
            self.probe();
            tracing::info!(replicas = 1, "revision is scaled up from zero");
        }
    }

    /// More replicas are allowed than there are.
    fn can_grow(&self) -> bool {
        self.replicas > 0 && self.spec.max_scale.is_none_or(|max| self.replicas < max)
    }

    async fn decide(&mut self) {
        self.decide_by(self.windows.load(self.clock.now())).await;
    }

    /// A decision at once, by the load as it is at this moment: the next tick would make it too,
    /// when those who wait have waited for it.
    async fn decide_for_those_who_wait(&mut self) {
        let load = self.activator.load();
        if load.waiting == 0 {
            return;
        }
        let requests = match self.spec.metric {
            Metric::Concurrency => load.running + load.waiting,
            Metric::RequestsPerSecond => load.waiting,
        };
        let (now, mut windows) = (self.clock.now(), self.windows.clone());
        #[allow(clippy::cast_precision_loss, reason = "a queue is far below 2^52")]
        windows.record(now, requests as f64);
        self.decide_by(windows.load(now)).await;
    }

    async fn decide_by(&mut self, load: Option<Load>) {
        let now = self.clock.now();
        let observation = Observation {
            ready_replicas: self.ready(),
            load,
        };
        if let Some(decision) = decide(&self.spec, &mut self.decisions, observation, now) {
            self.desired = Some(decision.desired);
            self.excess_burst_capacity = decision.excess_burst_capacity;
        }
        // A plan leaves a revision that starts as it is. One that found no room looks for it again.
        let is_starting = self.state.activity == Activity::Activating;
        let lacking = self.lacking.filter(|_| is_starting);
        let wanted = self.plan(now).or(lacking);
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
            ready_replicas: self.ready(),
            proxied_since: Some(self.started),
        };
        let plan = plan(&self.spec, self.state, facts, now);
        self.state = plan.state;
        self.wanted = plan.wanted.or(self.wanted);
        self.limit_queue(plan.mode);
        plan.scale
    }

    /// Where the activator is not in the path on a cluster, requests wait in front of their
    /// replicas, which have shorter queues.
    fn limit_queue(&self, mode: Mode) {
        let requests = match (mode, self.container_concurrency) {
            // Without a limit nobody waits there.
            (Mode::Proxy, _) | (_, 0) => REVISION_QUEUE_DEPTH,
            (Mode::Serve, places) => {
                replica_queue_depth(places).saturating_mul(self.ready().max(1) as usize)
            }
        };
        self.activator.set_queue(requests);
    }

    /// The replicas that take requests.
    fn ready(&self) -> u32 {
        let is_ready = |prober: &Prober| prober.health().is_ready;
        if self.prober.as_ref().is_some_and(is_ready) {
            self.replicas
        } else {
            0
        }
    }

    /// Begins to probe replicas that were started just now.
    fn probe(&mut self) {
        let prober = Prober::new(self.probes.clone(), self.pool.clone(), self.port);
        self.prober = Some(prober);
        self.ends_before = self.pool.counts().ends.get().0;
    }

    fn give_capacity(&self) {
        self.activator.set_capacity(self.capacity(self.ready()));
    }

    fn capacity(&self, replicas: u32) -> Capacity {
        self.pool.capacity(replicas, self.container_concurrency)
    }

    async fn set_replicas(&mut self, replicas: u32) {
        let placement = self.share.resize(replicas);
        if placement.shortage.is_some() && placement.shortage != self.shortage {
            tracing::warn!(
                replicas,
                reason = placement.shortage,
                "replicas do not fit the machine"
            );
        }
        self.lacking = placement.shortage.as_ref().map(|_| replicas);
        self.shortage = placement.shortage;
        let replicas = placement.replicas;
        if replicas == 0 {
            return self.sleep();
        }
        self.pool.set_target(replicas as usize);
        if self.replicas == 0 {
            if let Err(error) = self.pool.warm().await {
                tracing::warn!(%error, "no instance starts");
                self.pool.set_target(0);
                return;
            }
            tracing::info!(replicas, "revision is scaled up from zero");
            self.probe();
        }
        self.replicas = replicas;
        self.give_capacity();
    }

    /// Takes the revision out of service.
    fn retire(&mut self) {
        self.activator.stop();
        self.prober = None;
        self.pool.set_target(0);
        tracing::debug!("revision is retired");
    }

    fn sleep(&mut self) {
        self.prober = None;
        self.activator.set_capacity(Capacity::Limited(0));
        self.pool.set_target(0);
        if self.probes.pass_at_start() && self.share.is_free() {
            // After the instances went: from here on a request may start one.
            self.activator.sleep(self.capacity(1));
        }
        if self.replicas > 0 {
            tracing::info!("revision is scaled to zero");
        }
        self.replicas = 0;
    }

    /// How often code ended by itself since these replicas began, and the last exit code.
    fn ends(&self) -> (u32, i32) {
        let (times, code) = self.pool.counts().ends.get();
        let times = times.wrapping_sub(self.ends_before);
        if times == 0 || self.prober.is_none() {
            return (0, 0);
        }
        (times, code)
    }

    fn tell(&mut self) {
        let elapsed = self.clock.now().since(self.state.since);
        let scale = Scale {
            actual: self.ready(),
            running: self.replicas,
            restarts: self.prober.as_ref().map_or(0, |p| p.health().restarts),
            ends: self.ends(),
            shortage: self.shortage.clone(),
            is_late: !self.state.initialized
                && self.state.activity == Activity::Activating
                && elapsed >= self.spec.progress_deadline,
            desired: self.wanted,
            activity: self.state.activity,
            initialized: self.state.initialized,
        };
        if self.told.as_ref() != Some(&scale) {
            self.told = Some(scale.clone());
            (self.report)(scale);
        }
    }
}

/// Resolves when the probes say something new; never without replicas.
async fn health(prober: &mut Option<Prober>) -> Health {
    match prober {
        Some(prober) => prober.changed().await,
        None => std::future::pending().await,
    }
}

/// Resolves when a request had to wait, not before `from`.
///
/// # Cancel safety
/// A request that had to wait is seen by the next call.
async fn waiting(activator: &Activator, from: Instant) {
    sleep_until(from).await;
    activator.poked().await;
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
