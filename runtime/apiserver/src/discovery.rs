//! Discovery: which groups, versions and resources there are.
//!
//! # Source
//!
//! kubernetes/api apidiscovery/v2 and kubernetes/apimachinery meta/v1 (`APIGroupList`,
//! `APIResourceList`).

use serde_json::{Value, json};
use serve_core::kind::Kind;

use crate::resources::{self, GROUP_VERSIONS, GroupVersion};

/// The Kubernetes that this server speaks like. Some clients choose their own version by it.
#[must_use]
pub fn version() -> Value {
    json!({
        "major": "1",
        "minor": "33",
        "gitVersion": concat!("v1.33.4+serve-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.24.5",
        "compiler": "gc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// The machine's name as Go has it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/`.
#[must_use]
pub fn paths() -> Value {
    let mut paths: Vec<String> = [
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/openapi/v3",
        "/readyz",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push("/version".to_owned());
    paths.extend(GROUP_VERSIONS.iter().map(|gv| format!("/{}", gv.path())));
    paths.extend(groups().map(|group| format!("/apis/{group}")));
    paths.sort();
    json!({"paths": paths})
}

/// `/api`.
#[must_use]
pub fn core_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    })
}

/// The names of all groups but the core one.
fn groups() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    GROUP_VERSIONS
        .iter()
        .map(|gv| gv.group)
        .filter(move |group| std::mem::replace(&mut last, group) != *group)
}

fn versions(group: &str) -> impl Iterator<Item = GroupVersion> {
    GROUP_VERSIONS
        .into_iter()
        .filter(move |gv| gv.group == group)
}

/// `/apis`.
#[must_use]
pub fn group_list() -> Value {
    let groups: Vec<Value> = groups().map(described).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
#[must_use]
pub fn group(name: &str) -> Value {
    let mut group = described(name);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    group
}

fn described(group: &str) -> Value {
    let versions: Vec<Value> = versions(group)
        .map(|gv| json!({"groupVersion": gv.text(), "version": gv.version}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

/// `/api/v1` and `/apis/<group>/<version>`.
#[must_use]
pub fn resource_list(gv: GroupVersion) -> Value {
    let mut all = Vec::new();
    for kind in gv.kinds() {
        let names = kind.names();
        let mut resource = json!({
            "name": names.plural,
            "singularName": names.singular,
            "namespaced": names.namespaced,
            "kind": names.kind,
            "verbs": resources::verbs(kind),
        });
        if !names.short_names.is_empty() {
            resource["shortNames"] = names.short_names.into();
        }
        if !names.categories.is_empty() {
            resource["categories"] = names.categories.into();
        }
        all.push(resource);
        if resources::has_status(kind) {
            all.push(json!({
                "name": format!("{}/status", names.plural),
                "singularName": "",
                "namespaced": names.namespaced,
                "kind": names.kind,
                "verbs": resources::STATUS_VERBS,
            }));
        }
        if let Some(sub) = resources::subresource(kind) {
            let mut resource = json!({
                "name": format!("{}/{}", names.plural, sub.name),
                "singularName": "",
                "namespaced": names.namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if sub.kind != names.kind {
                resource["group"] = sub.group.into();
                resource["version"] = sub.version.into();
            }
            all.push(resource);
        }
    }
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": gv.text(),
        "resources": all,
    })
}

/// `/api` or `/apis` with everything below it in one document.
#[must_use]
pub fn aggregated(is_core: bool, version: &str) -> Value {
    let items: Vec<Value> = if is_core {
        vec![aggregated_group("")]
    } else {
        groups().map(aggregated_group).collect()
    };
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_group(group: &str) -> Value {
    let versions: Vec<Value> = versions(group)
        .map(|gv| {
            let resources: Vec<Value> = gv.kinds().map(aggregated_resource).collect();
            json!({"version": gv.version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.is_empty() {
        metadata["name"] = group.into();
    }
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(kind: Kind) -> Value {
    let names = kind.names();
    let response = json!({"group": names.group, "version": names.version, "kind": names.kind});
    let mut resource = json!({
        "resource": names.plural,
        "responseKind": response,
        "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": names.singular,
        "verbs": resources::verbs(kind),
    });
    if !names.short_names.is_empty() {
        resource["shortNames"] = names.short_names.into();
    }
    if !names.categories.is_empty() {
        resource["categories"] = names.categories.into();
    }
    if resources::has_status(kind) {
        resource["subresources"] = json!([{
            "subresource": "status",
            "responseKind": response,
            "verbs": resources::STATUS_VERBS,
        }]);
    }
    if let Some(sub) = resources::subresource(kind) {
        resource["subresources"] = json!([{
            "subresource": sub.name,
            "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
            "verbs": sub.verbs,
        }]);
    }
    resource
}

/// The type of an aggregated document.
#[must_use]
pub fn aggregated_type(version: &str) -> String {
    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
}
