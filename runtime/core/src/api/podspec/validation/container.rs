//! One container: name, image, ports, environment, resources.

use super::super::{Container, ContainerPort, EnvFromSource, EnvVar};
use super::{Context, Role, disallowed, mounts, security};
use crate::field_error::{FieldError, FieldErrors};
use crate::image_reference::ImageReference;
use crate::settings::Flag;
use crate::text::quote;

const RESERVED_NAME: &str = "queue-proxy";

/// Names that the runtime contract gives a meaning; sidecars have no port of their own.
const RESERVED_VARIABLES: [&str; 4] = ["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"];

/// Ports of the queue proxy, the autoscaler's and user's metrics, and profiling.
const RESERVED_PORTS: [i64; 6] = [8012, 8013, 8022, 9090, 9091, 8008];

pub(super) fn check(container: &Container, context: Context<'_>) -> FieldErrors {
    if *container == Container::default() {
        return FieldError::missing("").into();
    }
    let mut errors = fields(container, context.role);
    if container.name == RESERVED_NAME {
        let message = format!("{} is a reserved container name", quote(RESERVED_NAME));
        errors.add(FieldError::new(message, ["name"]));
    }
    for (index, variable) in container.env.iter().enumerate() {
        errors.add(variable_errors(variable, context).via_field_index("env", index));
    }
    for (index, source) in container.env_from.iter().enumerate() {
        errors.add(env_source(source).via_field_index("envFrom", index));
    }
    errors.add(image(&container.image));
    errors.add(ports(container, context.role).via_field("ports"));
    if container.resources.claims.is_some() {
        errors.add(FieldErrors::from(FieldError::disallowed(["claims"])).via_field("resources"));
    }
    if let Some(own) = &container.security_context {
        errors.add(security::container(own, context.settings).via_field("securityContext"));
    }
    match container.termination_message_policy.as_str() {
        "" | "File" | "FallbackToLogsOnError" => {}
        other => errors.add(FieldError::invalid_value(other, "terminationMessagePolicy")),
    }
    errors.and(mounts::check(container, context).via_field("volumeMounts"))
}

fn fields(container: &Container, role: Role) -> FieldErrors {
    let mut errors = FieldErrors::from(disallowed([
        (container.lifecycle.is_some(), "lifecycle"),
        (container.resize_policy.is_some(), "resizePolicy"),
        (container.restart_policy.is_some(), "restartPolicy"),
        (container.stdin.is_some(), "stdin"),
        (container.stdin_once.is_some(), "stdinOnce"),
        (container.tty.is_some(), "tty"),
        (container.volume_devices.is_some(), "volumeDevices"),
    ]));
    if role == Role::Init {
        for (is_set, name) in [
            (container.liveness_probe.is_some(), "livenessProbe"),
            (container.readiness_probe.is_some(), "readinessProbe"),
            (container.startup_probe.is_some(), "startupProbe"),
            (container.lifecycle.is_some(), "lifecycle"),
        ] {
            if is_set {
                errors.add(FieldError::new(
                    "field not allowed in an init container",
                    [name],
                ));
            }
        }
    }
    errors
}

fn variable_errors(variable: &EnvVar, context: Context<'_>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let name = variable.name.as_str();
    let serves = context.role == Role::Serving;
    if name.is_empty() {
        errors.add(FieldError::missing("name"));
    } else if RESERVED_VARIABLES.contains(&name) && (serves || name != "PORT") {
        let message = format!("{} is a reserved environment variable", quote(name));
        errors.add(FieldError::new(message, ["name"]));
    }
    if let Some(source) = &variable.value_from {
        let by_field = context.settings.features.field_ref == Flag::Disabled;
        let fields = disallowed([
            (by_field && source.field_ref.is_some(), "fieldRef"),
            (
                by_field && source.resource_field_ref.is_some(),
                "resourceFieldRef",
            ),
            (source.file_key_ref.is_some(), "fileKeyRef"),
        ]);
        errors.add(FieldErrors::from(fields).via_field("valueFrom"));
    }
    errors
}

fn env_source(source: &EnvFromSource) -> FieldErrors {
    let both = ["configMapRef", "secretRef"];
    match (&source.config_map_ref, &source.secret_ref) {
        (Some(_), Some(_)) => FieldError::multiple_one_of(both).into(),
        (None, None) => FieldError::missing_one_of(both).into(),
        _ => FieldErrors::none(),
    }
}

fn image(image: &str) -> Option<FieldError> {
    if image.is_empty() {
        return Some(FieldError::missing("image"));
    }
    let error = image.parse::<ImageReference>().err()?;
    let details = format!("image: {}, error: {error}", quote(image));
    Some(FieldError::new("Failed to parse image reference", ["image"]).with_details(details))
}

fn ports(container: &Container, role: Role) -> FieldErrors {
    if role == Role::Init {
        let each = container.ports.iter().map(port_number);
        return each.fold(FieldErrors::none(), FieldErrors::and);
    }
    let Some(port) = container.ports.first() else {
        return FieldErrors::none();
    };
    let mut errors = port_number(port);
    if !matches!(port.protocol.as_str(), "" | "TCP") {
        errors.add(FieldError::invalid_value(&port.protocol, "protocol"));
    }
    if !matches!(port.name.as_str(), "" | "h2c" | "http1") {
        let error = FieldError::new(format!("Port name {} is not allowed", port.name), [""]);
        errors.add(error.with_details("Name must be empty, or one of: 'h2c', 'http1'"));
    }
    errors
}

fn port_number(port: &ContainerPort) -> FieldErrors {
    let mut errors = FieldErrors::from(disallowed([
        (port.host_ip.is_some(), "hostIP"),
        (port.host_port.is_some(), "hostPort"),
    ]));
    let number = port.container_port.unwrap_or_default();
    if RESERVED_PORTS.contains(&number) {
        let problem = format!("{number} is a reserved port");
        let error = FieldError::invalid_value(&problem, "containerPort");
        errors.add(error.with_details(format!("{problem}, please use a different value")));
    }
    if !(0..=65535).contains(&number) {
        errors.add(FieldError::out_of_bounds(number, 0, 65535, "containerPort"));
    }
    errors
}
