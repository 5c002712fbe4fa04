//! Whether a pod spec is one that a Revision may have.
//!
//! Input: a spec in canonical form with its defaults. Output: all problems and warnings at once.
//!
//! # Source
//!
//! knative/serving pkg/apis/serving/k8s_validation.go and fieldmask.go, v1/revision_validation.go.
//! Differs: where upstream puts the path of one probe handler or source before problems found
//! earlier, each problem has its own path here.

mod container;
mod mounts;
mod probe;
mod security;
mod volume;

use std::collections::{BTreeMap, BTreeSet};

use super::{Container, ContainerPort, PodSpec, Volume};
use crate::api::syntax;
use crate::field_error::{FieldError, FieldErrors};
use crate::settings::{Defaults, Flag, SecurePodDefaults, Settings};
use crate::text::quote;

/// What the check of one container needs to know.
#[derive(Clone, Copy)]
struct Context<'a> {
    settings: &'a Settings,
    volumes: &'a BTreeMap<&'a str, &'a Volume>,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Takes the requests.
    Serving,
    Sidecar,
    Init,
}

/// All that is wrong with the spec of a Revision, paths relative to it.
pub(in crate::api) fn validate(spec: &PodSpec, settings: &Settings) -> FieldErrors {
    let mut errors = pod_fields(spec, settings);
    errors.add(security::pod(spec, settings).via_field("securityContext"));
    for (list, containers) in [
        ("containers", &spec.containers),
        ("initContainers", &spec.init_containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            let warnings = security::warnings(spec, container);
            errors.add(
                warnings
                    .via_field("securityContext")
                    .via_field_index(list, index),
            );
        }
    }
    errors.add(volume::all(spec, settings).via_field("volumes"));
    let by_name = spec
        .volumes
        .iter()
        .map(|volume| (volume.name.as_str(), volume));
    let volumes: BTreeMap<&str, &Volume> = by_name.collect();
    let context = Context {
        settings,
        volumes: &volumes,
        role: Role::Serving,
    };
    errors.add(init_containers(spec, context));
    errors.add(containers(spec, context));
    if !spec.service_account_name.is_empty() {
        for problem in syntax::dns_1123_subdomain(&spec.service_account_name) {
            let error = FieldError::invalid_value(&spec.service_account_name, "serviceAccountName");
            errors.add(error.with_details(problem));
        }
    }
    errors.and(limits(spec, &settings.defaults))
}

/// Time-outs and concurrency.
fn limits(spec: &PodSpec, defaults: &Defaults) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let timeout = spec.timeout_seconds.unwrap_or_default();
    let least_concurrency = i64::from(!defaults.allow_container_concurrency_zero);
    for (value, least, most, path) in [
        (
            spec.timeout_seconds,
            0,
            defaults.max_revision_timeout_seconds,
            "timeoutSeconds",
        ),
        (
            spec.response_start_timeout_seconds,
            0,
            timeout,
            "responseStartTimeoutSeconds",
        ),
        (spec.idle_timeout_seconds, 0, timeout, "idleTimeoutSeconds"),
        (
            spec.container_concurrency,
            least_concurrency,
            defaults.container_concurrency_max_limit,
            "containerConcurrency",
        ),
    ] {
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            errors.add(FieldError::out_of_bounds(value, least, most, path));
        }
    }
    errors
}

/// Names those of `fields` that are set; `None` when there are none.
fn disallowed<'a>(fields: impl IntoIterator<Item = (bool, &'a str)>) -> Option<FieldError> {
    let names: Vec<&str> = fields
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect();
    (!names.is_empty()).then(|| FieldError::disallowed(names))
}

