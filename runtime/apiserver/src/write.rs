//! Writing: from the body of a request to the store.
//!
//! ```text
//! body ─► object ─► unknown fields ─► name, namespace ─► schema ─► images ─► admit ─► store
//!            ▲
//! stored ─► patch
//! ```
//!
//! The answer is what was written, before anything is reconciled: clients such as `kn` see by it
//! whether they changed something.

mod check;
mod delete;

use std::sync::Arc;

use serde_json::Value;
use serve_core::api::admit::{self, Admitted};
use serve_core::field_error::FieldError;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_runtime::base64;
use serve_runtime::control::store;
use serve_runtime::source::decode::decode;

use crate::Host;
use crate::auth::USER;
use crate::builtin;
use crate::codec;
use crate::patch::Patch;
use crate::read;
use crate::request::{Objects, Query};
use crate::resources;
use crate::status::Status;

pub use delete::{delete, delete_collection};

/// How often a patch is tried again when somebody else writes in between.
const PATCH_TRIES: usize = 5;

/// What a client sent.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub objects: &'a Objects,
    pub query: &'a Query,
    pub content_type: &'a str,
    pub body: &'a [u8],
}

/// What was written, and what the client should know about it.
#[derive(Debug)]
pub struct Written {
    pub object: Arc<Object>,
    pub warnings: Vec<String>,
}

/// The refusal of a write to what shows a run.
#[must_use]
pub fn derived(kind: Kind, name: &str) -> Status {
    let because = match kind {
        Kind::Event => "events are recorded by this server alone",
        Kind::Pod => {
            "it shows a replica of a Revision and follows it; change the Knative Service, or \
             delete the pod to have another"
        }
        _ => {
            "it shows the replicas of a Revision and follows them; change the Knative Service, \
             whose annotations autoscaling.knative.dev/min-scale and max-scale bound them"
        }
    };
    Status::forbidden(kind, name, because)
}

/// Whether nothing is to be stored.
///
/// # Errors
/// 400 for a value of `dryRun` that is not known.
fn is_dry(query: &Query) -> Result<bool, Status> {
    match query
        .dry_run
        .iter()
        .find(|value| !matches!(value.as_str(), "All" | ""))
    {
        Some(other) => Err(Status::bad_request(format!(
            "dryRun: Unsupported value: \"{other}\": supported values: \"All\""
        ))),
        None => Ok(query.dry_run.iter().any(|value| value == "All")),
    }
}

/// POST.
///
/// # Errors
/// Whatever is wrong with the object, or one of its name that is there.
///
/// # Cancel safety
/// The object is created or not.
pub async fn create(host: &Host, input: Input<'_>) -> Result<Written, Status> {
    let objects = input.objects;
    if objects.kind.is_volatile() {
        return Err(derived(objects.kind, ""));
    }
    let dry = is_dry(input.query)?;
    let mut value = codec::object(objects.kind, input.content_type, input.body)?;
    check::place(&mut value, objects)?;
    name_generated(&mut value);
    if objects.kind == Kind::Namespace {
        builtin::complete(&mut value);
    }
    clear_status(objects.kind, &mut value);
    let (mut object, mut warnings) = read_object(objects.kind, input.query, value)?;
    if !object.metadata().resource_version.is_empty() {
        let problem = "resourceVersion should not be set on objects to be created";
        return Err(Status::bad_request(problem));
    }
    if let Some(namespace) = &objects.namespace {
        let key = ObjectKey::new("", namespace);
        read::get(&host.store, Kind::Namespace, &key)?;
    }
    check::metadata(&object)?;
    resolve(host, &mut object).await?;
    let admitted = admit_object(host, dry, None, object)?;
    warnings.extend(admitted.warnings);
    let object = if dry {
        pretend_create(host, admitted.object)?
    } else {
        host.store.create(admitted.object)?
    };
    Ok(Written { object, warnings })
}

/// PUT.
///
/// # Errors
/// As [`create`], and 404 or 409.
///
/// # Cancel safety
/// As [`create`].
pub async fn update(host: &Host, input: Input<'_>) -> Result<Written, Status> {
    let (objects, key) = (input.objects, key(input.objects)?);
    if objects.kind.is_volatile() {
        return Err(derived(objects.kind, &key.name));
    }
    let mut value = codec::object(objects.kind, input.content_type, input.body)?;
    check::place(&mut value, objects)?;
    let (mut object, warnings) = read_object(objects.kind, input.query, value)?;
    check::name(&object, &key)?;
    let old = read::get(&host.store, objects.kind, &key)?;
    let meta = object.metadata_mut();
    if meta.resource_version.is_empty() {
        if !resources::is_core(objects.kind) {
            let problem = "Invalid value: 0x0: must be specified for an update";
            let field = "metadata.resourceVersion";
            return Err(Status::invalid(objects.kind, &key.name, field, problem));
        }
        meta.resource_version
            .clone_from(&old.metadata().resource_version);
    }
    if !meta.uid.is_empty() && meta.uid != old.metadata().uid {
        return Err(uid_conflict(
            objects.kind,
            &key,
            &meta.uid,
            &old.metadata().uid,
        ));
    }
    replace(host, input, &old, object, warnings).await
}

