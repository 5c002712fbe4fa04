//! Rust's `kube` against `serve up`: a client that shares no code with `kubectl` and `kn`.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Error};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::api::host;
use crate::process::{PATIENCE, Serve};

type Events = Pin<Box<dyn Stream<Item = watcher::Result<Event<DynamicObject>>> + Send>>;

pub fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("serving.knative.dev", "v1", kind))
}

pub async fn client(serve: &Serve) -> Client {
    let file = Kubeconfig::read_from(serve.kubeconfig()).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .expect("a context that can be used");
    Client::try_from(config).expect("a client")
}

fn service(target: &str) -> DynamicObject {
    let spec = json!({ "template": { "spec": { "containers": [{
        "image": "docker.io/xiexianbin/knative-helloworld-go:latest",
        "env": [{ "name": "TARGET", "value": target }],
        "ports": [{ "containerPort": 8080 }],
    }] } } });
    DynamicObject::new("h1", &resource("Service")).data(json!({ "spec": spec }))
}

async fn next(events: &mut Events) -> Event<DynamicObject> {
    timeout(PATIENCE, events.next())
        .await
        .expect("an event in time")
        .expect("a watch has no end")
        .expect("a watch that works")
}

/// Opens a watch on `h1` and reads what is there.
async fn watch(api: &Api<DynamicObject>, config: watcher::Config) -> (Events, usize) {
    let mut events: Events = Box::pin(watcher(api.clone(), config.fields("metadata.name=h1")));
    assert!(matches!(next(&mut events).await, Event::Init));
    let mut there = 0;
    loop {
        match next(&mut events).await {
            Event::InitApply(_) => there += 1,
            Event::InitDone => return (events, there),
            other => panic!("{other:?} before the list was complete"),
        }
    }
}

fn ready(object: &DynamicObject) -> Option<&str> {
    let status = &object.data["status"];
    if status["observedGeneration"] != json!(object.metadata.generation) {
        return None;
    }
    let conditions = status["conditions"].as_array()?;
    let ready = conditions.iter().find(|c| c["type"] == "Ready")?;
    ready["status"].as_str()
}

/// Reads events until `h1` is ready and this holds for it; returns all states on the way.
async fn until(events: &mut Events, is_wanted: fn(&Value) -> bool) -> Vec<DynamicObject> {
    let mut states = Vec::new();
    loop {
        let Event::Apply(object) = next(events).await else {
            panic!("only changes are expected");
        };
        let is_done = ready(&object) == Some("True") && is_wanted(&object.data["status"]);
        states.push(object);
        if is_done {
            return states;
        }
    }
}

fn versions(states: &[DynamicObject]) -> Vec<u64> {
    let version = |object: &DynamicObject| object.metadata.resource_version.clone();
    states
        .iter()
        .map(|object| {
            version(object)
                .and_then(|v| v.parse().ok())
                .expect("a version")
        })
        .collect()
}

async fn change(api: &Api<DynamicObject>, patch: Value) {
    api.patch("h1", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("the patch is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_story_is_told_by_a_watch() {
    let serve = host();
    let client = client(&serve).await;
    let services =
        Api::<DynamicObject>::default_namespaced_with(client.clone(), &resource("Service"));
    let revisions =
        Api::<DynamicObject>::default_namespaced_with(client.clone(), &resource("Revision"));
    let (mut events, there) = watch(&services, watcher::Config::default().streaming_lists()).await;
    assert_eq!(there, 0);

    let created = services
        .create(&PostParams::default(), &service("v1"))
        .await
        .expect("created");
    assert_eq!(created.metadata.generation, Some(1));
    assert_eq!(ready(&created), None, "answered before it is reconciled");
    let states = until(&mut events, |_| true).await;
    assert_eq!(states[0].metadata.uid, created.metadata.uid);
    assert!(states.iter().any(|state| ready(state) == Some("Unknown")));
    let seen = versions(&states);
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    let last = states.last().expect("one at least");
    assert_eq!(last.data["status"]["latestReadyRevisionName"], "h1-00001");
    assert_eq!(last.data["status"]["url"], "http://h1.default.example.com");
    let listed = services.list(&ListParams::default()).await.expect("a list");
    assert_eq!(listed.items.len(), 1);

    let again = services
        .create(&PostParams::default(), &service("v1"))
        .await;
    match again {
        Err(Error::Api(status)) => assert!(status.is_already_exists(), "{status:?}"),
        other => panic!("{other:?}"),
    }

    let mut changed = service("v2").data;
    change(&services, changed.take()).await;
    let states = until(&mut events, |status| {
        status["latestReadyRevisionName"] == "h1-00002"
    })
    .await;
    assert_eq!(states[0].metadata.generation, Some(2));
    let of_service = ListParams::default().labels("serving.knative.dev/service=h1");
    let names: Vec<String> = revisions
        .list(&of_service)
        .await
        .expect("a list")
        .into_iter()
        .filter_map(|revision| revision.metadata.name)
        .collect();
    assert_eq!(names, ["h1-00001", "h1-00002"]);

    let all_to_first = json!([{ "revisionName": "h1-00001", "percent": 100 }]);
    change(&services, json!({ "spec": { "traffic": all_to_first } })).await;
    until(&mut events, |status| {
        status["traffic"][0]["revisionName"] == "h1-00001"
    })
    .await;
    let split = json!([
        { "revisionName": "h1-00001", "percent": 20 },
        { "revisionName": "h1-00002", "percent": 80 },
    ]);
    change(&services, json!({ "spec": { "traffic": split } })).await;
    until(&mut events, |status| status["traffic"][1]["percent"] == 80).await;

    services
        .delete("h1", &DeleteParams::default())
        .await
        .expect("deleted");
    let Event::Delete(gone) = next(&mut events).await else {
        panic!("a deletion is expected");
    };
    assert_eq!(gone.metadata.uid, created.metadata.uid);
    assert!(services.get_opt("h1").await.expect("asked").is_none());
    let left = revisions.list(&of_service).await.expect("a list");
    assert!(left.items.is_empty(), "an owner takes what it owns along");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_the_server_ends_goes_on_where_it_was() {
    let serve = host();
    let services =
        Api::<DynamicObject>::default_namespaced_with(client(&serve).await, &resource("Service"));
    services
        .create(&PostParams::default(), &service("v1"))
        .await
        .expect("created");
    // By a list and a watch from its version, each of which the server ends after a second.
    let (mut events, there) = watch(&services, watcher::Config::default().timeout(1)).await;
    assert_eq!(there, 1);
    if services
        .get("h1")
        .await
        .is_ok_and(|h1| ready(&h1) != Some("True"))
    {
        until(&mut events, |_| true).await;
    }
    // Long enough for two watches to end. What comes now would be a second list or a lost place.
    let quiet = timeout(Duration::from_millis(2500), async {
        loop {
            match next(&mut events).await {
                Event::Apply(h1) if h1.metadata.generation == Some(1) => {}
                other => return other,
            }
        }
    });
    if let Ok(event) = quiet.await {
        panic!("nothing happened, and yet {event:?}");
    }
    change(&services, service("v2").data).await;
    until(&mut events, |status| {
        status["latestReadyRevisionName"] == "h1-00002"
    })
    .await;
}
