//! Types as OpenAPI schemas, read from the table in `schema.txt`.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use serve_core::kind::Kind;

use super::gvk;
use crate::resources::GroupVersion;

/// The component that says how a call went.
pub const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

const TABLE: &str = include_str!("schema.txt");
/// Types that belong to no group.
const META: [&str; 4] = ["ObjectMeta", "OwnerReference", "ListMeta", "Status"];

struct Type {
    name: &'static str,
    description: &'static str,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    kind: &'static str,
    is_required: bool,
    description: &'static str,
}

static TYPES: LazyLock<Vec<Type>> = LazyLock::new(|| {
    let mut types: Vec<Type> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        if let Some(field) = line.strip_prefix(' ') {
            let mut parts = field.splitn(3, ' ');
            let (name, kind) = (parts.next(), parts.next());
            if let (Some(last), Some(name), Some(kind)) = (types.last_mut(), name, kind) {
                last.fields.push(Field {
                    name,
                    kind: kind.trim_end_matches('!'),
                    is_required: kind.ends_with('!'),
                    description: parts.next().unwrap_or_default(),
                });
            }
        } else if let Some((name, description)) = line.split_once(": ") {
            types.push(Type {
                name,
                description,
                fields: Vec::new(),
            });
        }
    }
    types
});

/// The component of a kind: `dev.knative.serving.v1.Service`.
#[must_use]
pub fn component_of(kind: Kind) -> String {
    let names = kind.names();
    let gv = GroupVersion {
        group: names.group,
        version: names.version,
    };
    component(gv, names.kind)
}

fn component(gv: GroupVersion, name: &str) -> String {
    if META.contains(&name) {
        return format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}");
    }
    if is_built_in(gv) {
        let group = if gv.group.is_empty() {
            "core"
        } else {
            gv.group
        };
        return format!("io.k8s.api.{group}.{}.{name}", gv.version);
    }
    let reversed: Vec<&str> = gv.group.split('.').rev().collect();
    format!("{}.{}.{name}", reversed.join("."), gv.version)
}

/// Whether the group is one of Kubernetes' own.
fn is_built_in(gv: GroupVersion) -> bool {
    matches!(gv.group, "" | "apps")
}

/// The schemas of all types that the kinds of a group and version have.
#[must_use]
pub fn components(gv: GroupVersion) -> Map<String, Value> {
    let mut found = Map::new();
    add(gv, "Status", None, &mut found);
    for kind in gv.kinds() {
        let name = kind.names().kind;
        add(gv, name, Some(kind), &mut found);
        found.insert(format!("{}List", component_of(kind)), list(gv, kind));
        add(gv, "ListMeta", None, &mut found);
    }
    found
}

/// The type of this name. What Kubernetes' core calls as Knative does is in the table as
/// `core.Name`.
fn find(gv: GroupVersion, name: &str) -> Option<&'static Type> {
    let of_core = |one: &&Type| one.name.strip_prefix("core.") == Some(name);
    let core = TYPES.iter().filter(|_| is_built_in(gv)).find(of_core);
    core.or_else(|| TYPES.iter().find(|one| one.name == name))
}

fn add(gv: GroupVersion, name: &str, kind: Option<Kind>, found: &mut Map<String, Value>) {
    let component = component(gv, name);
    let Some(found_type) = find(gv, name) else {
        return;
    };
    if found.contains_key(&component) {
        return;
    }
    found.insert(component.clone(), Value::Null);
    let mut properties = Map::new();
    if kind.is_some() {
        properties.extend(type_meta());
        properties.insert(
            "metadata".to_owned(),
            reference(gv, "ObjectMeta", "Standard metadata."),
        );
        add(gv, "ObjectMeta", None, found);
    }
    for field in &found_type.fields {
        let value = schema(gv, field.kind, field.description, found);
        properties.insert(field.name.to_owned(), value);
    }
    let mut made = json!({
        "description": found_type.description,
        "type": "object",
        "properties": properties,
    });
    let required: Vec<&str> = found_type
        .fields
        .iter()
        .filter(|field| field.is_required)
        .map(|field| field.name)
        .collect();
    if !required.is_empty() {
        made["required"] = required.into();
    }
    if let Some(kind) = kind {
        made["x-kubernetes-group-version-kind"] = json!([gvk(kind)]);
    }
    found.insert(component, made);
}

