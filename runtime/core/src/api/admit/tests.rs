use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

/// A Service whose template has this spec and these annotations.
fn service(template: Value) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "h1", "namespace": "default"},
        "spec": {"template": template},
    })
}

fn hello() -> Value {
    service(json!({"spec": {"containers": [{"image": "hello"}]}}))
}

fn with_settings<T>(name: &str, data: &[(&str, &str)], run: impl FnOnce(&Settings) -> T) -> T {
    let mut settings = Settings::default();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let data = data.iter().map(owned).collect();
    assert_eq!(settings.set(name, &data), Ok(true));
    run(&settings)
}

fn request<'a>(user: &'a str, settings: &'a Settings) -> Request<'a> {
    Request {
        user,
        settings,
        dry_run: false,
    }
}

#[track_caller]
fn create(value: Value) -> Object {
    let settings = Settings::default();
    let admitted = admit(&request("ann", &settings), None, object(value));
    admitted.expect("a valid object").object
}

fn update_as(user: &str, old: &Object, value: Value) -> Result<Object, String> {
    let settings = Settings::default();
    let admitted = admit(&request(user, &settings), Some(old), object(value));
    admitted
        .map(|admitted| admitted.object)
        .map_err(|rejection| rejection.to_string())
}

/// What a client sends that has read `old` and changed it.
fn edited(old: &Object, edit: impl FnOnce(&mut Value)) -> Value {
    let mut value = old.to_value();
    edit(&mut value);
    value
}

#[track_caller]
fn refused(value: Value, want: &str) {
    let settings = Settings::default();
    let rejection = admit(&request("ann", &settings), None, object(value)).expect_err(want);
    assert_eq!(rejection.to_string(), want);
}

#[test]
fn a_service_gets_knatives_defaults() {
    let created = create(hello());
    let want = json!({
        "template": {"spec": {
            "containerConcurrency": 0,
            "timeoutSeconds": 300,
            "enableServiceLinks": false,
            "containers": [{
                "name": "user-container",
                "image": "hello",
                "resources": {},
                "readinessProbe": {"tcpSocket": {"port": 0}, "successThreshold": 1},
            }],
        }},
        "traffic": [{"latestRevision": true, "percent": 100}],
    });
    assert_eq!(created.to_value()["spec"], want);
    let annotations = &created.metadata().annotations;
    let users: Vec<(&str, &str)> = annotations.iter().map(|(k, v)| (&**k, &**v)).collect();
    let want = [
        ("serving.knative.dev/creator", "ann"),
        ("serving.knative.dev/lastModifier", "ann"),
    ];
    assert_eq!(users, want);
}

#[test]
fn defaulting_twice_changes_nothing() {
    let rich = json!({"spec": {
        "timeoutSeconds": 400,
        "containers": [
            {"image": "app", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": ""}],
             "resources": {"limits": {"memory": "1024Mi", "cpu": 1}, "requests": {}},
             "readinessProbe": {"httpGet": {"path": "/"}, "periodSeconds": 5},
             "livenessProbe": {"grpc": {}},
             "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "t", "mountPath": "/t"}]},
            {"image": "side", "name": ""},
        ],
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}, {"name": "t", "emptyDir": {}}],
    }});
    for data in [
        &[][..],
        &[("secure-pod-defaults", "enabled")],
        &[("secure-pod-defaults", "root-allowed")],
    ] {
        with_settings("config-features", data, |settings| {
            let request = request("ann", settings);
            let once = admit(&request, None, object(service(rich.clone())))
                .expect("valid")
                .object;
            let twice = admit(&request, Some(&once), once.clone())
                .expect("valid")
                .object;
            assert_eq!(once, twice);
            let written = object(once.to_value());
            assert_eq!(once, written);
            assert!(!spec_changed(&once, &written));
        });
    }
}

