use serde_json::{Value, json};

use super::*;
use crate::conditions::ConditionStatus;
use crate::reconcile::revision::{ActiveFact, StartFact};
use crate::replicas::Count;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn revision() -> Revision {
    let value = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
        "metadata": {"name": "h1-00001", "namespace": "default", "uid": "u1",
            "labels": {"serving.knative.dev/service": "h1", "serving.knative.dev/routingState": "active"},
            "annotations": {"a": "b", "serving.knative.dev/routes": "h1"}},
        "spec": {"containers": [{"name": "user-container", "image": "img"}], "timeoutSeconds": 7},
        "status": {"containerStatuses": [{"name": "user-container", "imageDigest": "img@sha256:1"}]},
    });
    match Object::from_value(value) {
        Ok(Object::Revision(revision)) => *revision,
        other => panic!("{other:?}"),
    }
}

fn replicas(counts: &[(u32, u32)]) -> Replicas {
    let mut replicas = Replicas::default();
    let mut next = b'a'..;
    for (second, (ready, wanted)) in (1..).zip(counts) {
        let count = Count {
            ready: *ready,
            running: 0,
            wanted: *wanted,
        };
        let id = || char::from(next.next().expect("a letter")).to_string();
        replicas.scale(count, at(second), id);
    }
    replicas
}

/// What is to be shown, at second 9.
fn view<'a>(revision: &'a Revision, facts: &'a Facts, replicas: &'a Replicas) -> View<'a> {
    View {
        revision,
        facts,
        replicas,
        now: at(9),
    }
}

fn started(start: StartFact) -> Facts {
    Facts {
        start,
        ..Facts::default()
    }
}

/// The first Pod, without an owner, as a client sees it.
fn first_pod(view: &View<'_>) -> Value {
    make_pod(view, &ObjectMeta::default(), &view.replicas.all()[0]).to_value()
}

/// The metadata that the store would give it.
fn stored(object: &Object, uid: &str) -> ObjectMeta {
    let mut metadata = object.metadata().clone();
    uid.clone_into(&mut metadata.uid);
    metadata
}

#[test]
fn names_labels_and_owners_are_those_of_knative() {
    let (revision, facts, replicas) = (revision(), Facts::default(), replicas(&[(1, 1)]));
    let view = view(&revision, &facts, &replicas);
    let deployment = make_deployment(&view, None);
    let set = make_replica_set(&view, &stored(&deployment, "u2"), None);
    let pod = make_pod(&view, &stored(&set, "u3"), &replicas.all()[0]);
    let autoscaler = make_pod_autoscaler(&view, None);
    let hash = view.hash();
    assert_eq!(hash.len(), 10);
    for (object, name, owner) in [
        (
            &deployment,
            "h1-00001-deployment".to_owned(),
            ("Revision", "h1-00001", "u1"),
        ),
        (
            &set,
            format!("h1-00001-deployment-{hash}"),
            ("Deployment", "h1-00001-deployment", "u2"),
        ),
        (
            &autoscaler,
            "h1-00001".to_owned(),
            ("Revision", "h1-00001", "u1"),
        ),
    ] {
        let metadata = object.metadata();
        assert_eq!(metadata.name, name);
        let controller = metadata.controller().expect("owned");
        assert_eq!(
            (&*controller.kind, &*controller.name, &*controller.uid),
            owner
        );
    }
    assert_eq!(pod.metadata().name, format!("h1-00001-deployment-{hash}-a"));
    assert!(pod.metadata().is_controlled_by("u3"));
    let labels = serde_json::to_value(&pod.metadata().labels).expect("a map");
    assert_eq!(
        labels,
        json!({
            "app": "h1-00001", "pod-template-hash": hash, "serving.knative.dev/service": "h1",
            "serving.knative.dev/revision": "h1-00001", "serving.knative.dev/revisionUID": "u1",
        })
    );
    let annotations = serde_json::to_value(&pod.metadata().annotations).expect("a map");
    assert_eq!(annotations, json!({"a": "b"}));
    let pod = pod.to_value();
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 7);
    let containers = pod["spec"]["containers"].as_array().expect("a list");
    let names: Vec<_> = containers.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["user-container", "queue-proxy"]);
}

