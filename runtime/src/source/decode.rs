//! JSON to an object, with the fields that no type knows.

use serde::de::DeserializeOwned;
use serde_ignored::Path;
use serde_json::Value;
use serve_core::api::{Configuration, DomainMapping, Revision, Route, Service};
use serve_core::kind::Kind;
use serve_core::object::{DecodeError, Object, drop_nulls};

/// An object, and the paths of the members that its type does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub object: Object,
    /// Written as Kubernetes does: `spec.template.spec.containers[0].imagee`.
    pub unknown: Vec<String>,
}

/// Reads an object of any kind that this program has.
///
/// # Errors
/// A kind it does not have, or a member of the wrong type.
pub fn decode(mut value: Value) -> Result<Decoded, DecodeError> {
    drop_nulls(&mut value);
    let unknown = unknown(&value);
    let object = Object::from_value(value)?;
    if object.kind().is_volatile() {
        // Nobody can declare what shows a run.
        let kind = object.kind();
        return Err(DecodeError::UnknownKind {
            api_version: kind.api_version(),
            kind: kind.names().kind.to_owned(),
        });
    }
    Ok(Decoded { object, unknown })
}

fn unknown(value: &Value) -> Vec<String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    match Kind::find(text("apiVersion"), text("kind")) {
        Some(Kind::Service) => ignored::<Service>(value),
        Some(Kind::Configuration) => ignored::<Configuration>(value),
        Some(Kind::Revision) => ignored::<Revision>(value),
        Some(Kind::Route) => ignored::<Route>(value),
        Some(Kind::DomainMapping) => ignored::<DomainMapping>(value),
        // What these have is kept as it is.
        Some(_) | None => Vec::new(),
    }
}

fn ignored<T: DeserializeOwned>(value: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    // A member of the wrong type ends this early; it is reported by the decoding proper.
    let _: Result<T, _> = serde_ignored::deserialize(value, |path| paths.push(written(&path)));
    paths
}

fn written(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", written(parent)),
        Path::Map { parent, key } => match written(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => written(parent),
    }
}
