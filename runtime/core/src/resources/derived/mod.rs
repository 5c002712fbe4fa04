//! The objects that show what runs of a Revision: Deployment, ReplicaSet, Pods, PodAutoscaler.
//!
//! Input: the Revision, what has been observed of it, its replicas, and the objects as they are,
//! for the times in their conditions. Output: the objects as they should be, without what the store
//! adds. Nobody acts on them.
//!
//! | object | name | owner |
//! | --- | --- | --- |
//! | PodAutoscaler | the Revision's | Revision |
//! | Deployment | `<revision>-deployment` | Revision |
//! | ReplicaSet | `<deployment>-<10 characters>` | Deployment |
//! | Pod | `<replica set>-<5 characters>` | ReplicaSet |
//!
//! # Source
//!
//! knative/serving pkg/reconciler/revision/resources/{meta,deploy,pa}.go for names, labels and
//! containers; kubernetes/api core/v1 and apps/v1 for the members of statuses. Differs: the
//! sidecar is a name only, since this process does its work.

mod autoscaler;
mod deployment;
mod pod;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::Revision;
use crate::keys;
use crate::kind::Kind;
use crate::meta::{ObjectMeta, OwnerReference};
use crate::names;
use crate::object::{Dynamic, Object};
use crate::reconcile::revision::Facts;
use crate::replicas::{Replica, Replicas};
use crate::time::Timestamp;

pub use autoscaler::make_pod_autoscaler;
pub use deployment::{make_deployment, make_replica_set};
pub use pod::make_pod;

/// The container that stands for the queue in front of the code.
pub const QUEUE_PROXY: &str = "queue-proxy";
/// Where everything runs.
const NODE: &str = "localhost";
const ADDRESS: &str = "127.0.0.1";
/// Labels and annotations of a Revision that come and go with Routes.
const OF_ROUTES: [&str; 5] = [
    keys::ROUTE_LABEL,
    keys::ROUTING_STATE_LABEL,
    keys::ROUTES_ANNOTATION,
    keys::ROUTING_STATE_MODIFIED_ANNOTATION,
    keys::KUBECTL_LAST_APPLIED_ANNOTATION,
];

/// What the objects are made from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub revision: &'a Revision,
    pub facts: &'a Facts,
    pub replicas: &'a Replicas,
    pub now: Timestamp,
}

/// Which of the objects are not as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    pub autoscaler: bool,
    /// Deployment, ReplicaSet and Pods.
    pub workloads: bool,
}

impl Stale {
    pub const ALL: Self = Self {
        autoscaler: true,
        workloads: true,
    };

    /// Those that another state of the Revision makes so. Routes come and go on it, and its status
    /// changes, far more often than what is shown of it.
    #[must_use]
    pub fn by_revision(before: &Revision, after: &Revision) -> Self {
        let (old, new) = (&before.metadata, &after.metadata);
        let is_another = old.key() != new.key()
            || old.uid != new.uid
            || !is_same_without_routes(&old.labels, &new.labels)
            || !is_same_without_routes(&old.annotations, &new.annotations)
            || before.spec != after.spec;
        let state = keys::ROUTING_STATE_LABEL;
        Self {
            autoscaler: is_another || old.label(state) != new.label(state),
            workloads: is_another
                || before.status.container_statuses != after.status.container_statuses,
        }
    }

    /// Those that another observation makes so.
    #[must_use]
    pub fn by_facts(before: (&Facts, &Replicas), after: (&Facts, &Replicas)) -> Self {
        Self {
            autoscaler: before.0 != after.0,
            workloads: before.0.start != after.0.start || before.1 != after.1,
        }
    }

    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            autoscaler: self.autoscaler || other.autoscaler,
            workloads: self.workloads || other.workloads,
        }
    }
}

