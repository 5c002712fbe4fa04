use serde_json::{Value, json};

use super::*;

fn settings(name: &str, data: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let data = data.iter().map(owned).collect();
    assert_eq!(settings.set(name, &data), Ok(true));
    settings
}

fn completed(spec: Value, settings: &Settings, operation: Operation) -> Value {
    let mut spec: PodSpec = serde_json::from_value(spec).expect("a spec");
    crate::api::podspec::canonicalize(&mut spec).expect("quantities");
    let parent = ObjectMeta {
        name: "h1".to_owned(),
        ..ObjectMeta::default()
    };
    apply_defaults(&mut spec, settings, &parent, operation);
    serde_json::to_value(spec).expect("JSON")
}

struct Case {
    name: &'static str,
    given: Value,
    /// JSON pointer to the member that is compared.
    at: &'static str,
    /// `null` for a member that must not be there.
    want: Value,
}

#[track_caller]
fn check(case: Case, settings: &Settings) {
    let found = completed(case.given, settings, Operation::Create);
    let found = found.pointer(case.at).cloned().unwrap_or_default();
    assert_eq!(found, case.want, "{}", case.name);
}

#[test]
fn timeouts_follow_each_other() {
    let with = |timeout: Value| json!({"timeoutSeconds": timeout});
    let start = "/responseStartTimeoutSeconds";
    for (name, given, at, want) in [
        (
            "zero counts as absent",
            with(json!(0)),
            "/timeoutSeconds",
            json!(300),
        ),
        ("none given", json!({}), start, Value::Null),
        (
            "as long as the default",
            with(json!(300)),
            start,
            Value::Null,
        ),
        (
            "longer than the default",
            with(json!(400)),
            start,
            json!(300),
        ),
        (
            "idle is off",
            with(json!(400)),
            "/idleTimeoutSeconds",
            Value::Null,
        ),
    ] {
        check(
            Case {
                name,
                given,
                at,
                want,
            },
            &Settings::default(),
        );
    }
    let idle = settings(
        "config-defaults",
        &[("revision-idle-timeout-seconds", "20")],
    );
    for (name, given, want) in [
        ("idle is on", json!({}), json!(20)),
        ("no room for idle", with(json!(10)), Value::Null),
    ] {
        let at = "/idleTimeoutSeconds";
        check(
            Case {
                name,
                given,
                at,
                want,
            },
            &idle,
        );
    }
}

