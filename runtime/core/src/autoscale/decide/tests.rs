use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::autoscale::spec::{Config, Template};

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000) + Duration::from_secs(second)
}

/// Target 7 of 10 in each replica, and no burst capacity.
fn spec() -> Spec {
    let annotations = BTreeMap::new();
    let template = Template {
        annotations: &annotations,
        container_concurrency: 10,
        progress_deadline: Duration::from_secs(600),
        reachable: true,
    };
    Spec {
        target_burst_capacity: BurstCapacity::None,
        ..Spec::new(&Config::default(), template)
    }
}

fn seen(ready_replicas: u32, stable: f64, panic: f64) -> Observation {
    Observation {
        ready_replicas,
        load: Some(Load { stable, panic }),
    }
}

/// The desired number of a first decision in stable or panic mode.
#[track_caller]
fn check(name: &str, spec: &Spec, observation: Observation, desired: u32, panic: bool) {
    let mut state = State::new(0, at(0));
    let got = decide(spec, &mut state, observation, at(2)).expect("data to decide on");
    assert_eq!((got.desired, got.panic), (desired, panic), "{name}");
}

#[test]
fn the_load_is_divided_by_the_target() {
    let spec = spec();
    check("idle", &spec, seen(0, 0.0, 0.0), 0, false);
    check("a trace", &spec, seen(1, 0.000_001, 0.0), 1, false);
    check("just one", &spec, seen(1, 7.0, 7.0), 1, false);
    check("just two", &spec, seen(1, 7.1, 7.0), 2, false);
    check("more ready than needed", &spec, seen(4, 7.0, 7.0), 2, false);
}

#[test]
fn one_decision_goes_no_further_than_its_rates() {
    let slow = Spec {
        max_scale_up_rate: 1.1,
        max_scale_down_rate: 4.0,
        ..spec()
    };
    check("up by one at least", &slow, seen(2, 70.0, 0.0), 3, false);
    check("up by a tenth", &slow, seen(20, 700.0, 0.0), 22, false);
    check("down to a quarter", &slow, seen(20, 0.0, 0.0), 5, false);
    check("down from one", &slow, seen(1, 0.0, 0.0), 0, false);
    check("panic is bounded too", &slow, seen(2, 0.0, 700.0), 3, true);
    let default = spec();
    check("down to a half", &default, seen(9, 0.0, 0.0), 4, false);
    check(
        "up to a thousandfold",
        &default,
        seen(1, 1e9, 0.0),
        1000,
        false,
    );
}

#[test]
fn an_unreachable_revision_goes_down_at_once() {
    let gone = Spec {
        reachable: false,
        scale_down_delay: Duration::from_secs(60),
        ..spec()
    };
    check("no down rate", &gone, seen(100, 0.0, 0.0), 0, false);
    let mut state = State::new(0, at(0));
    decide(&gone, &mut state, seen(3, 21.0, 21.0), at(2));
    let got = decide(&gone, &mut state, seen(3, 0.0, 0.0), at(4)).expect("data");
    assert_eq!(got.desired, 0, "no delay");
}

#[test]
fn an_activation_scale_is_the_least_other_than_zero() {
    let spec = Spec {
        activation_scale: Some(3),
        ..spec()
    };
    check("nothing asked", &spec, seen(1, 0.0, 0.0), 0, false);
    check("one asked", &spec, seen(1, 1.0, 1.0), 3, false);
    check("four asked", &spec, seen(2, 28.0, 1.0), 4, false);
    check("panic asks for two", &spec, seen(1, 0.0, 14.0), 3, true);
    check(
        "the down rate alone does not activate",
        &spec,
        seen(4, 0.0, 0.0),
        2,
        false,
    );
}

#[test]
fn without_data_nothing_is_decided() {
    let silent = Observation {
        ready_replicas: 1,
        load: None,
    };
    let mut state = State::new(1, at(0));
    assert_eq!(decide(&spec(), &mut state, silent, at(2)), None);
    let always_behind_the_activator = Spec {
        target_burst_capacity: BurstCapacity::Unlimited,
        ..spec()
    };
    let got = decide(&always_behind_the_activator, &mut state, silent, at(2));
    let want = Decision {
        desired: 0,
        excess_burst_capacity: -1,
        panic: false,
    };
    assert_eq!(got, Some(want));
}

/// Time, ready replicas, stable and panic average, and the wanted decision.
type Step = (u64, u32, f64, f64, u32, bool);

