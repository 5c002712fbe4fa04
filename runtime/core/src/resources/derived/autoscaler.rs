//! PodAutoscaler: what the autoscaler wants of a Revision, and why.

use serde::Deserialize;
use serde_json::json;

use super::{View, object, owned_by, status_of};
use crate::conditions::{
    ACTIVE, Condition, ConditionStatus, Manager, SCALE_TARGET_INITIALIZED, SKS_READY, Set,
};
use crate::keys;
use crate::kind::Kind;
use crate::meta::ObjectMeta;
use crate::object::Object;
use crate::reconcile::revision::StartFact;

/// The PodAutoscaler of a Revision. `before` is the one that is there.
#[must_use]
pub fn make_pod_autoscaler(view: &View<'_>, before: Option<&Object>) -> Object {
    let meta = &view.revision.metadata;
    let old = status_of(before);
    let known = Vec::<Condition>::deserialize(&old["conditions"]).unwrap_or_default();
    let mut status = json!({
        "observedGeneration": before.map_or(1, |object| object.metadata().generation),
        "serviceName": meta.name,
        "metricsServiceName": crate::names::child_name(&meta.name, "-private"),
        "conditions": conditions(view, &known),
    });
    let scales = [
        ("actualScale", view.facts.actual_replicas),
        ("desiredScale", view.facts.desired_replicas),
    ];
    for (member, scale) in scales {
        if let Some(scale) = scale {
            status[member] = scale.into();
        }
    }
    let mut annotations = view.annotations();
    let class = "autoscaling.knative.dev/class";
    annotations
        .entry(class.to_owned())
        .or_insert_with(|| "kpa.autoscaling.knative.dev".to_owned());
    annotations
        .entry("autoscaling.knative.dev/metric".to_owned())
        .or_insert_with(|| "concurrency".to_owned());
    let metadata = ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        labels: view.labels(),
        annotations,
        owner_references: owned_by(Kind::Revision, meta),
        ..ObjectMeta::default()
    };
    let reachability = match meta.label(keys::ROUTING_STATE_LABEL) {
        Some(keys::ROUTING_STATE_ACTIVE) => "Reachable",
        Some(keys::ROUTING_STATE_RESERVE) => "Unreachable",
        _ => "",
    };
    let ports = view.revision.serving_container().map(|one| &one.ports);
    let is_h2c = ports.is_some_and(|ports| ports.iter().any(|port| port.name == "h2c"));
    let spec = json!({
        "containerConcurrency": view.revision.spec.container_concurrency.unwrap_or(0),
        "protocolType": if is_h2c { "h2c" } else { "http1" },
        "reachability": reachability,
        "scaleTargetRef": {
            "apiVersion": Kind::Deployment.api_version(),
            "kind": "Deployment",
            "name": view.deployment_name(),
        },
    });
    object(
        Kind::PodAutoscaler,
        metadata,
        json!({"spec": spec, "status": status}),
    )
}

fn conditions(view: &View<'_>, before: &[Condition]) -> Vec<Condition> {
    let facts = view.facts;
    let mut conditions = Manager::begin(Set::POD_AUTOSCALER, before, false);
    if facts.is_initialized {
        conditions.mark_true(SCALE_TARGET_INITIALIZED);
    } else {
        conditions.mark_unknown(SCALE_TARGET_INITIALIZED, "", "");
    }
    // Requests reach the queue in front of the code from the moment that there is code.
    if facts.start == StartFact::Started {
        conditions.mark_true(SKS_READY);
    } else {
        let message = "SKS Services are not ready yet";
        conditions.mark_unknown(SKS_READY, "NotReady", message);
    }
    match &facts.active {
        Some(active) => conditions.copy(
            ACTIVE,
            &Condition {
                status: active.status,
                reason: active.reason.clone(),
                message: active.message.clone(),
                ..Condition::default()
            },
        ),
        None => conditions.copy(
            ACTIVE,
            &Condition {
                status: ConditionStatus::Unknown,
                reason: "Queued".to_owned(),
                message: "Requests to the target are being buffered as resources are provisioned."
                    .to_owned(),
                ..Condition::default()
            },
        ),
    }
    conditions.finish(view.now)
}
