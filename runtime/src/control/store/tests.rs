use serve_core::api::{Configuration, Service};
use serve_core::meta::{ObjectMeta, OwnerReference};

use super::*;

fn store() -> Store {
    Store::in_memory(Clock::default())
}

fn service(name: &str) -> Service {
    let metadata = ObjectMeta {
        name: name.into(),
        namespace: "default".into(),
        ..ObjectMeta::default()
    };
    Service {
        metadata,
        ..Service::default()
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn owned(name: &str, owner: &Object) -> Configuration {
    let mut child = Configuration::default();
    child.metadata.name = name.into();
    child.metadata.namespace = "default".into();
    child.metadata.owner_references = vec![OwnerReference {
        uid: owner.metadata().uid.clone(),
        controller: Some(true),
        ..OwnerReference::default()
    }];
    child
}

#[test]
fn create_gives_identity_and_generation_one() {
    let created = store().create(service("h1").into()).expect("created");
    let meta = created.metadata();
    assert_eq!((meta.generation, meta.resource_version.as_str()), (1, "1"));
    assert_eq!(meta.uid.len(), 36);
    assert_eq!(&meta.uid[14..15], "4");
    assert!(meta.creation_timestamp.is_some());
}

#[test]
fn a_second_create_is_refused() {
    let store = store();
    store.create(service("h1").into()).expect("created");
    let error = store.create(service("h1").into()).expect_err("exists");
    assert_eq!(error.to_string(), "services \"h1\" already exists");
}

#[test]
fn generate_name_gives_a_name_with_five_characters() {
    let mut object = service("");
    object.metadata.generate_name = "h-".into();
    let created = store().create(object.into()).expect("created");
    assert_eq!(created.metadata().name.len(), 7);
    assert!(created.metadata().name.starts_with("h-"));
}

#[test]
fn generation_rises_with_the_spec_only() {
    let store = store();
    let created = store.create(service("h1").into()).expect("created");
    let mut changed = Object::clone(&created);
    changed.metadata_mut().labels.insert("a".into(), "b".into());
    let labelled = store.update(changed.clone()).expect("updated");
    assert_eq!(labelled.metadata().generation, 1);

    let Object::Service(object) = &mut changed else {
        unreachable!("made above")
    };
    object.metadata.resource_version.clear();
    object.spec.template.spec.timeout_seconds = Some(5);
    assert_eq!(
        store
            .update(changed)
            .expect("updated")
            .metadata()
            .generation,
        2
    );
}

#[test]
fn an_update_cannot_change_status_and_a_status_write_nothing_else() {
    let store = store();
    let created = store.create(service("h1").into()).expect("created");
    let status = ServiceStatus {
        url: Some("http://h1".into()),
        ..ServiceStatus::default()
    };
    let version = &created.metadata().resource_version;
    let written = store
        .write_status(&key("h1"), version, Status::Service(status.clone()))
        .expect("written");
    assert_eq!(written.metadata().generation, 1);

    let mut update = service("h1");
    update.status.url = Some("http://other".into());
    let updated = store.update(update.into()).expect("updated");
    let Object::Service(updated) = &*updated else {
        unreachable!("made above")
    };
    assert_eq!(updated.status, status);
    let events = store.events_after(0).expect("all kept");
    let changes: Vec<Change> = events.iter().map(|event| event.change).collect();
    assert_eq!(changes, [Change::Added, Change::Status]);
}

#[test]
fn a_stale_version_is_a_conflict() {
    let store = store();
    let created = store.create(service("h1").into()).expect("created");
    let mut first = Object::clone(&created);
    first.metadata_mut().labels.insert("a".into(), "1".into());
    let second = first.clone();
    store.update(first).expect("updated");
    assert_eq!(
        store.update(second),
        Err(Error::Conflict((Kind::Service, key("h1"))))
    );
}

#[test]
fn a_write_that_changes_nothing_makes_no_event() {
    let store = store();
    let created = store.create(service("h1").into()).expect("created");
    store.update(Object::clone(&created)).expect("updated");
    let status = Status::Service(ServiceStatus::default());
    store.write_status(&key("h1"), "", status).expect("written");
    assert_eq!(store.revision(), 1);
}

#[test]
fn deleting_an_owner_deletes_what_it_owns() {
    let store = store();
    let owner = store.create(service("h1").into()).expect("created");
    let child = store.create(owned("h1", &owner).into()).expect("created");
    store.create(owned("deep", &child).into()).expect("created");
    assert_eq!(
        store.controlled_by(&owner.metadata().uid, Kind::Configuration),
        [child]
    );
    store
        .delete(Kind::Service, &key("h1"), None)
        .expect("deleted");
    assert_eq!(store.list(Kind::Configuration, None).0, []);
    let deleted: Vec<_> = store
        .events_after(3)
        .expect("kept")
        .iter()
        .map(|e| e.change)
        .collect();
    assert_eq!(deleted, [Change::Deleted; 3]);
}

#[test]
fn a_delete_with_another_uid_is_a_conflict() {
    let store = store();
    store.create(service("h1").into()).expect("created");
    let error = store.delete(Kind::Service, &key("h1"), Some("other"));
    assert_eq!(error, Err(Error::Conflict((Kind::Service, key("h1")))));
}

#[test]
fn events_are_replayed_or_gone() {
    let store = store();
    for n in 0..LOG_LENGTH + 5 {
        store
            .create(service(&format!("s{n}")).into())
            .expect("created");
    }
    assert_eq!(
        store.events_after(3).expect_err("gone"),
        Gone {
            asked: 3,
            oldest: 5
        }
    );
    let events = store.events_after(5).expect("kept");
    assert_eq!(events.len(), LOG_LENGTH);
    assert!(
        events
            .iter()
            .zip(6..)
            .all(|(event, revision)| event.revision == revision)
    );
}

#[test]
fn a_list_is_of_one_namespace_or_of_all() {
    let store = store();
    store.create(service("b").into()).expect("created");
    store.create(service("a").into()).expect("created");
    let mut other = service("c");
    other.metadata.namespace = "other".into();
    store.create(other.into()).expect("created");
    let names = |namespace| {
        let (objects, _) = store.list(Kind::Service, namespace);
        objects
            .iter()
            .map(|o| o.metadata().name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(Some("default")), ["a", "b"]);
    assert_eq!(names(None), ["a", "b", "c"]);
    assert_eq!(names(Some("defaul")), Vec::<String>::new());
}

/// The store beside a map: whatever the order of operations, both show the same objects, and
/// replaying the events from the start gives the same again.
#[test]
fn random_operations_match_a_map() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let store = store();
    let mut model = BTreeMap::<String, u64>::new();
    for step in 0..2000_u64 {
        let name = format!("s{}", random.u8(..8));
        let mut object = service(&name);
        object
            .metadata
            .labels
            .insert("step".into(), step.to_string());
        match random.u8(..3) {
            0 => {
                let created = store.create(object.into()).is_ok();
                assert_eq!(created, !model.contains_key(&name));
                if created {
                    model.insert(name, step);
                }
            }
            1 => {
                let updated = store.update(object.into()).is_ok();
                assert_eq!(updated, model.contains_key(&name));
                if updated {
                    model.insert(name, step);
                }
            }
            _ => {
                let deleted = store.delete(Kind::Service, &key(&name), None).is_ok();
                assert_eq!(deleted, model.remove(&name).is_some());
            }
        }
    }
    let shown = |objects: &[Arc<Object>]| {
        objects
            .iter()
            .map(|o| {
                (
                    o.metadata().name.clone(),
                    o.metadata().labels["step"].parse().expect("a number"),
                )
            })
            .collect::<BTreeMap<String, u64>>()
    };
    assert_eq!(shown(&store.list(Kind::Service, None).0), model);

    let mut replayed = BTreeMap::new();
    for event in store.events_after(0).expect("all kept") {
        let name = event.object.metadata().name.clone();
        match event.change {
            Change::Deleted => drop(replayed.remove(&name)),
            Change::Added | Change::Modified | Change::Status => {
                drop(replayed.insert(name, event.object));
            }
        }
    }
    assert_eq!(shown(&replayed.into_values().collect::<Vec<_>>()), model);
}
