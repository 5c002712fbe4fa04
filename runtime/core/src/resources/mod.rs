//! Children made from their parents: Service → Configuration and Route, Configuration → Revision.
//!
//! Input: the parent, and the child as it is where something of it stays. Output: the child as it
//! should be, without what the store adds (uid, version, generation, times).
//!
//! | child | labels | annotations |
//! | --- | --- | --- |
//! | Configuration | the Service's, `service`, `serviceUID` | the Service's without kubectl's and the rollout duration, `routes` |
//! | Route | the Service's, `service` | the Service's without kubectl's |
//! | Kubernetes Service | the Route's without the visibility, `route`; never fewer than before | the Route's; never fewer than before |
//! | Revision | the template's, `configuration`, `configurationGeneration`, `configurationUID`, `service`, `serviceUID`, `routingState` | the template's, `routes`, `routingStateModified`, `creator` |
//!
//! # Source
//!
//! knative/serving pkg/reconciler/{service,configuration,route}/resources. Differs: the Service of a
//! Route always stands for the Route's host, as there is no load balancer to stand for.

pub mod derived;
pub mod event;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::api::{
    Configuration, ConfigurationSpec, Revision, Route, RouteSpec, Service, TrafficTarget,
};
use crate::keys;
use crate::kind::Kind;
use crate::meta::{ObjectMeta, OwnerReference};
use crate::names;
use crate::object::Dynamic;
use crate::time::Timestamp;

type Map = BTreeMap<String, String>;

/// The Configuration of a Service. Routes that are noted on the `existing` one stay noted.
#[must_use]
pub fn make_configuration(service: &Service, existing: Option<&Configuration>) -> Configuration {
    let parent = &service.metadata;
    let mut labels = parent.labels.clone();
    labels.insert(keys::SERVICE_LABEL.to_owned(), parent.name.clone());
    labels.insert(keys::SERVICE_UID_LABEL.to_owned(), parent.uid.clone());

    let mut annotations = without(
        &parent.annotations,
        &[
            keys::KUBECTL_LAST_APPLIED_ANNOTATION,
            keys::ROLLOUT_DURATION_ANNOTATION,
            keys::ROLLOUT_DURATION_ALIAS_ANNOTATION,
        ],
    );
    let mut routes = existing.map_or_else(BTreeSet::new, |existing| routes_of(&existing.metadata));
    routes.insert(&parent.name);
    annotations.insert(keys::ROUTES_ANNOTATION.to_owned(), join_routes(&routes));

    Configuration {
        metadata: child_metadata(parent, Kind::Service, labels, annotations),
        spec: ConfigurationSpec {
            template: service.spec.template.clone(),
        },
        ..Configuration::default()
    }
}

/// The Route of a Service. A target without a revision's name is for the Service's Configuration.
#[must_use]
pub fn make_route(service: &Service) -> Route {
    let parent = &service.metadata;
    let mut labels = parent.labels.clone();
    labels.insert(keys::SERVICE_LABEL.to_owned(), parent.name.clone());
    let annotations = without(
        &parent.annotations,
        &[keys::KUBECTL_LAST_APPLIED_ANNOTATION],
    );
    let targets = service.spec.traffic.iter().map(|target| {
        let mut target: TrafficTarget = target.clone();
        if target.revision_name.is_empty() {
            target.configuration_name.clone_from(&parent.name);
        }
        target
    });
    Route {
        metadata: child_metadata(parent, Kind::Service, labels, annotations),
        spec: RouteSpec {
            traffic: targets.collect(),
        },
        ..Route::default()
    }
}

