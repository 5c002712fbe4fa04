//! Deleting: one object or a collection, with what they own.

use std::sync::Arc;

use serde_json::{Value, json};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_runtime::control::store;

use super::{Input, is_dry, key, uid_conflict};
use crate::Host;
use crate::builtin;
use crate::codec;
use crate::read;
use crate::request::Query;
use crate::selector::Selector;
use crate::status::Status;

/// What a client says about a deletion.
#[derive(Debug, Default)]
struct Options {
    uid: Option<String>,
    resource_version: Option<String>,
    is_dry: bool,
    /// What the object owns stays.
    orphan: bool,
}

/// DELETE of one object; the body of the answer: the object while finalizers hold it.
///
/// # Errors
/// 404, and 409 when a precondition does not hold.
pub fn delete(host: &Host, input: Input<'_>) -> Result<Value, Status> {
    let (kind, key) = (input.objects.kind, key(input.objects)?);
    let options = options(input)?;
    let object = read::get(&host.store, kind, &key)?;
    if let Some(held) = remove(host, &object, &options)? {
        return Ok(held.to_value());
    }
    Ok(Status::deleted(kind, &key.name, &object.metadata().uid))
}

/// DELETE of a collection; returns what was deleted.
///
/// # Errors
/// As for one object; those before it are deleted then.
pub fn delete_collection(host: &Host, input: Input<'_>) -> Result<Vec<Arc<Object>>, Status> {
    let options = options(input)?;
    let Query {
        label_selector,
        field_selector,
        ..
    } = input.query;
    let objects = input.objects;
    let selector = Selector::parse(objects.kind, label_selector, field_selector)?;
    let (mut found, _) = host.store.list(objects.kind, objects.namespace.as_deref());
    found.retain(|object| selector.matches(object));
    for object in &found {
        match remove(host, object, &options) {
            // Somebody else was faster, or it went with its owner.
            Err(status) if status.code == 404 => {}
            result => drop(result?),
        }
    }
    Ok(found)
}

/// Deletes an object, or returns it when its finalizers are not done yet.
fn remove(host: &Host, object: &Object, options: &Options) -> Result<Option<Arc<Object>>, Status> {
    let (kind, key, meta) = (object.kind(), object.key(), object.metadata());
    if let Some(uid) = &options.uid
        && *uid != meta.uid
    {
        return Err(uid_conflict(kind, &key, uid, &meta.uid));
    }
    if let Some(version) = &options.resource_version
        && *version != meta.resource_version
    {
        let because = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in \
             object meta: {}",
            meta.resource_version
        );
        return Err(Status::conflict_because(kind, &key.name, &because));
    }
    if kind == Kind::Namespace && builtin::NAMESPACES.contains(&key.name.as_str()) {
        let because = "this namespace may not be deleted";
        return Err(Status::forbidden(kind, &key.name, because));
    }
    if kind.is_derived() && kind != Kind::Pod {
        return Err(super::derived(kind, &key.name));
    }
    if options.is_dry {
        return Ok(None);
    }
    if kind == Kind::Pod {
        // It goes when its requests have, and another takes its place.
        return Ok(Some(host.store.begin_deletion(
            kind,
            &key,
            Some(&meta.uid),
        )?));
    }
    let is_held = !meta.finalizers.is_empty();
    if kind == Kind::Namespace && !is_held {
        empty(host, &key.name);
    }
    if options.orphan && !is_held {
        orphan(host, &meta.uid);
    }
    Ok(host.store.remove(kind, &key, Some(&meta.uid))?)
}

/// Deletes everything in a namespace.
fn empty(host: &Host, namespace: &str) {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.names().namespaced) {
        for object in host.store.list(kind, Some(namespace)).0 {
            // One that is gone went with its owner. A mapping's claim is not in the namespace, and
            // what holds the mapping sees to it.
            let _ = if kind == Kind::DomainMapping {
                host.store.remove(kind, &object.key(), None).map(drop)
            } else {
                host.store.delete(kind, &object.key(), None)
            };
        }
    }
}

/// Frees what an object controls from it.
fn orphan(host: &Host, uid: &str) {
    for kind in Kind::ALL {
        for object in host.store.controlled_by(uid, kind) {
            free(host, kind, &object.key(), uid);
        }
    }
}

fn free(host: &Host, kind: Kind, key: &ObjectKey, uid: &str) {
    while let Some(object) = host.store.get(kind, key) {
        let mut object = Object::clone(&object);
        let owners = &mut object.metadata_mut().owner_references;
        owners.retain(|owner| owner.uid != uid);
        match host.store.update(object) {
            Err(store::Error::Conflict(_)) => {}
            _ => return,
        }
    }
}

fn options(input: Input<'_>) -> Result<Options, Status> {
    let body = codec::delete_options(input.content_type, input.body)?;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let policy = text("/propagationPolicy").unwrap_or(&input.query.propagation_policy);
    let orphan = match policy {
        "Orphan" => true,
        "" => {
            body["orphanDependents"]
                .as_bool()
                .or(input.query.orphan_dependents)
                == Some(true)
        }
        "Foreground" | "Background" => false,
        other => {
            return Err(Status::bad_request(format!(
                "propagationPolicy: Unsupported value: \"{other}\": supported values: \
                 \"Foreground\", \"Background\", \"Orphan\""
            )));
        }
    };
    let dry = body["dryRun"]
        .as_array()
        .is_some_and(|all| all.contains(&json!("All")));
    Ok(Options {
        uid: text("/preconditions/uid").map(str::to_owned),
        resource_version: text("/preconditions/resourceVersion").map(str::to_owned),
        is_dry: dry || is_dry(input.query)?,
        orphan,
    })
}
