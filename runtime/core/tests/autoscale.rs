//! The parts of the autoscaler together: a revision from its first request to its last replica.

use std::collections::BTreeMap;
use std::time::Duration;

use serve_core::autoscale::decide::initial_excess_burst_capacity;
use serve_core::autoscale::to_zero::{self, Activity, Mode};
use serve_core::autoscale::{
    Config, Facts, Observation, Spec, TICK, Template, Windows, decide, plan,
};
use serve_core::time::Timestamp;

/// A revision whose replicas are ready in the second after they are wanted.
struct Revision {
    spec: Spec,
    windows: Windows,
    decisions: decide::State,
    state: to_zero::State,
    replicas: u32,
    excess_burst_capacity: i32,
    desired: Option<u32>,
    proxied_since: Option<Timestamp>,
    /// Seconds since its creation.
    age: u64,
    /// The age at each change of the number of replicas, and the number.
    history: Vec<(u64, u32)>,
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000) + Duration::from_secs(second)
}

impl Revision {
    fn new(annotations: &[(&str, &str)]) -> Self {
        let owned = |(key, value): &(&str, &str)| {
            let key = format!("autoscaling.knative.dev/{key}");
            (key, (*value).to_owned())
        };
        let annotations: BTreeMap<_, _> = annotations.iter().map(owned).collect();
        let template = Template {
            annotations: &annotations,
            container_concurrency: 0,
            progress_deadline: Duration::from_secs(600),
            reachable: true,
        };
        let spec = Spec::new(&Config::default(), template);
        Self {
            windows: Windows::new(&spec),
            decisions: decide::State::new(0, at(0)),
            state: to_zero::State::new(at(0)),
            replicas: spec.first_scale(),
            excess_burst_capacity: initial_excess_burst_capacity(&spec),
            desired: None,
            proxied_since: None,
            age: 0,
            history: vec![(0, spec.first_scale())],
            spec,
        }
    }

    /// Passes `seconds` with `concurrency` requests in flight.
    fn run(&mut self, seconds: u64, concurrency: f64) {
        for _ in 0..seconds {
            self.age += 1;
            if self.replicas > 0 || concurrency > 0.0 {
                self.windows.record(at(self.age), concurrency);
            }
            if self.age.is_multiple_of(TICK.as_secs()) {
                self.tick();
            }
        }
    }

    fn tick(&mut self) {
        let now = at(self.age);
        let observation = Observation {
            ready_replicas: self.replicas,
            load: self.windows.load(now),
        };
        if let Some(decision) = decide(&self.spec, &mut self.decisions, observation, now) {
            self.desired = Some(decision.desired);
            self.excess_burst_capacity = decision.excess_burst_capacity;
        }
        let facts = Facts {
            desired: self.desired,
            excess_burst_capacity: self.excess_burst_capacity,
            ready_replicas: self.replicas,
            proxied_since: self.proxied_since,
        };
        let plan = plan(&self.spec, self.state, facts, now);
        self.state = plan.state;
        self.proxied_since = match plan.mode {
            Mode::Proxy => self.proxied_since.or(Some(now)),
            Mode::Serve => None,
        };
        if let Some(replicas) = plan.scale.filter(|scale| *scale != self.replicas) {
            self.replicas = replicas;
            self.history.push((self.age, replicas));
        }
    }

    /// The age at which the number of replicas last became `replicas`.
    #[track_caller]
    fn last_age_at(&self, replicas: u32) -> u64 {
        let found = self.history.iter().rev().find(|entry| entry.1 == replicas);
        found.expect("it was never that many").0
    }
}

#[test]
fn a_service_is_at_zero_a_stable_window_after_its_last_request() {
    let mut revision = Revision::new(&[]);
    revision.run(100, 1.0);
    assert_eq!(revision.state.activity, Activity::Active);
    revision.run(100, 0.0);
    let idle = revision.last_age_at(0) - 100;
    assert!((60..=66).contains(&idle), "at zero after {idle} s");
    assert_eq!(revision.state.activity.reason(), "NoTraffic");

    // The next request: the host ticks at once, not when the next tick is due.
    revision.age += 1;
    revision.windows.record(at(revision.age), 1.0);
    revision.tick();
    assert_eq!(revision.replicas, 1);
    assert_eq!(revision.state.activity, Activity::Activating);
    revision.run(2, 1.0);
    assert_eq!(revision.state.activity, Activity::Active);
}

#[test]
fn without_the_activator_in_the_path_the_grace_period_comes_on_top() {
    let mut revision = Revision::new(&[("target-burst-capacity", "0")]);
    revision.run(100, 1.0);
    assert_eq!(revision.proxied_since, None);
    revision.run(200, 0.0);
    let idle = revision.last_age_at(0) - 100;
    assert!((90..=96).contains(&idle), "at zero after {idle} s");
}

#[test]
fn a_retention_period_keeps_the_last_replica() {
    let mut revision = Revision::new(&[("scale-to-zero-pod-retention-period", "2m")]);
    revision.run(100, 1.0);
    revision.run(300, 0.0);
    let idle = revision.last_age_at(0) - 100;
    assert!((180..=186).contains(&idle), "at zero after {idle} s");
}

#[test]
fn a_new_service_without_requests_goes_to_zero_once_it_was_active() {
    let mut revision = Revision::new(&[]);
    revision.run(100, 0.0);
    let age = revision.last_age_at(0);
    assert!((60..=66).contains(&age), "at zero after {age} s");
    assert!(revision.state.initialized);
}

#[test]
fn a_minimum_stays_and_a_surge_is_met_within_the_panic_window() {
    let mut revision = Revision::new(&[("min-scale", "2"), ("max-scale", "8")]);
    revision.run(100, 0.0);
    assert_eq!(revision.history, [(0, 2)]);
    revision.run(8, 1_000.0);
    assert_eq!(revision.replicas, 8, "{:?}", revision.history);
    assert!(revision.decisions.is_panicking());
    revision.run(200, 0.0);
    assert_eq!(revision.replicas, 2, "{:?}", revision.history);
}
