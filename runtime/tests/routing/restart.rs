//! A host that goes on from what an earlier one left.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use serve_core::kind::Kind;
use serve_runtime::Runtime;
use serve_runtime::control::snapshot::Snapshot;

use super::{MINUTE, World, condition, service};

/// A host that keeps everything below a directory.
fn start(directory: &Path) -> World {
    let snapshot = Snapshot::open(directory.join("runs/state.json")).unwrap();
    let runtime = Runtime::builder()
        .clock(super::clock())
        .cache_directory(directory.join("cache"))
        .state(snapshot)
        .build();
    World {
        runtime: runtime.unwrap(),
    }
}

/// The version of each object that is kept, by kind and name.
fn versions(world: &World) -> BTreeMap<(Kind, String), String> {
    let objects = world.runtime.store().all();
    let kept = objects.iter().filter(|object| !object.kind().is_volatile());
    kept.map(|object| {
        let meta = object.metadata();
        let id = (object.kind(), meta.name.clone());
        (id, meta.resource_version.clone())
    })
    .collect()
}

/// A Service that begins at zero.
fn sleeper(name: &str) -> serde_json::Value {
    let mut object = service(name, "hello", name);
    let template = &mut object["spec"]["template"]["metadata"]["annotations"];
    template["autoscaling.knative.dev/initial-scale"] = json!("0");
    object
}

async fn at_zero(world: &World, name: &str) {
    world
        .set(
            "config-autoscaler",
            json!({"allow-zero-initial-scale": "true"}),
        )
        .await;
    world.apply(sleeper(name)).await;
    world.ready(name, &format!("{name}-00001")).await;
}

#[tokio::test]
async fn what_was_settled_is_served_at_once_and_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(directory.path());
    at_zero(&world, "a").await;
    at_zero(&world, "b").await;
    let before = versions(&world);
    world.runtime.shutdown(MINUTE).await;
    drop(world);

    let world = start(directory.path());
    // Nothing has to be waited for: the first request is answered by what was kept.
    let answer = world.ask("a.default", &[]).await;
    assert_eq!(answer, (200, "Hello a!\n".to_owned()));
    // The files of the run are applied again, and have none of the defaults.
    world.apply(sleeper("b")).await;
    let is_active = |revision: Option<&serde_json::Value>| {
        revision.is_some_and(|revision| condition(revision, "Active")["status"] == "True")
    };
    world.wait(Kind::Revision, "a-00001", is_active).await;
    // What only shows what runs is made again, and by then everything else was looked at, too.
    for name in ["a-00001-deployment", "b-00001-deployment"] {
        world
            .wait(Kind::Deployment, name, |found| found.is_some())
            .await;
    }
    let mut after = versions(&world);
    let woken = (Kind::Revision, "a-00001".to_owned());
    assert_ne!(after[&woken], before[&woken], "it has a replica now");
    after.insert(woken.clone(), before[&woken].clone());
    assert_eq!(after, before);
    let asleep = world.get(Kind::Revision, "b-00001").unwrap();
    assert_eq!(condition(&asleep, "Active")["reason"], "NoTraffic");
    assert_eq!(condition(&asleep, "Ready")["status"], "True");
    world.runtime.shutdown(MINUTE).await;
}

#[tokio::test]
async fn a_sleeping_revision_can_be_deleted_and_changed() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(directory.path());
    at_zero(&world, "a").await;
    at_zero(&world, "b").await;
    world.runtime.shutdown(MINUTE).await;
    drop(world);

    let world = start(directory.path());
    world.runtime.restored().await.unwrap();
    let key = serve_core::meta::ObjectKey::new("default", "b");
    world.runtime.delete(Kind::Service, &key).unwrap();
    world.gone(Kind::Revision, "b-00001").await;
    let mut next = service("a", "hello", "next");
    next["spec"]["template"]["metadata"]["annotations"] = json!({});
    world.apply(next).await;
    world.ready("a", "a-00002").await;
    assert_eq!(world.ask("a.default", &[]).await.1, "Hello next!\n");
    // The end of a Revision is seen by the data plane a moment later.
    while world.ask("b.default", &[]).await.0 != 404 {
        tokio::task::yield_now().await;
    }
    world.runtime.shutdown(MINUTE).await;
}

#[tokio::test]
async fn a_revision_whose_code_is_gone_is_started_as_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let world = start(directory.path());
    at_zero(&world, "a").await;
    world.runtime.shutdown(MINUTE).await;
    drop(world);
    std::fs::remove_dir_all(directory.path().join("cache/code")).unwrap();

    let world = start(directory.path());
    let is_shown = |found: Option<&serde_json::Value>| found.is_some();
    world
        .wait(Kind::Deployment, "a-00001-deployment", is_shown)
        .await;
    // It is compiled before anybody asks.
    let code = directory.path().join("cache/code");
    let is_compiled = || {
        let mut files = std::fs::read_dir(&code).unwrap();
        files.any(|file| {
            file.unwrap()
                .path()
                .extension()
                .is_some_and(|kind| kind == "json")
        })
    };
    while !is_compiled() {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.ask("a.default", &[]).await.1, "Hello a!\n");
    world.runtime.shutdown(MINUTE).await;
}