#[track_caller]
fn check_steps(spec: &Spec, mut state: State, steps: &[Step]) {
    for (second, ready, stable, panic, desired, panicking) in steps {
        let observation = seen(*ready, *stable, *panic);
        let got = decide(spec, &mut state, observation, at(*second)).expect("data");
        assert_eq!(
            (got.desired, got.panic),
            (*desired, *panicking),
            "at {second} s"
        );
        assert_eq!(state.is_panicking(), *panicking);
    }
}

#[test]
fn panic_holds_the_most_until_a_stable_window_is_calm() {
    let steps = [
        (0, 1, 3.0, 7.0, 1, false),
        (2, 1, 5.0, 14.0, 2, true),
        (4, 2, 6.0, 70.0, 10, true),
        (6, 10, 7.0, 35.0, 10, true),
        (64, 10, 7.0, 7.0, 10, true),
        // A stable window after the last time that it was asked for, at 4 s.
        (65, 10, 7.0, 7.0, 5, false),
    ];
    check_steps(&spec(), State::new(1, at(0)), &steps);
}

#[test]
fn panic_is_prolonged_while_it_is_asked_for() {
    let steps = [
        (0, 1, 0.0, 14.0, 2, true),
        (50, 2, 0.0, 28.0, 4, true),
        (100, 4, 0.0, 0.0, 4, true),
        (111, 4, 0.0, 0.0, 2, false),
        (113, 2, 0.0, 0.0, 1, false),
        // The most of the earlier panic is forgotten.
        (115, 1, 0.0, 14.0, 2, true),
    ];
    check_steps(&spec(), State::new(0, at(0)), &steps);
}

#[test]
fn a_stable_average_larger_than_the_panic_average_counts_in_panic() {
    let steps = [(0, 1, 35.0, 14.0, 5, true)];
    check_steps(&spec(), State::new(0, at(0)), &steps);
}

#[test]
fn a_restart_keeps_replicas_for_a_stable_window() {
    let steps = [
        (2, 5, 0.0, 0.0, 5, true),
        (60, 5, 0.0, 0.0, 5, true),
        (62, 5, 0.0, 0.0, 2, false),
    ];
    check_steps(&spec(), State::new(5, at(0)), &steps);
    check_steps(&spec(), State::new(1, at(0)), &[(2, 1, 0.0, 0.0, 0, false)]);
}

#[test]
fn scaling_down_waits_for_the_delay() {
    let spec = Spec {
        scale_down_delay: Duration::from_secs(4),
        ..spec()
    };
    let steps = [
        (0, 4, 28.0, 28.0, 4, false),
        (2, 4, 14.0, 14.0, 4, false),
        (4, 4, 14.0, 14.0, 2, false),
        (6, 2, 21.0, 21.0, 3, false),
    ];
    check_steps(&spec, State::new(0, at(0)), &steps);
}

#[test]
fn excess_burst_capacity_is_what_is_left_beyond_the_burst() {
    let burst = |target_burst_capacity| Spec {
        target_burst_capacity,
        ..spec()
    };
    let cases = [
        (BurstCapacity::None, 3, 500.0, 0),
        (BurstCapacity::Unlimited, 3, 0.0, -1),
        (BurstCapacity::Requests(20.0), 0, 0.0, -20),
        (BurstCapacity::Requests(20.0), 3, 0.0, 10),
        (BurstCapacity::Requests(20.0), 3, 9.5, 0),
        (BurstCapacity::Requests(20.0), 3, 10.5, -1),
        (BurstCapacity::Requests(0.5), 1, 0.0, 9),
    ];
    for (capacity, ready, panic, want) in cases {
        let mut state = State::new(0, at(0));
        let got = decide(&burst(capacity), &mut state, seen(ready, 0.0, panic), at(2));
        let got = got.expect("data").excess_burst_capacity;
        assert_eq!(got, want, "{capacity:?}, {ready} ready, {panic}");
    }
}

#[test]
fn a_new_revision_starts_with_an_excess_burst_capacity() {
    let cases = [
        (BurstCapacity::None, 1, 0),
        (BurstCapacity::Unlimited, 1, -1),
        (BurstCapacity::Requests(211.0), 1, -201),
        (BurstCapacity::Requests(211.0), 30, 89),
        (BurstCapacity::Requests(10.5), 1, 0),
    ];
    for (target_burst_capacity, initial_scale, want) in cases {
        let spec = Spec {
            target_burst_capacity,
            initial_scale,
            ..spec()
        };
        assert_eq!(initial_excess_burst_capacity(&spec), want, "{spec:?}");
    }
}
