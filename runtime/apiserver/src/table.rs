//! Objects as rows and columns, which is how `kubectl get` asks for them.
//!
//! # Source
//!
//! The columns of custom resources: knative/serving config/core/300-resources. An
//! `additionalPrinterColumns` list replaces the default AGE column. Those of core kinds:
//! kubernetes/kubernetes pkg/printers/internalversion.

mod kubernetes;

use serde_json::{Value, json};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::object::Object;
use serve_core::time::Timestamp;

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, \
    although some resources may allow a client to request the generation of an appropriate name \
    automatically. Name is primarily intended for creation idempotence and configuration \
    definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";

const CREATION: &str = "CreationTimestamp is a timestamp representing the server time when this \
    object was created. It is not guaranteed to be set in happens-before order across separate \
    operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.";

/// What stands in a column.
#[derive(Clone, Copy)]
enum Cell {
    /// A pointer into the object.
    At(&'static str),
    Label(&'static str),
    Condition(&'static str),
    /// How many entries there are in these members.
    Count(&'static [&'static str]),
    Age,
    /// Put together from the object.
    Made(fn(&Value) -> Value),
    /// Put together from the object and the time.
    Timed(fn(&Value, Timestamp) -> Value),
}

struct Column {
    name: &'static str,
    kind: &'static str,
    /// The path that Knative's definition of the column has; empty for core kinds.
    path: &'static str,
    cell: Cell,
    /// Shown only to those who ask for more.
    is_wide: bool,
}

const fn column(name: &'static str, kind: &'static str, path: &'static str, cell: Cell) -> Column {
    Column {
        name,
        kind,
        path,
        cell,
        is_wide: false,
    }
}

const fn wide(name: &'static str, kind: &'static str, cell: Cell) -> Column {
    Column {
        is_wide: true,
        ..column(name, kind, "", cell)
    }
}

const URL: Column = column("URL", "string", ".status.url", Cell::At("/status/url"));
const READY: Column = column(
    "Ready",
    "string",
    ".status.conditions[?(@.type=='Ready')].status",
    Cell::Condition("status"),
);
const REASON: Column = column(
    "Reason",
    "string",
    ".status.conditions[?(@.type=='Ready')].reason",
    Cell::Condition("reason"),
);
const LATEST_CREATED: Column = column(
    "LatestCreated",
    "string",
    ".status.latestCreatedRevisionName",
    Cell::At("/status/latestCreatedRevisionName"),
);
const LATEST_READY: Column = column(
    "LatestReady",
    "string",
    ".status.latestReadyRevisionName",
    Cell::At("/status/latestReadyRevisionName"),
);
const AGE: Column = column("Age", "string", "", Cell::Age);

const SERVICE: &[Column] = &[URL, LATEST_CREATED, LATEST_READY, READY, REASON];
const CONFIGURATION: &[Column] = &[LATEST_CREATED, LATEST_READY, READY, REASON];
const ROUTE: &[Column] = &[URL, READY, REASON];
const REVISION: &[Column] = &[
    column(
        "Config Name",
        "string",
        ".metadata.labels['serving\\.knative\\.dev/configuration']",
        Cell::Label(keys::CONFIGURATION_LABEL),
    ),
    column(
        "Generation",
        "string",
        ".metadata.labels['serving\\.knative\\.dev/configurationGeneration']",
        Cell::Label(keys::CONFIGURATION_GENERATION_LABEL),
    ),
    READY,
    REASON,
    column(
        "Actual Replicas",
        "integer",
        ".status.actualReplicas",
        Cell::At("/status/actualReplicas"),
    ),
    column(
        "Desired Replicas",
        "integer",
        ".status.desiredReplicas",
        Cell::At("/status/desiredReplicas"),
    ),
];
const KUBERNETES_SERVICE: &[Column] = &[
    column("Type", "string", "", Cell::At("/spec/type")),
    column("Cluster-IP", "string", "", Cell::Made(cluster_ip)),
    column("External-IP", "string", "", Cell::Made(external_ip)),
    column("Port(s)", "string", "", Cell::Made(ports)),
    AGE,
];
const POD_AUTOSCALER: &[Column] = &[
    column(
        "DesiredScale",
        "integer",
        ".status.desiredScale",
        Cell::At("/status/desiredScale"),
    ),
    column(
        "ActualScale",
        "integer",
        ".status.actualScale",
        Cell::At("/status/actualScale"),
    ),
    READY,
    REASON,
];
const CONFIG_MAP: &[Column] = &[
    column("Data", "integer", "", Cell::Count(&["data", "binaryData"])),
    AGE,
];
const SECRET: &[Column] = &[
    column("Type", "string", "", Cell::At("/type")),
    column("Data", "integer", "", Cell::Count(&["data"])),
    AGE,
];
const NAMESPACE: &[Column] = &[
    column("Status", "string", "", Cell::At("/status/phase")),
    AGE,
];

const fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Service => SERVICE,
        Kind::Configuration => CONFIGURATION,
        Kind::Revision => REVISION,
        Kind::Route | Kind::DomainMapping => ROUTE,
        Kind::ClusterDomainClaim => &[],
        Kind::KubernetesService => KUBERNETES_SERVICE,
        Kind::ConfigMap => CONFIG_MAP,
        Kind::Secret => SECRET,
        Kind::Namespace => NAMESPACE,
        Kind::ServiceAccount => kubernetes::SERVICE_ACCOUNT,
        Kind::Event => kubernetes::EVENT,
        Kind::Pod => kubernetes::POD,
        Kind::Deployment => kubernetes::DEPLOYMENT,
        Kind::ReplicaSet => kubernetes::REPLICA_SET,
        Kind::PodAutoscaler => POD_AUTOSCALER,
    }
}

