//! Comparison with results of Knative's own code, in `data/vectors.jsonl`: one JSON object a line,
//! told apart by `kind`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serve_core::autoscale::decide::State;
use serve_core::autoscale::spec::{Aggregation, BurstCapacity};
use serve_core::autoscale::window::Window;
use serve_core::autoscale::{Config, Load, Observation, Spec, Template, decide};
use serve_core::forwarded;
use serve_core::names;
use serve_core::time::Timestamp;
use serve_core::traffic::rollout::{ConfigurationRollout, RevisionRollout, Rollout};

/// All vectors of `kind`, at least one.
fn vectors<T: DeserializeOwned>(kind: &str) -> Vec<T> {
    let parse = |line: &str| serde_json::from_str::<Value>(line).expect("a line is JSON");
    let vectors: Vec<T> = include_str!("data/vectors.jsonl")
        .lines()
        .map(parse)
        .filter(|vector| vector["kind"] == kind)
        .map(|vector| serde_json::from_value(vector).expect("a vector has its fields"))
        .collect();
    assert!(!vectors.is_empty(), "no vector of kind {kind}");
    vectors
}

fn at(second: f64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000) + Duration::from_secs_f64(second)
}

#[derive(Deserialize)]
struct WindowVector {
    algorithm: String,
    window_s: u64,
    events: Vec<WindowEvent>,
}

#[derive(Deserialize)]
struct WindowEvent {
    t: f64,
    record: Option<f64>,
    average: f64,
}

#[test]
fn windows_average_as_knative_does() {
    for vector in vectors::<WindowVector>("window") {
        let aggregation = match vector.algorithm.as_str() {
            "linear" => Aggregation::Linear,
            "weighted-exponential" => Aggregation::WeightedExponential,
            other => panic!("unknown algorithm {other}"),
        };
        let mut window = Window::new(Duration::from_secs(vector.window_s), aggregation);
        for event in vector.events {
            let now = at(event.t);
            if let Some(value) = event.record {
                window.record(now, value);
            }
            let got = window.average(now);
            assert!(
                (got - event.average).abs() < 1e-9,
                "{} of {} s at {} s: {got}, want {}",
                vector.algorithm,
                vector.window_s,
                event.t,
                event.average
            );
        }
    }
}

#[derive(Deserialize)]
struct ScaleVector {
    case: u32,
    spec: ScaleSpec,
    ticks: Vec<ScaleTick>,
}

#[derive(Deserialize)]
struct ScaleSpec {
    activation_scale: u32,
    max_scale_down_rate: f64,
    max_scale_up_rate: f64,
    panic_threshold: f64,
    reachable: bool,
    scale_down_delay_s: u64,
    stable_window_s: u64,
    target: f64,
    target_burst_capacity: f64,
    total: f64,
}

#[derive(Deserialize)]
struct ScaleTick {
    t: f64,
    ready: u32,
    stable: f64,
    panic: f64,
    desired: u32,
    ebc: i32,
}

impl ScaleSpec {
    fn spec(&self) -> Spec {
        let annotations = BTreeMap::new();
        let template = Template {
            annotations: &annotations,
            container_concurrency: 0,
            progress_deadline: Duration::from_secs(600),
            reachable: self.reachable,
        };
        Spec {
            activation_scale: Some(self.activation_scale).filter(|scale| *scale > 1),
            max_scale_down_rate: self.max_scale_down_rate,
            max_scale_up_rate: self.max_scale_up_rate,
            panic_threshold: self.panic_threshold,
            scale_down_delay: Duration::from_secs(self.scale_down_delay_s),
            stable_window: Duration::from_secs(self.stable_window_s),
            target: self.target,
            target_burst_capacity: BurstCapacity::from_value(self.target_burst_capacity)
                .expect("a burst capacity"),
            total: self.total,
            ..Spec::new(&Config::default(), template)
        }
    }
}

#[test]
fn decisions_are_those_of_knative() {
    for vector in vectors::<ScaleVector>("scale") {
        let spec = vector.spec.spec();
        let mut state = State::new(0, at(0.0));
        for tick in vector.ticks {
            let load = Some(Load {
                stable: tick.stable,
                panic: tick.panic,
            });
            let observation = Observation {
                ready_replicas: tick.ready,
                load,
            };
            let got = decide(&spec, &mut state, observation, at(tick.t)).expect("there is data");
            assert_eq!(
                (got.desired, got.excess_burst_capacity),
                (tick.desired, tick.ebc),
                "case {} at {} s",
                vector.case,
                tick.t
            );
        }
    }
}

#[derive(Deserialize)]
struct ForwardedVector {
    headers: BTreeMap<String, String>,
    forwarded: String,
}

#[test]
fn forwarded_is_what_knative_makes() {
    for vector in vectors::<ForwardedVector>("forwarded") {
        let header = |name: &str| vector.headers.get(name).map(String::as_str);
        let got = forwarded::value(forwarded::Headers {
            forwarded: header("Forwarded"),
            x_forwarded_for: header("X-Forwarded-For"),
            x_forwarded_host: header("X-Forwarded-Host"),
            x_forwarded_proto: header("X-Forwarded-Proto"),
        });
        let got = got.unwrap_or_default();
        assert_eq!(got, vector.forwarded, "{:?}", vector.headers);
    }
}

#[derive(Deserialize)]
struct RolloutVector {
    percent: u8,
    duration_s: u64,
    ingress_ready_after_s: f64,
    steps: Vec<RolloutStep>,
}

#[derive(Deserialize)]
struct RolloutStep {
    t: f64,
    next: Option<f64>,
    step: u8,
    revisions: Vec<RevisionRollout>,
}

#[test]
fn rollouts_take_the_steps_of_knative() {
    for vector in vectors::<RolloutVector>("rollout") {
        let goal = |revision| {
            let of = ConfigurationRollout::goal;
            Rollout::from_goals([of("", "c", vector.percent, revision)])
        };
        let mut previous = goal("c-00001");
        for step in vector.steps {
            let now = at(step.t);
            if step.t == vector.ingress_ready_after_s {
                previous.observe_ready(now, Duration::from_secs(vector.duration_s));
            }
            let got = goal("c-00002").step(Some(previous), now);
            let configuration = &got.rollout.configurations[0];
            let name = format!("{} s at {} s", vector.duration_s, step.t);
            assert_eq!(configuration.revisions, step.revisions, "{name}");
            let size = configuration.step_params.step_size_percent;
            assert_eq!(size, step.step, "{name}");
            assert_eq!(got.next, step.next.map(at), "{name}");
            previous = got.rollout;
        }
        assert!(previous.is_done());
    }
}

#[derive(Deserialize)]
struct ChildNameVector {
    parent: String,
    suffix: String,
    name: String,
}

#[test]
fn children_are_named_as_knative_does() {
    for vector in vectors::<ChildNameVector>("child-name") {
        let name = names::child_name(&vector.parent, &vector.suffix);
        assert_eq!(name, vector.name);
    }
}
