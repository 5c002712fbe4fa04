use serde_json::{Value, json};

use super::*;
use crate::field_error::Level;

fn features(data: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let data = data.iter().map(owned).collect();
    assert_eq!(settings.set("config-features", &data), Ok(true));
    settings
}

#[track_caller]
fn check_with(settings: &Settings, spec: Value, want: &str) {
    let mut spec: PodSpec = serde_json::from_value(spec).expect("a spec");
    crate::api::podspec::canonicalize(&mut spec).expect("quantities");
    let errors = validate(&spec, settings).only(Level::Error);
    assert_eq!(errors.to_string(), want);
}

#[track_caller]
fn check(spec: Value, want: &str) {
    check_with(&Settings::default(), spec, want);
}

/// A spec with one container that has these members beside its image.
fn container(mut members: Value) -> Value {
    members["image"] = "img".into();
    json!({"containers": [members]})
}

#[test]
fn what_a_pod_may_not_have_is_named() {
    let mut spec = container(json!({}));
    spec["nodeSelector"] = json!({});
    spec["hostNetwork"] = true.into();
    spec["hostPID"] = false.into();
    spec["nodeName"] = "n1".into();
    spec["restartPolicy"] = "".into();
    spec["terminationGracePeriodSeconds"] = 1.into();
    spec["automountServiceAccountToken"] = true.into();
    check(
        spec.clone(),
        "must not set the field(s): automountServiceAccountToken, hostNetwork, nodeName, \
         nodeSelector, terminationGracePeriodSeconds",
    );
    let allowed = features(&[
        ("kubernetes.podspec-nodeselector", "Allowed"),
        ("kubernetes.podspec-hostnetwork", "Enabled"),
    ]);
    spec["automountServiceAccountToken"] = false.into();
    check_with(
        &allowed,
        spec,
        "must not set the field(s): nodeName, terminationGracePeriodSeconds",
    );
}

#[test]
fn what_a_container_may_not_have_is_named() {
    check(
        container(json!({
            "stdin": true, "tty": true, "stdinOnce": false, "lifecycle": {},
            "ports": [{"containerPort": 80, "hostPort": 80, "name": "web"}],
            "securityContext": {"privileged": true, "procMount": "x", "capabilities": {"add": ["A"]}},
            "resources": {"claims": []},
            "terminationMessagePolicy": "x",
        })),
        "Port name web is not allowed: containers[0].ports\n\
         Name must be empty, or one of: 'h2c', 'http1'\n\
         invalid value: x: containers[0].terminationMessagePolicy\n\
         must not set the field(s): containers[0].lifecycle, containers[0].ports.hostPort, \
         containers[0].resources.claims, containers[0].securityContext.capabilities.add, \
         containers[0].securityContext.privileged, containers[0].securityContext.procMount, \
         containers[0].stdin, containers[0].tty",
    );
    let add = container(json!({"securityContext": {"capabilities": {"add": ["A"]}}}));
    check_with(
        &features(&[("kubernetes.containerspec-addcapabilities", "enabled")]),
        add,
        "",
    );
}

