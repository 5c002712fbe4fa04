use serde_json::json;
use serve_runtime::clock::Clock;
use serve_runtime::logs::Writer;
use serve_runtime::tasks::Tasks;
use tokio::sync::Semaphore;

use super::*;

struct World {
    host: Host,
    tasks: Tasks,
    pod: ObjectKey,
}

fn writer(run: u32) -> Writer {
    Writer {
        replica: "abcde".into(),
        run,
    }
}

impl World {
    fn new(restarts: u32) -> Self {
        let clock = Clock::tokio(Timestamp::from_unix_seconds(1_800_000_000));
        let (host, _) = crate::answer::tests::host(clock);
        let container = |name: &str, restarts: u32| json!({"name": name, "restartCount": restarts, "state": {"running": {}}});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "r-deployment-x-abcde", "namespace": "default",
                "labels": {"serving.knative.dev/revision": "r"}},
            "spec": {"containers": [{"name": "user-container"}, {"name": "queue-proxy"}]},
            "status": {"containerStatuses":
                [container("queue-proxy", 0), container("user-container", restarts)]},
        });
        let pod = Object::from_value(pod).expect("a Pod");
        let pod = host.store.create(pod).expect("created").key();
        let world = Self {
            host,
            tasks: Tasks::default(),
            pod,
        };
        world.set_run(0);
        world
    }

    fn revision() -> ObjectKey {
        ObjectKey::new("default", "r")
    }

    fn set_run(&self, run: u32) {
        self.host
            .logs
            .set_writers(&Self::revision(), vec![writer(run)]);
    }

    fn write(&self, text: &str) {
        self.host.logs.open(&Self::revision()).push(0, text);
    }

    fn read(&self, query: &str) -> Result<Reading, Status> {
        let permit = Arc::new(Semaphore::new(1))
            .try_acquire_owned()
            .expect("free");
        Reading::start(
            &self.host,
            &self.pod,
            query,
            self.tasks.stop_signal(),
            permit,
        )
    }

    async fn all(&self, query: &str) -> String {
        let mut reading = self
            .read(query)
            .unwrap_or_else(|status| panic!("{status:?}"));
        let mut text = String::new();
        while let Some(piece) = reading.next().await {
            text.push_str(std::str::from_utf8(&piece).expect("text"));
        }
        text
    }
}

#[tokio::test(start_paused = true)]
async fn lines_are_chosen_as_asked() {
    let world = World::new(0);
    world.write("one");
    tokio::time::advance(Duration::from_secs(10)).await;
    world.write("two");
    world.write("three");
    for (query, want) in [
        ("", "one\ntwo\nthree\n"),
        ("container=user-container", "one\ntwo\nthree\n"),
        ("container=queue-proxy", ""),
        ("tailLines=1", "three\n"),
        ("tailLines=0", ""),
        ("sinceSeconds=5", "two\nthree\n"),
        ("sinceTime=2027-01-15T08:00:05Z&tailLines=1", "three\n"),
        ("limitBytes=6", "one\ntw"),
        (
            "timestamps=true&tailLines=1",
            "2027-01-15T08:00:10Z three\n",
        ),
    ] {
        assert_eq!(world.all(query).await, want, "{query}");
    }
    for (query, code, part) in [
        (
            "container=x",
            400,
            "container x is not valid for pod r-deployment-x-abcde",
        ),
        (
            "previous=true",
            400,
            "previous terminated container \"user-container\"",
        ),
        ("tailLines=x", 400, "tailLines"),
        ("sinceTime=x", 400, "sinceTime"),
    ] {
        let status = world.read(query).err().expect(query);
        assert_eq!(status.code, code, "{query}");
        assert!(status.message.contains(part), "{query}: {}", status.message);
    }
}

#[tokio::test(start_paused = true)]
async fn the_run_before_the_last_restart_is_the_previous_one() {
    let world = World::new(1);
    world.write("old");
    world.set_run(1);
    world.write("new");
    assert_eq!(world.all("previous=true").await, "old\n");
    assert_eq!(world.all("").await, "new\n");
}

#[tokio::test(start_paused = true)]
async fn who_follows_hears_all_until_the_pod_is_gone() {
    let world = World::new(0);
    world.write("zero");
    world.write("one");
    let mut reading = world.read("follow=true&tailLines=1").expect("there");
    assert_eq!(reading.next().await.as_deref(), Some(&b"one\n"[..]));
    let soon = tokio::time::timeout(Duration::from_millis(1), reading.next());
    assert!(soon.await.is_err(), "nothing was written");
    world.write("two");
    assert_eq!(reading.next().await.as_deref(), Some(&b"two\n"[..]));
    world.set_run(1);
    world.write("after a restart");
    assert_eq!(
        reading.next().await.as_deref(),
        Some(&b"after a restart\n"[..])
    );
    world.write("last");
    world
        .host
        .store
        .delete(Kind::Pod, &world.pod, None)
        .expect("deleted");
    assert_eq!(reading.next().await.as_deref(), Some(&b"last\n"[..]));
    assert_eq!(reading.next().await, None);
    assert_eq!(world.read("").err().expect("gone").code, 404);
}

#[tokio::test(start_paused = true)]
async fn who_follows_is_let_go_when_the_server_stops() {
    let world = World::new(0);
    let mut reading = world.read("follow=true").expect("there");
    let soon = tokio::time::timeout(Duration::from_millis(1), reading.next());
    assert!(soon.await.is_err(), "nothing was written");
    world.tasks.stop();
    assert_eq!(reading.next().await, None);
}