#[test]
fn the_same_manifest_again_is_no_change() {
    let created = create(hello());
    let mut again = hello();
    again["metadata"]["annotations"] = created.to_value()["metadata"]["annotations"].clone();
    // As kn writes it.
    again["spec"]["template"]["spec"]["containers"][0]["name"] = "".into();
    again["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({});
    again["spec"]["template"]["spec"]["enableServiceLinks"] = false.into();
    again["status"] = json!({});
    let updated = update_as("bob", &created, again).expect("valid");
    assert!(!spec_changed(&created, &updated));
    assert_eq!(created, updated);
}

#[test]
fn a_default_that_is_new_is_nobodys_change() {
    let created = create(hello());
    with_settings(
        "config-defaults",
        &[("revision-memory-limit", "64Mi")],
        |settings| {
            let request = request("bob", settings);
            let updated = admit(&request, Some(&created), created.clone()).expect("valid");
            let annotation = updated
                .object
                .metadata()
                .annotation("serving.knative.dev/lastModifier");
            assert_eq!(annotation, Some("ann"));
        },
    );
}

#[test]
fn who_changes_the_spec_is_the_last_modifier() {
    let created = create(hello());
    let value = edited(&created, |value| {
        value["spec"]["template"]["spec"]["containers"][0]["image"] = "other".into();
    });
    let updated = update_as("bob", &created, value).expect("valid");
    assert!(spec_changed(&created, &updated));
    let annotation = |key| updated.metadata().annotation(key);
    assert_eq!(annotation("serving.knative.dev/creator"), Some("ann"));
    assert_eq!(annotation("serving.knative.dev/lastModifier"), Some("bob"));
}

#[test]
fn nobody_may_pretend_that_another_made_it() {
    let created = create(hello());
    let users = |creator: &str, modifier: &str| {
        edited(&created, |value| {
            value["metadata"]["annotations"] = json!({
                "serving.knative.dev/creator": creator,
                "serving.knative.dev/lastModifier": modifier,
            });
        })
    };
    assert_eq!(
        update_as("ann", &created, users("eve", "ann")),
        Err("validation failed: annotation value is immutable: \
             metadata.annotations.serving.knative.dev/creator"
            .to_owned())
    );
    assert_eq!(
        update_as("ann", &created, users("ann", "eve")),
        Err("validation failed: invalid value: eve: \
             metadata.annotations.serving.knative.dev/lastModifier"
            .to_owned())
    );
}

#[test]
fn a_name_that_the_user_brings_changes_with_the_template() {
    let named = |name: &str, image: &str| {
        service(json!({"metadata": {"name": name}, "spec": {"containers": [{"image": image}]}}))
    };
    let created = create(named("h1-one", "a1"));
    let keep = edited(&created, |value| {
        value["spec"]["template"]["spec"]["containers"][0]["image"] = "b2".into();
    });
    assert_eq!(
        update_as("ann", &created, keep),
        Err(
            "validation failed: Saw the following changes without a name change (-old +new): \
             spec.template.metadata.name\n\
             {*v1.RevisionTemplateSpec}.Spec.PodSpec.Containers[0].Image:\n\
             \t-: \"a1\"\n\t+: \"b2\"\n"
                .to_owned()
        )
    );
    let rename = edited(&created, |value| {
        value["spec"]["template"]["metadata"]["name"] = "h1-two".into();
        value["spec"]["template"]["spec"]["containers"][0]["image"] = "b2".into();
    });
    update_as("ann", &created, rename).expect("another name");
    let same = edited(&created, |_| {});
    update_as("ann", &created, same).expect("nothing changed");

    refused(
        named("foo", "img"),
        "validation failed: invalid value: \"foo\" must have prefix \"h1-\": \
         spec.template.metadata.name",
    );
    let mut generated = named("h1-one", "img");
    generated["metadata"] = json!({"generateName": "h1-", "namespace": "default"});
    refused(
        generated,
        "validation failed: must not set the field(s): spec.template.metadata.name",
    );
}

#[test]
fn a_template_that_keeps_its_name_is_not_completed() {
    let template =
        json!({"metadata": {"name": "h1-one"}, "spec": {"containers": [{"image": "a1"}]}});
    let created = create(service(template));
    with_settings(
        "config-defaults",
        &[("revision-timeout-seconds", "100")],
        |settings| {
            let request = request("ann", settings);
            let updated = admit(&request, Some(&created), created.clone())
                .expect("valid")
                .object;
            assert_eq!(updated, created);
        },
    );
}

#[test]
fn the_spec_of_a_revision_stays() {
    let revision = create(json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Revision",
        "metadata": {"name": "h1-00001", "namespace": "default"},
        "spec": {"containers": [{"image": "hello"}]},
    }));
    assert_eq!(revision.to_value()["spec"]["timeoutSeconds"], 300);
    let value = edited(&revision, |value| {
        value["spec"]["containerConcurrency"] = 7.into();
        value["metadata"]["labels"] = json!({"a": "b"});
    });
    assert_eq!(
        update_as("ann", &revision, value),
        Err(
            "validation failed: Immutable fields changed (-old +new): spec\n\
             *{v1.RevisionSpec}.ContainerConcurrency:\n\t-: \"0\"\n\t+: \"7\"\n"
                .to_owned()
        )
    );
    let value = edited(&revision, |value| {
        value["metadata"]["labels"] = json!({"a": "b"});
    });
    update_as("ann", &revision, value).expect("only a label");
}

