use serve_core::meta::ObjectKey;
use serve_core::time::Timestamp;
use serve_runtime::tasks::Tasks;
use tokio::sync::Semaphore;

use super::*;
use crate::request::Verb;

struct World {
    store: Store,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        Self {
            store: Store::in_memory(Clock::tokio(Timestamp::default())),
            tasks: Tasks::default(),
        }
    }

    fn put(&self, name: &str, label: &str) {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"l": label},
            "metadata": {"name": name, "namespace": "n", "labels": {"l": label}}});
        let object = Object::from_value(value).expect("an object");
        let key = object.key();
        match self.store.get(Kind::ConfigMap, &key) {
            Some(_) => self.store.update(object).map(drop),
            None => self.store.create(object).map(drop),
        }
        .expect("written");
    }

    fn delete(&self, name: &str) {
        let key = ObjectKey::new("n", name);
        self.store
            .delete(Kind::ConfigMap, &key, None)
            .expect("deleted");
    }

    fn watch(&self, query: &str) -> Watch {
        self.watch_as(query, Form::Plain)
    }

    fn watch_as(&self, query: &str, form: Form) -> Watch {
        let permit = Arc::new(Semaphore::new(1))
            .try_acquire_owned()
            .expect("free");
        let context = Context {
            store: self.store.clone(),
            clock: Clock::tokio(Timestamp::default()),
            stop: self.tasks.stop_signal(),
            permit,
        };
        let objects = Objects {
            verb: Verb::Watch,
            kind: Kind::ConfigMap,
            namespace: Some("n".into()),
            name: None,
            is_status: false,
        };
        let query = crate::request::query(query).expect("a query");
        Watch::start(context, &objects, &query, form).expect("a watch")
    }
}

async fn line(watch: &mut Watch) -> Value {
    let bytes = watch.next().await.expect("a line");
    assert!(bytes.ends_with(b"\n"));
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn told(watch: &mut Watch) -> String {
    let line = line(watch).await;
    let (told, meta) = (&line["type"], &line["object"]["metadata"]);
    let name = meta["name"].as_str().unwrap_or_default();
    let version = meta["resourceVersion"].as_str().unwrap_or_default();
    format!("{} {name}@{version}", told.as_str().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_watch_replays_everything_after_its_version() {
    let world = World::new();
    world.put("a", "1");
    world.put("b", "1");
    world.put("a", "2");
    let mut watch = world.watch("resourceVersion=1");
    assert_eq!(told(&mut watch).await, "ADDED b@2");
    assert_eq!(told(&mut watch).await, "MODIFIED a@3");
    world.delete("b");
    assert_eq!(told(&mut watch).await, "DELETED b@4");
}

#[tokio::test(start_paused = true)]
async fn without_a_version_what_there_is_comes_first() {
    let world = World::new();
    world.put("a", "1");
    let mut watch = world.watch("");
    world.put("b", "1");
    assert_eq!(told(&mut watch).await, "ADDED a@1");
    assert_eq!(told(&mut watch).await, "ADDED b@2");
    let asked = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = world.watch(asked);
    told(&mut watch).await;
    told(&mut watch).await;
    let bookmark = line(&mut watch).await;
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], "2");
    assert_eq!(
        bookmark["object"]["metadata"]["annotations"][keys::INITIAL_EVENTS_END_ANNOTATION],
        "true"
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_leaves_a_selection_is_deleted_from_it() {
    let world = World::new();
    let mut watch = world.watch("labelSelector=l=1");
    world.put("a", "2");
    world.put("a", "1");
    world.put("a", "2");
    assert_eq!(told(&mut watch).await, "ADDED a@2");
    assert_eq!(told(&mut watch).await, "DELETED a@3");
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_not_kept_expire() {
    let world = World::new();
    for n in 0..10_100 {
        world.put("a", &n.to_string());
    }
    for version in ["1", "99999"] {
        let mut watch = world.watch(&format!("resourceVersion={version}"));
        let line = line(&mut watch).await;
        assert_eq!(
            (&line["type"], &line["object"]["code"]),
            (&json!("ERROR"), &json!(410))
        );
        assert_eq!(line["object"]["reason"], "Expired");
        assert_eq!(watch.next().await, None, "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_and_with_its_server() {
    let world = World::new();
    let mut watch = world.watch("timeoutSeconds=61&allowWatchBookmarks=true");
    assert_eq!(line(&mut watch).await["type"], "BOOKMARK");
    assert_eq!(line(&mut watch).await["type"], "BOOKMARK");
    assert_eq!(watch.next().await, None);
    let mut watch = world.watch("");
    world.tasks.stop();
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn columns_come_with_the_first_row_of_a_table() {
    let world = World::new();
    world.put("a", "1");
    world.put("b", "1");
    let mut watch = world.watch_as("", Form::Table);
    let first = line(&mut watch).await;
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert_eq!(
        line(&mut watch).await["object"]["columnDefinitions"],
        Value::Null
    );
}