/// What a row carries of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// Reads parameter `includeObject`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "None" => Self::None,
            "Object" => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// A Table of these objects; `with_columns` is false for the later events of a watch.
#[must_use]
pub fn table<'a>(
    kind: Kind,
    objects: impl IntoIterator<Item = &'a Object>,
    list_metadata: Value,
    include: Include,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| row(kind, object, include, now))
        .collect();
    let definitions = if with_columns {
        definitions(kind)
    } else {
        Value::Null
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn has_name_first(kind: Kind) -> bool {
    kind != Kind::Event
}

fn definitions(kind: Kind) -> Value {
    let definition = |name: &str, kind: &str, format: &str, description: &str, priority: u8| {
        json!({
            "name": name,
            "type": kind,
            "format": format,
            "description": description,
            "priority": priority,
        })
    };
    let mut all = Vec::new();
    if has_name_first(kind) {
        all.push(definition("Name", "string", "name", NAME, 0));
    }
    for column in columns(kind) {
        let description = match (column.path, column.cell) {
            ("", Cell::Age) => CREATION.to_owned(),
            ("", _) => String::new(),
            (path, _) => format!("Custom resource definition column (in JSONPath format): {path}"),
        };
        let format = if column.name == "Name" { "name" } else { "" };
        let priority = u8::from(column.is_wide);
        all.push(definition(
            column.name,
            column.kind,
            format,
            &description,
            priority,
        ));
    }
    all.into()
}

fn row(kind: Kind, object: &Object, include: Include, now: Timestamp) -> Value {
    let value = object.to_value();
    let mut cells = Vec::new();
    if has_name_first(kind) {
        cells.push(Value::from(object.metadata().name.clone()));
    }
    cells.extend(
        columns(kind)
            .iter()
            .map(|column| cell(column.cell, object, &value, now)),
    );
    let mut row = json!({"cells": cells});
    match include {
        Include::None => {}
        Include::Metadata => row["object"] = metadata_only(&value),
        Include::Object => row["object"] = value,
    }
    row
}

/// The metadata of an object as an object of its own.
#[must_use]
pub fn metadata_only(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

fn cell(cell: Cell, object: &Object, value: &Value, now: Timestamp) -> Value {
    match cell {
        Cell::At(pointer) => value.pointer(pointer).cloned().unwrap_or_default(),
        Cell::Label(key) => object.metadata().label(key).into(),
        Cell::Condition(field) => value
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .and_then(|all| all.iter().find(|one| one["type"] == "Ready"))
            .and_then(|ready| ready.get(field))
            .cloned()
            .unwrap_or_default(),
        Cell::Count(members) => members
            .iter()
            .filter_map(|member| value.get(*member)?.as_object())
            .map(serde_json::Map::len)
            .sum::<usize>()
            .into(),
        Cell::Made(make) => make(value),
        Cell::Timed(make) => make(value, now),
        Cell::Age => match object.metadata().creation_timestamp {
            Some(created) => age(now.since(created).as_secs()).into(),
            None => "<unknown>".into(),
        },
    }
}

const NONE: &str = "<none>";

fn cluster_ip(service: &Value) -> Value {
    let address = service.pointer("/spec/clusterIP").and_then(Value::as_str);
    address
        .filter(|text| !text.is_empty())
        .unwrap_or(NONE)
        .into()
}

fn external_ip(service: &Value) -> Value {
    let spec = &service["spec"];
    let name = spec["externalName"]
        .as_str()
        .filter(|name| !name.is_empty());
    if let Some(name) = name {
        return name.into();
    }
    let addresses: Vec<&str> = spec["externalIPs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if addresses.is_empty() {
        NONE.into()
    } else {
        addresses.join(",").into()
    }
}

/// `80/TCP,443:30443/TCP`
fn ports(service: &Value) -> Value {
    let port = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        match port["nodePort"].as_u64().filter(|node| *node > 0) {
            Some(node) => format!("{}:{node}/{protocol}", port["port"]),
            None => format!("{}/{protocol}", port["port"]),
        }
    };
    let all = service.pointer("/spec/ports").and_then(Value::as_array);
    let all: Vec<String> = all.into_iter().flatten().map(port).collect();
    if all.is_empty() {
        NONE.into()
    } else {
        all.join(",").into()
    }
}

/// A duration as people say it: two units at most.
///
/// # Source
///
/// kubernetes/apimachinery pkg/util/duration, `HumanDuration`.
fn age(seconds: u64) -> String {
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{large}{large_unit}")
        } else {
            format!("{large}{large_unit}{small}{small_unit}")
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match seconds {
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 8 * 365 => two(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        for (seconds, want) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (3 * 3600 + 300, "3h5m"),
            (9 * 3600 + 300, "9h"),
            (50 * 3600, "2d2h"),
            (10 * 86_400, "10d"),
            (3 * 365 * 86_400, "3y"),
        ] {
            assert_eq!(age(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn a_missing_value_is_a_null_cell() {
        let object = Object::from_value(json!({"apiVersion": "serving.knative.dev/v1",
            "kind": "Service", "metadata": {"name": "h1", "namespace": "default"}}))
        .expect("a Service");
        let made = table(
            Kind::Service,
            [&object],
            json!({"resourceVersion": "7"}),
            Include::None,
            true,
            Timestamp::default(),
        );
        assert_eq!(
            made["rows"][0]["cells"],
            json!(["h1", null, null, null, null, null])
        );
        let names: Vec<&str> = made["columnDefinitions"]
            .as_array()
            .expect("columns")
            .iter()
            .filter_map(|column| column["name"].as_str())
            .collect();
        let want = [
            "Name",
            "URL",
            "LatestCreated",
            "LatestReady",
            "Ready",
            "Reason",
        ];
        assert_eq!(names, want);
    }
}
