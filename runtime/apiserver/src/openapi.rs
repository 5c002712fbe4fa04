//! OpenAPI v3: what `kubectl apply`, `create` and `explain` read before they send anything.
//!
//! Input: the tables of [`schema`]. Output: one document for each group and version, made once.
//! `kubectl` finds a kind by the `x-kubernetes-group-version-kind` of a path's operations, and looks
//! at the PATCH operation for a `fieldValidation` parameter.

mod schema;

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use serve_core::kind::Kind;
use serve_runtime::image::Digest;

use crate::resources::{self, GROUP_VERSIONS, GroupVersion};

/// A document and the text that changes when it does.
struct Document {
    gv: GroupVersion,
    body: Bytes,
    hash: String,
}

static DOCUMENTS: LazyLock<Vec<Document>> = LazyLock::new(|| {
    GROUP_VERSIONS
        .into_iter()
        .map(|gv| {
            let body: Bytes = make(gv).to_string().into();
            let hash = Digest::of(&body).hex();
            Document { gv, body, hash }
        })
        .collect()
});

/// `/openapi/v3`.
#[must_use]
pub fn index() -> Value {
    let mut paths = Map::new();
    for document in DOCUMENTS.iter() {
        let path = document.gv.path();
        let url = format!("/openapi/v3/{path}?hash={}", document.hash);
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({ "paths": paths })
}

/// The document of a group and version.
#[must_use]
pub fn document(gv: GroupVersion) -> Bytes {
    let found = DOCUMENTS.iter().find(|document| document.gv == gv);
    found
        .map(|document| document.body.clone())
        .unwrap_or_default()
}

fn make(gv: GroupVersion) -> Value {
    let mut paths = Map::new();
    for kind in gv.kinds() {
        add_paths(&mut paths, gv, kind);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "serve", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schema::components(gv)},
    })
}

fn add_paths(paths: &mut Map<String, Value>, gv: GroupVersion, kind: Kind) {
    let names = kind.names();
    let base = format!("/{}", gv.path());
    let parameter = |name: &str| {
        json!({"name": name, "in": "path", "required": true, "description": name,
            "schema": {"type": "string", "uniqueItems": true}})
    };
    let (collection, shared) = if names.namespaced {
        let all = format!("{base}/{}", names.plural);
        paths.insert(
            all,
            json!({"get": operation(kind, "list", &["labelSelector"])}),
        );
        let collection = format!("{base}/namespaces/{{namespace}}/{}", names.plural);
        (collection, vec![parameter("namespace")])
    } else {
        (format!("{base}/{}", names.plural), Vec::new())
    };
    let list = [
        "labelSelector",
        "fieldSelector",
        "limit",
        "continue",
        "watch",
        "resourceVersion",
    ];
    let write = ["dryRun", "fieldManager", "fieldValidation"];
    let of_collection = json!({
        "parameters": shared,
        "get": operation(kind, "list", &list),
        "post": operation(kind, "post", &write),
        "delete": operation(kind, "deletecollection", &list),
    });
    let mut named = shared;
    named.push(parameter("name"));
    let of_one = json!({
        "parameters": named,
        "get": operation(kind, "get", &[]),
        "put": operation(kind, "put", &write),
        "patch": operation(kind, "patch", &write),
        "delete": operation(kind, "delete", &["dryRun", "propagationPolicy"]),
    });
    let one = format!("{collection}/{{name}}");
    if resources::has_status(kind) {
        let of_status = json!({
            "parameters": named,
            "get": operation(kind, "get", &[]),
            "put": operation(kind, "put", &write),
            "patch": operation(kind, "patch", &write),
        });
        paths.insert(format!("{one}/status"), of_status);
    }
    paths.insert(collection, of_collection);
    paths.insert(one, of_one);
}

fn operation(kind: Kind, action: &str, parameters: &[&str]) -> Value {
    let names = kind.names();
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| {
            let kind = match *name {
                "limit" => "integer",
                "watch" => "boolean",
                _ => "string",
            };
            json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect();
    let answer = match action {
        "list" | "deletecollection" => format!("{}List", schema::component_of(kind)),
        "delete" => schema::STATUS.to_owned(),
        _ => schema::component_of(kind),
    };
    let content = |name: &str| json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}});
    let mut operation = json!({
        "tags": [names.plural],
        "operationId": format!("{action}{}{}{}", names.group.replace('.', ""), names.version,
            names.kind),
        "parameters": parameters,
        "responses": {
            "200": {"description": "OK", "content": content(&answer)},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(kind),
    });
    match action {
        "post" | "put" => {
            let body = content(&schema::component_of(kind));
            operation["requestBody"] = json!({"required": true, "content": body});
        }
        "patch" => {
            let mut types = vec![
                "application/json-patch+json",
                "application/merge-patch+json",
            ];
            if resources::is_core(kind) {
                types.push("application/strategic-merge-patch+json");
            }
            let types: Map<String, Value> = types
                .into_iter()
                .map(|name| (name.to_owned(), json!({"schema": {}})))
                .collect();
            operation["requestBody"] = json!({"required": true, "content": types});
        }
        _ => {}
    }
    operation
}

/// How OpenAPI names a kind.
fn gvk(kind: Kind) -> Value {
    let names = kind.names();
    json!({"group": names.group, "version": names.version, "kind": names.kind})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_kind_can_be_patched() {
        for document in DOCUMENTS.iter() {
            let value: Value = serde_json::from_slice(&document.body).expect("JSON");
            let text = String::from_utf8(document.body.to_vec()).expect("text");
            for reference in text.split("\"#/components/schemas/").skip(1) {
                let name = reference.split('"').next().expect("the rest of the text");
                let found = &value["components"]["schemas"][name];
                assert!(found.is_object(), "{name}");
            }
            for kind in document.gv.kinds() {
                let patched = value["paths"]
                    .as_object()
                    .expect("paths")
                    .values()
                    .any(|path| {
                        let patch = &path["patch"];
                        let parameters = patch["parameters"].as_array();
                        patch["x-kubernetes-group-version-kind"] == gvk(kind)
                            && parameters.is_some_and(|all| {
                                all.iter().any(|one| one["name"] == "fieldValidation")
                            })
                    });
                assert!(patched, "{kind:?}");
            }
        }
    }

    #[test]
    fn the_index_names_each_document_with_its_hash() {
        let index = index();
        let url = &index["paths"]["apis/serving.knative.dev/v1"]["serverRelativeURL"];
        let url = url.as_str().expect("a URL");
        assert!(
            url.starts_with("/openapi/v3/apis/serving.knative.dev/v1?hash="),
            "{url}"
        );
    }
}