#[test]
fn counts_are_those_of_the_replicas() {
    struct Case {
        name: &'static str,
        given: &'static [(u32, u32)],
        /// wanted, there, ready, available, unavailable, terminating
        want: [Option<u64>; 6],
        available: &'static str,
    }
    let cases = [
        Case {
            name: "at zero",
            given: &[(0, 0)],
            want: [Some(0), None, None, None, None, None],
            available: "True",
        },
        Case {
            name: "starting",
            given: &[(0, 2)],
            want: [Some(2), Some(2), None, None, Some(2), None],
            available: "False",
        },
        Case {
            name: "in part",
            given: &[(1, 2)],
            want: [Some(2), Some(2), Some(1), Some(1), Some(1), None],
            available: "False",
        },
        Case {
            name: "ready",
            given: &[(2, 2)],
            want: [Some(2), Some(2), Some(2), Some(2), None, None],
            available: "True",
        },
        Case {
            name: "leaving",
            given: &[(2, 2), (1, 1)],
            want: [Some(1), Some(1), Some(1), Some(1), None, Some(1)],
            available: "True",
        },
    ];
    let (revision, facts) = (revision(), Facts::default());
    for Case {
        name,
        given,
        want,
        available,
    } in cases
    {
        let replicas = replicas(given);
        let view = view(&revision, &facts, &replicas);
        let deployment = make_deployment(&view, None).to_value();
        let count = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64);
        let found = [
            "/spec/replicas",
            "/status/replicas",
            "/status/readyReplicas",
            "/status/availableReplicas",
            "/status/unavailableReplicas",
            "/status/terminatingReplicas",
        ]
        .map(count);
        assert_eq!(found, want, "{name}");
        assert_eq!(
            deployment["status"]["conditions"][0]["status"], available,
            "{name}"
        );
        let set = make_replica_set(&view, &ObjectMeta::default(), None).to_value();
        assert_eq!(set["spec"]["replicas"].as_u64(), want[0], "{name}");
        assert_eq!(set["status"]["readyReplicas"].as_u64(), want[2], "{name}");
    }
}

#[test]
fn a_pod_that_does_not_fit_has_no_containers_yet() {
    let start = StartFact::Failed {
        reason: "Unschedulable".into(),
        message: "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.".into(),
    };
    let facts = started(start);
    let (revision, replicas) = (revision(), replicas(&[(0, 1)]));
    let view = view(&revision, &facts, &replicas);
    let pod = first_pod(&view);
    let status = &pod["status"];
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["containerStatuses"], Value::Null);
    assert_eq!(status["conditions"][0]["type"], "PodScheduled");
    assert_eq!(status["conditions"][0]["reason"], "Unschedulable");
}

#[test]
fn a_pod_says_why_it_waits() {
    let failed = StartFact::Failed {
        reason: "CreateContainerConfigError".into(),
        message: "no such map".into(),
    };
    let creating = json!({"waiting": {"reason": "ContainerCreating"}});
    let cases = [
        (
            "starting",
            StartFact::Pending,
            &[(0, 1)][..],
            "Pending",
            creating,
        ),
        (
            "failed",
            failed,
            &[(0, 1)][..],
            "Pending",
            json!({"waiting": {"reason": "CreateContainerConfigError", "message": "no such map"}}),
        ),
        (
            "ready",
            StartFact::Started,
            &[(0, 1), (1, 1)][..],
            "Running",
            json!({"running": {"startedAt": "1970-01-01T00:00:02Z"}}),
        ),
    ];
    let revision = revision();
    for (name, start, counts, phase, state) in cases {
        let facts = started(start);
        let replicas = replicas(counts);
        let view = view(&revision, &facts, &replicas);
        let pod = first_pod(&view);
        assert_eq!(pod["status"]["phase"], phase, "{name}");
        let statuses = &pod["status"]["containerStatuses"];
        assert_eq!(statuses[1]["name"], "user-container", "{name}");
        assert_eq!(statuses[1]["state"], state, "{name}");
        assert_eq!(statuses[1]["imageID"], "img@sha256:1", "{name}");
    }
}

