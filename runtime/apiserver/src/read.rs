//! Reading: one object, or a list of them at one version.
//!
//! A list that comes in several parts shows one version of the store: what happened since the first
//! part is undone from the log of events, for as long as the log has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::time::Timestamp;
use serve_runtime::control::store::{Event, Store};

use crate::codec::Form;
use crate::request::{Objects, Query};
use crate::selector::Selector;
use crate::status::Status;
use crate::table::{self, Include};

/// How to write objects.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub form: Form,
    pub include: Include,
    pub now: Timestamp,
}

/// Some objects of one version of the store.
struct Page {
    objects: Vec<Arc<Object>>,
    revision: u64,
    next: Option<String>,
    remaining: Option<usize>,
}

/// One object.
///
/// # Errors
/// 404.
pub fn get(store: &Store, kind: Kind, key: &ObjectKey) -> Result<Arc<Object>, Status> {
    store
        .get(kind, key)
        .ok_or_else(|| Status::not_found(kind, &key.name))
}

/// One object in the form that was asked for.
#[must_use]
pub fn one(kind: Kind, object: &Object, style: Style) -> Value {
    match style.form {
        Form::Plain => object.to_value(),
        Form::Metadata => table::metadata_only(&object.to_value()),
        Form::Table => {
            let version = json!({"resourceVersion": object.metadata().resource_version});
            table::table(kind, [object], version, style.include, true, style.now)
        }
    }
}

/// The `Scale` of a Deployment or ReplicaSet.
#[must_use]
pub fn scale(object: &Object) -> Value {
    let (value, meta) = (object.to_value(), object.metadata());
    let labels = value["spec"]["selector"]["matchLabels"].as_object();
    let labels = labels.into_iter().flatten();
    let selector: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "creationTimestamp": value["metadata"]["creationTimestamp"],
        },
        "spec": {"replicas": value["spec"]["replicas"]},
        "status": {
            "replicas": value["status"]["replicas"].as_u64().unwrap_or(0),
            "selector": selector.join(","),
        },
    })
}

/// A list in the form that was asked for.
///
/// # Errors
/// 400 for a selector or a token that cannot be read, 410 for a version that is no longer kept.
pub fn list(
    store: &Store,
    objects: &Objects,
    query: &Query,
    style: Style,
) -> Result<Value, Status> {
    let page = page(store, objects, query)?;
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = page.next {
        metadata["continue"] = next.into();
    }
    if let Some(remaining) = page.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let kind = objects.kind;
    Ok(collection(
        kind,
        page.objects.iter().map(|o| &**o),
        metadata,
        style,
    ))
}

/// These objects as a list.
#[must_use]
pub fn collection<'a>(
    kind: Kind,
    objects: impl Iterator<Item = &'a Object>,
    metadata: Value,
    style: Style,
) -> Value {
    match style.form {
        Form::Table => table::table(kind, objects, metadata, style.include, true, style.now),
        Form::Metadata => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": objects.map(|o| table::metadata_only(&o.to_value())).collect::<Vec<_>>(),
        }),
        Form::Plain => json!({
            "kind": format!("{}List", kind.names().kind),
            "apiVersion": kind.api_version(),
            "metadata": metadata,
            "items": objects.map(Object::to_value).collect::<Vec<_>>(),
        }),
    }
}

fn page(store: &Store, objects: &Objects, query: &Query) -> Result<Page, Status> {
    let selector = Selector::parse(objects.kind, &query.label_selector, &query.field_selector)?;
    let (kind, namespace) = (objects.kind, objects.namespace.as_deref());
    let (mut found, mut revision) = store.list(kind, namespace);
    let start = Token::parse(&query.continue_token)?;
    if let Some(wanted) = wanted_version(query, start.as_ref(), revision)? {
        let events = store.events_after(wanted).map_err(|_| {
            Status::expired(
                "The provided continue parameter is too old to display a consistent list result. \
                 You can start a new list without the continue parameter.",
            )
        })?;
        let events = events.iter().filter(|event| event.revision <= revision);
        found = undo(found, events, kind, namespace);
        revision = wanted;
    }
    if let Some(start) = &start {
        found.retain(|object| object.key() > start.after);
    }
    found.retain(|object| selector.matches(object));
    let limit = query.limit.unwrap_or(usize::MAX);
    let rest = found.len().saturating_sub(limit);
    found.truncate(limit);
    let next = found.last().filter(|_| rest > 0).map(|last| {
        let after = last.key();
        Token { revision, after }.to_string()
    });
    Ok(Page {
        objects: found,
        revision,
        next,
        remaining: (rest > 0 && selector.is_empty()).then_some(rest),
    })
}

/// The version that a list must show; none when the newest will do.
fn wanted_version(
    query: &Query,
    start: Option<&Token>,
    current: u64,
) -> Result<Option<u64>, Status> {
    if let Some(start) = start {
        return Ok(Some(start.revision).filter(|revision| *revision < current));
    }
    let Some(asked) = version(&query.resource_version)? else {
        return Ok(None);
    };
    if asked > current {
        let message = format!("Too large resource version: {asked}, current: {current}");
        return Err(Status::new(504, "Timeout", message));
    }
    let is_exact = query.resource_version_match == "Exact";
    Ok(Some(asked).filter(|asked| is_exact && *asked < current))
}

/// Reads a `resourceVersion`; none for an empty one.
///
/// # Errors
/// 400 for what is no version of ours.
pub fn version(text: &str) -> Result<Option<u64>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Status::bad_request(format!(
            "Invalid value: \"{text}\": resourceVersion: a whole number is expected"
        ))
    })
}

/// The list as it was before these events, which are in their order.
fn undo<'a>(
    objects: Vec<Arc<Object>>,
    events: impl DoubleEndedIterator<Item = &'a Event>,
    kind: Kind,
    namespace: Option<&str>,
) -> Vec<Arc<Object>> {
    let mut found: BTreeMap<ObjectKey, Arc<Object>> = objects
        .into_iter()
        .map(|object| (object.key(), object))
        .collect();
    for event in events.rev() {
        let key = event.object.key();
        if event.object.kind() != kind || namespace.is_some_and(|n| n != key.namespace) {
            continue;
        }
        match &event.previous {
            Some(previous) => found.insert(key, previous.clone()),
            None => found.remove(&key),
        };
    }
    found.into_values().collect()
}

/// Where the next part of a list begins, as the text that clients carry back.
#[derive(Debug, PartialEq, Eq)]
struct Token {
    revision: u64,
    after: ObjectKey,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ObjectKey { namespace, name } = &self.after;
        write!(f, "{}.{}.{name}", self.revision, namespace)
    }
}

impl Token {
    fn parse(text: &str) -> Result<Option<Self>, Status> {
        if text.is_empty() {
            return Ok(None);
        }
        // Namespaces have no dots, names may.
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let read = match parts.as_slice() {
            [revision, namespace, name] => revision.parse().ok().map(|revision| Self {
                revision,
                after: ObjectKey::new(*namespace, *name),
            }),
            _ => None,
        };
        read.map(Some)
            .ok_or_else(|| Status::bad_request("continue key is not valid"))
    }
}

#[cfg(test)]
mod tests;
