//! What Routes, DomainMappings and settings do to requests: the whole runtime with real guests.
//!
//! Components compile and start in real time; then time is paused, and runs as fast as nothing is
//! left to do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod domains;
mod garbage;
mod restart;
mod rollout;
mod settings;
mod tags;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use serve_core::conditions::{ConditionStatus, READY};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::time::Timestamp;
use serve_runtime::ApplyError;
use serve_runtime::Runtime;
use serve_runtime::body::Body;
use serve_runtime::clock::Clock;
use serve_runtime::source::resolve::Origin;

const MINUTE: Duration = Duration::from_mins(1);

fn clock() -> Clock {
    Clock::tokio(Timestamp::from_unix_seconds(1_800_000_000))
}

/// A runtime of its own, and what tests ask of it.
struct World {
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = Runtime::builder().clock(clock()).build();
        Self {
            runtime: runtime.unwrap(),
        }
    }

    async fn try_apply(&self, object: Value) -> Result<Arc<Object>, ApplyError> {
        let guests = format!("{}/../tests/guests", env!("CARGO_MANIFEST_DIR"));
        let origin = Origin {
            directory: Path::new(&guests),
            may_build: false,
        };
        let object = Object::from_value(object).unwrap();
        self.runtime.apply(object, origin).await
    }

    async fn apply(&self, object: Value) -> Arc<Object> {
        self.try_apply(object).await.unwrap()
    }

    /// Replaces the data of a ConfigMap with settings.
    async fn set(&self, map: &str, data: Value) {
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": map, "namespace": "knative-serving"},
            "data": data,
        }))
        .await;
    }

    /// Waits until an object is as `want` says, or not there as `None`.
    async fn wait(&self, kind: Kind, name: &str, want: impl Fn(Option<&Value>) -> bool) -> Value {
        self.wait_for(Duration::from_mins(2), kind, name, want)
            .await
    }

    async fn wait_for(
        &self,
        patience: Duration,
        kind: Kind,
        name: &str,
        want: impl Fn(Option<&Value>) -> bool,
    ) -> Value {
        let namespace = if kind.names().namespaced {
            "default"
        } else {
            ""
        };
        let key = ObjectKey::new(namespace, name);
        let store = self.runtime.store();
        let is_so = |object: Option<&Object>| want(object.map(Object::to_value).as_ref());
        let found = store.wait_for(kind, &key, is_so);
        let found = tokio::time::timeout(patience, found).await;
        let Ok(found) = found else {
            let object = store.get(kind, &key).map(|object| object.to_value());
            panic!("{kind:?} {name} stays {object:#?}");
        };
        found.map(|object| object.to_value()).unwrap_or_default()
    }

    /// Waits until the Service runs this revision.
    async fn ready(&self, name: &str, revision: &str) {
        self.wait(Kind::Service, name, |service| {
            service.is_some_and(|service| {
                is_ready(service) && service["status"]["latestReadyRevisionName"] == revision
            })
        })
        .await;
    }

    async fn gone(&self, kind: Kind, name: &str) {
        self.wait(kind, name, |object| object.is_none()).await;
    }

    fn get(&self, kind: Kind, name: &str) -> Option<Value> {
        let key = ObjectKey::new("default", name);
        let object = self.runtime.store().get(kind, &key)?;
        Some(object.to_value())
    }

    /// Status and body of the answer to a GET for a host.
    async fn ask(&self, host: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut request = http::Request::get("/").header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .runtime
            .call(request.body(Body::empty()).unwrap())
            .await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn is_ready(object: &Value) -> bool {
    let generation = &object["metadata"]["generation"];
    object["status"]["observedGeneration"] == *generation
        && condition(object, READY)["status"] == json!(ConditionStatus::True)
}

fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    let mut all = conditions.into_iter().flatten();
    all.find(|condition| condition["type"] == kind)
        .cloned()
        .unwrap_or_default()
}

/// A Service of one of the guests, with TARGET to tell its revisions apart.
fn service(name: &str, guest: &str, target: &str) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": {}},
        "spec": {"template": {"metadata": {"annotations": {}}, "spec": {"containers": [{
            "image": format!("./{guest}.wat"),
            "env": [{"name": "TARGET", "value": target}],
        }]}}},
    })
}