#[test]
fn environments_are_checked() {
    check(
        container(json!({"env": [
            {"name": ""}, {"name": "PORT"}, {"name": "K_REVISION"},
            {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ], "envFrom": [{}, {"configMapRef": {"name": "a"}, "secretRef": {"name": "b"}}]})),
        "\"K_REVISION\" is a reserved environment variable: containers[0].env[2].name\n\
         \"PORT\" is a reserved environment variable: containers[0].env[1].name\n\
         expected exactly one, got both: containers[0].envFrom[1].configMapRef, \
         containers[0].envFrom[1].secretRef\n\
         expected exactly one, got neither: containers[0].envFrom[0].configMapRef, \
         containers[0].envFrom[0].secretRef\n\
         missing field(s): containers[0].env[0].name\n\
         must not set the field(s): containers[0].env[3].valueFrom.fieldRef",
    );
}

#[test]
fn limits_have_bounds() {
    let mut spec = container(json!({}));
    spec["timeoutSeconds"] = 10.into();
    spec["responseStartTimeoutSeconds"] = 11.into();
    spec["idleTimeoutSeconds"] = (-1).into();
    spec["containerConcurrency"] = 1001.into();
    check(
        spec,
        "expected 0 <= -1 <= 10: idleTimeoutSeconds\n\
         expected 0 <= 1001 <= 1000: containerConcurrency\n\
         expected 0 <= 11 <= 10: responseStartTimeoutSeconds",
    );
}

#[test]
fn probes_have_one_handler_and_bounds() {
    let path = "containers[0].readinessProbe";
    check(
        container(json!({"readinessProbe": {"tcpSocket": {"port": "web"}, "failureThreshold": 1}})),
        &format!(
            "expected 1 <= 0 <= 2147483647: {path}.successThreshold\n\
             failureThreshold is disallowed when periodSeconds is zero: {path}.failureThreshold\n\
             invalid value: web: {path}.tcpSocket.port\nProbe port must match container port"
        ),
    );
    check(
        container(
            json!({"readinessProbe": {"exec": {}, "periodSeconds": 1, "successThreshold": 1}}),
        ),
        &format!("expected 1 <= 0 <= 2147483647: {path}.failureThreshold, {path}.timeoutSeconds"),
    );
    check(
        container(json!({"livenessProbe": {"terminationGracePeriodSeconds": 1}})),
        "expected exactly one, got neither: containers[0].livenessProbe.exec, \
         containers[0].livenessProbe.grpc, containers[0].livenessProbe.httpGet, \
         containers[0].livenessProbe.tcpSocket\n\
         must not set the field(s): containers[0].livenessProbe.terminationGracePeriodSeconds",
    );
    check(
        container(json!({"ports": [{"containerPort": 80, "name": "h2c"}],
            "startupProbe": {"httpGet": {"port": "h2c"}}})),
        "",
    );
}

#[test]
fn several_containers_have_one_port() {
    let two = |first: Value, second: Value| json!({"containers": [first, second]});
    let (main, side) = (
        json!({"image": "main", "name": "a", "ports": [{"containerPort": 80}]}),
        json!({"image": "side", "name": "b"}),
    );
    check(two(main.clone(), side.clone()), "");
    check(
        two(side.clone(), json!({"image": "other", "name": "b"})),
        "duplicate container name \"b\": containers[1].name\n\
         missing field(s): containers[*].ports",
    );
    check(
        two(main.clone(), main.clone()),
        "duplicate container name \"a\": containers[1].name\n\
         more than one container port is set: containers[*].ports\n\
         Only a single port is allowed across all containers",
    );
    check_with(
        &features(&[("multi-container", "disabled")]),
        two(main.clone(), side.clone()),
        "multi-container is off, but found 2 containers: ",
    );
    let mut probed = side;
    probed["readinessProbe"] = json!({"tcpSocket": {}, "successThreshold": 1});
    probed["env"] = json!([{"name": "PORT"}]);
    check(
        two(main.clone(), probed.clone()),
        "must not set the field(s): containers[1].readinessProbe.successThreshold, \
         containers[1].readinessProbe.tcpSocket",
    );
    check_with(
        &features(&[("multi-container-probing", "enabled")]),
        two(main, probed),
        "invalid value: 0: containers[1].readinessProbe.tcpSocket.port\n\
         Probe port must be specified",
    );
}

#[test]
fn init_containers_need_their_feature() {
    let mut spec = container(json!({"name": "a"}));
    spec["initContainers"] = json!([{"image": "init", "name": "a", "livenessProbe": {}}]);
    check(
        spec.clone(),
        "must not set the field(s): initContainers\n\
         pod spec support for init-containers is off, but found 1 init containers: ",
    );
    check_with(
        &features(&[("kubernetes.podspec-init-containers", "enabled")]),
        spec,
        "duplicate container name \"a\": containers[0].name\n\
         field not allowed in an init container: containers[0].livenessProbe",
    );
}

/// A spec with one container that mounts all of these volumes.
fn volumes(volumes: Value) -> Value {
    let names = volumes
        .as_array()
        .into_iter()
        .flatten()
        .map(|volume| &volume["name"]);
    let mounts: Vec<Value> = names
        .enumerate()
        .map(|(n, name)| json!({"name": name, "mountPath": format!("/m{n}"), "readOnly": true}))
        .collect();
    let mut spec = container(json!({"volumeMounts": mounts}));
    spec["volumes"] = volumes;
    spec
}

#[test]
fn volumes_have_one_source_that_is_on() {
    check(
        volumes(json!([
            {"name": "v", "secret": {}, "configMap": {}},
            {"name": "v", "hostPath": {"path": "/"}},
            {"name": "A", "emptyDir": {"medium": "x", "sizeLimit": "-1"}},
        ])),
        "HostPath volume support is disabled, but found HostPath volume v: \n\
         duplicate volume name \"v\": volumes[1].name\n\
         expected exactly one, got both: volumes[0].configMap, volumes[0].secret\n\
         invalid value: -1: volumes[2].emptyDir.sizeLimit\n\
         invalid value: A: volumes[2].name\n\
         invalid value: x: volumes[2].emptyDir.medium\n\
         must not set the field(s): volumes[1].hostPath",
    );
    check_with(
        &features(&[("kubernetes.podspec-volumes-emptydir", "disabled")]),
        volumes(json!([{"name": "v", "emptyDir": {}}])),
        "EmptyDir volume support is disabled, but found EmptyDir volume v: \n\
         must not set the field(s): volumes[0].emptyDir",
    );
    check(
        volumes(json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])),
        "Persistent volume claim support is disabled, but found persistent volume claim c: \n\
         Persistent volume write support is disabled, but found persistent volume claim c that \
         is not read-only: \n\
         must not set the field(s): volumes[0].persistentVolumeClaim",
    );
    let mut unmounted = container(json!({}));
    unmounted["volumes"] = json!([{"name": "v", "secret": {"items": [{"key": "k"}]}}]);
    check(
        unmounted,
        "missing field(s): volumes[0].items[0].path\n\
         volume with name \"v\" not mounted: volumes[0].name",
    );
}

