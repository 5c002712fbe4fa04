//! Probes of a replica: when to ask, and what the answers mean.
//!
//! Input: the probes of a container, the time, and the outcome of each question. Output: what to
//! ask next and when, whether the replica takes requests, and when it has to be started again.
//!
//! ```text
//!              startup passed          readiness passed successThreshold times
//!   starting ──────────────────► up ◄──────────────────────────────────────────► ready
//!      │ startup failed          │           failed failureThreshold times        │
//!      │ failureThreshold times  │ liveness failed failureThreshold times         │
//!      ▼                         ▼                                                │
//!    down: waits for the back-off, is started again ◄─────────────────────────────┘
//! ```
//!
//! All times are durations since one origin, of a clock that never goes back. Invariants: a probe
//! is asked once at a time; readiness and liveness are not asked before the startup probe passed;
//! nothing is asked of a replica that is down.
//!
//! # Source
//!
//! kubernetes pkg/kubelet/prober (worker.go, prober.go) and its back-off for restarts;
//! knative/serving pkg/queue/readiness for a period of 0. Differs: there is no jitter.

use std::time::Duration;

use crate::api::podspec::{self, Container};

/// What Kubernetes gives to a probe that does not say.
const PERIOD: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(1);
const FAILURES: u32 = 3;

/// The probe with period 0 asks this often until it passed.
///
/// Source: knative/serving pkg/queue/readiness, `retryInterval`.
const AGGRESSIVE_PERIOD: Duration = Duration::from_millis(50);
/// And waits this long for each answer.
///
/// Source: knative/serving pkg/queue/readiness, `aggressiveProbeTimeout`.
const AGGRESSIVE_TIMEOUT: Duration = Duration::from_millis(100);

/// The pause before the second restart; it doubles with each, up to the largest. The first restart
/// does not wait.
///
/// Source: kubernetes pkg/kubelet, `backOffPeriod` and `MaxContainerBackOff`.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LARGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// A replica that was up for this long starts over with its pauses.
const BACK_OFF_IS_OVER: Duration = Duration::from_secs(600);

/// The probes of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    pub startup: Option<Check>,
    pub readiness: Option<Check>,
    pub liveness: Option<Check>,
}

/// One probe with every default applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub action: Action,
    pub initial_delay: Duration,
    /// Zero: as often as Knative does until it passed, then as Kubernetes does.
    pub period: Duration,
    pub timeout: Duration,
    /// Answers in a row that count.
    pub successes: u32,
    pub failures: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Whether it was started: what a TCP connection shows of a server.
    Started,
    HttpGet {
        /// Begins with a slash.
        path: String,
        /// Empty: the replica's own.
        host: String,
        headers: Vec<(String, String)>,
    },
    /// The health service of gRPC.
    Grpc { service: String },
}

/// Which of the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Startup,
    Readiness,
    Liveness,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    /// It could not be asked; as if it had not been.
    Unknown,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask; [`State::begin`] and [`State::answered`] follow.
    Ask(Kind),
    /// Start it again; [`State::started`] or [`State::did_not_start`] follows.
    Start,
}

/// A probe asks something that a component does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOffered {
    /// As in the container.
    pub field: &'static str,
}

impl Probes {
    /// The probes of `container`, which was admitted.
    ///
    /// # Errors
    /// [`NotOffered`] for a probe that runs a program in the container.
    pub fn of(container: &Container) -> Result<Self, NotOffered> {
        let check = |probe: &Option<Box<podspec::Probe>>, field| {
            let check = |probe| Check::of(probe).ok_or(NotOffered { field });
            probe.as_deref().map(check).transpose()
        };
        Ok(Self {
            startup: check(&container.startup_probe, "startupProbe.exec")?,
            readiness: check(&container.readiness_probe, "readinessProbe.exec")?,
            liveness: check(&container.liveness_probe, "livenessProbe.exec")?,
        })
    }

    /// Whether a replica is ready as soon as it was started.
    #[must_use]
    pub fn pass_at_start(&self) -> bool {
        [&self.startup, &self.readiness]
            .into_iter()
            .flatten()
            .all(|check| {
                check.action == Action::Started
                    && check.initial_delay.is_zero()
                    && check.successes <= 1
            })
    }