#[test]
fn a_restart_is_counted_and_its_end_is_told() {
    let (revision, facts) = (revision(), started(StartFact::Started));
    let mut replicas = replicas(&[(1, 1)]);
    let statuses = |replicas: &Replicas| {
        let view = view(&revision, &facts, replicas);
        let pod = first_pod(&view);
        pod["status"]["containerStatuses"].clone()
    };
    let mut restarts = 0;
    replicas.restarted(1, at(5));
    for (exit_code, reason) in [(137, "Error"), (0, "Completed"), (3, "Error")] {
        restarts += 1;
        let statuses = statuses(&replicas);
        assert_eq!(statuses[0]["restartCount"], 0, "the queue goes on");
        assert_eq!(statuses[0]["lastState"], json!({}));
        assert_eq!(statuses[1]["restartCount"], restarts);
        assert_eq!(
            statuses[1]["state"]["running"]["startedAt"],
            "1970-01-01T00:00:05Z"
        );
        let terminated = json!({"exitCode": exit_code, "reason": reason,
            "startedAt": "1970-01-01T00:00:01Z", "finishedAt": "1970-01-01T00:00:05Z"});
        assert_eq!(statuses[1]["lastState"]["terminated"], terminated);
        replicas.exited(1, if exit_code == 137 { 0 } else { 3 }, at(5));
    }
}

#[test]
fn the_autoscaler_shows_scale_and_activity() {
    let cases = [
        (
            "unknown",
            StartFact::Pending,
            None,
            false,
            "Unknown",
            ConditionStatus::Unknown,
        ),
        (
            "active",
            StartFact::Started,
            Some(ActiveFact::active()),
            true,
            "True",
            ConditionStatus::True,
        ),
        (
            "at zero",
            StartFact::Started,
            Some(ActiveFact::inactive()),
            true,
            "False",
            ConditionStatus::False,
        ),
    ];
    let (revision, replicas) = (revision(), Replicas::default());
    for (name, start, active, is_initialized, want, ready) in cases {
        let facts = Facts {
            start,
            active,
            is_initialized,
            actual_replicas: Some(2),
            desired_replicas: Some(3),
            ..Facts::default()
        };
        let view = view(&revision, &facts, &replicas);
        let made = make_pod_autoscaler(&view, None);
        let value = made.to_value();
        assert_eq!(value["status"]["actualScale"], 2, "{name}");
        assert_eq!(value["status"]["desiredScale"], 3, "{name}");
        assert_eq!(value["spec"]["reachability"], "Reachable", "{name}");
        let conditions = value["status"]["conditions"].as_array().expect("a list");
        let types: Vec<_> = conditions.iter().map(|one| one["type"].as_str()).collect();
        let all = ["Active", "Ready", "SKSReady", "ScaleTargetInitialized"].map(Some);
        assert_eq!(types, all, "{name}");
        assert_eq!(conditions[0]["status"], want, "{name}");
        assert_eq!(conditions[1]["status"], json!(ready), "{name}");
        let later = View {
            now: at(60),
            ..view
        };
        // It shows the same, so it says the same, with the times of then.
        let again = make_pod_autoscaler(&later, Some(&made)).to_value();
        assert_eq!(
            again["status"]["conditions"], value["status"]["conditions"],
            "{name}"
        );
    }
}

#[test]
fn times_of_conditions_stay_while_their_status_does() {
    let (revision, facts) = (revision(), Facts::default());
    let (one, two) = (replicas(&[(1, 1)]), replicas(&[(1, 2)]));
    let view = |replicas, now| View {
        now: at(now),
        ..view(&revision, &facts, replicas)
    };
    let first = make_deployment(&view(&one, 10), None);
    let times = |object: &Object| {
        let conditions = object.to_value()["status"]["conditions"].clone();
        [0, 1].map(|index| {
            conditions[index]["lastTransitionTime"]
                .as_str()
                .map(str::to_owned)
        })
    };
    let same = make_deployment(&view(&one, 20), Some(&first));
    assert_eq!(times(&same), times(&first));
    let less = make_deployment(&view(&two, 30), Some(&same));
    assert_eq!(times(&less)[0].as_deref(), Some("1970-01-01T00:00:30Z"));
    assert_eq!(times(&less)[1], times(&first)[1]);
}

