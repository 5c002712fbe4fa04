//! What shows the run of a Revision, as clients see it.

use serve_core::api::Revision;
use serve_core::object::Object;
use serve_core::reconcile::Event;
use serve_core::reconcile::revision::{ActiveFact, Facts, StartFact};
use serve_core::replicas::{Count, Replicas};
use serve_core::resources::derived::{Stale, View};
use serve_core::resources::event::{About, make_event, repeat_event};
use serve_runtime::control::mirror;

use super::*;

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(NOW - seconds)
}

fn revision(store: &Store) -> Box<Revision> {
    let revision = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
        "metadata": {"name": "h1-00001", "namespace": "default",
            "labels": {"serving.knative.dev/service": "h1"}},
        "spec": {"timeoutSeconds": 300, "containers":
            [{"name": "user-container", "image": "example.com/h1"}]},
    });
    // A name that is not random, since the names of what it owns follow from it.
    let mut revision = Object::from_value(revision).expect("a Revision");
    revision.metadata_mut().uid = "11111111-2222-4333-8444-555555555555".into();
    store.restore(vec![revision], 0);
    let key = ObjectKey::new("default", "h1-00001");
    let stored = store.get(Kind::Revision, &key).expect("restored");
    match Object::clone(&stored) {
        Object::Revision(revision) => revision,
        other => panic!("{other:?}"),
    }
}

/// One replica that leaves, one that was started again, and one that starts.
fn world() -> World {
    let world = World::new();
    let store = &world.server.host.store;
    let revision = revision(store);
    let mut replicas = Replicas::default();
    let mut ids = ["aaaaa", "bbbbb", "ccccc"].into_iter();
    let mut id = || ids.next().expect("three").to_owned();
    let mut scale = |replicas: &mut Replicas, ready, wanted, ago| {
        replicas.scale(
            Count {
                ready,
                running: 0,
                wanted,
            },
            at(ago),
            &mut id,
        );
    };
    scale(&mut replicas, 2, 2, 300);
    replicas.restarted(1, at(65));
    let facts = Facts {
        start: StartFact::Started,
        active: Some(ActiveFact::active()),
        is_initialized: true,
        actual_replicas: Some(1),
        desired_replicas: Some(2),
        ..Facts::default()
    };
    let show = |replicas: &Replicas| {
        let view = View {
            revision: &revision,
            facts: &facts,
            replicas,
            now: at(0),
        };
        mirror::show(store, &view, Stale::ALL).expect("written");
    };
    show(&replicas);
    scale(&mut replicas, 1, 1, 20);
    scale(&mut replicas, 1, 2, 10);
    show(&replicas);

    let about = About::of(Kind::Revision, &revision.metadata);
    let event = Event::normal("RevisionReady", "Revision becomes ready");
    let event = make_event(&about, &event, at(125));
    store.create(event.clone()).expect("created");
    store.update(repeat_event(&event, at(5))).expect("updated");
    world
}

#[tokio::test(start_paused = true)]
async fn tables_have_the_columns_of_kubernetes() {
    let table = [("accept", TABLE)];
    let core = |plural: &str| format!("/api/v1/namespaces/default/{plural}?includeObject=None");
    let apps =
        |plural: &str| format!("/apis/apps/v1/namespaces/default/{plural}?includeObject=None");
    let autoscalers = "/apis/autoscaling.internal.knative.dev/v1alpha1/podautoscalers\
        ?includeObject=None";
    let about = "&fieldSelector=involvedObject.name%3Dh1-00001%2CinvolvedObject.kind%3DRevision";
    golden_of(
        &world(),
        "workloads",
        &[
            get(&core("pods"), &table),
            get(&apps("deployments"), &table),
            get(&apps("replicasets"), &table),
            get(autoscalers, &table),
            get(&(core("events") + about), &table),
            get(&core("serviceaccounts"), &table),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_selected_by_the_labels_of_its_service() {
    let world = world();
    let path = "/api/v1/pods?labelSelector=serving.knative.dev%2Fservice%3Dh1";
    let (code, pods) = world.json("GET", path, &Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(3));
    let path = "/api/v1/pods?labelSelector=serving.knative.dev%2Fservice%3Dother";
    let (_, pods) = world.json("GET", path, &Value::Null).await;
    assert_eq!(pods["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn clients_read_what_runs_and_do_not_write_it() {
    let world = world();
    let pods = "/api/v1/namespaces/default/pods";
    let (_, list) = world.json("GET", pods, &Value::Null).await;
    let pod = list["items"]
        .as_array()
        .and_then(|all| all.iter().find(|pod| pod["status"]["phase"] == "Running"))
        .expect("a pod that runs");
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let deployment = "/apis/apps/v1/namespaces/default/deployments/h1-00001-deployment";
    let scale = format!("{deployment}/scale");
    let one = format!("{pods}/{name}");
    let autoscaler = "/apis/autoscaling.internal.knative.dev/v1alpha1/namespaces/default/\
        podautoscalers/h1-00001";
    for (method, path, part) in [
        ("POST", pods, "pods is forbidden: it shows a replica"),
        ("PUT", &one, "delete the pod to have another"),
        ("PATCH", &one, "delete the pod to have another"),
        ("PATCH", deployment, "autoscaling.knative.dev/min-scale"),
        (
            "DELETE",
            deployment,
            "deployments.apps \"h1-00001-deployment\" is forbidden",
        ),
        ("PATCH", &scale, "autoscaling.knative.dev/min-scale"),
        (
            "PUT",
            autoscaler,
            "podautoscalers.autoscaling.internal.knative.dev \"h1-00001\"",
        ),
        (
            "POST",
            "/api/v1/namespaces/default/events",
            "recorded by this server alone",
        ),
    ] {
        let (code, status) = world.json(method, path, pod).await;
        assert_eq!(
            (code, &status["reason"]),
            (403, &json!("Forbidden")),
            "{method} {path}"
        );
        let message = status["message"].as_str().expect("a message");
        assert!(message.contains(part), "{method} {path}: {message}");
    }
    let (_, scale) = world.json("GET", &scale, &Value::Null).await;
    assert_eq!(scale["spec"]["replicas"], 2);
    assert_eq!(scale["status"]["replicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_ends_with_its_requests() {
    let world = world();
    let store = &world.server.host.store;
    let key = |pod: &Arc<Object>| pod.key();
    let before: Vec<_> = store.list(Kind::Pod, None).0.iter().map(key).collect();
    let path = "/api/v1/namespaces/default/pods";
    let (code, _) = world.json("DELETE", path, &Value::Null).await;
    assert_eq!(code, 200);
    let pods = store.list(Kind::Pod, None).0;
    assert_eq!(pods.iter().map(key).collect::<Vec<_>>(), before);
    for pod in pods {
        assert!(pod.metadata().deletion_timestamp.is_some(), "{}", pod.key());
        assert_eq!(pod.metadata().deletion_grace_period_seconds, Some(300));
    }
}