#[test]
fn projected_sources_are_checked() {
    check(
        volumes(json!([{"name": "v", "projected": {"sources": [
            {"secret": {}}, {"serviceAccountToken": {}}, {}, {"downwardAPI": {"items": [{"path": ""}]}},
            {"configMap": {"name": "c"}, "secret": {"name": "s"}},
        ]}}])),
        "expected exactly one, got both: volumes[0].projected[4].configMap, \
         volumes[0].projected[4].secret\n\
         expected exactly one, got neither: volumes[0].projected[2].configMap, \
         volumes[0].projected[2].downwardAPI, volumes[0].projected[2].secret, \
         volumes[0].projected[2].serviceAccountToken, \
         volumes[0].projected[3].downwardAPI.items[0].fieldRef, \
         volumes[0].projected[3].downwardAPI.items[0].resourceFieldRef\n\
         missing field(s): volumes[0].projected[0].secret.name, \
         volumes[0].projected[1].serviceAccountToken.path, \
         volumes[0].projected[3].downwardAPI.items[0].path",
    );
}

#[test]
fn mounts_have_a_place_of_their_own() {
    let mut spec = container(json!({"volumeMounts": [
        {"name": "s", "mountPath": "/a/"},
        {"name": "e", "mountPath": "/a"},
        {"name": "e", "mountPath": "b"},
        {"name": "e", "mountPath": "/dev/../dev"},
        {"name": "e"},
        {"name": "c", "mountPath": "/c"},
    ]}));
    spec["volumes"] = json!([
        {"name": "s", "secret": {"secretName": "s"}},
        {"name": "e", "emptyDir": {}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}},
    ]);
    let mounts = "containers[0].volumeMounts";
    check_with(
        &features(&[("kubernetes.podspec-persistent-volume-claim", "enabled")]),
        spec,
        &format!(
            "invalid value: \"/a\" must be unique: {mounts}[1].mountPath\n\
             invalid value: b: {mounts}[2].mountPath\n\
             missing field(s): {mounts}[4].mountPath\n\
             mountPath \"/dev\" is a reserved path: {mounts}[3].mountPath\n\
             volume is readOnly but volume mount is not: {mounts}[5].readOnly\n\
             volume mount should be readOnly for this type of volume: {mounts}[0].readOnly"
        ),
    );
    let mut spread = volumes(json!([{"name": "v", "secret": {}}]));
    spread["containers"][0]["volumeMounts"][0]["mountPropagation"] = "Bidirectional".into();
    check_with(
        &features(&[("kubernetes.podspec-volumes-mount-propagation", "enabled")]),
        spread,
        &format!(
            "mount propagation should be set to None or HostToContainer: \
             {mounts}[0].mountPropagation"
        ),
    );
}

#[test]
fn the_security_context_of_a_pod_needs_its_feature() {
    let mut spec = container(json!({}));
    spec["securityContext"] =
        json!({"runAsUser": -1, "supplementalGroups": [1, -2], "sysctls": []});
    let bounds = "expected 0 <= -1 <= 2147483647: securityContext.runAsUser\n\
        expected 0 <= -2 <= 2147483647: securityContext.supplementalGroups[1]\n";
    check(
        spec.clone(),
        &format!(
            "{bounds}must not set the field(s): securityContext, securityContext.runAsUser, \
             securityContext.supplementalGroups, securityContext.sysctls"
        ),
    );
    check_with(
        &features(&[("kubernetes.podspec-securitycontext", "enabled")]),
        spec,
        &format!("{bounds}must not set the field(s): securityContext.sysctls"),
    );
}

#[test]
fn many_of_everything_are_checked_quickly() {
    let many = |make: fn(usize) -> Value| (0..5_000).map(make).collect::<Vec<Value>>();
    let mut spec = volumes(json!(many(
        |n| json!({"name": format!("v{n}"), "secret": {}})
    )));
    spec["containers"][0]["env"] = json!(many(|n| json!({"name": format!("E{n}")})));
    check(spec, "");
}
