//! Replicas of real guests under a whole runtime: probes, queues, limits, time-outs, room on the
//! machine, and deletion under load.

use std::sync::atomic::AtomicBool;

use futures_util::future::join_all;
use serde_json::{Value, json};
use serve_core::api::Revision;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_runtime::progress::Step;

use super::host::{Host, reused, says};
use super::*;

#[tokio::test]
async fn an_old_revision_serves_while_a_new_one_never_gets_ready() {
    let host = Host::start();
    host.service("sick", json!({}), json!({}), json!({})).await;
    host.ready(1).await;
    let probe = json!({"readinessProbe": {"httpGet": {"path": "/broken"}}});
    let annotations = json!({"serving.knative.dev/progress-deadline": "2s"});
    host.service("sick", annotations, json!({}), probe).await;
    let text = "Ready False ProgressDeadlineExceeded Initial scale was never achieved";
    host.revision(2, |revision| says(revision, text)).await;
    assert_eq!(host.get("/").await.0, 200);
}

#[tokio::test]
async fn a_request_waits_until_the_probe_passes() {
    let host = Host::start();
    // It is sick itself if it is asked for anything else.
    let probe = json!({"readinessProbe": {"httpGet": {"path": "/well", "httpHeaders":
        [{"name": "X-Who", "value": "probe"}]}, "periodSeconds": 1}});
    host.service("sick", reused(), json!({}), probe).await;
    host.ready(1).await;
    assert_eq!(host.get("/").await.0, 200);
}

#[tokio::test]
async fn a_sick_guest_is_restarted_by_its_liveness_probe() {
    let host = Host::start();
    let probe = json!({"livenessProbe": {"httpGet": {"path": "/"}, "periodSeconds": 1,
        "failureThreshold": 1}});
    host.service("sick", reused(), json!({}), probe).await;
    host.ready(1).await;
    assert_eq!(host.get("/break").await.0, 500);
    host.until("/", 200).await;
}