fn pod_fields(spec: &PodSpec, settings: &Settings) -> FieldErrors {
    let features = &settings.features;
    let secure = features.secure_pod_defaults != SecurePodDefaults::Disabled;
    let flagged = [
        (spec.affinity.is_some(), features.affinity, "affinity"),
        (
            spec.topology_spread_constraints.is_some(),
            features.topology_spread_constraints,
            "topologySpreadConstraints",
        ),
        (
            spec.host_aliases.is_some(),
            features.host_aliases,
            "hostAliases",
        ),
        (
            spec.node_selector.is_some(),
            features.node_selector,
            "nodeSelector",
        ),
        (
            spec.runtime_class_name.is_some(),
            features.runtime_class_name,
            "runtimeClassName",
        ),
        (
            spec.tolerations.is_some(),
            features.tolerations,
            "tolerations",
        ),
        (
            // With the secure defaults some of its fields are allowed; they are looked at apart.
            spec.security_context.is_some() && !secure,
            features.security_context,
            "securityContext",
        ),
        (
            spec.share_process_namespace.is_some(),
            features.share_process_namespace,
            "shareProcessNamespace",
        ),
        (
            spec.priority_class_name.is_some(),
            features.priority_class_name,
            "priorityClassName",
        ),
        (
            spec.scheduler_name.is_some(),
            features.scheduler_name,
            "schedulerName",
        ),
        (
            !spec.init_containers.is_empty(),
            features.init_containers,
            "initContainers",
        ),
        (spec.dns_policy.is_some(), features.dns_policy, "dnsPolicy"),
        (spec.dns_config.is_some(), features.dns_config, "dnsConfig"),
        (spec.host_ipc.is_some(), features.host_ipc, "hostIPC"),
        (spec.host_pid.is_some(), features.host_pid, "hostPID"),
        (
            spec.host_network.is_some(),
            features.host_network,
            "hostNetwork",
        ),
    ];
    let flagged = flagged.map(|(is_set, flag, name)| (is_set && flag == Flag::Disabled, name));
    let never = [
        (
            spec.automount_service_account_token == Some(true),
            "automountServiceAccountToken",
        ),
        (
            spec.active_deadline_seconds.is_some(),
            "activeDeadlineSeconds",
        ),
        (spec.ephemeral_containers.is_some(), "ephemeralContainers"),
        (spec.host_users.is_some(), "hostUsers"),
        (spec.hostname.is_some(), "hostname"),
        (spec.node_name.is_some(), "nodeName"),
        (spec.os.is_some(), "os"),
        (spec.overhead.is_some(), "overhead"),
        (spec.preemption_policy.is_some(), "preemptionPolicy"),
        (spec.priority.is_some(), "priority"),
        (spec.readiness_gates.is_some(), "readinessGates"),
        (spec.resource_claims.is_some(), "resourceClaims"),
        (spec.resources.is_some(), "resources"),
        (spec.restart_policy.is_some(), "restartPolicy"),
        (spec.scheduling_gates.is_some(), "schedulingGates"),
        (spec.service_account.is_some(), "serviceAccount"),
        (spec.set_hostname_as_fqdn.is_some(), "setHostnameAsFQDN"),
        (spec.subdomain.is_some(), "subdomain"),
        (
            spec.termination_grace_period_seconds.is_some(),
            "terminationGracePeriodSeconds",
        ),
    ];
    disallowed(flagged.into_iter().chain(never)).into()
}

fn init_containers(spec: &PodSpec, context: Context<'_>) -> FieldErrors {
    let count = spec.init_containers.len();
    if count == 0 {
        return FieldErrors::none();
    }
    if !context.settings.features.init_containers.is_enabled() {
        let off = format!(
            "pod spec support for init-containers is off, but found {count} init containers"
        );
        return FieldError::general(off).into();
    }
    let role = Role::Init;
    let context = Context { role, ..context };
    let names: BTreeSet<&str> = spec
        .containers
        .iter()
        .map(|other| other.name.as_str())
        .collect();
    let mut errors = FieldErrors::none();
    for (index, container) in spec.init_containers.iter().enumerate() {
        let mut own = container::check(container, context);
        if names.contains(container.name.as_str()) {
            own.add(duplicate_name(&container.name));
        }
        // Upstream has the path of the serving containers here.
        errors.add(own.via_field_index("containers", index));
    }
    errors
}

fn duplicate_name(name: &str) -> FieldError {
    FieldError::new(
        format!("duplicate container name {}", quote(name)),
        ["name"],
    )
}

fn containers(spec: &PodSpec, context: Context<'_>) -> FieldErrors {
    let (port, problem) = serving_port(&spec.containers);
    let errors = FieldErrors::from(problem).via_field("containers[*]");
    match spec.containers.as_slice() {
        [] => errors.and(FieldError::missing("containers")),
        [only] => {
            let own = probe::serving(only, &port).and(container::check(only, context));
            errors.and(own.via_field_index("containers", 0))
        }
        several => errors.and(several_containers(several, &port, context)),
    }
}

fn several_containers(
    containers: &[Container],
    port: &ContainerPort,
    context: Context<'_>,
) -> FieldErrors {
    let features = &context.settings.features;
    if !features.multi_container.is_enabled() {
        let count = containers.len();
        let off = format!("multi-container is off, but found {count} containers");
        return FieldError::general(off).into();
    }
    let probing = features.multi_container_probing;
    let mut names = BTreeSet::new();
    let mut errors = FieldErrors::none();
    for (index, container) in containers.iter().enumerate() {
        let mut own = if container.ports.is_empty() {
            let role = Role::Sidecar;
            probe::sidecar(container, probing)
                .and(container::check(container, Context { role, ..context }))
        } else {
            probe::serving(container, port).and(container::check(container, context))
        };
        if !names.insert(container.name.as_str()) {
            own.add(duplicate_name(&container.name));
        }
        errors.add(own.via_field_index("containers", index));
    }
    errors
}

/// The port that requests go to, with its defaults, and what is wrong with how many there are.
fn serving_port(containers: &[Container]) -> (ContainerPort, Option<FieldError>) {
    let ports = || containers.iter().flat_map(|container| &container.ports);
    let with_ports = containers
        .iter()
        .rev()
        .find_map(|container| container.ports.first());
    let mut port = with_ports.cloned().unwrap_or_default();
    if port.name.is_empty() {
        "http".clone_into(&mut port.name);
    }
    port.container_port.get_or_insert(8080);
    let problem = match ports().count() {
        0 if containers.len() > 1 => Some(FieldError::missing("ports")),
        0 | 1 => None,
        _ => {
            let error = FieldError::new("more than one container port is set", ["ports"]);
            Some(error.with_details("Only a single port is allowed across all containers"))
        }
    };
    (port, problem)
}

#[cfg(test)]
mod tests;
