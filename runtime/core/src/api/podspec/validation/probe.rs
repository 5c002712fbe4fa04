//! Probes.

use super::super::{Container, ContainerPort, IntOrString, Probe};
use super::disallowed;
use crate::field_error::{FieldError, FieldErrors};
use crate::settings::Flag;

/// The probes of the container that serves at `port`.
pub(super) fn serving(container: &Container, port: &ContainerPort) -> FieldErrors {
    all(container, Some(port))
}

/// The probes of another container, which it may have with `multi-container-probing` only.
pub(super) fn sidecar(container: &Container, probing: Flag) -> FieldErrors {
    if probing.is_enabled() {
        return all(container, None);
    }
    let refused = |probe: Option<&Probe>, name: &str| {
        let fields = probe.and_then(|probe| disallowed(set_fields(probe)));
        FieldErrors::from(fields).via_field(name)
    };
    refused(container.liveness_probe.as_deref(), "livenessProbe").and(refused(
        container.readiness_probe.as_deref(),
        "readinessProbe",
    ))
}

fn all(container: &Container, port: Option<&ContainerPort>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if let Some(probe) = &container.liveness_probe {
        errors.add(check(probe, port).via_field("livenessProbe"));
    }
    if let Some(probe) = &container.readiness_probe {
        let own = check(probe, port).and(readiness(probe));
        errors.add(own.via_field("readinessProbe"));
    }
    if let Some(probe) = &container.startup_probe {
        errors.add(check(probe, port).via_field("startupProbe"));
    }
    errors
}

fn set_fields(probe: &Probe) -> [(bool, &'static str); 10] {
    [
        (probe.http_get.is_some(), "httpGet"),
        (probe.tcp_socket.is_some(), "tcpSocket"),
        (probe.exec.is_some(), "exec"),
        (probe.grpc.is_some(), "grpc"),
        (probe.initial_delay_seconds.is_some(), "initialDelaySeconds"),
        (probe.timeout_seconds.is_some(), "timeoutSeconds"),
        (probe.period_seconds.is_some(), "periodSeconds"),
        (probe.success_threshold.is_some(), "successThreshold"),
        (probe.failure_threshold.is_some(), "failureThreshold"),
        (
            probe.termination_grace_period_seconds.is_some(),
            "terminationGracePeriodSeconds",
        ),
    ]
}

fn check(probe: &Probe, port: Option<&ContainerPort>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    if probe.termination_grace_period_seconds.is_some() {
        errors.add(FieldError::disallowed(["terminationGracePeriodSeconds"]));
    }
    let http_port = probe.http_get.as_ref().map(|action| &action.port);
    let tcp_port = probe.tcp_socket.as_ref().map(|action| &action.port);
    for (given, path) in [(http_port, "httpGet.port"), (tcp_port, "tcpSocket.port")] {
        if let Some(given) = given {
            errors.add(port_errors(given.as_ref(), port, path));
        }
    }
    let handlers = [
        (probe.http_get.is_some(), "httpGet"),
        (probe.tcp_socket.is_some(), "tcpSocket"),
        (probe.exec.is_some(), "exec"),
        (probe.grpc.is_some(), "grpc"),
    ];
    let set: Vec<&str> = handlers
        .iter()
        .filter_map(|(is_set, name)| is_set.then_some(*name))
        .collect();
    match set.len() {
        0 => errors.add(FieldError::missing_one_of(handlers.map(|(_, name)| name))),
        1 => {}
        _ => errors.add(FieldError::multiple_one_of(set)),
    }
    errors
}

fn port_errors(
    given: Option<&IntOrString>,
    port: Option<&ContainerPort>,
    path: &str,
) -> Option<FieldError> {
    match (given, port) {
        (Some(IntOrString::String(name)), Some(port)) if !name.is_empty() && *name != port.name => {
            let error = FieldError::invalid_value(name, path);
            Some(error.with_details("Probe port must match container port"))
        }
        (None | Some(IntOrString::Int(0)), None) => {
            let error = FieldError::invalid_value(0, path);
            Some(error.with_details("Probe port must be specified"))
        }
        _ => None,
    }
}

fn readiness(probe: &Probe) -> FieldErrors {
    let period = probe.period_seconds.unwrap_or_default();
    let timeout = probe.timeout_seconds.unwrap_or_default();
    let failures = probe.failure_threshold.unwrap_or_default();
    let mut bounds = vec![
        (period, 0, "periodSeconds"),
        (
            probe.initial_delay_seconds.unwrap_or_default(),
            0,
            "initialDelaySeconds",
        ),
        (
            probe.success_threshold.unwrap_or_default(),
            1,
            "successThreshold",
        ),
    ];
    let mut errors = FieldErrors::none();
    if period == 0 {
        for (value, name) in [(failures, "failureThreshold"), (timeout, "timeoutSeconds")] {
            if value != 0 {
                let message = format!("{name} is disallowed when periodSeconds is zero");
                errors.add(FieldError::new(message, [name]));
            }
        }
    } else {
        bounds.push((timeout, 1, "timeoutSeconds"));
        bounds.push((failures, 1, "failureThreshold"));
    }
    for (value, least, name) in bounds {
        if value < least {
            errors.add(FieldError::out_of_bounds(value, least, i32::MAX, name));
        }
    }
    errors
}
