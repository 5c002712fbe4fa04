use serde_json::json;
use serve_core::api::Revision;
use serve_core::reconcile::revision::Facts;

use super::*;
use crate::clock::Clock;
use crate::control::store::Change;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

/// A store with one Revision in it.
fn world() -> (Store, Revision) {
    let store = Store::in_memory(Clock::default());
    let revision = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
        "metadata": {"name": "h1-00001", "namespace": "default"},
        "spec": {"containers": [{"name": "user-container", "image": "img"}], "timeoutSeconds": 60},
    });
    let revision = Object::from_value(revision).expect("a Revision");
    let stored = store.create(revision).expect("created");
    match Object::clone(&stored) {
        Object::Revision(revision) => (store, *revision),
        other => panic!("{other:?}"),
    }
}

/// As many replicas are wanted as are ready.
fn scale(members: &mut Members, ready: u32, second: i64) {
    let count = Count {
        ready,
        running: 0,
        wanted: ready,
    };
    members.scale(count, at(second));
}

/// The members of a revision with one replica.
fn one_ready() -> Members {
    let mut members = Members::default();
    scale(&mut members, 1, 1);
    members
}

#[track_caller]
fn shown(store: &Store, revision: &Revision, members: &Members) -> Vec<(String, bool)> {
    let facts = Facts::default();
    let replicas = members.replicas();
    let view = View {
        revision,
        facts: &facts,
        replicas,
        now: at(9),
    };
    show(store, &view, Stale::ALL).expect("written");
    let before = store.revision();
    show(store, &view, Stale::ALL).expect("written");
    assert_eq!(
        store.revision(),
        before,
        "what is shown is not written again"
    );
    let pods = store.list(Kind::Pod, None).0;
    let pods = pods.iter().map(|pod| pod.metadata());
    pods.map(|meta| (meta.name.clone(), meta.deletion_timestamp.is_some()))
        .collect()
}

#[test]
fn pods_come_leave_and_go_with_the_replicas() {
    let (store, revision) = world();
    let mut members = Members::default();
    scale(&mut members, 2, 1);
    let two = shown(&store, &revision, &members);
    assert!(
        two.iter()
            .all(|(name, ending)| name.starts_with("h1-00001-deployment-") && !ending)
    );
    assert_eq!(two.len(), 2);

    scale(&mut members, 0, 1);
    let names = |pods: &[(String, bool)]| pods.iter().map(|pod| pod.0.clone()).collect::<Vec<_>>();
    let ending = shown(&store, &revision, &members);
    assert_eq!(names(&ending), names(&two));
    assert!(ending.iter().all(|(_, ending)| *ending));
    let pod = store.list(Kind::Pod, None).0.remove(0);
    assert_eq!(pod.metadata().deletion_grace_period_seconds, Some(60));

    scale(&mut members, 1, 1);
    let three = shown(&store, &revision, &members);
    assert_eq!(three.iter().filter(|(_, ending)| !ending).count(), 1);
    members.drained();
    let one = shown(&store, &revision, &members);
    assert_eq!(one.len(), 1);
    assert!(!two.contains(&one[0]), "a new replica has a new name");

    let counts = store.list(Kind::Deployment, None).0;
    assert_eq!(counts[0].to_value()["status"]["readyReplicas"], 1);
    assert_eq!(
        counts[0].metadata().generation,
        3,
        "each scale is a new spec"
    );
}

#[test]
fn what_is_shown_ends_with_its_revision() {
    let (store, revision) = world();
    let members = one_ready();
    shown(&store, &revision, &members);
    let kinds = [
        Kind::Pod,
        Kind::Deployment,
        Kind::ReplicaSet,
        Kind::PodAutoscaler,
    ];
    for kind in kinds {
        assert_eq!(store.list(kind, None).0.len(), 1, "{kind:?}");
    }
    let seen = store.revision();
    store
        .delete(Kind::Revision, &revision.metadata.key(), None)
        .expect("deleted");
    for kind in kinds {
        let left = usize::from(kind == Kind::Pod);
        assert_eq!(store.list(kind, None).0.len(), left, "{kind:?}");
    }
    let events = store.events_after(seen).expect("kept");
    for event in events {
        let is_pod = event.object.kind() == Kind::Pod;
        assert_eq!(
            event.change == Change::Modified,
            is_pod,
            "{}",
            event.object.key()
        );
    }
    let pods = members.pods(&revision.metadata.key(), &revision.metadata.uid);
    let pod = store
        .get(Kind::Pod, &pods[0])
        .expect("its requests have to end");
    assert!(pod.metadata().deletion_timestamp.is_some());
}

#[test]
fn objects_of_an_earlier_revision_of_the_name_are_replaced() {
    let (store, revision) = world();
    let members = one_ready();
    let old = shown(&store, &revision, &members);
    let mut next = revision.clone();
    next.metadata.uid = "another".into();
    let new = shown(&store, &next, &members);
    assert_eq!(new.len(), 1);
    assert_ne!(old, new);
}

#[test]
fn a_deployment_that_is_deleted_comes_back() {
    let (store, revision) = world();
    let members = one_ready();
    let before = shown(&store, &revision, &members);
    let key = ObjectKey::new("default", "h1-00001-deployment");
    store.delete(Kind::Deployment, &key, None).expect("deleted");
    assert_eq!(shown(&store, &revision, &members), before);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_leaves_waits_for_room() {
    use std::sync::atomic::AtomicUsize;
    for (name, limit, ready, running, rest) in [
        ("at zero every request has to end", 0, 0, 2, 0),
        ("at zero with a limit too", 5, 0, 2, 0),
        ("those that stay take what they may", 2, 1, 3, 2),
    ] {
        let mut members = Members::default();
        scale(&mut members, ready + 1, 1);
        scale(&mut members, ready, 2);
        let drain = members.begin_drain(limit).expect(name);
        assert!(members.begin_drain(limit).is_none(), "{name}: one waits");
        let count = Arc::new(AtomicUsize::new(running));
        let seen = count.clone();
        let waiting = tokio::spawn(drain.wait(move || seen.load(Relaxed)));
        tokio::time::sleep(10 * LOOK).await;
        assert!(!waiting.is_finished(), "{name}");
        count.store(rest, Relaxed);
        waiting.await.expect(name);
        members.drained();
        assert!(!members.replicas().has_leaving(), "{name}");
    }
    let mut members = Members::default();
    scale(&mut members, 2, 1);
    scale(&mut members, 1, 2);
    // Without a limit, those that stay take all.
    members
        .begin_drain(0)
        .expect("one leaves")
        .wait(|| 100)
        .await;
}
