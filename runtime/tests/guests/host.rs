//! A whole runtime with real guests, and what tests ask of it.

use std::path::Path;

use serde_json::{Value, json};
use serve_core::api::Revision;
use serve_core::conditions::{Condition, ConditionStatus, READY};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::time::Timestamp;
use serve_runtime::Runtime;
use serve_runtime::clock::Clock;
use serve_runtime::config::{self, Config};
use serve_runtime::source::resolve::Origin;

use super::*;

pub struct Host {
    pub runtime: Runtime,
    /// A test that hangs ends.
    pub patience: Duration,
    _directory: tempfile::TempDir,
}

impl Host {
    pub fn start() -> Self {
        Self::start_with(Clock::default(), Duration::from_mins(2))
    }

    /// One whose time of day is tokio's clock, which the test pauses. Guests compile and run in real
    /// time, during which no other passes; then it runs as fast as nothing is left to do.
    pub fn paused() -> Self {
        let clock = Clock::tokio(Timestamp::from_unix_seconds(1_800_000_000));
        Self::start_with(clock, Duration::from_hours(1))
    }

    fn start_with(clock: Clock, patience: Duration) -> Self {
        let engine = config::Engine {
            max_instances: 100,
            ..config::Engine::default()
        };
        let config = Config {
            engine,
            ..Config::default()
        };
        let directory = tempfile::tempdir().unwrap();
        let runtime = Runtime::builder()
            .clock(clock)
            .config(config)
            .cache_directory(directory.path());
        Self {
            runtime: runtime.build().unwrap(),
            patience,
            _directory: directory,
        }
    }

    pub async fn apply(&self, object: Value) {
        self.try_apply(object).await.unwrap();
    }

    /// The text of the refusal if it is refused.
    pub async fn try_apply(&self, object: Value) -> Result<(), String> {
        let object = Object::from_value(object).unwrap();
        let directory = format!("{}/../tests/guests", env!("CARGO_MANIFEST_DIR"));
        let origin = Origin {
            directory: Path::new(&directory),
            may_build: false,
        };
        let applied = self.runtime.apply(object, origin).await;
        applied.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Replaces the data of a ConfigMap with settings.
    pub async fn set(&self, map: &str, data: Value) {
        self.apply(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": map, "namespace": "knative-serving"}, "data": data}))
            .await;
    }

    /// A Service h1 with this template; `spec` and `container` are added to what it needs.
    pub async fn service(&self, guest: &str, annotations: Value, spec: Value, container: Value) {
        self.service_with(guest, annotations, spec, container, json!(null))
            .await;
    }

    pub async fn service_with(
        &self,
        guest: &str,
        annotations: Value,
        mut spec: Value,
        mut container: Value,
        traffic: Value,
    ) {
        container["image"] = json!(format!("./{guest}.wat"));
        spec["containers"] = json!([container]);
        self.apply(json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service",
            "metadata": {"name": "h1", "namespace": "default"},
            "spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec},
                "traffic": traffic}}))
            .await;
    }

    /// The Revision once `condition` holds.
    pub async fn revision(&self, number: u32, condition: impl Fn(&Revision) -> bool) -> Revision {
        let key = ObjectKey::new("default", format!("h1-{number:05}"));
        let is_so = |object: Option<&Object>| match object {
            Some(Object::Revision(revision)) => condition(revision),
            _ => false,
        };
        let store = self.runtime.store();
        let found =
            tokio::time::timeout(self.patience, store.wait_for(Kind::Revision, &key, is_so));
        let found = found.await.unwrap_or_else(|_| {
            let object = store.get(Kind::Revision, &key);
            panic!("it did not come to that: {object:?}")
        });
        match &*found.unwrap() {
            Object::Revision(revision) => (**revision).clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The Revision once all traffic goes to it.
    pub async fn ready(&self, number: u32) -> Revision {
        let revision = self
            .revision(number, |revision| says(revision, "Ready True"))
            .await;
        let key = ObjectKey::new("default", "h1");
        let is_so = |object: Option<&Object>| match object {
            Some(Object::Service(service)) => {
                let (traffic, conditions) = (&service.status.traffic, &service.status.conditions);
                let is_ready = |c: &Condition| c.kind == READY && c.status == ConditionStatus::True;
                traffic.len() == 1
                    && traffic[0].revision_name == revision.metadata.name
                    && conditions.iter().any(is_ready)
            }
            _ => false,
        };
        let store = self.runtime.store();
        let routed =
            tokio::time::timeout(self.patience, store.wait_for(Kind::Service, &key, is_so));
        routed.await.unwrap();
        revision
    }

    /// Status and body; the text of a body that breaks off is its error.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let request = http::Request::get(path)
            .header("host", "h1.default")
            .body(Body::empty())
            .unwrap();
        let response = tokio::time::timeout(self.patience, self.runtime.call(request));
        let response = response.await.unwrap();
        let status = response.status().as_u16();
        let body = text(response.into_body()).await;
        (status, body.unwrap_or_else(|error| error.to_string()))
    }

    /// Waits until a request has this status.
    pub async fn until(&self, path: &str, status: u16) {
        let deadline = tokio::time::Instant::now() + self.patience;
        while self.get(path).await.0 != status {
            assert!(tokio::time::Instant::now() < deadline, "never {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether a condition is as in `Ready False Reason message`, which may end early.
pub fn says(revision: &Revision, text: &str) -> bool {
    let conditions = revision.status.conditions.iter();
    let mut texts =
        conditions.map(|c| format!("{} {:?} {} {}", c.kind, c.status, c.reason, c.message));
    texts.any(|condition| condition.starts_with(text))
}

pub fn reused() -> Value {
    json!({"serve.wasm/isolation": "revision"})
}
