use serde_json::{Value, json};

use super::*;

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

fn service() -> Service {
    parse(json!({
        "metadata": {
            "name": "h1", "namespace": "ns", "uid": "s-uid", "generation": 3,
            "labels": {"team": "a"},
            "annotations": {
                "serving.knative.dev/creator": "ann",
                "serving.knative.dev/lastModifier": "bob",
                "serving.knative.dev/rollout-duration": "10s",
                "serving.knative.dev/rolloutDuration": "10s",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
        },
        "spec": {
            "template": {
                "metadata": {"labels": {"l": "1"}, "annotations": {"a": "1"}},
                "spec": {"containers": [{"image": "x"}]},
            },
            "traffic": [
                {"latestRevision": true, "percent": 90, "tag": "current"},
                {"revisionName": "h1-00001", "latestRevision": false, "percent": 10},
            ],
        },
    }))
}

fn metadata<T: serde::Serialize>(object: &T) -> Value {
    let object = serde_json::to_value(object).expect("an object is JSON");
    object["metadata"].clone()
}

#[test]
fn a_configuration_has_labels_annotations_and_owner_of_its_service() {
    let configuration = make_configuration(&service(), None);
    assert_eq!(
        metadata(&configuration),
        json!({
            "name": "h1", "namespace": "ns",
            "labels": {
                "team": "a",
                "serving.knative.dev/service": "h1",
                "serving.knative.dev/serviceUID": "s-uid",
            },
            "annotations": {
                "serving.knative.dev/creator": "ann",
                "serving.knative.dev/lastModifier": "bob",
                "serving.knative.dev/routes": "h1",
            },
            "ownerReferences": [{
                "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "h1",
                "uid": "s-uid", "controller": true, "blockOwnerDeletion": true,
            }],
        })
    );
    assert_eq!(configuration.spec.template, service().spec.template);
}

#[test]
fn routes_noted_on_a_configuration_stay_noted() {
    let mut existing = Configuration::default();
    let routes = keys::ROUTES_ANNOTATION.to_owned();
    existing
        .metadata
        .annotations
        .insert(routes, "z,a".to_owned());
    let configuration = make_configuration(&service(), Some(&existing));
    let noted = configuration.metadata.annotation(keys::ROUTES_ANNOTATION);
    assert_eq!(noted, Some("a,h1,z"));
}

#[test]
fn a_route_keeps_the_rollout_duration_and_names_the_configuration() {
    let route = make_route(&service());
    assert_eq!(
        metadata(&route),
        json!({
            "name": "h1", "namespace": "ns",
            "labels": {"team": "a", "serving.knative.dev/service": "h1"},
            "annotations": {
                "serving.knative.dev/creator": "ann",
                "serving.knative.dev/lastModifier": "bob",
                "serving.knative.dev/rollout-duration": "10s",
                "serving.knative.dev/rolloutDuration": "10s",
            },
            "ownerReferences": [{
                "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "h1",
                "uid": "s-uid", "controller": true, "blockOwnerDeletion": true,
            }],
        })
    );
    assert_eq!(
        serde_json::to_value(&route.spec).expect("a spec is JSON"),
        json!({"traffic": [
            {"latestRevision": true, "percent": 90, "tag": "current", "configurationName": "h1"},
            {"revisionName": "h1-00001", "latestRevision": false, "percent": 10},
        ]})
    );
}

#[test]
fn a_revision_has_the_template_and_where_it_is_from() {
    let mut configuration = make_configuration(&service(), None);
    configuration.metadata.uid = "c-uid".to_owned();
    configuration.metadata.generation = 10;
    let revision = make_revision(&configuration, Timestamp::from_unix_seconds(1_000_000_000));
    assert_eq!(
        metadata(&revision),
        json!({
            "name": "h1-00010", "namespace": "ns",
            "labels": {
                "l": "1",
                "serving.knative.dev/configuration": "h1",
                "serving.knative.dev/configurationGeneration": "10",
                "serving.knative.dev/configurationUID": "c-uid",
                "serving.knative.dev/service": "h1",
                "serving.knative.dev/serviceUID": "s-uid",
                "serving.knative.dev/routingState": "active",
            },
            "annotations": {
                "a": "1",
                "serving.knative.dev/creator": "bob",
                "serving.knative.dev/routes": "h1",
                "serving.knative.dev/routingStateModified": "2001-09-09T01:46:40Z",
            },
            "ownerReferences": [{
                "apiVersion": "serving.knative.dev/v1", "kind": "Configuration", "name": "h1",
                "uid": "c-uid", "controller": true, "blockOwnerDeletion": true,
            }],
        })
    );
}

/// The case "no build" of configuration/resources/revision_test.go.
#[test]
fn a_revision_without_a_route_is_pending_and_may_have_its_own_name() {
    let mut configuration: Configuration = parse(json!({
        "metadata": {"name": "build", "namespace": "no", "generation": 10, "uid": "aaa"},
        "spec": {"template": {"spec": {"containers": [{"image": "busybox"}]}}},
    }));
    let now = Timestamp::from_unix_seconds(0);
    let revision = make_revision(&configuration, now);
    assert_eq!(
        metadata(&revision)["labels"],
        json!({
            "serving.knative.dev/configuration": "build",
            "serving.knative.dev/configurationGeneration": "10",
            "serving.knative.dev/configurationUID": "aaa",
            "serving.knative.dev/service": "",
            "serving.knative.dev/serviceUID": "",
            "serving.knative.dev/routingState": "pending",
        })
    );
    assert_eq!(
        metadata(&revision)["annotations"],
        json!({"serving.knative.dev/routingStateModified": "1970-01-01T00:00:00Z"})
    );

    configuration.spec.template.metadata.name = "build-mine".to_owned();
    assert_eq!(
        make_revision(&configuration, now).metadata.name,
        "build-mine"
    );
}
