//! The protobuf bodies that Kubernetes' own clients send for core kinds.
//!
//! Only what those bodies can say about the kinds that are here is read; fields that are not known
//! are passed over, as protobuf has it. Answers are always JSON.
//!
//! # Source
//!
//! kubernetes/apimachinery pkg/runtime/serializer/protobuf (the envelope), and the generated.proto
//! of runtime, meta/v1 and core/v1 (field numbers).

use serde_json::{Map, Value, json};
use serve_core::kind::Kind;
use serve_runtime::base64;

/// The first bytes of an envelope.
const MAGIC: &[u8] = b"k8s\0";

type Result<T> = std::result::Result<T, String>;

/// One field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A fixed-size number, which none of our fields is.
    Other,
}

/// Reads the object in an envelope.
pub fn object(kind: Kind, body: &[u8]) -> Result<Value> {
    let (api_version, named, raw) = envelope(body)?;
    let mut object = match kind {
        Kind::ConfigMap => config_map(raw)?,
        Kind::Secret => secret(raw)?,
        Kind::Namespace => namespace(raw)?,
        Kind::KubernetesService => service(raw)?,
        _ => return Err(format!("{} has no protobuf form", kind.names().kind)),
    };
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), named.into());
    Ok(Value::Object(object))
}

/// Reads the `DeleteOptions` in an envelope.
pub fn delete_options(body: &[u8]) -> Result<Value> {
    let (_, _, raw) = envelope(body)?;
    let mut options = Map::new();
    let mut dry_run = Vec::new();
    each(raw, |number, field| {
        match (number, field) {
            (1, Field::Number(seconds)) => {
                options.insert("gracePeriodSeconds".to_owned(), seconds.into());
            }
            (2, Field::Bytes(bytes)) => {
                let mut conditions = Map::new();
                each(bytes, |number, field| {
                    if let (1 | 2, Field::Bytes(bytes)) = (number, field) {
                        let key = if number == 1 {
                            "uid"
                        } else {
                            "resourceVersion"
                        };
                        conditions.insert(key.to_owned(), text(bytes)?.into());
                    }
                    Ok(())
                })?;
                options.insert("preconditions".to_owned(), conditions.into());
            }
            (3, Field::Number(orphan)) => {
                options.insert("orphanDependents".to_owned(), (orphan != 0).into());
            }
            (4, Field::Bytes(bytes)) => {
                options.insert("propagationPolicy".to_owned(), text(bytes)?.into());
            }
            (5, Field::Bytes(bytes)) => dry_run.push(Value::from(text(bytes)?)),
            _ => {}
        }
        Ok(())
    })?;
    if !dry_run.is_empty() {
        options.insert("dryRun".to_owned(), dry_run.into());
    }
    Ok(Value::Object(options))
}

/// `runtime.Unknown`: apiVersion, kind and the message.
fn envelope(body: &[u8]) -> Result<(String, String, &[u8])> {
    let body = body
        .strip_prefix(MAGIC)
        .ok_or("the body does not begin as a protobuf body does")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    each(body, |number, field| {
        match (number, field) {
            (1, Field::Bytes(meta)) => each(meta, |number, field| {
                match (number, field) {
                    (1, Field::Bytes(bytes)) => api_version = text(bytes)?,
                    (2, Field::Bytes(bytes)) => kind = text(bytes)?,
                    _ => {}
                }
                Ok(())
            })?,
            (2, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
        Ok(())
    })?;
    Ok((api_version, kind, raw))
}

fn config_map(message: &[u8]) -> Result<Map<String, Value>> {
    let (mut data, mut binary) = (Map::new(), Map::new());
    let mut object = Map::new();
    each(message, |number, field| {
        match (number, field) {
            (1, Field::Bytes(bytes)) => drop(object.insert("metadata".into(), metadata(bytes)?)),
            (2, Field::Bytes(bytes)) => pair(bytes, &mut data, |bytes| Ok(text(bytes)?.into()))?,
            (3, Field::Bytes(bytes)) => pair(bytes, &mut binary, |b| Ok(base64::encode(b).into()))?,
            (4, Field::Number(is)) => drop(object.insert("immutable".into(), (is != 0).into())),
            _ => {}
        }
        Ok(())
    })?;
    put_map(&mut object, "data", data);
    put_map(&mut object, "binaryData", binary);
    Ok(object)
}

fn secret(message: &[u8]) -> Result<Map<String, Value>> {
    let (mut data, mut plain) = (Map::new(), Map::new());
    let mut object = Map::new();
    each(message, |number, field| {
        match (number, field) {
            (1, Field::Bytes(bytes)) => drop(object.insert("metadata".into(), metadata(bytes)?)),
            (2, Field::Bytes(bytes)) => pair(bytes, &mut data, |b| Ok(base64::encode(b).into()))?,
            (3, Field::Bytes(bytes)) => drop(object.insert("type".into(), text(bytes)?.into())),
            (4, Field::Bytes(bytes)) => pair(bytes, &mut plain, |bytes| Ok(text(bytes)?.into()))?,
            (5, Field::Number(is)) => drop(object.insert("immutable".into(), (is != 0).into())),
            _ => {}
        }
        Ok(())
    })?;
    put_map(&mut object, "data", data);
    put_map(&mut object, "stringData", plain);
    Ok(object)
}

fn namespace(message: &[u8]) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    each(message, |number, field| {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            object.insert("metadata".to_owned(), metadata(bytes)?);
        }
        Ok(())
    })?;
    Ok(object)
}