    /// The probe of this kind.
    #[must_use]
    pub fn get(&self, kind: Kind) -> Option<&Check> {
        match kind {
            Kind::Startup => self.startup.as_ref(),
            Kind::Readiness => self.readiness.as_ref(),
            Kind::Liveness => self.liveness.as_ref(),
        }
    }
}

impl Check {
    fn of(probe: &podspec::Probe) -> Option<Self> {
        let seconds = |value: Option<i64>| {
            let value = value.and_then(|value| u64::try_from(value).ok());
            Duration::from_secs(value.unwrap_or_default())
        };
        let count = |value: Option<i64>, default| {
            let value = value.and_then(|value| u32::try_from(value).ok());
            value.filter(|value| *value > 0).unwrap_or(default)
        };
        Some(Self {
            action: Action::of(probe)?,
            initial_delay: seconds(probe.initial_delay_seconds),
            period: seconds(probe.period_seconds),
            timeout: Some(seconds(probe.timeout_seconds))
                .filter(|timeout| !timeout.is_zero())
                .unwrap_or(TIMEOUT),
            successes: count(probe.success_threshold, 1),
            failures: count(probe.failure_threshold, FAILURES),
        })
    }

    /// How often it is asked, and how long an answer may take.
    fn pace(&self, kind: Kind, is_ready: bool) -> (Duration, Duration) {
        if !self.period.is_zero() {
            (self.period, self.timeout)
        } else if kind == Kind::Readiness && !is_ready {
            (AGGRESSIVE_PERIOD, AGGRESSIVE_TIMEOUT)
        } else {
            (PERIOD, self.timeout)
        }
    }
}

impl Action {
    fn of(probe: &podspec::Probe) -> Option<Self> {
        if let Some(get) = &probe.http_get {
            let slash = if get.path.starts_with('/') { "" } else { "/" };
            return Some(Self::HttpGet {
                path: format!("{slash}{}", get.path),
                host: get.host.clone(),
                headers: get
                    .http_headers
                    .iter()
                    .map(|header| (header.name.clone(), header.value.clone()))
                    .collect(),
            });
        }
        if let Some(grpc) = &probe.grpc {
            let service = grpc.service.clone().unwrap_or_default();
            return Some(Self::Grpc { service });
        }
        probe.exec.is_none().then_some(Self::Started)
    }
}

/// What is known of a replica by its probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    phase: Phase,
    startup: Track,
    readiness: Track,
    liveness: Track,
    /// The startup probe passed, or there is none.
    is_started: bool,
    is_ready: bool,
    restarts: u32,
    /// Restarts since it last was up for long.
    in_a_row: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Up { since: Duration },
    Down { until: Duration },
    Starting,
}

/// The questions of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Track {
    due: Duration,
    is_asked: bool,
    passed: u32,
    failed: u32,
}

impl State {
    /// A replica that was started at `now`.
    #[must_use]
    pub fn new(probes: &Probes, now: Duration) -> Self {
        let mut state = Self {
            phase: Phase::Starting,
            startup: Track::default(),
            readiness: Track::default(),
            liveness: Track::default(),
            is_started: false,
            is_ready: false,
            restarts: 0,
            in_a_row: 0,
        };
        state.started(probes, now);
        state
    }

    /// Whether it takes requests.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether there is an instance to ask.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// How often it was started again.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// What to do next, and when; `None` when nothing has to be done before an answer comes.
    #[must_use]
    pub fn next(&self, probes: &Probes) -> Option<(Duration, Step)> {
        match self.phase {
            Phase::Starting => return None,
            Phase::Down { until } => return Some((until, Step::Start)),
            Phase::Up { .. } => {}
        }
        let kinds: &[Kind] = if self.is_started {
            &[Kind::Readiness, Kind::Liveness]
        } else {
            &[Kind::Startup]
        };
        let due = kinds.iter().filter_map(|kind| {
            let check = probes.get(*kind)?;
            let track = self.track(*kind);
            // It was started and stays so: there is no other answer to come.
            let settled = check.action == Action::Started
                && match kind {
                    Kind::Startup => false,
                    Kind::Readiness => self.is_ready,
                    Kind::Liveness => true,
                };
            (!track.is_asked && !settled).then_some((track.due, Step::Ask(*kind)))
        });
        due.min_by_key(|(at, _)| *at)
    }

