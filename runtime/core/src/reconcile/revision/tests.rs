use serde_json::{Value, json};

use super::*;
use ConditionStatus::{False, True, Unknown};

const THEN: Timestamp = Timestamp::from_unix_seconds(100);
const NOW: Timestamp = Timestamp::from_unix_seconds(200);

fn fresh() -> Revision {
    let value = json!({
        "metadata": {"name": "r", "namespace": "ns", "uid": "u1", "generation": 1},
        "spec": {"containers": [{"name": "user-container", "image": "x"}]},
    });
    serde_json::from_value(value).expect("a valid Revision")
}

fn resolved() -> ImageFact {
    ImageFact::Resolved {
        containers: vec![ContainerStatus {
            name: "user-container".to_owned(),
            image_digest: "x@sha256:1".to_owned(),
        }],
        init_containers: Vec::new(),
    }
}

fn running() -> Facts {
    Facts {
        image: resolved(),
        start: StartFact::Started,
        active: Some(ActiveFact::active()),
        is_initialized: true,
        actual_replicas: Some(1),
        desired_replicas: Some(1),
        running_replicas: 1,
        restarts: 0,
        exit: None,
        is_late: false,
        shortage: None,
    }
}

fn view<'a>(revision: &'a Revision, facts: &'a Facts) -> View<'a> {
    View {
        revision,
        facts,
        log_url_template: "http://logs/${REVISION_UID}",
        is_always_schedulable: false,
    }
}

fn run(revision: &Revision, facts: &Facts, now: Timestamp) -> Plan<RevisionStatus> {
    super::revision(&view(revision, facts), now)
}

/// The Revision after these facts, one after the other.
fn after(all: &[Facts]) -> Revision {
    let mut revision = fresh();
    for facts in all {
        if let Some(status) = run(&revision, facts, THEN).status {
            revision.status = status;
        }
        assert!(run(&revision, facts, NOW).is_empty(), "planned twice");
    }
    revision
}

fn text(revision: &Revision) -> Vec<String> {
    let all = revision.status.conditions.iter();
    all.map(|c| format!("{} {:?} {} {}", c.kind, c.status, c.reason, c.message))
        .collect()
}

struct Case {
    name: &'static str,
    given: Vec<Facts>,
    want: &'static [&'static str],
}

