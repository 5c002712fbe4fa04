//! The columns of the kinds that show what runs.
//!
//! # Source
//!
//! kubernetes/kubernetes pkg/printers/internalversion/printers.go.

use serde_json::Value;
use serve_core::time::Timestamp;

use super::{AGE, Cell, Column, NONE, age, column, wide};

pub const POD: &[Column] = &[
    column("Ready", "string", "", Cell::Made(pod_ready)),
    column("Status", "string", "", Cell::Made(pod_status)),
    column("Restarts", "string", "", Cell::Timed(pod_restarts)),
    AGE,
    wide("IP", "string", Cell::Made(pod_address)),
    wide("Node", "string", Cell::At("/spec/nodeName")),
    wide("Nominated Node", "string", Cell::Made(|_| NONE.into())),
    wide("Readiness Gates", "string", Cell::Made(|_| NONE.into())),
];

const CONTAINERS: Column = wide(
    "Containers",
    "string",
    Cell::Made(|v| containers(v, "name")),
);
const IMAGES: Column = wide("Images", "string", Cell::Made(|v| containers(v, "image")));
const SELECTOR: Column = wide("Selector", "string", Cell::Made(selector));

pub const DEPLOYMENT: &[Column] = &[
    column("Ready", "string", "", Cell::Made(deployment_ready)),
    column(
        "Up-to-date",
        "string",
        "",
        Cell::Made(|v| count(v, "/status/updatedReplicas")),
    ),
    column(
        "Available",
        "string",
        "",
        Cell::Made(|v| count(v, "/status/availableReplicas")),
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub const REPLICA_SET: &[Column] = &[
    column(
        "Desired",
        "integer",
        "",
        Cell::Made(|v| count(v, "/spec/replicas")),
    ),
    column(
        "Current",
        "integer",
        "",
        Cell::Made(|v| count(v, "/status/replicas")),
    ),
    column(
        "Ready",
        "integer",
        "",
        Cell::Made(|v| count(v, "/status/readyReplicas")),
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The name of an Event tells nobody anything, so it stands last.
pub const EVENT: &[Column] = &[
    column("Last Seen", "string", "", Cell::Timed(last_seen)),
    column("Type", "string", "", Cell::At("/type")),
    column("Reason", "string", "", Cell::At("/reason")),
    column("Object", "string", "", Cell::Made(involved)),
    wide("Subobject", "string", Cell::Made(|_| "".into())),
    wide("Source", "string", Cell::At("/source/component")),
    column("Message", "string", "", Cell::Made(message)),
    wide("First Seen", "string", Cell::Timed(first_seen)),
    wide(
        "Count",
        "string",
        Cell::Made(|v| count(v, "/count").to_string().into()),
    ),
    wide("Name", "string", Cell::At("/metadata/name")),
];

pub const SERVICE_ACCOUNT: &[Column] = &[column("Secrets", "string", "", Cell::Made(secrets)), AGE];

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let all = pod.pointer("/status/containerStatuses");
    all.and_then(Value::as_array).into_iter().flatten()
}

fn pod_ready(pod: &Value) -> Value {
    let ready = statuses(pod).filter(|one| one["ready"] == true).count();
    let all = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    format!("{ready}/{all}").into()
}

fn pod_status(pod: &Value) -> Value {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".into();
    }
    let reason = |one: &Value| {
        let reason = one["state"]["waiting"]["reason"].as_str();
        reason.map(str::to_owned)
    };
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    // The user's container says more than the one beside it, which waits for it.
    let mut reasons: Vec<String> = statuses(pod).filter_map(reason).collect();
    reasons.sort_by_key(|reason| reason == "ContainerCreating");
    reasons
        .into_iter()
        .next()
        .unwrap_or_else(|| phase.to_owned())
        .into()
}

fn pod_restarts(pod: &Value, now: Timestamp) -> Value {
    let restarts: u64 = statuses(pod)
        .filter_map(|one| one["restartCount"].as_u64())
        .sum();
    let last = statuses(pod)
        .filter_map(|one| one["lastState"]["terminated"]["finishedAt"].as_str())
        .filter_map(|text| text.parse::<Timestamp>().ok())
        .max();
    match last {
        Some(last) if restarts > 0 => {
            format!("{restarts} ({} ago)", age(now.since(last).as_secs())).into()
        }
        _ => restarts.to_string().into(),
    }
}

fn pod_address(pod: &Value) -> Value {
    let address = pod["status"]["podIP"]
        .as_str()
        .filter(|text| !text.is_empty());
    address.unwrap_or(NONE).into()
}

fn deployment_ready(deployment: &Value) -> Value {
    let ready = count(deployment, "/status/readyReplicas");
    let wanted = count(deployment, "/spec/replicas");
    format!("{ready}/{wanted}").into()
}

/// A count; one that is left out is 0.
fn count(object: &Value, pointer: &str) -> Value {
    object
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or(0)
        .into()
}

fn containers(object: &Value, member: &str) -> Value {
    let all = object.pointer("/spec/template/spec/containers");
    let all = all.and_then(Value::as_array).into_iter().flatten();
    let texts: Vec<&str> = all.filter_map(|one| one[member].as_str()).collect();
    texts.join(",").into()
}

fn selector(object: &Value) -> Value {
    let labels = object.pointer("/spec/selector/matchLabels");
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    let pair =
        |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    labels.map(pair).collect::<Vec<_>>().join(",").into()
}

fn involved(event: &Value) -> Value {
    let text = |name: &str| event["involvedObject"][name].as_str().unwrap_or_default();
    format!("{}/{}", text("kind").to_lowercase(), text("name")).into()
}

fn message(event: &Value) -> Value {
    event["message"].as_str().unwrap_or_default().trim().into()
}

fn last_seen(event: &Value, now: Timestamp) -> Value {
    since(event, "lastTimestamp", now)
}

fn first_seen(event: &Value, now: Timestamp) -> Value {
    since(event, "firstTimestamp", now)
}

fn since(event: &Value, member: &str, now: Timestamp) -> Value {
    let time = event[member]
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok());
    time.map_or("<unknown>".to_owned(), |time| {
        age(now.since(time).as_secs())
    })
    .into()
}

fn secrets(account: &Value) -> Value {
    account["secrets"].as_array().map_or(0, Vec::len).into()
}