/// The Revision of a Configuration's current generation.
///
/// It starts as `active` when a Route is noted on the Configuration, which is so for each child of
/// a Service, else as `pending`. A label for the Service is there, and empty, when there is none.
#[must_use]
pub fn make_revision(configuration: &Configuration, now: Timestamp) -> Revision {
    let parent = &configuration.metadata;
    let template = &configuration.spec.template;
    let routes = parent
        .annotation(keys::ROUTES_ANNOTATION)
        .unwrap_or_default();
    let state = if routes.is_empty() {
        keys::ROUTING_STATE_PENDING
    } else {
        keys::ROUTING_STATE_ACTIVE
    };

    let mut labels = template.metadata.labels.clone();
    let inherited = |key| parent.label(key).unwrap_or_default().to_owned();
    for (key, value) in [
        (keys::CONFIGURATION_LABEL, parent.name.clone()),
        (
            keys::CONFIGURATION_GENERATION_LABEL,
            parent.generation.to_string(),
        ),
        (keys::CONFIGURATION_UID_LABEL, parent.uid.clone()),
        (keys::SERVICE_LABEL, inherited(keys::SERVICE_LABEL)),
        (keys::SERVICE_UID_LABEL, inherited(keys::SERVICE_UID_LABEL)),
        (keys::ROUTING_STATE_LABEL, state.to_owned()),
    ] {
        labels.insert(key.to_owned(), value);
    }

    let mut annotations = template.metadata.annotations.clone();
    annotations.insert(
        keys::ROUTING_STATE_MODIFIED_ANNOTATION.to_owned(),
        now.to_string(),
    );
    if !routes.is_empty() {
        annotations.insert(keys::ROUTES_ANNOTATION.to_owned(), routes.to_owned());
    }
    if let Some(modifier) = parent.annotation(keys::LAST_MODIFIER_ANNOTATION) {
        annotations.insert(keys::CREATOR_ANNOTATION.to_owned(), modifier.to_owned());
    }

    let mut metadata = child_metadata(parent, Kind::Configuration, labels, annotations);
    metadata.name = if template.metadata.name.is_empty() {
        names::revision_name(&parent.name, parent.generation)
    } else {
        template.metadata.name.clone()
    };
    Revision {
        metadata,
        spec: template.spec.clone(),
        ..Revision::default()
    }
}

/// The Kubernetes Service with the name of a Route or of one of its tags, which stands for `host`.
///
/// What an `existing` one has stays: labels and annotations there are added, and never removed.
/// The Route's own visibility is not copied, as the label is where a user sets that of one target.
#[must_use]
pub fn make_placeholder(
    route: &Route,
    name: &str,
    host: &str,
    existing: Option<&Dynamic>,
) -> Dynamic {
    let parent = &route.metadata;
    let mut labels = without(&parent.labels, &[keys::VISIBILITY_LABEL]);
    labels.insert(keys::ROUTE_LABEL.to_owned(), parent.name.clone());
    let mut made = existing.cloned().unwrap_or_else(|| Dynamic {
        kind: Kind::KubernetesService,
        metadata: ObjectMeta {
            name: name.to_owned(),
            ..child_metadata(parent, Kind::Route, Map::new(), Map::new())
        },
        body: serde_json::Map::new(),
    });
    made.metadata.labels.extend(labels);
    made.metadata.annotations.extend(parent.annotations.clone());
    let spec = json!({
        "type": "ExternalName",
        "externalName": host,
        "sessionAffinity": "None",
        "ports": [{
            "name": "http2",
            "appProtocol": "kubernetes.io/h2c",
            "protocol": "TCP",
            "port": 80,
            "targetPort": 80,
        }],
    });
    made.body.insert("spec".to_owned(), spec);
    made.body
        .entry("status")
        .or_insert_with(|| json!({"loadBalancer": {}}));
    made
}

/// The reference to an owner that controls its child and is deleted after it.
#[must_use]
pub fn controller_reference(owner: &ObjectMeta, kind: Kind) -> OwnerReference {
    OwnerReference {
        api_version: kind.api_version(),
        kind: kind.names().kind.to_owned(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The Routes noted on a Configuration or Revision.
#[must_use]
pub fn routes_of(metadata: &ObjectMeta) -> BTreeSet<&str> {
    let noted = metadata.annotation(keys::ROUTES_ANNOTATION);
    let names = noted.unwrap_or_default().split(',');
    names.filter(|name| !name.is_empty()).collect()
}

/// The value of the annotation that notes `routes`: sorted, with commas between.
#[must_use]
pub fn join_routes(routes: &BTreeSet<&str>) -> String {
    routes.iter().copied().collect::<Vec<_>>().join(",")
}

fn without(annotations: &Map, excluded: &[&str]) -> Map {
    let mut annotations = annotations.clone();
    annotations.retain(|key, _| !excluded.contains(&key.as_str()));
    annotations
}

/// Metadata of a child with the name of its parent.
fn child_metadata(
    parent: &ObjectMeta,
    parent_kind: Kind,
    labels: Map,
    annotations: Map,
) -> ObjectMeta {
    ObjectMeta {
        name: parent.name.clone(),
        namespace: parent.namespace.clone(),
        labels,
        annotations,
        owner_references: vec![controller_reference(parent, parent_kind)],
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
