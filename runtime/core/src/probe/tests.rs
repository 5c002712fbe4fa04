use serde_json::json;

use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn probes(container: serde_json::Value) -> Probes {
    let container: Container = serde_json::from_value(container).expect("a container");
    Probes::of(&container).expect("offered")
}

/// Asks whatever is due up to `until`, each question answered by `answer` at once; returns what
/// was asked or done, and when.
fn run(
    probes: &Probes,
    state: &mut State,
    until: Duration,
    mut answer: impl FnMut(Kind, Duration) -> Outcome,
) -> Vec<(Duration, Step)> {
    let mut done = Vec::new();
    while let Some((at, step)) = state.next(probes).filter(|(at, _)| *at <= until) {
        done.push((at, step));
        assert!(done.len() < 10_000, "it asks without end at {at:?}");
        match step {
            Step::Ask(kind) => {
                state.begin(probes, kind);
                state.answered(probes, kind, answer(kind, at), (at, at));
            }
            Step::Start => {
                state.starting();
                assert_eq!(state.next(probes), None, "one start at a time");
                state.started(probes, at);
            }
        }
    }
    done
}

#[test]
fn a_container_that_was_started_is_ready_and_asks_nothing() {
    for container in [
        json!({}),
        json!({"readinessProbe": {"tcpSocket": {"port": 0}, "successThreshold": 1}}),
        json!({"readinessProbe": {"tcpSocket": {}}, "livenessProbe": {"tcpSocket": {}},
            "startupProbe": {"tcpSocket": {}}}),
    ] {
        let probes = probes(container.clone());
        let mut state = State::new(&probes, s(5));
        run(&probes, &mut state, s(5), |_, _| Outcome::Passed);
        assert!(state.is_ready(), "{container}");
        assert!(probes.pass_at_start(), "{container}");
        assert_eq!(state.next(&probes), None, "{container}");
    }
}

#[test]
fn what_has_to_be_asked_or_waited_for_does_not_pass_at_the_start() {
    for probe in [
        json!({"httpGet": {}}),
        json!({"grpc": {}}),
        json!({"tcpSocket": {}, "initialDelaySeconds": 1}),
        json!({"tcpSocket": {}, "successThreshold": 2}),
    ] {
        assert!(!probes(json!({"readinessProbe": probe})).pass_at_start());
        assert!(!probes(json!({"startupProbe": probe})).pass_at_start());
        assert!(probes(json!({"livenessProbe": probe})).pass_at_start());
    }
}