impl View<'_> {
    fn count(&self, is_counted: impl Fn(&Replica) -> bool) -> usize {
        self.replicas.living().filter(|one| is_counted(one)).count()
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let meta = &self.revision.metadata;
        let mut labels = without_routes(&meta.labels);
        labels.insert(keys::REVISION_LABEL.to_owned(), meta.name.clone());
        labels.insert(keys::REVISION_UID_LABEL.to_owned(), meta.uid.clone());
        labels
            .entry("app".to_owned())
            .or_insert_with(|| meta.name.clone());
        labels
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        without_routes(&self.revision.metadata.annotations)
    }

    fn hash(&self) -> String {
        names::template_hash(&self.revision.metadata.uid)
    }

    fn pod_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels();
        labels.insert("pod-template-hash".to_owned(), self.hash());
        labels
    }

    fn deployment_name(&self) -> String {
        names::deployment_name(&self.revision.metadata.name)
    }

    fn replica_set_name(&self) -> String {
        format!("{}-{}", self.deployment_name(), self.hash())
    }

    /// The pod that each replica is said to be.
    fn pod_spec(&self) -> Value {
        let spec = &self.revision.spec;
        let mut containers: Vec<Value> = Vec::new();
        for container in &spec.containers {
            let mut container = serde_json::to_value(container).unwrap_or_default();
            let is_named = |name: &str| container[name].as_str().is_some_and(|s| !s.is_empty());
            let missing = [
                ("imagePullPolicy", "IfNotPresent"),
                ("terminationMessagePath", "/dev/termination-log"),
                ("terminationMessagePolicy", "FallbackToLogsOnError"),
            ]
            .map(|(name, value)| (name, value, is_named(name)));
            for (name, value, there) in missing {
                if !there {
                    container[name] = value.into();
                }
            }
            containers.push(container);
        }
        containers.push(json!({
            "name": QUEUE_PROXY,
            "image": QUEUE_PROXY,
            "imagePullPolicy": "IfNotPresent",
            "resources": {},
        }));
        let account = match spec.service_account_name.as_str() {
            "" => "default",
            name => name,
        };
        let mut pod = json!({
            "containers": containers,
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": spec.enable_service_links.unwrap_or(false),
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "serviceAccountName": account,
            "terminationGracePeriodSeconds": spec.timeout_seconds.unwrap_or(300),
        });
        if !spec.volumes.is_empty() {
            pod["volumes"] = serde_json::to_value(&spec.volumes).unwrap_or_default();
        }
        pod
    }
}

fn without_routes(map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let kept = entries_without_routes(map);
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn is_same_without_routes(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> bool {
    entries_without_routes(a).eq(entries_without_routes(b))
}

fn entries_without_routes(
    map: &BTreeMap<String, String>,
) -> impl Iterator<Item = (&String, &String)> {
    map.iter()
        .filter(|(key, _)| !OF_ROUTES.contains(&key.as_str()))
}

fn object(kind: Kind, metadata: ObjectMeta, body: Value) -> Object {
    let body = match body {
        Value::Object(body) => body,
        _ => Map::new(),
    };
    Object::from(Dynamic {
        kind,
        metadata,
        body,
    })
}

/// The reference to an owner of a kind that is known by what the store gave it.
fn owned_by(kind: Kind, owner: &ObjectMeta) -> Vec<OwnerReference> {
    vec![super::controller_reference(owner, kind)]
}

/// The `status` of the object as it is.
fn status_of(before: Option<&Object>) -> Value {
    match before {
        Some(Object::Dynamic(object)) => object.body.get("status").cloned().unwrap_or_default(),
        _ => Value::Null,
    }
}

/// A condition of a built-in kind; its time stays while its status does.
fn condition(
    before: &Value,
    kind: &str,
    is_true: bool,
    (reason, message): (&str, &str),
    now: Timestamp,
) -> Value {
    let status = if is_true { "True" } else { "False" };
    let conditions = before["conditions"].as_array();
    let same = conditions
        .into_iter()
        .flatten()
        .find(|one| one["type"] == kind && one["status"] == status);
    let now = Value::from(now.truncated().to_string());
    let time = same.map_or(&now, |one| &one["lastTransitionTime"]);
    let mut made = json!({"type": kind, "status": status, "lastTransitionTime": time});
    if !reason.is_empty() {
        let update = same.filter(|one| one["reason"] == reason);
        made["lastUpdateTime"] = update.map_or(&now, |one| &one["lastUpdateTime"]).clone();
        made["reason"] = reason.into();
        made["message"] = message.into();
    }
    made
}

#[cfg(test)]
mod tests;
