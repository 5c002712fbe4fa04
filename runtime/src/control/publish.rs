//! The route table that the data plane reads: built from all ingresses, swapped as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use serve_core::meta::ObjectKey;
use serve_core::traffic::{Ingress, RouteTable, Visibility};

use super::shared_map::SharedMap;
use crate::ingress::Shared;
use crate::revision::Revision;

/// What the request path reads: one immutable table and the revisions that it names.
#[derive(Default)]
pub struct Published {
    table: RouteTable,
    revisions: SharedMap<ObjectKey, Arc<Revision>>,
}

/// Where one request goes.
pub struct Target<'a> {
    pub revision: &'a Arc<Revision>,
}

impl Published {
    /// The revision for a request to `host`, `random` choosing among weighted targets.
    #[must_use]
    pub fn pick(&self, host: &str, listener: Visibility, random: u64) -> Option<Target<'_>> {
        let entry = self.table.lookup(host, listener, None)?;
        let target = entry.pick(random);
        Some(Target {
            revision: self.revisions.get(&target.revision)?,
        })
    }
}

/// The control plane's side of the table.
pub struct Publisher {
    shared: Arc<Shared>,
    /// The table of all `ingresses`; a change costs what it touches, not what there is.
    table: RouteTable,
    ingresses: BTreeMap<ObjectKey, Ingress>,
    revisions: SharedMap<ObjectKey, Arc<Revision>>,
}

impl Publisher {
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            table: RouteTable::default(),
            ingresses: BTreeMap::new(),
            revisions: SharedMap::default(),
        }
    }

    /// Puts a started revision where routes can name it.
    pub fn add_revision(&mut self, revision: Arc<Revision>) {
        self.revisions.insert(revision.key.clone(), revision);
        self.swap();
    }

    /// Takes a revision out of the table and returns it, so that it can be drained.
    pub fn remove_revision(&mut self, key: &ObjectKey) -> Option<Arc<Revision>> {
        let revision = self.revisions.remove(key)?;
        self.swap();
        Some(revision)
    }

    /// Makes a route serve; every request from now on sees it.
    pub fn apply(&mut self, ingress: Ingress) {
        let old = self.ingresses.get(&ingress.route);
        self.table = self.table.replace(old, Some(&ingress));
        self.ingresses.insert(ingress.route.clone(), ingress);
        self.swap();
    }

    /// Takes a route out of the table.
    pub fn remove(&mut self, route: &ObjectKey) {
        if let Some(old) = self.ingresses.remove(route) {
            self.table = self.table.replace(Some(&old), None);
            self.swap();
        }
    }

    fn swap(&self) {
        let table = self.table.clone();
        let revisions = self.revisions.clone();
        self.shared
            .published
            .store(Arc::new(Published { table, revisions }));
    }
}
