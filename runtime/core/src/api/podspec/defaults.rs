//! What a pod spec has when it does not say.
//!
//! # Source
//!
//! knative/serving pkg/apis/serving/v1/revision_defaults.go.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Capabilities, Container, PodSpec, Quantity, TcpSocketAction, Volume};
use crate::api::admit::Operation;
use crate::meta::ObjectMeta;
use crate::settings::{Defaults, SecurePodDefaults, Settings, Template, Values};

/// Puts the defaults in place; twice is the same as once. `parent` is the object that has the
/// spec. Some defaults apply to new objects only.
pub(in crate::api) fn apply_defaults(
    spec: &mut PodSpec,
    settings: &Settings,
    parent: &ObjectMeta,
    operation: Operation,
) {
    let defaults = &settings.defaults;
    default_timeouts(spec, defaults);
    spec.container_concurrency
        .get_or_insert(defaults.container_concurrency);
    name_containers(spec, defaults, parent);

    let alone = spec.containers.len() == 1;
    for container in &mut spec.containers {
        default_resources(container, defaults);
        default_probes(container, alone);
        default_mounts(container, &spec.volumes);
    }
    if !spec.containers.is_empty() && operation == Operation::Create {
        spec.enable_service_links = spec.enable_service_links.or(defaults.enable_service_links);
    }
    let secure = settings.features.secure_pod_defaults;
    if secure != SecurePodDefaults::Disabled {
        let pod = spec.security_context.clone().unwrap_or_default();
        for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
            default_security(container, &pod, secure == SecurePodDefaults::Enabled);
        }
    }
}

fn default_timeouts(spec: &mut PodSpec, defaults: &Defaults) {
    let timeout = match spec.timeout_seconds {
        None | Some(0) => defaults.revision_timeout_seconds,
        Some(timeout) => timeout,
    };
    spec.timeout_seconds = Some(timeout);
    // A default that the revision's own time-out does not leave room for would only be refused.
    let start = defaults.revision_response_start_timeout_seconds;
    if spec.response_start_timeout_seconds.is_none() && start != 0 && start < timeout {
        spec.response_start_timeout_seconds = Some(start);
    }
    let idle = defaults.revision_idle_timeout_seconds;
    if spec.idle_timeout_seconds.is_none() && idle != 0 && idle < timeout {
        spec.idle_timeout_seconds = Some(idle);
    }
}

fn name_containers(spec: &mut PodSpec, defaults: &Defaults, parent: &ObjectMeta) {
    let all = spec.containers.iter().chain(&spec.init_containers);
    let taken: BTreeSet<String> = all.map(|container| container.name.clone()).collect();
    let render = |template: &Template| {
        template.render(&Values {
            name: &parent.name,
            namespace: &parent.namespace,
            domain: "",
            tag: "",
            annotations: &parent.annotations,
            labels: &parent.labels,
        })
    };
    let name = render(&defaults.container_name_template);
    name_unnamed(&mut spec.containers, &name, &taken);
    let name = render(&defaults.init_container_name_template);
    name_unnamed(&mut spec.init_containers, &name, &taken);
}

/// Gives the containers without a name `name`, or `name-0` and so on when there are several or
/// the name is taken.
fn name_unnamed(containers: &mut [Container], name: &str, taken: &BTreeSet<String>) {
    let numbered = containers.len() > 1 || taken.contains(name);
    let mut names = (0..)
        .map(|suffix: u32| format!("{name}-{suffix}"))
        .filter(|name| !taken.contains(name));
    for container in containers
        .iter_mut()
        .filter(|container| container.name.is_empty())
    {
        container.name = match names.next() {
            Some(next) if numbered => next,
            _ => name.to_owned(),
        };
    }
}

fn default_resources(container: &mut Container, defaults: &Defaults) {
    let resources = &mut container.resources;
    for (name, request, limit) in [
        ("cpu", defaults.cpu_request, defaults.cpu_limit),
        ("memory", defaults.memory_request, defaults.memory_limit),
        (
            "ephemeral-storage",
            defaults.ephemeral_storage_request,
            defaults.ephemeral_storage_limit,
        ),
    ] {
        for (map, default) in [
            (&mut resources.requests, request),
            (&mut resources.limits, limit),
        ] {
            if let Some(default) = default {
                map.get_or_insert_with(BTreeMap::new)
                    .entry(name.to_owned())
                    .or_insert_with(|| Quantity::Text(default.to_string()));
            }
        }
    }
}

/// The container that serves gets a readiness probe; others only have theirs completed.
fn default_probes(container: &mut Container, alone: bool) {
    if alone || !container.ports.is_empty() {
        let probe = container.readiness_probe.get_or_insert_default();
        let has_handler = probe.http_get.is_some()
            || probe.tcp_socket.is_some()
            || probe.exec.is_some()
            || probe.grpc.is_some();
        if !has_handler {
            probe.tcp_socket = Some(TcpSocketAction {
                port: Some(super::IntOrString::Int(0)),
                host: String::new(),
            });
        }
    }
    if let Some(probe) = &mut container.readiness_probe {
        probe.success_threshold.get_or_insert(1);
        // Without a period the probe is the aggressive one of the start, which has no others.
        if probe.period_seconds.is_some_and(|period| period != 0) {
            probe.failure_threshold.get_or_insert(3);
            probe.timeout_seconds.get_or_insert(1);
        }
    }
    for probe in [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ] {
        if let Some(grpc) = probe.as_mut().and_then(|probe| probe.grpc.as_mut()) {
            grpc.service.get_or_insert_with(String::new);
        }
    }
}

/// Mounts of what cannot be written are read-only.
fn default_mounts(container: &mut Container, volumes: &[Volume]) {
    let writable = |volume: &Volume| {
        volume.empty_dir.is_some()
            || volume.persistent_volume_claim.is_some()
            || volume.ephemeral.is_some()
    };
    let writable: Vec<&str> = volumes
        .iter()
        .filter(|volume| writable(volume))
        .map(|volume| volume.name.as_str())
        .collect();
    for mount in &mut container.volume_mounts {
        if !writable.contains(&mount.name.as_str()) {
            mount.read_only = Some(true);
        }
    }
}

fn default_security(container: &mut Container, pod: &Value, non_root: bool) {
    let needs_low_port = container.ports.iter().any(|port| {
        let number = port.container_port.unwrap_or_default();
        number > 0 && number < 1024
    });
    let context = container.security_context.get_or_insert_default();
    context.allow_privilege_escalation.get_or_insert(false);
    let has_type = |profile: &Value| {
        profile["type"]
            .as_str()
            .is_some_and(|kind| !kind.is_empty())
    };
    let own = context.seccomp_profile.as_deref().is_some_and(has_type);
    if !own && !has_type(&pod["seccompProfile"]) {
        context.seccomp_profile = Some(Box::new(json!({ "type": "RuntimeDefault" })));
    }
    context.capabilities.get_or_insert_with(|| Capabilities {
        drop: vec!["ALL".to_owned()],
        add: if needs_low_port {
            vec!["NET_BIND_SERVICE".to_owned()]
        } else {
            Vec::new()
        },
    });
    if non_root && pod["runAsNonRoot"].is_null() {
        context.run_as_non_root.get_or_insert(true);
    }
}

#[cfg(test)]
mod tests;