#[test]
fn routes_are_checked_as_routes() {
    let route = |traffic: Value| {
        json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Route",
            "metadata": {"name": "r1", "namespace": "default"},
            "spec": {"traffic": traffic},
        })
    };
    refused(
        route(json!([])),
        "validation failed: Traffic targets sum to 0, want 100: spec.traffic",
    );
    refused(
        route(json!([{"percent": 100}])),
        "validation failed: expected exactly one, got neither: \
         spec.traffic[0].configurationName, spec.traffic[0].revisionName",
    );
    refused(
        route(json!([{"percent": 100, "revisionName": "a", "configurationName": "b"}])),
        "validation failed: expected exactly one, got both: \
         spec.traffic[0].configurationName, spec.traffic[0].revisionName",
    );
    let created = create(route(
        json!([{"percent": 100, "configurationName": "h1"}, {"revisionName": "x", "tag": "t"}]),
    ));
    assert_eq!(
        created.to_value()["spec"]["traffic"],
        json!([
            {"percent": 100, "configurationName": "h1", "latestRevision": true},
            {"percent": 0, "revisionName": "x", "tag": "t", "latestRevision": false},
        ])
    );
}

#[test]
fn labels_of_owners_need_the_owner() {
    let mut configuration = hello();
    configuration["kind"] = "Configuration".into();
    configuration["metadata"]["labels"] = json!({"serving.knative.dev/service": "h1"});
    refused(
        configuration.clone(),
        "validation failed: missing field(s): metadata.labels.serving.knative.dev/service",
    );
    configuration["metadata"]["ownerReferences"] = json!([{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "h1", "uid": "u"}]);
    let created = create(configuration);
    // An owned one has the users of its owner.
    assert!(created.metadata().annotations.is_empty());
    let mut visible = hello();
    visible["metadata"]["labels"] = json!({"networking.knative.dev/visibility": "all"});
    refused(
        visible,
        "validation failed: invalid value: all: \
         metadata.labels.networking.knative.dev/visibility",
    );
}

#[test]
fn the_message_names_the_webhook() {
    let settings = Settings::default();
    let rejected =
        |value| admit(&request("ann", &settings), None, object(value)).expect_err("invalid");
    assert_eq!(
        rejected(service(json!({"spec": {"containers": []}}))).message(),
        "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: \
         validation failed: missing field(s): spec.template.spec.containers"
    );
    assert_eq!(
        rejected(service(json!({"spec": {"containers": [
            {"image": "img", "resources": {"limits": {"memory": "lots"}}}
        ]}})))
        .message(),
        "admission webhook \"webhook.serving.knative.dev\" denied the request: mutation failed: \
         cannot decode incoming new object: quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    );
    assert_eq!(
        rejected(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "config-gc", "namespace": "knative-serving"},
            "data": {"min-non-active-revisions": "-1"},
        }))
        .message(),
        "admission webhook \"config.webhook.serving.knative.dev\" denied the request: \
         validation failed: failed to parse \"min-non-active-revisions\": \"-1\" is not an \
         integer of zero or more"
    );
}

#[test]
fn only_maps_with_settings_are_read() {
    for (name, namespace) in [("config-gc", "default"), ("other", "knative-serving")] {
        create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"min-non-active-revisions": "-1"},
        }));
    }
}