struct Case {
    name: &'static str,
    given: serde_json::Value,
    /// Outcomes in order; the last one stays.
    answers: &'static [Outcome],
    until: Duration,
    /// When it asked, in milliseconds, whether it is ready in the end, and its restarts.
    want: (&'static [u64], bool, u32),
}

const PASS: Outcome = Outcome::Passed;
const FAIL: Outcome = Outcome::Failed;

#[test]
fn thresholds_delays_and_periods_count_as_in_kubernetes() {
    let get = json!({"path": "/ready"});
    let cases = [
        Case {
            name: "period_zero_asks_every_50_ms_until_it_passed",
            given: json!({"readinessProbe": {"httpGet": get}}),
            answers: &[FAIL, FAIL, FAIL, FAIL, PASS],
            until: s(11),
            want: (&[0, 50, 100, 150, 200, 10_200], true, 0),
        },
        Case {
            name: "after_that_it_turns_unready_by_three_failures",
            given: json!({"readinessProbe": {"httpGet": get}}),
            answers: &[PASS, FAIL],
            until: s(30),
            want: (&[0, 10_000, 20_000, 30_000], false, 0),
        },
        Case {
            name: "initial_delay_and_success_threshold",
            given: json!({"readinessProbe": {"httpGet": get, "initialDelaySeconds": 3,
                "periodSeconds": 2, "successThreshold": 2}}),
            answers: &[PASS, FAIL, PASS, PASS],
            until: s(9),
            want: (&[3000, 5000, 7000, 9000], true, 0),
        },
        Case {
            name: "an_unknown_outcome_is_none",
            given: json!({"readinessProbe": {"httpGet": get, "periodSeconds": 1,
                "failureThreshold": 2}}),
            answers: &[PASS, FAIL, Outcome::Unknown, PASS, FAIL, Outcome::Unknown],
            until: s(6),
            want: (&[0, 1000, 2000, 3000, 4000, 5000, 6000], true, 0),
        },
        Case {
            name: "a_delay_without_a_question_counts_too",
            given: json!({"readinessProbe": {"tcpSocket": {}, "initialDelaySeconds": 4,
                "periodSeconds": 1}}),
            answers: &[PASS],
            until: s(60),
            want: (&[4000], true, 0),
        },
        Case {
            name: "liveness_restarts_after_its_failures",
            given: json!({"livenessProbe": {"httpGet": get, "periodSeconds": 1,
                "failureThreshold": 2}}),
            answers: &[FAIL, FAIL, PASS],
            until: s(3),
            want: (&[0, 1000, 1000, 1000, 2000, 3000], true, 1),
        },
        Case {
            name: "a_startup_probe_comes_first_and_restarts",
            given: json!({"readinessProbe": {"httpGet": get, "periodSeconds": 5},
                "startupProbe": {"httpGet": get, "periodSeconds": 1, "failureThreshold": 2}}),
            answers: &[FAIL, FAIL, FAIL, PASS],
            until: s(3),
            want: (&[0, 1000, 1000, 1000, 2000, 2000], true, 1),
        },
    ];
    for case in cases {
        let probes = probes(case.given);
        let mut state = State::new(&probes, s(0));
        let mut answers = case.answers.iter();
        let mut last = PASS;
        let done = run(&probes, &mut state, case.until, |_, _| {
            last = answers.next().copied().unwrap_or(last);
            last
        });
        let at: Vec<u64> = done.iter().map(|(at, _)| at.as_millis() as u64).collect();
        let got = (at.as_slice(), state.is_ready(), state.restarts());
        assert_eq!(got, case.want, "{}: {done:?}", case.name);
    }
}

#[test]
fn restarts_wait_longer_each_time_and_start_over_after_ten_minutes() {
    let probes = probes(json!({"livenessProbe": {"httpGet": {}, "periodSeconds": 1,
        "failureThreshold": 1}}));
    let mut state = State::new(&probes, s(0));
    let starts = |state: &mut State, until, outcome| -> Vec<u64> {
        let done = run(&probes, state, until, |_, _| outcome);
        let starts = done.iter().filter(|(_, step)| *step == Step::Start);
        starts.map(|(at, _)| at.as_secs()).collect()
    };
    assert_eq!(
        starts(&mut state, s(1000), FAIL),
        [0, 10, 30, 70, 150, 310, 610, 910]
    );
    assert!(!state.is_up());
    // Two more by the time of the last pause, then it stays up.
    assert_eq!(starts(&mut state, s(1210), PASS), [1210]);
    starts(&mut state, s(1210 + 601), PASS);
    assert!(state.is_ready());
    assert_eq!(starts(&mut state, s(1815), FAIL), [1812], "at once again");
}

#[test]
fn pace_is_knatives_until_ready_and_kubernetes_after() {
    let probes = probes(json!({"readinessProbe": {"httpGet": {}}}));
    let mut state = State::new(&probes, s(0));
    assert_eq!(state.begin(&probes, Kind::Readiness), ms(100));
    state.answered(&probes, Kind::Readiness, PASS, (s(0), ms(80)));
    assert_eq!(state.begin(&probes, Kind::Readiness), s(1));
}

#[test]
fn what_is_asked_is_read_from_the_container() {
    let http = probes(
        json!({"livenessProbe": {"httpGet": {"path": "live", "host": "a.b",
        "httpHeaders": [{"name": "X-A", "value": "1"}]}, "timeoutSeconds": 4}}),
    );
    let check = http.liveness.expect("set");
    let headers = vec![("X-A".to_owned(), "1".to_owned())];
    let (path, host) = ("/live".to_owned(), "a.b".to_owned());
    let want = Action::HttpGet {
        path,
        host,
        headers,
    };
    assert_eq!((check.action, check.timeout), (want, s(4)));
    let grpc = probes(json!({"readinessProbe": {"grpc": {"service": "x"}}}));
    let service = "x".to_owned();
    assert_eq!(
        grpc.readiness.map(|c| c.action),
        Some(Action::Grpc { service })
    );
    let container: Container =
        serde_json::from_value(json!({"startupProbe": {"exec": {"command": ["true"]}}}))
            .expect("a container");
    let field = "startupProbe.exec";
    assert_eq!(Probes::of(&container), Err(NotOffered { field }));
}

fn xorshift(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

/// The answers to readiness probes in the plainest way.
#[derive(Default)]
struct Readiness {
    answers: Vec<bool>,
    is_ready: bool,
}

impl Readiness {
    fn answered(&mut self, probes: &Probes, passed: bool) {
        self.answers.push(passed);
        let check = probes.readiness.as_ref().expect("it was asked");
        let needed = if passed {
            check.successes
        } else {
            check.failures
        };
        let in_a_row = self
            .answers
            .iter()
            .rev()
            .take_while(|answer| **answer == passed);
        if in_a_row.count() >= needed as usize {
            self.is_ready = passed;
        }
    }
}

/// Random probes, outcomes, delays of answers and failing starts: a replica is ready only after
/// enough answers in a row, never before its startup probe passed and never while it is down; and
/// there is always something to wait for.
#[test]
fn random_answers_break_no_rule() {
    for seed in 1..200_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut check = |present: bool| {
            present.then(|| Check {
                action: Action::Grpc {
                    service: String::new(),
                },
                initial_delay: s(xorshift(&mut random) % 3),
                period: s(xorshift(&mut random) % 3),
                timeout: s(1),
                successes: 1 + (xorshift(&mut random) % 3) as u32,
                failures: 1 + (xorshift(&mut random) % 3) as u32,
            })
        };
        let probes = Probes {
            startup: check(seed.is_multiple_of(2)),
            readiness: check(!seed.is_multiple_of(3)),
            liveness: check(!seed.is_multiple_of(5)),
        };
        let mut state = State::new(&probes, s(0));
        let mut now = s(0);
        let mut asked: Vec<(Kind, Duration)> = Vec::new();
        let mut startup = 0;
        let mut model = Readiness::default();
        for _ in 0..300 {
            let next = state.next(&probes);
            assert!(
                next.is_some()
                    || !asked.is_empty()
                    || probes == Probes::default()
                    || (probes.readiness.is_none() && probes.liveness.is_none()),
                "seed {seed}: nothing will ever happen"
            );
            if let Some((at, step)) = next
                && (asked.is_empty() || xorshift(&mut random).is_multiple_of(2))
            {
                now = now.max(at);
                match step {
                    Step::Ask(kind) => {
                        assert!(asked.iter().all(|(other, _)| *other != kind), "seed {seed}");
                        state.begin(&probes, kind);
                        asked.push((kind, now));
                    }
                    Step::Start => {
                        asked.clear();
                        state.starting();
                        if xorshift(&mut random).is_multiple_of(4) {
                            state.did_not_start(now);
                        } else {
                            state.started(&probes, now);
                            (startup, model) = (0, Readiness::default());
                        }
                    }
                }
            } else if let Some((kind, at)) = asked.pop() {
                now += ms(xorshift(&mut random) % 1000);
                let passed = !xorshift(&mut random).is_multiple_of(3);
                let outcome = if passed { PASS } else { FAIL };
                let before = state.restarts();
                state.answered(&probes, kind, outcome, (at, now));
                match kind {
                    Kind::Startup if passed => startup += 1,
                    Kind::Startup => startup = 0,
                    Kind::Readiness => model.answered(&probes, passed),
                    Kind::Liveness => {}
                }
                if state.restarts() > before {
                    assert!(!passed && kind != Kind::Readiness, "seed {seed}");
                    asked.clear();
                }
                if kind == Kind::Readiness {
                    assert_eq!(state.is_ready(), model.is_ready, "seed {seed}");
                }
            }
            if state.is_ready() {
                assert!(state.is_up(), "seed {seed}");
                let needs = probes.startup.as_ref().map_or(0, |check| check.successes);
                assert!(startup >= needs, "seed {seed}");
            }
        }
    }
}
