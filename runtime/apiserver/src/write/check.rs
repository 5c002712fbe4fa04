//! What must hold of any object before its own rules are asked.

use serde_json::{Value, json};
use serve_core::api::syntax;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_runtime::base64;

use crate::codec;
use crate::request::Objects;
use crate::resources;
use crate::selector::label_value_problem;
use crate::status::Status;

/// Characters that all annotations of an object have at most.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// That kind and namespace are those of the URL. What a client may leave out is put in.
///
/// # Errors
/// 400 where they differ.
pub fn place(value: &mut Value, objects: &Objects) -> Result<(), Status> {
    let kind = objects.kind;
    if codec::is_deeper(value, codec::MAX_DEPTH, &mut { usize::MAX }) {
        return Err(Status::bad_request(format!(
            "the object is nested more than {} levels deep",
            codec::MAX_DEPTH
        )));
    }
    let Value::Object(members) = value else {
        return Err(Status::bad_request("the object provided is not an object"));
    };
    let (api_version, named) = (kind.api_version(), kind.names().kind);
    for (field, want, what) in [
        ("apiVersion", api_version.as_str(), "API version"),
        ("kind", named, "kind"),
    ] {
        let found = members
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if found.is_empty() && resources::is_core(kind) {
            members.insert(field.to_owned(), want.into());
        } else if found.is_empty() {
            return Err(Status::bad_request(format!(
                "Object '{field}' is missing in the body of the request"
            )));
        } else if found != want {
            return Err(Status::bad_request(format!(
                "the {what} in the data ({found}) does not match the expected {what} ({want})"
            )));
        }
    }
    let metadata = members.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    let Value::Object(metadata) = metadata else {
        return Err(Status::bad_request("metadata: an object is expected"));
    };
    let found = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match &objects.namespace {
        Some(namespace) if found.is_empty() => {
            metadata.insert("namespace".to_owned(), namespace.as_str().into());
        }
        Some(namespace) if found == namespace => {}
        None if found.is_empty() => drop(metadata.remove("namespace")),
        _ => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
    }
    Ok(())
}

/// That the name is that of the URL.
///
/// # Errors
/// 400 where it differs.
pub fn name(object: &Object, key: &ObjectKey) -> Result<(), Status> {
    let found = &object.metadata().name;
    if *found == key.name {
        return Ok(());
    }
    if found.is_empty() {
        return Err(Status::bad_request(
            "metadata.name: Required value: name is required",
        ));
    }
    Err(Status::bad_request(format!(
        "the name of the object ({found}) does not match the name on the URL ({})",
        key.name
    )))
}

/// What the schemas of Knative's resources require, before any default.
///
/// # Errors
/// 422.
pub fn schema(kind: Kind, name: &str, value: &Value) -> Result<(), Status> {
    let spec = match kind {
        Kind::Service | Kind::Configuration => "/spec/template/spec",
        Kind::Revision => "/spec",
        _ => return Ok(()),
    };
    let field = format!("{}.containers", spec[1..].replace('/', "."));
    match value.pointer(spec).and_then(Value::as_object) {
        Some(spec) if spec.get("containers").is_none_or(Value::is_null) => {
            Err(Status::invalid(kind, name, &field, "Required value"))
        }
        _ => Ok(()),
    }
}

/// Names, labels and annotations that any object may have.
///
/// # Errors
/// 422 for the first that is not well formed.
pub fn metadata(object: &Object) -> Result<(), Status> {
    let (kind, meta) = (object.kind(), object.metadata());
    let invalid =
        |field: &str, problem: String| Err(Status::invalid(kind, &meta.name, field, &problem));
    if meta.name.is_empty() {
        let problem = "Required value: name or generateName is required".to_owned();
        return invalid("metadata.name", problem);
    }
    let problems = match kind {
        Kind::Namespace => syntax::dns_1123_label(&meta.name),
        _ => syntax::dns_1123_subdomain(&meta.name),
    };
    if let Some(problem) = problems.into_iter().next() {
        return invalid(
            "metadata.name",
            format!("Invalid value: \"{}\": {problem}", meta.name),
        );
    }
    for (key, value) in &meta.labels {
        if let Some(problem) = syntax::qualified_name(key).into_iter().next() {
            return invalid(
                "metadata.labels",
                format!("Invalid value: \"{key}\": {problem}"),
            );
        }
        if let Some(problem) = label_value_problem(value) {
            return invalid(
                "metadata.labels",
                format!("Invalid value: \"{value}\": {problem}"),
            );
        }
    }
    let mut size = 0;
    for (key, value) in &meta.annotations {
        if let Some(problem) = syntax::qualified_name(&key.to_lowercase())
            .into_iter()
            .next()
        {
            return invalid(
                "metadata.annotations",
                format!("Invalid value: \"{key}\": {problem}"),
            );
        }
        size += key.len() + value.len();
    }
    if size > MAX_ANNOTATIONS {
        let problem = format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes");
        return invalid("metadata.annotations", problem);
    }
    data(object)
}

/// The members of ConfigMaps and Secrets.
fn data(object: &Object) -> Result<(), Status> {
    const FORM: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
        '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
        '[-._a-zA-Z0-9]+')";
    let Object::Dynamic(object) = object else {
        return Ok(());
    };
    let invalid = |field: &str, problem: &str| {
        Err(Status::invalid(
            object.kind,
            &object.metadata.name,
            field,
            problem,
        ))
    };
    if !matches!(object.kind, Kind::ConfigMap | Kind::Secret) {
        return Ok(());
    }
    for member in ["data", "binaryData"] {
        let Some(value) = object.body.get(member) else {
            continue;
        };
        let Value::Object(entries) = value else {
            return invalid(member, "Invalid value: an object is expected");
        };
        for (key, value) in entries {
            let field = format!("{member}[{key}]");
            let is_key = !key.is_empty()
                && key.len() <= 253
                && key
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !is_key {
                return invalid(&field, &format!("Invalid value: \"{key}\": {FORM}"));
            }
            let Some(text) = value.as_str() else {
                return invalid(&field, "Invalid value: a string is expected");
            };
            let is_binary = object.kind == Kind::Secret || member == "binaryData";
            if is_binary && base64::decode(text).is_none() {
                return invalid(&field, "Invalid value: base64 is expected");
            }
        }
    }
    Ok(())
}