#[test]
fn insecure_defaults_are_told_in_one_line() {
    let settings = Settings::default();
    let admitted = admit(&request("ann", &settings), None, object(hello())).expect("valid");
    let path = "spec.template.spec.containers[0].securityContext";
    assert_eq!(
        admitted.warnings,
        [format!(
            "Kubernetes default value is insecure, Knative may default this to secure in a \
             future release: {path}.allowPrivilegeEscalation, {path}.capabilities, \
             {path}.runAsNonRoot, {path}.seccompProfile"
        )]
    );
    with_settings(
        "config-features",
        &[("secure-pod-defaults", "enabled")],
        |settings| {
            let admitted = admit(&request("ann", settings), None, object(hello())).expect("valid");
            assert_eq!(admitted.warnings, [""; 0]);
        },
    );
    let misspelt = service(
        json!({"spec": {"containers": [{"image": "img", "securityContext": {
            "runAsNonRoot": true, "allowPrivilegeEscalation": false,
            "seccompProfile": {"type": "RuntimeDefault"}, "capabilities": {"drop": ["all"]},
        }}]}}),
    );
    let admitted = admit(&request("ann", &settings), None, object(misspelt)).expect("valid");
    assert_eq!(
        admitted.warnings,
        [format!(
            "invalid value: all: {path}.capabilities.drop Must be spelled as 'ALL'"
        )]
    );
}

#[test]
fn a_dry_run_asks_whether_a_pod_could_be_made() {
    let settings = Settings::default();
    let named = service(json!({"spec": {"containers": [{"image": "img", "name": "My_Name"}]}}));
    create(named.clone());
    let dry = Request {
        dry_run: true,
        ..request("ann", &settings)
    };
    let rejection = admit(&dry, None, object(named)).expect_err("no pod has such a name");
    assert_eq!(
        rejection.to_string(),
        "validation callback failed: dry run failed with Pod \"dry-run-validation\" is invalid: \
         spec.containers[0].name: Invalid value: \"My_Name\": a lowercase RFC 1123 label must \
         consist of lower case alphanumeric characters or '-', and must start and end with an \
         alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?'): spec.template"
    );
    let limits = service(json!({"spec": {"containers": [{"image": "img",
        "resources": {"requests": {"cpu": 2}, "limits": {"cpu": "500m"}}}]}}));
    let rejection = admit(&dry, None, object(limits)).expect_err("more than the limit");
    assert_eq!(
        rejection.to_string(),
        "validation callback failed: dry run failed with Pod \"dry-run-validation\" is invalid: \
         spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal \
         to cpu limit of 500m: spec.template"
    );
    admit(&dry, None, object(hello())).expect("a pod could be made");
}

#[test]
fn a_domain_mapping_leads_to_its_own_namespace() {
    let mapping = |name: &str, reference: Value| {
        json!({
            "apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"ref": reference},
        })
    };
    let good = json!({"kind": "Service", "name": "h1", "apiVersion": "serving.knative.dev/v1"});
    let created = create(mapping("h1.example.com", good.clone()));
    assert_eq!(created.to_value()["spec"]["ref"]["namespace"], "default");
    refused(
        mapping("h1.example.com", json!({})),
        "validation failed: missing field(s): spec.ref.apiVersion, spec.ref.kind, spec.ref.name",
    );
    refused(
        mapping("localhost", good.clone()),
        "validation failed: invalid name \"localhost\": name: Invalid value: \"localhost\": \
         should be a domain with at least two segments separated by dots: metadata.name",
    );
    refused(
        mapping("x.svc.cluster.local", good.clone()),
        "validation failed: invalid name \"x.svc.cluster.local\": must not be a subdomain of \
         cluster local domain \"cluster.local\": metadata.name",
    );
    let mut elsewhere = good;
    elsewhere["namespace"] = "other".into();
    refused(
        mapping("h1.example.com", elsewhere),
        "validation failed: mismatched namespaces: spec.ref.namespace\n\
         parent namespace: \"default\" does not match ref: \"other\"",
    );
}

#[test]
fn an_object_that_is_going_may_always_lose_its_finalizers() {
    let created = create(hello());
    let going = edited(&created, |value| {
        value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        value["spec"]["template"]["spec"]["containers"] = json!([]);
    });
    update_as("ann", &created, going).expect("it is going");
}
