//! The one form of a pod spec among all that mean the same.
//!
//! Knative's webhook reads objects into Go's types and writes them back, so that a client sees
//! `name: ""`, `resources: {}` or `memory: 1024Mi` in one form only. Here the same is done to the
//! decoded types: zero values that Go leaves out become absent, and quantities get Kubernetes'
//! spelling. This is what makes two writings of one template no change.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Container, HttpGetAction, IntOrString, PodSpec, Probe, Quantity, ResourceRequirements,
    TcpSocketAction,
};
use crate::quantity;

/// Brings the spec into canonical form.
///
/// # Errors
///
/// A text that should be a quantity is none.
pub(in crate::api) fn canonicalize(spec: &mut PodSpec) -> Result<(), quantity::Error> {
    for field in [
        &mut spec.host_ipc,
        &mut spec.host_pid,
        &mut spec.host_network,
        &mut spec.hostname,
        &mut spec.node_name,
        &mut spec.priority_class_name,
        &mut spec.restart_policy,
        &mut spec.scheduler_name,
        &mut spec.service_account,
        &mut spec.dns_policy,
        &mut spec.subdomain,
        &mut spec.set_hostname_as_fqdn,
    ] {
        drop_zero(field);
    }
    for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
        canonicalize_container(container)?;
    }
    for volume in &mut spec.volumes {
        if let Some(limit) = volume
            .empty_dir
            .as_mut()
            .and_then(|dir| dir.size_limit.as_mut())
        {
            canonicalize_quantity(limit)?;
        }
        if let Some(claim) = &mut volume.persistent_volume_claim {
            drop_false(&mut claim.read_only);
        }
    }
    Ok(())
}

fn canonicalize_container(container: &mut Container) -> Result<(), quantity::Error> {
    for field in [
        &mut container.stdin,
        &mut container.stdin_once,
        &mut container.tty,
    ] {
        drop_zero(field);
    }
    for port in &mut container.ports {
        drop_zero(&mut port.host_ip);
        drop_zero(&mut port.host_port);
        port.container_port = port.container_port.filter(|port| *port != 0);
    }
    for variable in &mut container.env {
        variable.value = variable.value.take().filter(|value| !value.is_empty());
    }
    for mount in &mut container.volume_mounts {
        drop_false(&mut mount.read_only);
        drop_zero(&mut mount.sub_path_expr);
    }
    for probe in [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ]
    .into_iter()
    .flatten()
    {
        canonicalize_probe(probe);
    }
    canonicalize_resources(&mut container.resources)
}

fn canonicalize_probe(probe: &mut Probe) {
    for number in [
        &mut probe.initial_delay_seconds,
        &mut probe.timeout_seconds,
        &mut probe.period_seconds,
        &mut probe.success_threshold,
        &mut probe.failure_threshold,
    ] {
        *number = number.filter(|number| *number != 0);
    }
    // Go has no absent port; it writes 0.
    if let Some(HttpGetAction { port, .. }) = &mut probe.http_get {
        port.get_or_insert(IntOrString::Int(0));
    }
    if let Some(TcpSocketAction { port, .. }) = &mut probe.tcp_socket {
        port.get_or_insert(IntOrString::Int(0));
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.port.get_or_insert(0);
    }
}

fn canonicalize_resources(resources: &mut ResourceRequirements) -> Result<(), quantity::Error> {
    for map in [&mut resources.limits, &mut resources.requests] {
        for quantity in map.iter_mut().flat_map(BTreeMap::values_mut) {
            canonicalize_quantity(quantity)?;
        }
        *map = map.take().filter(|map| !map.is_empty());
    }
    Ok(())
}

fn canonicalize_quantity(quantity: &mut Quantity) -> Result<(), quantity::Error> {
    *quantity = Quantity::Text(quantity.parse()?.to_string());
    Ok(())
}

fn drop_false(field: &mut Option<bool>) {
    *field = field.filter(|value| *value);
}

/// Drops what Go has as the zero of a field that is not a pointer.
fn drop_zero(field: &mut Option<Box<Value>>) {
    let is_zero = match field.as_deref() {
        Some(Value::Bool(value)) => !*value,
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::String(text)) => text.is_empty(),
        _ => false,
    };
    if is_zero {
        *field = None;
    }
}