    /// A question of this kind is asked. Returns how long its answer may take.
    pub fn begin(&mut self, probes: &Probes, kind: Kind) -> Duration {
        let is_ready = self.is_ready;
        self.track_mut(kind).is_asked = true;
        let pace = probes.get(kind).map(|check| check.pace(kind, is_ready));
        pace.map_or(TIMEOUT, |(_, timeout)| timeout)
    }

    /// A question that was asked at `asked` has this outcome at `now`.
    pub fn answered(
        &mut self,
        probes: &Probes,
        kind: Kind,
        outcome: Outcome,
        (asked, now): (Duration, Duration),
    ) {
        let Some(check) = probes.get(kind).filter(|_| self.is_up()) else {
            return;
        };
        let track = self.track_mut(kind);
        track.is_asked = false;
        match outcome {
            Outcome::Passed => (track.passed, track.failed) = (track.passed + 1, 0),
            Outcome::Failed => (track.passed, track.failed) = (0, track.failed + 1),
            Outcome::Unknown => {}
        }
        let passed = track.passed >= check.successes;
        let failed = track.failed >= check.failures;
        match kind {
            Kind::Startup if passed => self.pass_startup(probes, now),
            Kind::Startup | Kind::Liveness if failed => self.go_down(now),
            Kind::Readiness if passed => self.is_ready = true,
            Kind::Readiness if failed => self.is_ready = false,
            _ => {}
        }
        // As a ticker: a slow answer does not make the next question later, but skips what it missed.
        let (period, _) = check.pace(kind, self.is_ready);
        self.track_mut(kind).due = (asked + period).max(now);
    }

    /// It was started again at `now`.
    pub fn started(&mut self, probes: &Probes, now: Duration) {
        self.phase = Phase::Up { since: now };
        for kind in [Kind::Startup, Kind::Readiness, Kind::Liveness] {
            let delay = probes.get(kind).map(|check| check.initial_delay);
            *self.track_mut(kind) = Track {
                due: now + delay.unwrap_or_default(),
                ..Track::default()
            };
        }
        (self.is_started, self.is_ready) = (false, false);
        if probes.startup.is_none() {
            self.pass_startup(probes, now);
        }
    }

    /// It is being started again.
    pub fn starting(&mut self) {
        self.phase = Phase::Starting;
    }

    /// It did not start.
    pub fn did_not_start(&mut self, now: Duration) {
        self.go_down(now);
    }

    fn pass_startup(&mut self, probes: &Probes, now: Duration) {
        self.is_started = true;
        self.is_ready = probes.readiness.is_none();
        for track in [&mut self.readiness, &mut self.liveness] {
            track.due = track.due.max(now);
        }
    }

    fn go_down(&mut self, now: Duration) {
        if let Phase::Up { since } = self.phase
            && now.saturating_sub(since) >= BACK_OFF_IS_OVER
        {
            self.in_a_row = 0;
        }
        let pause = match self.in_a_row {
            0 => Duration::ZERO,
            // The shift ends where the largest pause is reached for long.
            n => (FIRST_BACK_OFF * (1 << (n - 1).min(8))).min(LARGEST_BACK_OFF),
        };
        self.phase = Phase::Down { until: now + pause };
        (self.is_started, self.is_ready) = (false, false);
        self.restarts = self.restarts.saturating_add(1);
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    fn track(&self, kind: Kind) -> &Track {
        match kind {
            Kind::Startup => &self.startup,
            Kind::Readiness => &self.readiness,
            Kind::Liveness => &self.liveness,
        }
    }

    fn track_mut(&mut self, kind: Kind) -> &mut Track {
        match kind {
            Kind::Startup => &mut self.startup,
            Kind::Readiness => &mut self.readiness,
            Kind::Liveness => &mut self.liveness,
        }
    }
}

#[cfg(test)]
mod tests;