fn service(message: &[u8]) -> Result<Map<String, Value>> {
    let mut object = Map::new();
    each(message, |number, field| {
        match (number, field) {
            (1, Field::Bytes(bytes)) => drop(object.insert("metadata".into(), metadata(bytes)?)),
            (2, Field::Bytes(bytes)) => drop(object.insert("spec".into(), service_spec(bytes)?)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(object)
}

fn service_spec(message: &[u8]) -> Result<Value> {
    let (mut spec, mut selector, mut ports) = (Map::new(), Map::new(), Vec::new());
    each(message, |number, field| {
        let Field::Bytes(bytes) = field else {
            return Ok(());
        };
        match number {
            1 => ports.push(service_port(bytes)?),
            2 => pair(bytes, &mut selector, |bytes| Ok(text(bytes)?.into()))?,
            3 => put_text(&mut spec, "clusterIP", bytes)?,
            4 => put_text(&mut spec, "type", bytes)?,
            7 => put_text(&mut spec, "sessionAffinity", bytes)?,
            10 => put_text(&mut spec, "externalName", bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    if !ports.is_empty() {
        spec.insert("ports".to_owned(), ports.into());
    }
    put_map(&mut spec, "selector", selector);
    Ok(Value::Object(spec))
}

fn service_port(message: &[u8]) -> Result<Value> {
    let mut port = Map::new();
    each(message, |number, field| {
        match (number, field) {
            (1, Field::Bytes(bytes)) => put_text(&mut port, "name", bytes)?,
            (2, Field::Bytes(bytes)) => put_text(&mut port, "protocol", bytes)?,
            (3, Field::Number(number)) => drop(port.insert("port".into(), number.into())),
            (4, Field::Bytes(bytes)) => {
                let target = int_or_string(bytes)?;
                if target != 0 {
                    port.insert("targetPort".to_owned(), target);
                }
            }
            (5, Field::Number(node)) if node > 0 => {
                port.insert("nodePort".to_owned(), node.into());
            }
            (6, Field::Bytes(bytes)) => put_text(&mut port, "appProtocol", bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Value::Object(port))
}

/// `intstr.IntOrString`: which of the two it is, the number, the text.
fn int_or_string(message: &[u8]) -> Result<Value> {
    let (mut is_text, mut number_value, mut text_value) = (false, 0, String::new());
    each(message, |number, field| {
        match (number, field) {
            (1, Field::Number(kind)) => is_text = kind == 1,
            (2, Field::Number(value)) => number_value = value,
            (3, Field::Bytes(bytes)) => text_value = text(bytes)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_text {
        text_value.into()
    } else {
        number_value.into()
    })
}

fn put_text(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) -> Result<()> {
    let text = text(bytes)?;
    if !text.is_empty() {
        object.insert(key.to_owned(), text.into());
    }
    Ok(())
}

fn put_map(object: &mut Map<String, Value>, key: &str, map: Map<String, Value>) {
    if !map.is_empty() {
        object.insert(key.to_owned(), map.into());
    }
}

fn metadata(message: &[u8]) -> Result<Value> {
    let mut meta = Map::new();
    let (mut labels, mut annotations) = (Map::new(), Map::new());
    let mut finalizers = Vec::new();
    each(message, |number, field| {
        let Field::Bytes(bytes) = field else {
            return Ok(());
        };
        let key = match number {
            1 => "name",
            2 => "generateName",
            3 => "namespace",
            5 => "uid",
            6 => "resourceVersion",
            11 => return pair(bytes, &mut labels, |bytes| Ok(text(bytes)?.into())),
            12 => return pair(bytes, &mut annotations, |bytes| Ok(text(bytes)?.into())),
            14 => {
                finalizers.push(Value::from(text(bytes)?));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let text = text(bytes)?;
        if !text.is_empty() {
            meta.insert(key.to_owned(), text.into());
        }
        Ok(())
    })?;
    put_map(&mut meta, "labels", labels);
    put_map(&mut meta, "annotations", annotations);
    if !finalizers.is_empty() {
        meta.insert("finalizers".to_owned(), json!(finalizers));
    }
    Ok(Value::Object(meta))
}

/// An entry of a map: key 1, value 2.
fn pair(
    entry: &[u8],
    into: &mut Map<String, Value>,
    read: impl Fn(&[u8]) -> Result<Value>,
) -> Result<()> {
    let (mut key, mut value) = (String::new(), &[][..]);
    each(entry, |number, field| {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = text(bytes)?,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => {}
        }
        Ok(())
    })?;
    into.insert(key, read(value)?);
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
    Ok(text.to_owned())
}

/// Calls `visit` with each field of a message.
fn each<'a>(
    mut message: &'a [u8],
    mut visit: impl FnMut(u64, Field<'a>) -> Result<()>,
) -> Result<()> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)?),
            1 => take(&mut message, 8).map(|_| Field::Other)?,
            2 => {
                let length = varint(&mut message)?;
                let length = usize::try_from(length).map_err(|_| "a field is too long")?;
                Field::Bytes(take(&mut message, length)?)
            }
            5 => take(&mut message, 4).map(|_| Field::Other)?,
            other => return Err(format!("wire type {other} is not used")),
        };
        visit(tag >> 3, field)?;
    }
    Ok(())
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = message
        .split_at_checked(length)
        .ok_or("the body ends within a field")?;
    *message = rest;
    Ok(taken)
}

fn varint(message: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err("a number is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn body(kind: &str, message: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &meta), &field(2, message)].concat()
    }

    #[test]
    fn a_config_map_and_a_secret_are_read() {
        let meta = [
            field(1, b"c"),
            field(2, b""),
            field(3, b"n"),
            field(11, &[field(1, b"k"), field(2, b"v")].concat()),
        ]
        .concat();
        let entry = [field(1, b"a"), field(2, b"hello")].concat();
        let message = [field(1, &meta), field(2, &entry)].concat();
        assert_eq!(
            object(Kind::ConfigMap, &body("ConfigMap", &message)),
            Ok(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "hello"},
                "metadata": {"name": "c", "namespace": "n", "labels": {"k": "v"}}})
            )
        );
        let message = [message, field(3, b"Opaque")].concat();
        let read = object(Kind::Secret, &body("Secret", &message)).expect("read");
        assert_eq!(read["data"]["a"], "aGVsbG8=");
        assert_eq!(read["type"], "Opaque");
    }

    #[test]
    fn a_kubernetes_service_is_read() {
        let target = [&[1 << 3, 0, 2 << 3, 80][..], &field(3, b"")].concat();
        let port = [field(1, b"http2"), vec![3 << 3, 80], field(4, &target)].concat();
        let spec = [
            field(1, &port),
            field(3, b""),
            field(4, b"ExternalName"),
            field(10, b"a.b"),
        ]
        .concat();
        let message = [field(1, &field(1, b"s")), field(2, &spec)].concat();
        assert_eq!(
            object(Kind::KubernetesService, &body("Service", &message)),
            Ok(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec":
                {"type": "ExternalName", "externalName": "a.b",
                    "ports": [{"name": "http2", "port": 80, "targetPort": 80}]}})
            )
        );
    }

    #[test]
    fn delete_options_are_read() {
        let message = [vec![1 << 3, 0], field(4, b"Foreground"), field(5, b"All")].concat();
        assert_eq!(
            delete_options(&body("DeleteOptions", &message)),
            Ok(
                json!({"gracePeriodSeconds": 0, "propagationPolicy": "Foreground",
                "dryRun": ["All"]})
            )
        );
    }

    #[test]
    fn a_torn_body_is_refused() {
        let whole = body("Namespace", &field(1, &field(1, b"n")));
        for end in 0..whole.len() {
            let torn = object(Kind::Namespace, &whole[..end]);
            // A message that ends between fields is a shorter message.
            assert!(
                torn.is_err() || torn.is_ok_and(|v| v["metadata"].is_null()),
                "{end}"
            );
        }
        assert!(
            object(
                Kind::Namespace,
                b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
            )
            .is_err()
        );
    }
}