fn schema(
    gv: GroupVersion,
    kind: &'static str,
    description: &str,
    found: &mut Map<String, Value>,
) -> Value {
    if let Some(item) = kind.strip_prefix("[]") {
        let items = schema(gv, item, "", found);
        return json!({"type": "array", "description": description, "items": items});
    }
    if let Some(value) = kind
        .strip_prefix("map<")
        .and_then(|rest| rest.strip_suffix('>'))
    {
        let values = schema(gv, value, "", found);
        return json!({"type": "object", "description": description,
            "additionalProperties": values});
    }
    let mut made = match kind {
        "string" | "boolean" => json!({"type": kind}),
        "integer" => json!({"type": "integer", "format": "int64"}),
        "time" => json!({"type": "string", "format": "date-time"}),
        "base64" => json!({"type": "string", "format": "byte"}),
        "quantity" | "port" => json!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": true,
        }),
        "any" => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        name => {
            add(gv, name, None, found);
            return reference(gv, name, description);
        }
    };
    if !description.is_empty() {
        made["description"] = description.into();
    }
    made
}

fn reference(gv: GroupVersion, name: &str, description: &str) -> Value {
    let target = json!({"$ref": format!("#/components/schemas/{}", component(gv, name))});
    if description.is_empty() {
        target
    } else {
        json!({"description": description, "allOf": [target]})
    }
}

fn type_meta() -> Map<String, Value> {
    let text = |description: &str| json!({"type": "string", "description": description});
    Map::from_iter([
        (
            "apiVersion".to_owned(),
            text("Group and version of the object's API."),
        ),
        ("kind".to_owned(), text("Kind of the object.")),
    ])
}

fn list(gv: GroupVersion, kind: Kind) -> Value {
    let mut properties = type_meta();
    properties.insert(
        "metadata".to_owned(),
        reference(gv, "ListMeta", "Metadata of the list."),
    );
    let items = json!({"type": "array", "items": reference(gv, kind.names().kind, "")});
    properties.insert("items".to_owned(), items);
    let mut named = gvk(kind);
    named["kind"] = format!("{}List", kind.names().kind).into();
    json!({
        "description": format!("A list of {}s.", kind.names().kind),
        "type": "object",
        "required": ["items"],
        "properties": properties,
        "x-kubernetes-group-version-kind": [named],
    })
}

#[cfg(test)]
mod tests {
    use serve_core::object::Object;
    use serve_runtime::source::decode::decode;

    use super::*;

    /// A value that has every field of a schema.
    fn sample(schema: &Value, all: &Map<String, Value>) -> Value {
        let target = schema["$ref"]
            .as_str()
            .or_else(|| schema["allOf"][0]["$ref"].as_str());
        if let Some(name) = target.and_then(|target| target.rsplit('/').next()) {
            return sample(&all[name], all);
        }
        match schema["type"].as_str() {
            Some("array") => json!([sample(&schema["items"], all)]),
            Some("integer") => json!(1),
            Some("boolean") => json!(true),
            Some("string") if schema["format"] == "date-time" => json!("2026-01-31T08:00:00Z"),
            Some("string") => json!("True"),
            Some(_) if schema["x-kubernetes-preserve-unknown-fields"] == true => json!({"k": "v"}),
            Some(_) if schema["additionalProperties"].is_object() => {
                json!({"key": sample(&schema["additionalProperties"], all)})
            }
            Some(_) => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                let members = properties.map(|(key, value)| (key.clone(), sample(value, all)));
                Value::Object(members.collect())
            }
            None => json!("1"),
        }
    }

    /// The paths of all members of a value, without indices.
    fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    found.push(format!("{path}.{key}"));
                    paths(value, &format!("{path}.{key}"), found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| paths(item, path, found)),
            _ => {}
        }
    }

    #[test]
    fn every_field_of_the_table_is_one_that_the_types_have() {
        // Cluster fields that objects may carry and that nothing here reads.
        let unread = ["CACerts", "audience", "name", "annotations"];
        for kind in Kind::ALL {
            let names = kind.names();
            let gv = GroupVersion::find(names.group, names.version).expect("a group");
            let all = components(gv);
            let mut value = sample(&all[&component_of(kind)], &all);
            value["apiVersion"] = kind.api_version().into();
            value["kind"] = names.kind.into();
            if kind.is_volatile() {
                // Nobody sends one, and it is kept as it is.
                Object::from_value(value).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
                continue;
            }
            let decoded = decode(value.clone()).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            let unknown: Vec<_> = decoded
                .unknown
                .iter()
                .filter(|field| {
                    let is_status = field.starts_with("status.");
                    !(is_status && unread.iter().any(|name| field.ends_with(name)))
                })
                .collect();
            assert!(unknown.is_empty(), "{kind:?}: {unknown:?}");
            let read: Object = decoded.object;
            let (mut want, mut got) = (Vec::new(), Vec::new());
            paths(&value["spec"], "spec", &mut want);
            paths(&read.to_value()["spec"], "spec", &mut got);
            want.retain(|path| !got.contains(path));
            assert!(want.is_empty(), "{kind:?} loses {want:?}");
        }
    }
}