fn uid_conflict(kind: Kind, key: &ObjectKey, given: &str, found: &str) -> Status {
    let because =
        format!("Precondition failed: UID in precondition: {given}, UID in object meta: {found}");
    Status::conflict_because(kind, &key.name, &because)
}

/// PATCH.
///
/// # Errors
/// As [`update`], and 415 or 422 for the patch.
///
/// # Cancel safety
/// As [`create`].
pub async fn patch(host: &Host, input: Input<'_>) -> Result<Written, Status> {
    let (objects, key) = (input.objects, key(input.objects)?);
    if objects.kind.is_volatile() {
        return Err(derived(objects.kind, &key.name));
    }
    let patch = Patch::parse(objects.kind, input.content_type, input.body)?;
    let mut tries = 0;
    loop {
        let old = read::get(&host.store, objects.kind, &key)?;
        let mut value = old.to_value();
        let version = value["metadata"]["resourceVersion"].clone();
        patch.apply(&mut value)?;
        check::place(&mut value, objects)?;
        let named_version = value["metadata"]["resourceVersion"] != version;
        let (mut object, warnings) = read_object(objects.kind, input.query, value)?;
        check::name(&object, &key)?;
        if object.metadata().uid != old.metadata().uid {
            let given = &object.metadata().uid;
            return Err(uid_conflict(objects.kind, &key, given, &old.metadata().uid));
        }
        if object.metadata().resource_version.is_empty() {
            let meta = object.metadata_mut();
            meta.resource_version
                .clone_from(&old.metadata().resource_version);
        }
        match replace(host, input, &old, object, warnings).await {
            // The client did not ask for a version: its patch fits the next one as well.
            Err(status) if status.code == 409 && !named_version && tries < PATCH_TRIES => {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Puts an object, or its status, in the place of another.
async fn replace(
    host: &Host,
    input: Input<'_>,
    old: &Arc<Object>,
    mut object: Object,
    mut warnings: Vec<String>,
) -> Result<Written, Status> {
    let kind = input.objects.kind;
    let dry = is_dry(input.query)?;
    if object.metadata().resource_version != old.metadata().resource_version {
        return Err(Status::conflict(kind, &object.metadata().name));
    }
    if input.objects.is_status {
        return replace_status(host, dry, old, object, warnings);
    }
    check::metadata(&object)?;
    keep_what_is_not_the_clients(old, &mut object);
    resolve(host, &mut object).await?;
    let admitted = admit_object(host, dry, Some(old), object)?;
    warnings.extend(admitted.warnings);
    let object = if dry {
        pretend_update(old, admitted.object)
    } else {
        host.store.update(admitted.object)?
    };
    let meta = object.metadata();
    if !dry && meta.deletion_timestamp.is_some() && meta.finalizers.is_empty() {
        // The last one is done: now it goes.
        host.store.delete(kind, &object.key(), Some(&meta.uid))?;
    }
    Ok(Written { object, warnings })
}

fn replace_status(
    host: &Host,
    dry: bool,
    old: &Arc<Object>,
    object: Object,
    warnings: Vec<String>,
) -> Result<Written, Status> {
    let (key, version) = (object.key(), object.metadata().resource_version.clone());
    let status = match object {
        Object::Service(object) => store::Status::Service(object.status),
        Object::Configuration(object) => store::Status::Configuration(object.status),
        Object::Revision(object) => store::Status::Revision(object.status),
        Object::Route(object) => store::Status::Route(object.status),
        Object::DomainMapping(object) => store::Status::DomainMapping(object.status),
        Object::Dynamic(_) => return Err(Status::no_such_path()),
    };
    let object = if dry {
        old.clone()
    } else {
        host.store.write_status(&key, &version, status)?
    };
    Ok(Written { object, warnings })
}

/// The key of the one object that a path names.
fn key(objects: &Objects) -> Result<ObjectKey, Status> {
    let name = objects.name.as_deref().ok_or_else(Status::no_such_path)?;
    let namespace = objects.namespace.as_deref().unwrap_or_default();
    Ok(ObjectKey::new(namespace, name))
}

/// The object of a body, and warnings about what it has beside.
fn read_object(kind: Kind, query: &Query, value: Value) -> Result<(Object, Vec<String>), Status> {
    let name = value["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    check::schema(kind, &name, &value)?;
    let decoded = decode(value).map_err(|error| Status::from_decode(kind, &name, &error))?;
    let mut warnings = Vec::new();
    let texts = decoded
        .unknown
        .iter()
        .map(|field| format!("unknown field \"{field}\""));
    match query.field_validation.as_str() {
        "Ignore" => {}
        "Strict" if !decoded.unknown.is_empty() => {
            let names = kind.names();
            let all: Vec<String> = texts.collect();
            let strict = format!("strict decoding error: {}", all.join(", "));
            return Err(Status::bad_request(if resources::is_core(kind) {
                format!(
                    "{0} in version \"{1}\" cannot be handled as a {0}: {strict}",
                    names.kind, names.version
                )
            } else {
                strict
            }));
        }
        "" | "Warn" | "Strict" => warnings.extend(texts),
        other => {
            return Err(Status::bad_request(format!(
                "fieldValidation: Unsupported value: \"{other}\": supported values: \"Ignore\", \
                 \"Strict\", \"Warn\""
            )));
        }
    }
    let mut object = decoded.object;
    secret_texts(&mut object);
    Ok((object, warnings))
}

/// `stringData` of a Secret is a way to write its `data`.
fn secret_texts(object: &mut Object) {
    let Object::Dynamic(secret) = object else {
        return;
    };
    if secret.kind != Kind::Secret {
        return;
    }
    let texts = secret.body.remove("stringData");
    if let Some(Value::Object(texts)) = texts {
        let data = secret
            .body
            .entry("data")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Value::Object(data) = data {
            for (key, text) in texts {
                let text = text.as_str().unwrap_or_default();
                data.insert(key, base64::encode(text.as_bytes()).into());
            }
        }
    }
    let kind = secret.body.entry("type").or_insert(Value::Null);
    if kind.as_str().is_none_or(str::is_empty) {
        *kind = "Opaque".into();
    }
}

/// The status of a new object is not the client's to say.
fn clear_status(kind: Kind, value: &mut Value) {
    if resources::has_status(kind)
        && let Value::Object(members) = value
    {
        members.remove("status");
    }
}

fn keep_what_is_not_the_clients(old: &Object, new: &mut Object) {
    let before = old.metadata();
    let meta = new.metadata_mut();
    meta.uid.clone_from(&before.uid);
    meta.generation = before.generation;
    meta.creation_timestamp = before.creation_timestamp;
    meta.deletion_timestamp = before.deletion_timestamp;
    meta.deletion_grace_period_seconds = before.deletion_grace_period_seconds;
    meta.self_link.clear();
    if let (Object::Dynamic(old), Object::Dynamic(new)) = (old, &mut *new)
        && new.kind == Kind::Namespace
    {
        for member in ["spec", "status"] {
            if let Some(value) = old.body.get(member) {
                new.body.insert(member.to_owned(), value.clone());
            }
        }
    }
}

async fn resolve(host: &Host, object: &mut Object) -> Result<(), Status> {
    host.resolver
        .resolve_for_client(object)
        .await
        .map_err(|error| {
            // The error of a file has paths and causes of this machine: the log's, not the client's.
            tracing::info!(%error, "an image is refused");
            let message = error.error.for_client();
            let error = FieldError::new(message, [error.field]);
            admit::Rejection::Validation(error.into()).into()
        })
}

fn admit_object(
    host: &Host,
    dry_run: bool,
    old: Option<&Object>,
    new: Object,
) -> Result<Admitted, Status> {
    let settings = host.settings.borrow().clone();
    let request = admit::Request {
        user: USER,
        settings: &settings,
        dry_run,
    };
    Ok(admit::admit(&request, old, new)?)
}

/// The object as it would have been created.
fn pretend_create(host: &Host, mut object: Object) -> Result<Arc<Object>, Status> {
    if host.store.get(object.kind(), &object.key()).is_some() {
        return Err(Status::already_exists(
            object.kind(),
            &object.metadata().name,
        ));
    }
    let generation = i64::from(!matches!(object, Object::Dynamic(_)));
    let meta = object.metadata_mut();
    "00000000-0000-4000-8000-000000000000".clone_into(&mut meta.uid);
    meta.creation_timestamp = Some(host.clock.now().truncated());
    meta.generation = generation;
    Ok(Arc::new(object))
}

/// The object as it would have been replaced.
fn pretend_update(old: &Object, mut object: Object) -> Arc<Object> {
    let is_dynamic = matches!(object, Object::Dynamic(_));
    if !is_dynamic && admit::spec_changed(old, &object) {
        object.metadata_mut().generation += 1;
    }
    match (old, &mut object) {
        (Object::Service(old), Object::Service(new)) => new.status.clone_from(&old.status),
        (Object::Configuration(old), Object::Configuration(new)) => {
            new.status.clone_from(&old.status);
        }
        (Object::Revision(old), Object::Revision(new)) => new.status.clone_from(&old.status),
        (Object::Route(old), Object::Route(new)) => new.status.clone_from(&old.status),
        (Object::DomainMapping(old), Object::DomainMapping(new)) => {
            new.status.clone_from(&old.status);
        }
        _ => {}
    }
    Arc::new(object)
}

/// Gives an object that has only a `generateName` a name made of it, which is not too long for one.
fn name_generated(value: &mut Value) {
    /// What is left of a label of a domain beside the suffix.
    const MAX_PREFIX: usize = 58;
    let metadata = &value["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    let prefix = text("generateName");
    if !text("name").is_empty() || prefix.is_empty() {
        return;
    }
    let prefix = &prefix[..prefix.floor_char_boundary(MAX_PREFIX)];
    let name = format!("{prefix}{}", random_suffix());
    value["metadata"]["name"] = name.into();
}

/// Five characters of the alphabet that Kubernetes uses for `generateName`.
fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5)
        .map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]))
        .collect()
}
