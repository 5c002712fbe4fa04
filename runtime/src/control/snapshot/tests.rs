use serve_core::api::Service;
use serve_core::kind::Kind;
use serve_core::object::Object;
use tokio::sync::mpsc::channel;

use super::*;
use crate::clock::Clock;
use crate::tasks::Tasks;

fn service(name: &str) -> Object {
    let mut service = Service::default();
    service.metadata.name = name.into();
    service.metadata.namespace = "default".into();
    service.into()
}

/// All that a snapshot has, and the version to go on from.
fn read(snapshot: &Snapshot) -> Result<(Vec<Object>, u64), Error> {
    let Some(load) = snapshot.load()? else {
        return Ok((Vec::new(), 0));
    };
    let (sender, mut batches) = channel(1000);
    load.run(Vec::new, &sender)?;
    drop(sender);
    let (mut objects, mut revision) = (Vec::new(), 0);
    while let Some((batch, newest)) = batches.blocking_recv() {
        objects.extend(batch.objects);
        revision = newest;
    }
    Ok((objects, revision))
}

async fn read_soon(snapshot: Snapshot) -> (Snapshot, Vec<Object>, u64) {
    let read = move || {
        let (objects, revision) = read(&snapshot).expect("read");
        (snapshot, objects, revision)
    };
    tokio::task::spawn_blocking(read).await.expect("it ends")
}

#[tokio::test]
async fn objects_are_found_by_the_next_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("runs/state.json");
    let store = Store::in_memory(Clock::default());
    let snapshot = Snapshot::open(path.clone()).expect("free");
    assert!(snapshot.load().expect("no file").is_none());
    assert!(matches!(Snapshot::open(path.clone()), Err(Error::Taken(_))));
    let tasks = Tasks::default();
    tasks.spawn(snapshot.keep(store.clone(), 0, tasks.stop_signal()));
    let created = store.create(service("h1")).expect("created");
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"}});
    let pod = Object::from_value(pod).expect("a Pod");
    store.create(pod).expect("created");
    assert_eq!(tasks.shutdown(Duration::from_secs(60)).await, 0);

    let snapshot = Snapshot::open(path.clone()).expect("free again");
    let (snapshot, objects, revision) = read_soon(snapshot).await;
    assert_eq!(objects, [Object::clone(&created)]);
    assert!(revision > store.revision());
    let next = Store::in_memory(Clock::default());
    next.restore(objects, revision);
    assert_eq!(next.revision(), revision, "versions rise from there");
    let restored = next.get(Kind::Service, &created.key()).expect("there");
    assert_eq!(restored, created);
    snapshot.clear().expect("removed");
    assert!(snapshot.load().expect("no file").is_none());
    let list = serde_json::json!([created.to_value()]);
    let state = serde_json::json!({"objects": list, "revision": 7});
    let mut snapshot = snapshot;
    for (before, version) in [(list, 0), (state, 7)] {
        fs::write(&path, before.to_string()).expect("written");
        let (same, objects, revision) = read_soon(snapshot).await;
        assert_eq!(
            objects,
            [Object::clone(&created)],
            "a file of an earlier form"
        );
        assert_eq!(revision, version);
        snapshot = same;
    }
}

#[test]
fn what_somebody_waits_for_comes_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("runs/state.json");
    let store = Store::in_memory(Clock::default());
    let config = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "knative-serving"}});
    let config = Object::from_value(config).expect("an object");
    store.create(config).expect("created");
    for number in 0..10 {
        store
            .create(service(&format!("h{number}")))
            .expect("created");
    }
    let snapshot = Snapshot::open(path).expect("free");
    snapshot.write(&store).expect("written");
    let load = snapshot.load().expect("read").expect("there");
    let asked = [
        &["tag-h7.default.localhost", "unknown", "h7.default"][..],
        &["unknown"],
        &["h1.default", "h7.default"],
    ];
    let asked = std::cell::RefCell::new(asked.into_iter());
    let wanted = || {
        let hosts = asked.borrow_mut().next().unwrap_or_default();
        hosts.iter().map(|&host| host.to_owned()).collect()
    };
    let (sender, mut batches) = channel(1000);
    load.run(wanted, &sender).expect("read");
    drop(sender);
    let mut names = Vec::new();
    while let Some((batch, _)) = batches.blocking_recv() {
        let all = batch
            .objects
            .iter()
            .map(|object| object.metadata().name.as_str());
        names.push(format!("{}{:?}", batch.is_wanted, all.collect::<Vec<_>>()));
    }
    let want = [
        // They say what the others mean.
        "false[\"settings\"]",
        "true[\"h7\"]",
        "false[\"h0\", \"h1\", \"h2\", \"h3\", \"h4\", \"h5\", \"h6\"]",
        // It was on its way already; the next one is not waited for.
        "true[]",
        "false[\"h8\", \"h9\"]",
    ];
    assert_eq!(names, want);
}

#[test]
fn a_file_that_is_no_state_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("runs/state.json");
    let snapshot = Snapshot::open(path.clone()).expect("free");
    for text in ["{", "[1]", "[{\"apiVersion\": \"v1\", \"kind\": \"Node\"}]"] {
        fs::write(&path, text).expect("written");
        assert!(
            matches!(read(&snapshot), Err(Error::Content { .. })),
            "{text}"
        );
    }
}