#[track_caller]
fn check(case: &Case) {
    assert_eq!(text(&after(&case.given)), case.want, "{}", case.name);
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn conditions_follow_the_facts() {
    let pending = Facts {
        image: resolved(),
        ..Facts::default()
    };
    let failed = |start: StartFact| Facts {
        start,
        active: Some(ActiveFact::activating()),
        ..pending.clone()
    };
    let exiting = |is_initialized| Facts {
        active: Some(ActiveFact::activating()),
        actual_replicas: Some(0),
        exit: Some(ExitFact {
            code: 3,
            message: "boom".to_owned(),
        }),
        is_initialized,
        ..running()
    };
    let unschedulable = StartFact::Failed {
        reason: "Unschedulable".to_owned(),
        message: "no room".to_owned(),
    };
    let missing = Facts {
        image: ImageFact::Failed {
            image: "x".to_owned(),
            message: "failed to resolve image to digest: no".to_owned(),
        },
        ..Facts::default()
    };
    let inactive = Facts {
        active: Some(ActiveFact::inactive()),
        ..running()
    };
    let gave_up = Facts {
        active: Some(ActiveFact::timed_out()),
        ..pending.clone()
    };
    for case in [
        Case {
            name: "resolving",
            given: vec![Facts::default()],
            want: &[
                "ContainerHealthy Unknown  ",
                "Ready Unknown ResolvingDigests ",
                "ResourcesAvailable Unknown ResolvingDigests ",
            ],
        },
        Case {
            name: "deploying",
            given: vec![Facts::default(), pending.clone()],
            want: &[
                "Active Unknown Deploying ",
                "ContainerHealthy Unknown Deploying ",
                "Ready Unknown Deploying ",
                "ResourcesAvailable Unknown Deploying ",
            ],
        },
        Case {
            name: "ends by itself before it is ready",
            given: vec![pending.clone(), exiting(false)],
            want: &[
                "Active Unknown Queued Requests to the target are being buffered as resources are provisioned.",
                "ContainerHealthy False ExitCode3 Container failed with: boom",
                "Ready False ExitCode3 Container failed with: boom",
                "ResourcesAvailable Unknown Deploying ",
            ],
        },
        Case {
            name: "no replica stays up of one that was ready",
            given: vec![running(), exiting(true)],
            want: &[
                "Active Unknown Queued Requests to the target are being buffered as resources are provisioned.",
                "ContainerHealthy False ExitCode3 Container failed with: boom",
                "Ready False ExitCode3 Container failed with: boom",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "a replica stays up at last",
            given: vec![
                exiting(false),
                Facts {
                    exit: exiting(true).exit,
                    ..running()
                },
            ],
            want: &[
                "Active True  ",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "running",
            given: vec![pending.clone(), running()],
            want: &[
                "Active True  ",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "started but not at its initial scale",
            given: vec![Facts {
                is_initialized: false,
                active: Some(ActiveFact::activating()),
                ..running()
            }],
            want: &[
                "Active Unknown Queued Requests to the target are being buffered as resources are provisioned.",
                "ContainerHealthy Unknown Deploying ",
                "Ready Unknown Deploying ",
                "ResourcesAvailable Unknown Deploying ",
            ],
        },
        Case {
            name: "no room for any replica",
            given: vec![Facts {
                is_initialized: false,
                running_replicas: 0,
                shortage: Some("0/1 nodes are available: 1 Insufficient cpu.".to_owned()),
                active: Some(ActiveFact::activating()),
                ..running()
            }],
            want: &[
                "Active Unknown Queued Requests to the target are being buffered as resources are provisioned.",
                "ContainerHealthy Unknown  ",
                "Ready False Unschedulable 0/1 nodes are available: 1 Insufficient cpu.",
                "ResourcesAvailable False Unschedulable 0/1 nodes are available: 1 Insufficient cpu.",
            ],
        },
        Case {
            name: "no room for more replicas",
            given: vec![Facts {
                shortage: Some("0/1 nodes are available: 1 Insufficient cpu.".to_owned()),
                ..running()
            }],
            want: &[
                "Active True  ",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "late at its initial scale",
            given: vec![Facts {
                is_initialized: false,
                is_late: true,
                active: Some(ActiveFact::activating()),
                ..running()
            }],
            want: &[
                "Active Unknown Queued Requests to the target are being buffered as resources are provisioned.",
                "ContainerHealthy Unknown Deploying ",
                "Ready False ProgressDeadlineExceeded Initial scale was never achieved",
                "ResourcesAvailable False ProgressDeadlineExceeded Initial scale was never achieved",
            ],
        },
        Case {
            name: "late and there after all",
            given: vec![
                Facts {
                    is_initialized: false,
                    is_late: true,
                    active: Some(ActiveFact::activating()),
                    ..running()
                },
                running(),
            ],
            want: &[
                "Active True  ",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "no image",
            given: vec![Facts::default(), missing.clone()],
            want: &[
                "ContainerHealthy False ContainerMissing Unable to fetch image \"x\": failed to resolve image to digest: no",
                "Ready False ContainerMissing Unable to fetch image \"x\": failed to resolve image to digest: no",
                "ResourcesAvailable Unknown ResolvingDigests ",
            ],
        },
        Case {
            name: "an image after all",
            given: vec![missing.clone(), running()],
            want: &[
                "Active True  ",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "the code ends",
            given: vec![pending.clone(), failed(StartFact::exited(3, "boom"))],
            want: &[
                "Active Unknown Queued Requests to the target are being buffered as resources are provisioned.",
                "ContainerHealthy False ExitCode3 Container failed with: boom",
                "Ready False ExitCode3 Container failed with: boom",
                "ResourcesAvailable Unknown Deploying ",
            ],
        },
        Case {
            name: "the code ends in silence",
            given: vec![failed(StartFact::exited(0, ""))],
            want: &[
                "Active Unknown Queued Requests to the target are being buffered as resources are provisioned.",
                "ContainerHealthy False ExitCode0 Container failed with: container exited with no error",
                "Ready False ExitCode0 Container failed with: container exited with no error",
                "ResourcesAvailable Unknown Deploying ",
            ],
        },
        Case {
            name: "no room",
            given: vec![failed(unschedulable.clone())],
            want: &[
                "Active Unknown Queued Requests to the target are being buffered as resources are provisioned.",
                "ContainerHealthy Unknown Deploying ",
                "Ready False Unschedulable no room",
                "ResourcesAvailable False Unschedulable no room",
            ],
        },
        Case {
            name: "room after all",
            given: vec![failed(unschedulable), running()],
            want: &[
                "Active True  ",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "at zero",
            given: vec![running(), inactive],
            want: &[
                "Active False NoTraffic The target is not receiving traffic.",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "given up",
            given: vec![pending, gave_up.clone()],
            want: &[
                "Active False TimedOut The target could not be activated.",
                "ContainerHealthy Unknown Deploying ",
                "Ready False ProgressDeadlineExceeded Initial scale was never achieved",
                "ResourcesAvailable False ProgressDeadlineExceeded Initial scale was never achieved",
            ],
        },
        Case {
            name: "given up after it was ready",
            given: vec![running(), gave_up],
            want: &[
                "Active False TimedOut The target could not be activated.",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
        Case {
            name: "after a restart of the host",
            given: vec![running(), Facts::default()],
            want: &[
                "Active True  ",
                "ContainerHealthy True  ",
                "Ready True  ",
                "ResourcesAvailable True  ",
            ],
        },
    ] {
        check(&case);
    }
}

#[test]
fn ready_is_told_once() {
    let mut revision = after(&[Facts::default()]);
    let plan = run(&revision, &running(), NOW);
    assert_eq!(
        plan.events,
        [Event::normal(
            "RevisionReady",
            "Revision becomes ready upon all resources being ready"
        )]
    );
    revision.status = plan.status.expect("it became ready");
    let at_zero = Facts {
        active: Some(ActiveFact::inactive()),
        ..running()
    };
    let plan = run(&revision, &at_zero, NOW);
    assert!(plan.status.is_some() && plan.events.is_empty());
}

#[test]
fn only_what_changed_has_a_new_time() {
    let mut revision = after(&[running()]);
    let at_zero = Facts {
        active: Some(ActiveFact::inactive()),
        ..running()
    };
    revision.status = run(&revision, &at_zero, NOW).status.expect("a change");
    let time = |kind| {
        let condition = conditions::find(&revision.status.conditions, kind);
        condition.and_then(|condition| condition.last_transition_time)
    };
    assert_eq!(time(ACTIVE), Some(NOW));
    assert_eq!(time(conditions::READY), Some(THEN));
    let active = conditions::find(&revision.status.conditions, ACTIVE);
    assert_eq!(
        active.map(|condition| condition.severity.as_str()),
        Some("Info")
    );
}

#[test]
fn a_digest_stays_though_the_tag_moves() {
    let mut moved = running();
    moved.image = ImageFact::Resolved {
        containers: vec![ContainerStatus {
            name: "user-container".to_owned(),
            image_digest: "x@sha256:2".to_owned(),
        }],
        init_containers: Vec::new(),
    };
    let revision = after(&[running(), moved]);
    assert_eq!(
        revision.status.container_statuses[0].image_digest,
        "x@sha256:1"
    );
}

#[test]
fn the_status_has_replicas_and_the_place_of_logs() {
    let status = after(&[running()]).status;
    let value = serde_json::to_value(&status).expect("a status is JSON");
    let shown = |key: &str| value.get(key).cloned().unwrap_or(Value::Null);
    assert_eq!(shown("logUrl"), "http://logs/u1");
    assert_eq!(
        (shown("actualReplicas"), shown("desiredReplicas")),
        (json!(1), json!(1))
    );
    assert_eq!(shown("observedGeneration"), 1);

    let unknown = Facts {
        actual_replicas: Some(-1),
        desired_replicas: None,
        ..running()
    };
    let status = after(&[running(), unknown]).status;
    assert_eq!(
        (status.actual_replicas, status.desired_replicas),
        (None, None)
    );
}

#[test]
fn one_that_is_being_deleted_is_left_alone() {
    let mut revision = fresh();
    revision.metadata.deletion_timestamp = Some(THEN);
    assert!(run(&revision, &running(), NOW).is_empty());
}

#[test]
fn statuses_are_named_as_in_the_autoscaler() {
    let statuses = [
        ActiveFact::active(),
        ActiveFact::activating(),
        ActiveFact::inactive(),
        ActiveFact::timed_out(),
    ]
    .map(|fact| fact.status);
    assert_eq!(statuses, [True, Unknown, False, False]);
}

#[test]
fn what_is_always_schedulable_waits_for_room() {
    let revision = fresh();
    let mut facts = Facts {
        is_initialized: false,
        running_replicas: 0,
        shortage: Some("0/1 nodes are available: 1 Insufficient cpu.".to_owned()),
        active: Some(ActiveFact::activating()),
        ..running()
    };
    for (is_late, want) in [
        (false, "Unknown Deploying"),
        (true, "False ProgressDeadlineExceeded"),
    ] {
        facts.is_late = is_late;
        let view = View {
            is_always_schedulable: true,
            ..view(&revision, &facts)
        };
        let status = super::revision(&view, THEN).status.expect("a new status");
        let ready = status.conditions.iter().find(|one| one.kind == "Ready");
        let ready = ready.expect("a condition");
        assert_eq!(format!("{:?} {}", ready.status, ready.reason), want);
    }
}

#[test]
fn what_was_at_zero_and_ready_sleeps_on_and_nothing_is_written() {
    let inactive = Facts {
        active: Some(ActiveFact::inactive()),
        actual_replicas: Some(0),
        desired_replicas: Some(0),
        running_replicas: 0,
        ..running()
    };
    let leaving = Facts {
        actual_replicas: Some(1),
        ..inactive.clone()
    };
    let failed = Facts {
        start: StartFact::exited(1, "no"),
        is_initialized: false,
        ..inactive.clone()
    };
    for (name, given, sleeps) in [
        ("at zero", vec![running(), inactive.clone()], true),
        ("running", vec![running()], false),
        ("its last replica leaves", vec![running(), leaving], false),
        ("failed", vec![running(), failed], false),
        ("not yet started", vec![Facts::default()], false),
    ] {
        let revision = after(&given);
        let facts = Facts::asleep(&revision);
        assert_eq!(facts.is_some(), sleeps, "{name}");
        if let Some(facts) = facts {
            assert!(run(&revision, &facts, NOW).is_empty(), "{name}");
        }
    }
}

#[test]
fn what_others_read_of_a_revision_is_told_from_its_replicas() {
    let at_zero = Facts {
        active: Some(ActiveFact {
            status: False,
            reason: "NoTraffic".to_owned(),
            message: "The target is not receiving traffic.".to_owned(),
        }),
        actual_replicas: Some(0),
        desired_replicas: Some(0),
        running_replicas: 0,
        ..running()
    };
    let failed = Facts {
        start: StartFact::exited(1, "no"),
        is_initialized: false,
        ..running()
    };
    let labelled = |mut revision: Revision| {
        let label = (
            "serving.knative.dev/routingState".to_owned(),
            "active".to_owned(),
        );
        revision.metadata.labels.extend([label]);
        revision
    };
    let (awake, asleep) = (after(&[running()]), after(&[running(), at_zero]));
    assert_ne!(awake.status, asleep.status);
    for (name, before, after, want) in [
        ("it went to zero", &awake, &asleep, true),
        ("it woke", &asleep, &awake, true),
        ("it became ready", &fresh(), &awake, false),
        ("it failed", &awake, &after(&[failed]), false),
        ("a route came", &awake, &labelled(awake.clone()), false),
    ] {
        assert_eq!(is_only_scaled(before, after), want, "{name}");
    }
}
