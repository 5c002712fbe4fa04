//! Events: what happened to an object, for a person to read.
//!
//! # Source
//!
//! kubernetes/client-go tools/record: names, and the aggregation of what is told again.

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::meta::{ObjectKey, ObjectMeta};
use crate::object::{Dynamic, Object};
use crate::reconcile::Event;
use crate::time::Timestamp;

/// How long an Event is kept after it was last told.
///
/// Source: kubernetes/kubernetes kube-apiserver, `--event-ttl`.
pub const LIFETIME: std::time::Duration = std::time::Duration::from_secs(3600);

/// What an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct About {
    pub kind: Kind,
    pub key: ObjectKey,
    pub uid: String,
    pub resource_version: String,
}

impl About {
    #[must_use]
    pub fn of(kind: Kind, metadata: &ObjectMeta) -> Self {
        Self {
            kind,
            key: metadata.key(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
        }
    }
}

/// The Event object of something that is told for the first time.
#[must_use]
pub fn make_event(about: &About, event: &Event, now: Timestamp) -> Object {
    let names = about.kind.names();
    let namespace = match about.key.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    let component = format!("{}-controller", names.singular);
    let time = now.truncated().to_string();
    let body = json!({
        "involvedObject": {
            "apiVersion": about.kind.api_version(),
            "kind": names.kind,
            "name": about.key.name,
            "namespace": about.key.namespace,
            "resourceVersion": about.resource_version,
            "uid": about.uid,
        },
        "type": event.severity.as_str(),
        "reason": event.reason,
        "message": event.message,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "eventTime": null,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    });
    let metadata = ObjectMeta {
        name: format!("{}.{:x}", about.key.name, now.unix_nanos()),
        namespace: namespace.to_owned(),
        ..ObjectMeta::default()
    };
    Object::from(Dynamic {
        kind: Kind::Event,
        metadata,
        body: body.as_object().cloned().unwrap_or_else(Map::new),
    })
}

/// The same Event told once more.
#[must_use]
pub fn repeat_event(event: &Object, now: Timestamp) -> Object {
    let mut event = event.clone();
    if let Object::Dynamic(event) = &mut event {
        let count = event.body.get("count").and_then(Value::as_u64).unwrap_or(0);
        event
            .body
            .insert("count".into(), count.saturating_add(1).into());
        let time = now.truncated().to_string();
        event.body.insert("lastTimestamp".into(), time.into());
    }
    event
}