/// All objects that show a Revision: its PodAutoscaler, and the others.
fn made(view: &View<'_>) -> (Value, Vec<Value>) {
    let deployment = make_deployment(view, None);
    let set = make_replica_set(view, deployment.metadata(), None);
    let pods = view.replicas.all().iter();
    let pods = pods.map(|replica| make_pod(view, set.metadata(), replica).to_value());
    let pods: Vec<Value> = pods.collect();
    let workloads = [deployment.to_value(), set.to_value()];
    let autoscaler = make_pod_autoscaler(view, None).to_value();
    (autoscaler, workloads.into_iter().chain(pods).collect())
}

#[test]
fn another_state_of_a_revision_makes_stale_what_shows_it() {
    type Change = fn(&mut Revision);
    let cases: [(&str, Change, (bool, bool)); 9] = [
        ("nothing", |_| {}, (false, false)),
        (
            "a_route_leaves",
            |revision| {
                let meta = &mut revision.metadata;
                meta.labels
                    .insert(keys::ROUTING_STATE_LABEL.into(), "reserve".into());
                meta.annotations.remove(keys::ROUTES_ANNOTATION);
            },
            (true, false),
        ),
        (
            "another_route_comes",
            |revision| {
                let annotations = &mut revision.metadata.annotations;
                annotations.insert(keys::ROUTES_ANNOTATION.into(), "h1,h2".into());
            },
            (false, false),
        ),
        (
            "a_condition",
            |revision| revision.status.observed_generation = Some(7),
            (false, false),
        ),
        (
            "an_image",
            |revision| {
                let statuses = &mut revision.status.container_statuses;
                statuses[0].image_digest = "img@sha256:2".into();
            },
            (false, true),
        ),
        (
            "a_label",
            |revision| {
                revision.metadata.labels.insert("l".into(), "1".into());
            },
            (true, true),
        ),
        (
            "an_annotation",
            |revision| {
                revision.metadata.annotations.insert("a".into(), "c".into());
            },
            (true, true),
        ),
        (
            "another_of_the_name",
            |revision| revision.metadata.uid = "u2".into(),
            (true, true),
        ),
        (
            "the_spec",
            |revision| revision.spec.timeout_seconds = Some(8),
            (true, true),
        ),
    ];
    let facts = started(StartFact::Started);
    let replicas = replicas(&[(1, 1)]);
    let before = revision();
    for (name, change, (autoscaler, workloads)) in cases {
        let mut after = before.clone();
        change(&mut after);
        let stale = Stale::by_revision(&before, &after);
        let want = Stale {
            autoscaler,
            workloads,
        };
        assert_eq!(stale, want, "{name}");
        let made = |revision| made(&view(revision, &facts, &replicas));
        let (old, new) = (made(&before), made(&after));
        assert!(stale.autoscaler || old.0 == new.0, "{name}");
        assert!(stale.workloads || old.1 == new.1, "{name}");
    }
}

#[test]
fn another_observation_makes_stale_what_shows_it() {
    let revision = revision();
    let all_facts = [
        Facts::default(),
        started(StartFact::Started),
        Facts {
            actual_replicas: Some(1),
            ..started(StartFact::Started)
        },
        Facts {
            is_initialized: true,
            ..started(StartFact::Started)
        },
        started(StartFact::Failed {
            reason: "Unschedulable".into(),
            message: "no room".into(),
        }),
    ];
    let all_replicas = [
        replicas(&[]),
        replicas(&[(0, 1)]),
        replicas(&[(1, 1)]),
        replicas(&[(1, 1), (0, 0)]),
    ];
    let mut seen: Vec<(&Facts, &Replicas)> = Vec::new();
    for facts in &all_facts {
        seen.extend(all_replicas.iter().map(|replicas| (facts, replicas)));
    }
    for before in &seen {
        for after in &seen {
            let stale = Stale::by_facts(*before, *after);
            let made = |(facts, replicas)| made(&view(&revision, facts, replicas));
            let (old, new) = (made(*before), made(*after));
            assert!(stale.autoscaler || old.0 == new.0, "{before:?} {after:?}");
            assert!(stale.workloads || old.1 == new.1, "{before:?} {after:?}");
        }
    }
    let (scaled, started) = (
        (&all_facts[2], &all_replicas[2]),
        (&all_facts[1], &all_replicas[2]),
    );
    let only_autoscaler = Stale {
        autoscaler: true,
        workloads: false,
    };
    assert_eq!(Stale::by_facts(started, scaled), only_autoscaler);
    assert_eq!(Stale::by_facts(scaled, scaled), Stale::default());
}