#[test]
fn containers_get_names_that_are_free() {
    let names = |spec: Value, settings: &Settings| {
        let spec = completed(spec, settings, Operation::Create);
        let list = |key: &str| {
            let containers = spec[key].as_array().cloned().unwrap_or_default();
            containers
                .iter()
                .map(|c| c["name"].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        let all: [Vec<String>; 2] = [list("containers"), list("initContainers")];
        all.concat()
    };
    let default = Settings::default();
    assert_eq!(
        names(json!({"containers": [{}]}), &default),
        ["user-container"]
    );
    assert_eq!(
        names(
            json!({"containers": [{}, {"name": "user-container-1"}, {}]}),
            &default
        ),
        ["user-container-0", "user-container-1", "user-container-2"]
    );
    assert_eq!(
        names(
            json!({"containers": [{}], "initContainers": [{}, {}]}),
            &default
        ),
        ["user-container", "init-container-0", "init-container-1"]
    );
    assert_eq!(
        names(
            json!({"containers": [{}], "initContainers": [{"name": "user-container"}]}),
            &default
        ),
        ["user-container-0", "user-container"]
    );
    let template = settings(
        "config-defaults",
        &[("container-name-template", "{{.Name}}-main")],
    );
    assert_eq!(names(json!({"containers": [{}]}), &template), ["h1-main"]);
}

#[test]
fn resources_come_from_the_settings() {
    let settings = settings(
        "config-defaults",
        &[
            ("revision-cpu-request", "400m"),
            ("revision-memory-limit", "1024Mi"),
        ],
    );
    let at = "/containers/0/resources";
    for (name, given, want) in [
        (
            "none given",
            json!({}),
            json!({"requests": {"cpu": "400m"}, "limits": {"memory": "1Gi"}}),
        ),
        (
            "given ones stay",
            json!({"requests": {"cpu": 2}, "limits": {"memory": "0.5Gi", "cpu": "3000m"}}),
            json!({"requests": {"cpu": "2"}, "limits": {"memory": "512Mi", "cpu": "3"}}),
        ),
    ] {
        let given = json!({"containers": [{"resources": given}]});
        check(
            Case {
                name,
                given,
                at,
                want,
            },
            &settings,
        );
    }
}

#[test]
fn the_serving_container_gets_a_readiness_probe() {
    let tcp = json!({"port": 0});
    let one = |probe: Value| json!({"containers": [{"readinessProbe": probe}]});
    let at = "/containers/0/readinessProbe";
    for (name, given, at, want) in [
        (
            "no handler",
            one(json!({"initialDelaySeconds": 2})),
            at,
            json!({"tcpSocket": tcp, "successThreshold": 1, "initialDelaySeconds": 2}),
        ),
        (
            "with a period",
            one(json!({"httpGet": {"path": "/"}, "periodSeconds": 5})),
            at,
            json!({"httpGet": {"path": "/", "port": 0}, "periodSeconds": 5, "successThreshold": 1,
                "failureThreshold": 3, "timeoutSeconds": 1}),
        ),
        (
            "a period of zero is the aggressive probe",
            one(json!({"tcpSocket": {}, "periodSeconds": 0, "failureThreshold": 0})),
            at,
            json!({"tcpSocket": tcp, "successThreshold": 1}),
        ),
        (
            "grpc",
            one(json!({"grpc": {"port": 1}})),
            at,
            json!({"grpc": {"port": 1, "service": ""}, "successThreshold": 1}),
        ),
        (
            "the one with a port among several",
            json!({"containers": [{"ports": [{"containerPort": 1}]}, {}]}),
            at,
            json!({"tcpSocket": tcp, "successThreshold": 1}),
        ),
        (
            "and not the other",
            json!({"containers": [{"ports": [{"containerPort": 1}]}, {}]}),
            "/containers/1/readinessProbe",
            Value::Null,
        ),
    ] {
        check(
            Case {
                name,
                given,
                at,
                want,
            },
            &Settings::default(),
        );
    }
}

#[test]
fn mounts_of_what_cannot_be_written_are_read_only() {
    let given = json!({
        "containers": [{"volumeMounts": [
            {"name": "s", "mountPath": "/s", "readOnly": false},
            {"name": "e", "mountPath": "/e"},
            {"name": "none", "mountPath": "/n"},
        ]}],
        "volumes": [{"name": "s", "secret": {}}, {"name": "e", "emptyDir": {}}],
    });
    for (name, at, want) in [
        (
            "a secret",
            "/containers/0/volumeMounts/0/readOnly",
            json!(true),
        ),
        (
            "an empty directory",
            "/containers/0/volumeMounts/1/readOnly",
            Value::Null,
        ),
        (
            "nothing",
            "/containers/0/volumeMounts/2/readOnly",
            json!(true),
        ),
    ] {
        let given = given.clone();
        check(
            Case {
                name,
                given,
                at,
                want,
            },
            &Settings::default(),
        );
    }
}

#[test]
fn service_links_are_decided_once() {
    let spec = json!({"containers": [{}]});
    let links = |settings: &Settings, operation| {
        completed(spec.clone(), settings, operation)["enableServiceLinks"].clone()
    };
    let default = Settings::default();
    assert_eq!(links(&default, Operation::Create), json!(false));
    assert_eq!(links(&default, Operation::Update), Value::Null);
    let leave = settings("config-defaults", &[("enable-service-links", "default")]);
    assert_eq!(links(&leave, Operation::Create), Value::Null);
}

#[test]
fn secure_defaults_fill_what_is_not_said() {
    let given = || {
        json!({"containers": [{"ports": [{"containerPort": 80}]}],
            "securityContext": {"seccompProfile": {"type": "Unconfined"}}})
    };
    let at = "/containers/0/securityContext";
    let bounded = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    });
    let mut strict = bounded.clone();
    strict["runAsNonRoot"] = json!(true);
    for (value, want) in [
        ("disabled", Value::Null),
        ("AllowRootBounded", bounded),
        ("Enabled", strict),
    ] {
        let settings = settings("config-features", &[("secure-pod-defaults", value)]);
        let (name, given) = (value, given());
        check(
            Case {
                name,
                given,
                at,
                want,
            },
            &settings,
        );
    }
    let settings = settings("config-features", &[("secure-pod-defaults", "Enabled")]);
    let profile = json!({"type": "RuntimeDefault"});
    let case = Case {
        name: "a profile",
        given: json!({"containers": [{}]}),
        at: "/containers/0/securityContext/seccompProfile",
        want: profile,
    };
    check(case, &settings);
}
