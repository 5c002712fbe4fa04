//! Replicas that go and Revisions that are deleted while clients ask at full speed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::client::Client;
use crate::kube::{client, resource};
use crate::process::{PATIENCE, Serve, wait_for};

/// What each client asks for; the guest takes a quarter of a second for a path with an s.
const PATHS: [&str; 4] = ["/", "/", "/slow", "/slow"];

/// A host and what tests write to it.
struct World {
    runtime: Runtime,
    serve: Serve,
    services: Api<DynamicObject>,
    revisions: Api<DynamicObject>,
    settings: Api<DynamicObject>,
}

impl World {
    fn new() -> Self {
        let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests");
        let config = tempfile::NamedTempFile::new().expect("a file");
        let text = format!("[images]\nroots = ['{guests}']\n[network]\nurl-port = \"none\"\n");
        std::fs::write(config.path(), text).expect("written");
        let serve = Serve::up(&["--config", &config.path().display().to_string()]);
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(client(&serve));
        let maps = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        Self {
            runtime,
            serve,
            services: Api::default_namespaced_with(client.clone(), &resource("Service")),
            revisions: Api::default_namespaced_with(client.clone(), &resource("Revision")),
            settings: Api::namespaced_with(client, "knative-serving", &maps),
        }
    }

    fn create(&self) {
        let spec = json!({"template": {
            "metadata": {"annotations": {"autoscaling.knative.dev/window": "6s"}},
            "spec": {"containers": [{"image": "./sick.wat"}]}}});
        let service = DynamicObject::new("h1", &resource("Service")).data(json!({"spec": spec}));
        let params = PostParams::default();
        let created = self.services.create(&params, &service);
        self.runtime.block_on(created).expect("created");
        self.serves("h1-00001");
    }

    fn patch(&self, api: &Api<DynamicObject>, name: &str, patch: Value) {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = api.patch(name, &params, &patch);
        self.runtime.block_on(patched).expect("patched");
    }

    fn min_scale(&self, replicas: u32) {
        let data = json!({"data": {"min-scale": replicas.to_string()}});
        self.patch(&self.settings, "config-autoscaler", data);
    }

    #[track_caller]
    fn wait(&self, api: &Api<DynamicObject>, name: &str, is_so: impl Fn(&Value) -> bool) {
        let look = || {
            let object = self.runtime.block_on(api.get_opt(name)).expect("asked");
            is_so(&object?.data["status"]).then_some(())
        };
        let found = wait_for(PATIENCE, look);
        assert!(found.is_some(), "{name}\n{}", self.serve.log());
    }

    fn replicas(&self, name: &str, replicas: u32) {
        self.wait(&self.revisions, name, |status| {
            status["actualReplicas"] == replicas
        });
    }

    /// Waits until all requests go to a Revision.
    fn serves(&self, revision: &str) {
        self.wait(&self.services, "h1", |status| {
            let traffic = &status["traffic"];
            let conditions = status["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|c| c["type"] == "Ready");
            traffic[0]["revisionName"] == revision
                && traffic[0]["percent"] == 100
                && ready.any(|c| c["status"] == "True")
        });
    }

    /// Runs clients beside what is done, and returns how many requests each had answered.
    fn under_load(&self, change: impl FnOnce(&[AtomicUsize])) -> Vec<usize> {
        let over = AtomicBool::new(false);
        let address = self.serve.public();
        let counts: Vec<_> = PATHS.iter().map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for (path, count) in PATHS.iter().zip(&counts) {
                let head = format!("GET {path} HTTP/1.1\r\nHost: h1.default.localhost\r\n\r\n");
                let over = &over;
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    while !over.load(Ordering::Acquire) {
                        client.send(head.as_bytes());
                        let response = client.response();
                        assert_eq!(response.status, 200, "{path}: {}", response.body);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // The clients end whatever happens here, or the scope would wait for them.
            struct End<'a>(&'a AtomicBool);
            impl Drop for End<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::Release);
                }
            }
            let _end = End(&over);
            change(&counts);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }
}

/// Waits until each client has more answers, and so has asked again.
fn all_ask(counts: &[AtomicUsize]) {
    let read = || counts.iter().map(|count| count.load(Ordering::Relaxed));
    let before: Vec<_> = read().collect();
    let is_so = || read().zip(&before).all(|(now, before)| now > *before);
    assert!(wait_for(PATIENCE, || is_so().then_some(())).is_some());
}

#[test]
fn replicas_that_go_lose_no_request() {
    const ROUNDS: usize = 2;
    let world = World::new();
    world.create();
    let counts = world.under_load(|counts| {
        for _ in 0..ROUNDS {
            for replicas in [5, 1] {
                world.min_scale(replicas);
                world.replicas("h1-00001", replicas);
                all_ask(counts);
            }
        }
    });
    println!("{counts:?} requests of {PATHS:?}");
}

#[test]
fn revisions_that_are_deleted_lose_no_request() {
    const LAST: usize = 11;
    let world = World::new();
    world.create();
    let counts = world.under_load(|counts| {
        for number in 2..=LAST {
            all_ask(counts);
            let container = json!([{"image": "./sick.wat", "env": [
                {"name": "N", "value": number.to_string()}]}]);
            let spec = json!({"template": {"spec": {"containers": container}}});
            world.patch(&world.services, "h1", json!({"spec": spec}));
            world.serves(&format!("h1-{number:05}"));
            // Slow requests that came to it are still running.
            let old = format!("h1-{:05}", number - 1);
            let params = DeleteParams::default();
            let deleted = world.revisions.delete(&old, &params);
            world.runtime.block_on(deleted).expect("deleted");
        }
    });
    println!("{counts:?} requests of {PATHS:?}");
}