/// A guest that answers `grpc.health.v1.Health/Check`, with trailers.
#[tokio::test(start_paused = true)]
async fn a_grpc_probe_asks_the_guest_whether_it_serves() {
    let host = Host::paused();
    let probe = json!({"readinessProbe": {"grpc": {"port": 8080}, "periodSeconds": 1,
        "failureThreshold": 1}});
    host.service("grpc-health", reused(), json!({}), probe)
        .await;
    host.ready(1).await;
    let is = |replicas| move |one: &Revision| one.status.actual_replicas == Some(replicas);
    assert_eq!(host.get("/break").await.0, 200);
    host.revision(1, is(0)).await;
    // No request comes to one that is not ready, so it cannot be healed by one.
    let healed = host.get("/heal");
    assert!(
        tokio::time::timeout(Duration::from_secs(20), healed)
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_grpc_probe_names_its_service() {
    for (service, message) in [
        ("sick", "NOT_SERVING"),
        ("unknown", "NOT_FOUND in the trailers"),
    ] {
        let host = Host::paused();
        let probe = json!({"readinessProbe": {"grpc": {"port": 8080, "service": service}}});
        let annotations = json!({"serving.knative.dev/progress-deadline": "30s"});
        host.service("grpc-health", annotations, json!({}), probe)
            .await;
        let start = tokio::time::Instant::now();
        let text = "Ready False ProgressDeadlineExceeded";
        host.revision(1, |revision| says(revision, text)).await;
        let at = start.elapsed().as_secs();
        assert!((30..=32).contains(&at), "{message}: {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_liveness_probe_by_grpc_restarts_the_guest() {
    let host = Host::paused();
    // Beside no other probe, so that there is one instance for all that is asked.
    let probe = json!({"livenessProbe": {"grpc": {"port": 8080}, "periodSeconds": 1,
        "failureThreshold": 1}});
    host.service("grpc-health", reused(), json!({}), probe)
        .await;
    host.ready(1).await;
    assert_eq!(host.get("/break").await.0, 200);
    // Once: the new instance is well. Before the revision goes to zero, and its pod with it.
    container(&host, |status| status["restartCount"] == 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    container(&host, |status| status["restartCount"] == 1).await;
    assert_eq!(host.get("/").await.0, 200);
}

#[tokio::test]
async fn a_probe_that_runs_a_program_is_refused_by_name() {
    let host = Host::start();
    let probe = json!({"livenessProbe": {"exec": {"command": ["true"]}}});
    host.service("sick", json!({}), json!({}), probe).await;
    let text = "Ready False CreateContainerConfigError livenessProbe.exec is not offered: a \
                component has no programs to run";
    host.revision(1, |revision| says(revision, text)).await;
}

#[tokio::test]
async fn memory_is_limited_as_the_manifest_says() {
    let host = Host::start();
    let limits = json!({"resources": {"limits": {"memory": "350Mi"}}});
    host.service("allocate", json!({}), json!({}), limits).await;
    host.ready(1).await;
    for (path, status) in [
        ("/100/0", 200),
        ("/200/0", 200),
        ("/500/0", 500),
        ("/200/200", 500),
        ("/100/100", 200),
    ] {
        assert_eq!(host.get(path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn what_the_machine_does_not_have_is_unschedulable() {
    let host = Host::start();
    let gpu = json!({"resources": {"limits": {"nvidia.com/gpu": "1"}}});
    host.service("sick", json!({}), json!({}), gpu).await;
    let text = "Ready False Unschedulable 0/1 nodes are available: 1 Insufficient nvidia.com/gpu.";
    host.revision(1, |revision| says(revision, text)).await;
    let much = json!({"resources": {"requests": {"cpu": "10000", "memory": "1Ei"}}});
    host.service("sick", json!({}), json!({}), much).await;
    let text = "ResourcesAvailable False Unschedulable 0/1 nodes are available: 1 Insufficient \
                cpu, 1 Insufficient memory.";
    host.revision(2, |revision| says(revision, text)).await;
}

/// Guests that compute and guests that wait are both stopped from outside.
#[tokio::test]
async fn time_outs_end_every_guest() {
    let cases = [
        (
            "spin",
            json!({"timeoutSeconds": 1}),
            (504, "request timeout"),
        ),
        (
            "wait",
            json!({"timeoutSeconds": 1}),
            (504, "request timeout"),
        ),
        (
            "spin",
            json!({"responseStartTimeoutSeconds": 1}),
            (504, "request timeout"),
        ),
        (
            "wait",
            json!({"responseStartTimeoutSeconds": 1}),
            (504, "request timeout"),
        ),
        (
            "spin",
            json!({"idleTimeoutSeconds": 1}),
            (504, "request timeout"),
        ),
        (
            "wait",
            json!({"idleTimeoutSeconds": 1}),
            (504, "request timeout"),
        ),
        // Sends forever: the text is appended and the response ends well.
        (
            "drip",
            json!({"timeoutSeconds": 1}),
            (200, "request timeout"),
        ),
    ];
    let checks = cases.map(|(guest, spec, want)| async move {
        let host = Host::start();
        host.service(guest, json!({}), spec.clone(), json!({}))
            .await;
        host.ready(1).await;
        let (status, body) = host.get("/").await;
        let body = body.trim_start_matches('.');
        assert_eq!((status, body), want, "{guest} {spec}");
    });
    for check in checks {
        check.await;
    }
}

#[tokio::test]
async fn a_herd_at_zero_is_answered_and_compiles_once() {
    let host = Host::start();
    let mut progress = host.runtime.progress();
    let zero = json!({"allow-zero-initial-scale": "true", "initial-scale": "0"});
    host.set("config-autoscaler", zero).await;
    let concurrency = json!({"containerConcurrency": 50});
    host.service("hello", json!({}), concurrency, json!({}))
        .await;
    let revision = host.ready(1).await;
    assert_eq!(revision.status.actual_replicas.unwrap_or(0), 0);
    let answers = join_all((0..500).map(|_| host.get("/"))).await;
    let failed: Vec<_> = answers
        .iter()
        .filter(|(status, _)| *status != 200)
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let mut compiled = 0;
    while let Ok(step) = progress.try_recv() {
        compiled += usize::from(step.step == Step::Compile && step.is_over);
    }
    assert_eq!(compiled, 1);
}

#[tokio::test]
async fn a_hundred_slow_requests_at_concurrency_one_are_all_answered() {
    let host = Host::start();
    let annotations = json!({"autoscaling.knative.dev/max-scale": "10"});
    let concurrency = json!({"containerConcurrency": 1});
    host.service("slow", annotations, concurrency, json!({}))
        .await;
    host.ready(1).await;
    let answers = join_all((0..100).map(|_| host.get("/"))).await;
    let wrong = answers
        .iter()
        .find(|answer| **answer != (200, "123".to_owned()));
    assert_eq!(wrong, None);
    let revision = host.revision(1, |revision| revision.status.actual_replicas == Some(10));
    revision.await;
}

#[tokio::test]
async fn settings_of_the_autoscaler_act_on_what_runs() {
    let host = Host::start();
    host.service("hello", json!({}), json!({}), json!({})).await;
    host.ready(1).await;
    for replicas in [3, 2] {
        let data = json!({"min-scale": replicas.to_string(), "stable-window": "6s"});
        host.set("config-autoscaler", data).await;
        let is_so = |revision: &Revision| revision.status.actual_replicas == Some(replicas);
        host.revision(1, is_so).await;
    }
    assert_eq!(host.get("/").await.0, 200);
}

/// Clients at full speed while replicas come and go and the Revision they came to is deleted.
#[tokio::test]
async fn a_revision_that_is_deleted_under_load_loses_no_request() {
    let host = Host::start();
    let concurrency = json!({"containerConcurrency": 2});
    let scale = |min: u32| {
        json!({"autoscaling.knative.dev/min-scale": min.to_string(),
            "autoscaling.knative.dev/max-scale": "5"})
    };
    host.service("sick", scale(1), concurrency.clone(), json!({}))
        .await;
    host.ready(1).await;
    let is_over = AtomicBool::new(false);
    let client = || async {
        let mut answers = 0;
        while !is_over.load(Ordering::Relaxed) {
            let (status, body) = host.get("/slow").await;
            assert_eq!(status, 200, "{body}");
            answers += 1;
        }
        answers
    };
    let changes = async {
        for number in 2..=4 {
            host.service("sick", scale(number), concurrency.clone(), json!({}))
                .await;
            host.ready(number).await;
            let old = ObjectKey::new("default", format!("h1-{:05}", number - 1));
            host.runtime.delete(Kind::Revision, &old).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let clients = join_all((0..20).map(|_| client()));
    let (answers, ()) = tokio::join!(clients, changes);
    let answers: u32 = answers.into_iter().sum();
    assert!(answers >= 20, "{answers}");
}

/// Clients that come in bursts, at random times around the one at which the Revision goes to zero,
/// while the smallest number of replicas is changed, too.
#[tokio::test(start_paused = true)]
async fn no_request_is_lost_on_the_way_to_zero_and_back() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let host = Host::paused();
    let window = json!({"autoscaling.knative.dev/window": "6s"});
    host.service(
        "hello",
        window,
        json!({"containerConcurrency": 3}),
        json!({}),
    )
    .await;
    host.ready(1).await;
    let key = ObjectKey::new("default", "h1-00001");
    let at_zero = || match host.runtime.store().get(Kind::Revision, &key).as_deref() {
        Some(Object::Revision(revision)) => revision.status.actual_replicas == Some(0),
        other => panic!("{other:?}"),
    };
    let mut zeros = 0;
    for turn in 0..200 {
        // After a window and the decisions around it: sometimes before, sometimes behind.
        tokio::time::sleep(Duration::from_millis(random.u64(..20_000))).await;
        zeros += u32::from(at_zero());
        if turn % 10 == 0 {
            let min = if turn % 20 == 0 { "2" } else { "0" };
            host.set("config-autoscaler", json!({"min-scale": min}))
                .await;
        }
        let burst = join_all((0..random.usize(1..12)).map(|_| host.get("/")));
        for (status, body) in burst.await {
            assert_eq!(status, 200, "turn {turn}: {body}");
        }
    }
    assert!(zeros >= 10, "it was at zero {zeros} times only");
}

/// The status of the user's container of the one Pod, once `condition` holds for it.
async fn container(host: &Host, condition: impl Fn(&Value) -> bool) -> Value {
    let store = host.runtime.store();
    let mut head = store.head();
    let look = async {
        loop {
            head.borrow_and_update();
            let pods = store.list(Kind::Pod, Some("default")).0;
            let statuses = pods.iter().map(|pod| {
                let pod = pod.to_value();
                let statuses = pod["status"]["containerStatuses"].as_array();
                let is_users = |status: &&Value| status["name"] != "queue-proxy";
                let status = statuses.and_then(|all| all.iter().find(is_users));
                status.cloned().unwrap_or_default()
            });
            if let Some(found) = statuses.into_iter().find(|status| condition(status)) {
                return found;
            }
            head.changed().await.unwrap();
        }
    };
    tokio::time::timeout(host.patience, look).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ends_its_program_is_shown_as_a_container_that_was_restarted() {
    let host = Host::paused();
    host.service("exits", reused(), json!({}), json!({})).await;
    host.ready(1).await;
    let well = container(&host, |status| status["ready"] == true).await;
    assert_eq!(
        (&well["restartCount"], &well["lastState"]),
        (&json!(0), &json!({}))
    );
    for times in 1..=2 {
        assert_eq!(host.get("/x").await.0, 500);
        assert_eq!(host.get("/").await.0, 200, "the next one is answered");
        let status = container(&host, |status| status["restartCount"] == times).await;
        let ended = &status["lastState"]["terminated"];
        assert_eq!(
            (&ended["exitCode"], &ended["reason"]),
            (&json!(1), &json!("Error"))
        );
        assert!(status["state"]["running"].is_object(), "{status}");
        assert_eq!(status["ready"], true);
    }
    host.revision(1, |revision| says(revision, "Ready True"))
        .await;
    // What the code wrote in its earlier runs is the log of these.
    let key = ObjectKey::new("default", "h1-00001");
    let pods = host.runtime.store().list(Kind::Pod, Some("default")).0;
    let name = pods[0].key().name;
    let (_, replica) = name.rsplit_once('-').unwrap();
    let log = host.runtime.logs().get(&key).unwrap();
    let lines = log.after(0, replica).0;
    let runs: Vec<_> = lines
        .iter()
        .map(|line| (line.writer.run, &*line.text))
        .collect();
    assert_eq!(runs, [(0, "no more"), (1, "no more")]);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_ends_its_program_when_it_is_probed_is_not_healthy() {
    let host = Host::paused();
    let probe = json!({"readinessProbe": {"httpGet": {"path": "/x"}, "periodSeconds": 1}});
    host.service("exits", reused(), json!({}), probe).await;
    let text = "Ready False ExitCode1 Container failed with: no more";
    let revision = host.revision(1, |revision| says(revision, text)).await;
    assert!(says(&revision, "ContainerHealthy False ExitCode1"));
    let status = container(&host, |status| status["restartCount"] != 0).await;
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
}

#[tokio::test]
async fn a_guest_that_ends_its_program_at_the_start_says_with_which_code() {
    let host = Host::start();
    host.service("start-exit", json!({}), json!({}), json!({}))
        .await;
    let text = "Ready False ExitCode1 Container failed with: ";
    let revision = host.revision(1, |revision| says(revision, text)).await;
    assert!(says(&revision, "ContainerHealthy False ExitCode1"));
}
