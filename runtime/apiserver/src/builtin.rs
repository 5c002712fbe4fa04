//! The objects that every cluster has: namespaces, and the ConfigMaps with Knative's settings.

use serde_json::{Value, json};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::settings;
use serve_runtime::control::store::{self, Change, Store};
use serve_runtime::tasks::Stop;

/// Namespaces that are there from the start and stay.
pub const NAMESPACES: [&str; 3] = ["default", "kube-system", settings::NAMESPACE];

/// The ConfigMaps of Knative's settings. One without data has Knative's defaults.
const CONFIG_MAPS: [&str; 7] = [
    "config-autoscaler",
    "config-defaults",
    "config-deployment",
    "config-domain",
    "config-features",
    "config-gc",
    "config-network",
];

/// Creates those that are not there.
pub fn create(store: &Store, domain: &str) {
    for name in NAMESPACES {
        add(store, namespace(name));
        add(store, service_account(name));
    }
    forget_stale_domain(store, domain);
    for name in CONFIG_MAPS {
        let mut map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": settings::NAMESPACE,
                "labels": {keys::PART_OF_LABEL: "knative-serving"},
                "annotations": {keys::MADE_OF_ANNOTATION: ""},
            },
        });
        if name == "config-domain" {
            map["metadata"]["annotations"] = json!({keys::MADE_OF_ANNOTATION: domain});
            map["data"] = json!({domain: ""});
        }
        add(store, map);
    }
}

/// Removes `config-domain` of an earlier start with another domain, unless somebody changed it.
fn forget_stale_domain(store: &Store, domain: &str) {
    let key = ObjectKey::new(settings::NAMESPACE, "config-domain");
    let Some(found) = store.get(Kind::ConfigMap, &key) else {
        return;
    };
    let made_of = found
        .metadata()
        .annotation(keys::MADE_OF_ANNOTATION)
        .unwrap_or(domain);
    if made_of != domain && found.to_value()["data"] == json!({made_of: ""}) {
        // One that is gone meanwhile is as good.
        let _ = store.delete(Kind::ConfigMap, &key, None);
    }
}

fn add(store: &Store, value: Value) {
    match Object::from_value(value).map(|object| store.create(object)) {
        Ok(Ok(_) | Err(store::Error::AlreadyExists(_))) => {}
        Ok(Err(error)) => tracing::error!(%error, "an object of every cluster was not created"),
        Err(error) => tracing::error!(%error, "an object of every cluster was not made"),
    }
}

fn namespace(name: &str) -> Value {
    let mut value = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "annotations": {keys::MADE_OF_ANNOTATION: ""}},
    });
    complete(&mut value);
    value
}

/// The account that each namespace has from its begin.
fn service_account(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": namespace},
    })
}

/// What a new Namespace has that its author did not say.
pub fn complete(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    if !namespace["metadata"]["labels"].is_object() {
        namespace["metadata"]["labels"] = json!({});
    }
    namespace["metadata"]["labels"][keys::NAMESPACE_NAME_LABEL] = name;
    namespace["spec"] = json!({"finalizers": ["kubernetes"]});
    namespace["status"] = json!({"phase": "Active"});
}

/// Gives each object that comes from elsewhere, such as a file, its namespace; until the signal.
pub async fn follow(store: Store, mut stop: Stop) {
    let mut head = store.head();
    let mut seen = 0;
    loop {
        head.borrow_and_update();
        if let Ok(events) = store.events_after(seen) {
            for event in events {
                seen = event.revision;
                let id = (event.object.kind(), event.object.key());
                // One that is gone again needs none; its namespace may have gone with it.
                if event.change == Change::Added && store.get(id.0, &id.1).is_some() {
                    ensure(&store, &id.1.namespace);
                    if id.0 == Kind::Namespace {
                        add(&store, service_account(&id.1.name));
                    }
                }
            }
        } else {
            seen = store.revision();
            for kind in Kind::ALL {
                for object in store.list(kind, None).0 {
                    ensure(&store, &object.metadata().namespace);
                    if kind == Kind::Namespace {
                        add(&store, service_account(&object.metadata().name));
                    }
                }
            }
        }
        tokio::select! {
            () = stop.stopped() => return,
            changed = head.changed() => if changed.is_err() { return },
        }
    }
}

fn ensure(store: &Store, name: &str) {
    if !name.is_empty()
        && store
            .get(Kind::Namespace, &ObjectKey::new("", name))
            .is_none()
    {
        add(store, namespace(name));
    }
}

#[cfg(test)]
mod tests {
    use serve_runtime::clock::Clock;

    use super::*;

    #[test]
    fn what_every_cluster_has_is_there_once() {
        let store = Store::in_memory(Clock::System);
        create(&store, "localhost");
        let revision = store.revision();
        create(&store, "localhost");
        assert_eq!(store.revision(), revision);
        assert_eq!(store.list(Kind::Namespace, None).0.len(), 3);
        create(&store, "example.com");
        create(&store, "localhost");
        let key = ObjectKey::new(settings::NAMESPACE, "config-domain");
        let domain = store.get(Kind::ConfigMap, &key).expect("there");
        assert_eq!(domain.to_value()["data"], json!({"localhost": ""}));
    }
}
