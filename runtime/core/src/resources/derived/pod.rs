//! Pod: one replica.

use serde_json::{Value, json};

use super::{ADDRESS, NODE, QUEUE_PROXY, View, object, owned_by};
use crate::kind::Kind;
use crate::meta::ObjectMeta;
use crate::names;
use crate::object::Object;
use crate::reconcile::revision::StartFact;
use crate::replicas::Replica;
use crate::time::Timestamp;

/// The Pod of one replica of a ReplicaSet that is in the store.
#[must_use]
pub fn make_pod(view: &View<'_>, replica_set: &ObjectMeta, replica: &Replica) -> Object {
    let metadata = ObjectMeta {
        name: names::pod_name(&replica_set.name, &replica.id),
        generate_name: format!("{}-", replica_set.name),
        namespace: replica_set.namespace.clone(),
        labels: view.pod_labels(),
        annotations: view.annotations(),
        owner_references: owned_by(Kind::ReplicaSet, replica_set),
        ..ObjectMeta::default()
    };
    let mut spec = view.pod_spec();
    spec["nodeName"] = NODE.into();
    object(
        Kind::Pod,
        metadata,
        json!({"spec": spec, "status": status(view, replica)}),
    )
}

/// Why a replica does not run that the machine has no room for.
const UNSCHEDULABLE: &str = "Unschedulable";

fn status(view: &View<'_>, replica: &Replica) -> Value {
    let created = time(replica.created);
    if let (None, StartFact::Failed { reason, message }) = (replica.started, &view.facts.start)
        && reason == UNSCHEDULABLE
    {
        // It has no node, so nothing has begun to make its containers.
        return json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": reason,
                "message": message, "lastProbeTime": null, "lastTransitionTime": created}],
            "qosClass": "Burstable",
        });
    }
    let ready = replica.ready_since.map(time);
    let condition = |kind: &str, since: Option<&Value>| {
        let status = if since.is_some() { "True" } else { "False" };
        let since = since.unwrap_or(&created);
        json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since})
    };
    let not_ready = |kind: &str| {
        let mut condition = condition(kind, ready.as_ref());
        if ready.is_none() {
            condition["reason"] = "ContainersNotReady".into();
            let names = container_names(view).join(" ");
            condition["message"] = format!("containers with unready status: [{names}]").into();
        }
        condition
    };
    let statuses: Vec<Value> = container_names(view)
        .iter()
        .map(|name| container(view, replica, name))
        .collect();
    let is_running = replica.started.is_some();
    let mut status = json!({
        "phase": if is_running { "Running" } else { "Pending" },
        "conditions": [
            condition("PodReadyToStartContainers", Some(&created)),
            condition("Initialized", Some(&created)),
            not_ready("Ready"),
            not_ready("ContainersReady"),
            condition("PodScheduled", Some(&created)),
        ],
        "containerStatuses": statuses,
        "hostIP": ADDRESS,
        "hostIPs": [{"ip": ADDRESS}],
        "qosClass": "Burstable",
        "startTime": created,
    });
    if is_running {
        status["podIP"] = ADDRESS.into();
        status["podIPs"] = json!([{"ip": ADDRESS}]);
    }
    status
}

/// The containers in the order in which Kubernetes lists their statuses: by name.
fn container_names<'a>(view: &View<'a>) -> Vec<&'a str> {
    let containers = &view.revision.spec.containers;
    let mut names: Vec<&str> = containers.iter().map(|one| one.name.as_str()).collect();
    names.push(QUEUE_PROXY);
    names.sort_unstable();
    names
}

fn container(view: &View<'_>, replica: &Replica, name: &str) -> Value {
    let revision = view.revision;
    let spec = revision.spec.containers.iter().find(|one| one.name == name);
    let known = revision.status.container_statuses.iter();
    let digest = known.clone().find(|one| one.name == name);
    let is_of_user = name != QUEUE_PROXY;
    let state = match (replica.started, &view.facts.start) {
        (Some(first), _) => {
            let end = replica.last_end.as_ref().filter(|_| is_of_user);
            json!({"running": {"startedAt": time(end.map_or(first, |end| end.at))}})
        }
        (None, StartFact::Failed { reason, message }) if is_of_user => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        (None, _) => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    // The queue is asked the probes of the user's container, as on a cluster.
    let ready_since = if is_of_user {
        replica.started
    } else {
        replica.ready_since
    };
    let is_ready = ready_since.is_some();
    let restarts = if is_of_user { replica.restarts } else { 0 };
    let last = match &replica.last_end {
        Some(end) if is_of_user => {
            let reason = if end.exit_code == 0 {
                "Completed"
            } else {
                "Error"
            };
            json!({"terminated": {
                "exitCode": end.exit_code, "reason": reason, "startedAt": time(replica.created),
                "finishedAt": time(end.at),
            }})
        }
        _ => json!({}),
    };
    json!({
        "name": name,
        "image": spec.map_or(QUEUE_PROXY, |spec| spec.image.as_str()),
        "imageID": digest.map(|one| one.image_digest.as_str()).unwrap_or_default(),
        "containerID": format!("serve://{}/{}/{name}", revision.metadata.uid, replica.id),
        "ready": is_ready,
        "started": replica.started.is_some(),
        "restartCount": restarts,
        "state": state,
        "lastState": last,
    })
}

fn time(time: Timestamp) -> Value {
    time.truncated().to_string().into()
}
