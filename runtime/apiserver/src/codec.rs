//! Bodies and media types: what a client sends, and in which form it wants the answer.

mod protobuf;

use serde_json::Value;
use serve_core::kind::Kind;
use serve_runtime::source::manifest;

use crate::status::Status;

/// How deep an object may be nested: as a manifest. What is kept has to be read again, with more
/// around it, by readers that stop somewhat above.
pub const MAX_DEPTH: usize = 64;

/// Whether lists and objects lie in each other beyond so many levels. It looks no deeper than that, and
/// at no more values than `walk` allows, which it counts down; true when that is used up.
#[must_use]
pub fn is_deeper(value: &Value, levels: usize, walk: &mut usize) -> bool {
    let Some(left) = walk.checked_sub(1) else {
        return true;
    };
    *walk = left;
    let inner = |value: &Value| is_deeper(value, levels.saturating_sub(1), walk);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(inner),
        Value::Object(members) => levels == 0 || members.values().any(inner),
        _ => false,
    }
}

pub const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How objects are written in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Plain,
    /// Rows and columns for people.
    Table,
    /// Their metadata alone.
    Metadata,
}

/// How discovery is written in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    Plain,
    /// All groups in one document, in this version of its API.
    Aggregated(&'static str),
}

/// One entry of an `Accept` field.
struct Accepted<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Accepted<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| part.split_once('=')).collect();
        Self {
            media_type,
            parameters,
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| *value)
    }

    fn is_json(&self) -> bool {
        matches!(self.media_type, JSON | "application/*" | "*/*")
    }
}

fn accepted(accept: &str) -> impl Iterator<Item = Accepted<'_>> {
    let accept = if accept.trim().is_empty() {
        "*/*"
    } else {
        accept
    };
    accept
        .split(',')
        .map(Accepted::parse)
        .filter(Accepted::is_json)
}

/// The form of objects that an `Accept` field asks for first, of those that there are.
///
/// # Errors
/// 406 when there is none.
pub fn form(accept: &str) -> Result<Form, Status> {
    for entry in accepted(accept) {
        let is_meta_v1 = entry.parameter("g") == Some("meta.k8s.io")
            && matches!(entry.parameter("v"), Some("v1" | "v1beta1"));
        match entry.parameter("as") {
            None => return Ok(Form::Plain),
            Some("Table") if is_meta_v1 => return Ok(Form::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if is_meta_v1 => {
                return Ok(Form::Metadata);
            }
            Some(_) => {}
        }
    }
    Err(Status::not_acceptable(
        "application/json, application/json;as=Table;g=meta.k8s.io;v=v1",
    ))
}

/// The same for discovery.
///
/// # Errors
/// 406 when there is none.
pub fn discovery(accept: &str) -> Result<Discovery, Status> {
    for entry in accepted(accept) {
        match entry.parameter("as") {
            None => return Ok(Discovery::Plain),
            Some("APIGroupDiscoveryList")
                if entry.parameter("g") == Some("apidiscovery.k8s.io") =>
            {
                match entry.parameter("v") {
                    Some("v2") => return Ok(Discovery::Aggregated("v2")),
                    Some("v2beta1") => return Ok(Discovery::Aggregated("v2beta1")),
                    _ => {}
                }
            }
            Some(_) => {}
        }
    }
    Err(Status::not_acceptable(JSON))
}

/// Reads the body of a write: an object of this kind.
///
/// # Errors
/// 415 for a media type that is not read, 400 for a body that is not what it says.
pub fn object(kind: Kind, content_type: &str, body: &[u8]) -> Result<Value, Status> {
    let is_core = crate::resources::is_core(kind);
    match media_type(content_type) {
        JSON | "" => json(body),
        YAML => yaml(body),
        PROTOBUF if is_core => protobuf::object(kind, body).map_err(|error| unreadable(&error)),
        _ if is_core => Err(Status::unsupported_media_type(&[JSON, YAML, PROTOBUF])),
        _ => Err(Status::unsupported_media_type(&[JSON, YAML])),
    }
}

/// Reads the options of a deletion; an empty body is an empty object.
///
/// # Errors
/// As for [`object`].
pub fn delete_options(content_type: &str, body: &[u8]) -> Result<Value, Status> {
    if body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match media_type(content_type) {
        JSON | "" => json(body),
        YAML => yaml(body),
        PROTOBUF => protobuf::delete_options(body).map_err(|error| unreadable(&error)),
        _ => Err(Status::unsupported_media_type(&[JSON, YAML, PROTOBUF])),
    }
}

/// A media type without its parameters.
#[must_use]
pub fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// # Errors
/// 400 for what is not JSON, or is nested deeper than an object ever is.
pub fn json(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()))
}

fn yaml(body: &[u8]) -> Result<Value, Status> {
    let text = std::str::from_utf8(body).map_err(|error| unreadable(&error.to_string()))?;
    manifest::value(text).map_err(|diagnostic| unreadable(&diagnostic.message))
}

fn unreadable(problem: &str) -> Status {
    Status::bad_request(format!("the object provided is unrecognized: {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KUBECTL_GET: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,\
        application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

    #[test]
    fn the_first_form_that_there_is_is_taken() {
        for (accept, want) in [
            (KUBECTL_GET, Some(Form::Table)),
            ("application/json", Some(Form::Plain)),
            ("", Some(Form::Plain)),
            ("application/json, */*", Some(Form::Plain)),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some(Form::Plain),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
                 application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Some(Form::Metadata),
            ),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", None),
        ] {
            assert_eq!(form(accept).ok(), want, "{accept}");
        }
    }

    #[test]
    fn discovery_is_aggregated_for_those_who_ask() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
            application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
            application/json";
        assert_eq!(discovery(kubectl).ok(), Some(Discovery::Aggregated("v2")));
        assert_eq!(discovery("*/*").ok(), Some(Discovery::Plain));
    }

    #[test]
    fn bodies_are_read_by_their_type() {
        let object = |kind, content_type, body: &str| object(kind, content_type, body.as_bytes());
        let want = json!({"a": 1});
        let read = object(
            Kind::Service,
            "application/json; charset=utf-8",
            "{\"a\":1}",
        );
        assert_eq!(read, Ok(want.clone()));
        assert_eq!(object(Kind::Service, "application/yaml", "a: 1"), Ok(want));
        for (kind, content_type, body, code) in [
            (Kind::Service, PROTOBUF, "k8s\0", 415),
            (Kind::Secret, "text/plain", "{}", 415),
            (Kind::Secret, JSON, "{", 400),
            (Kind::Secret, PROTOBUF, "{}", 400),
        ] {
            let status = object(kind, content_type, body).expect_err(body);
            assert_eq!(status.code, code, "{content_type} {body}");
        }
    }
}
