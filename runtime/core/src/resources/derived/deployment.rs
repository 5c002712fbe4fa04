//! Deployment and ReplicaSet: how many replicas there are, by name.

use serde_json::{Value, json};

use super::{View, condition, object, owned_by, status_of};
use crate::keys;
use crate::kind::Kind;
use crate::meta::ObjectMeta;
use crate::object::Object;

/// How many replicas there are, as statuses say it.
struct Counts {
    all: usize,
    ready: usize,
    terminating: usize,
}

fn counts(view: &View<'_>) -> Counts {
    let all = view.count(|_| true);
    Counts {
        all,
        ready: view.count(|one| one.ready_since.is_some()),
        terminating: view.replicas.all().len() - all,
    }
}

/// The Deployment of a Revision. `before` is the one that is there.
#[must_use]
pub fn make_deployment(view: &View<'_>, before: Option<&Object>) -> Object {
    let meta = &view.revision.metadata;
    let counts = counts(view);
    let old = status_of(before);
    let set = view.replica_set_name();
    let is_available = counts.ready >= counts.all;
    let available = if is_available {
        (
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    let done = format!("ReplicaSet \"{set}\" has successfully progressed.");
    let doing = format!("ReplicaSet \"{set}\" is progressing.");
    let progressing = if is_available {
        ("NewReplicaSetAvailable", done.as_str())
    } else {
        ("ReplicaSetUpdated", doing.as_str())
    };
    let mut status = json!({
        "observedGeneration": before.map_or(1, |object| object.metadata().generation),
        "conditions": [
            condition(&old, "Available", is_available, available, view.now),
            condition(&old, "Progressing", true, progressing, view.now),
        ],
    });
    let unavailable = counts.all - counts.ready;
    for (member, count) in [
        ("replicas", counts.all),
        ("updatedReplicas", counts.all),
        ("readyReplicas", counts.ready),
        ("availableReplicas", counts.ready),
        ("unavailableReplicas", unavailable),
        ("terminatingReplicas", counts.terminating),
    ] {
        set_count(&mut status, member, count);
    }
    let mut annotations = view.annotations();
    annotations.insert("deployment.kubernetes.io/revision".into(), "1".into());
    let metadata = ObjectMeta {
        name: view.deployment_name(),
        namespace: meta.namespace.clone(),
        labels: view.labels(),
        annotations,
        owner_references: owned_by(Kind::Revision, meta),
        ..ObjectMeta::default()
    };
    let spec = json!({
        "replicas": counts.all,
        "selector": {"matchLabels": {keys::REVISION_UID_LABEL: meta.uid}},
        "template": template(view, false),
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
        },
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    });
    object(
        Kind::Deployment,
        metadata,
        json!({"spec": spec, "status": status}),
    )
}

/// The ReplicaSet of a Deployment that is in the store. `before` is the one that is there.
#[must_use]
pub fn make_replica_set(
    view: &View<'_>,
    deployment: &ObjectMeta,
    before: Option<&Object>,
) -> Object {
    let counts = counts(view);
    let mut status = json!({
        "replicas": counts.all,
        "observedGeneration": before.map_or(1, |object| object.metadata().generation),
    });
    for (member, count) in [
        ("fullyLabeledReplicas", counts.all),
        ("readyReplicas", counts.ready),
        ("availableReplicas", counts.ready),
        ("terminatingReplicas", counts.terminating),
    ] {
        set_count(&mut status, member, count);
    }
    let mut annotations = view.annotations();
    for (key, value) in [
        (
            "deployment.kubernetes.io/desired-replicas",
            counts.all.to_string(),
        ),
        ("deployment.kubernetes.io/revision", "1".to_owned()),
    ] {
        annotations.insert(key.to_owned(), value);
    }
    let metadata = ObjectMeta {
        name: view.replica_set_name(),
        namespace: deployment.namespace.clone(),
        labels: view.pod_labels(),
        annotations,
        owner_references: owned_by(Kind::Deployment, deployment),
        ..ObjectMeta::default()
    };
    let selector = json!({"matchLabels": {
        "pod-template-hash": view.hash(),
        keys::REVISION_UID_LABEL: view.revision.metadata.uid,
    }});
    let spec = json!({
        "replicas": counts.all,
        "selector": selector,
        "template": template(view, true),
    });
    object(
        Kind::ReplicaSet,
        metadata,
        json!({"spec": spec, "status": status}),
    )
}

/// As Kubernetes writes counts: a zero is left out.
fn set_count(status: &mut Value, member: &str, count: usize) {
    if count > 0 {
        status[member] = count.into();
    }
}

fn template(view: &View<'_>, is_hashed: bool) -> Value {
    let labels = if is_hashed {
        view.pod_labels()
    } else {
        view.labels()
    };
    json!({
        "metadata": {"labels": labels, "annotations": view.annotations()},
        "spec": view.pod_spec(),
    })
}
