//! Knative's settings as they are now: the ConfigMaps of namespace `knative-serving` in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serve_core::kind::Kind;
use serve_core::object::{Dynamic, Object};
use serve_core::settings::{NAMESPACE, Settings};
use tokio::sync::watch;

use super::store::{Id, Store};

/// Reads settings that change. Cheap to clone.
pub type Current = watch::Receiver<Arc<Settings>>;

/// Keeps the settings in step with the ConfigMaps.
pub struct Live {
    /// What holds where no ConfigMap says otherwise.
    base: Settings,
    current: watch::Sender<Arc<Settings>>,
    /// The version of the store as of which they are known.
    version: watch::Sender<u64>,
}

impl Live {
    #[must_use]
    pub fn new(base: Settings) -> Self {
        let current = watch::Sender::new(Arc::new(base.clone()));
        Self {
            base,
            current,
            version: watch::Sender::new(0),
        }
    }

    #[must_use]
    pub fn subscribe(&self) -> Current {
        self.current.subscribe()
    }

    /// The version of the store as of which they are known. It has no sender any more when they are
    /// not kept in step any more.
    #[must_use]
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Whether a change of this object may change settings.
    #[must_use]
    pub fn concerns(id: &Id) -> bool {
        id.0 == Kind::ConfigMap && id.1.namespace == NAMESPACE
    }

    /// Reads all ConfigMaps again. Returns whether anything changed.
    pub fn refresh(&self, store: &Store) -> bool {
        let mut settings = self.base.clone();
        let (maps, version) = store.list(Kind::ConfigMap, Some(NAMESPACE));
        for object in maps {
            let Object::Dynamic(map) = &*object else {
                continue;
            };
            let name = &map.metadata.name;
            if let Err(error) = settings.set(name, &data(map)) {
                // Admission refuses such a map; what it had before is not known any more.
                tracing::warn!(name, %error, "settings are not understood; defaults hold");
            }
        }
        let changed = self.current.send_if_modified(|current| {
            let changed = **current != settings;
            if changed {
                *current = Arc::new(settings);
            }
            changed
        });
        self.version.send_replace(version);
        changed
    }
}

/// `data` of a ConfigMap; what is not text does not count.
fn data(map: &Dynamic) -> BTreeMap<String, String> {
    let members = map.body.get("data").and_then(Value::as_object);
    members
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}
