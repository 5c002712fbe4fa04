//! The route table that the data plane reads: made from all ingresses and mappings, swapped as a
//! whole with the settings that requests ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use serve_core::keys;
use serve_core::meta::ObjectKey;
use serve_core::traffic::{Ingress, Mapping, RouteTable, Visibility};

use super::shared_map::SharedMap;
use crate::ingress::Shared;
use crate::ingress::headers::Split;
use crate::revision::sleeper::Serving;

/// What the request path reads: one immutable table and the revisions that it names.
#[derive(Default)]
pub struct Published {
    table: RouteTable,
    revisions: SharedMap<ObjectKey, Serving>,
    /// Whether a request may choose a tag by header.
    tag_header: bool,
}

/// Where one request goes.
pub struct Target<'a> {
    pub revision: &'a Serving,
    /// What the guest is told of how it was chosen.
    pub split: Split,
}

impl Published {
    /// The revision for a request to `host` with these headers, `random` choosing among weighted
    /// targets.
    #[must_use]
    pub fn pick(
        &self,
        host: &str,
        listener: Visibility,
        headers: &HeaderMap,
        random: u64,
    ) -> Option<Target<'_>> {
        let tag = if self.tag_header {
            headers
                .get(keys::TAG_HEADER)
                .and_then(|tag| tag.to_str().ok())
        } else {
            None
        };
        let entry = self.table.lookup(host, listener, tag)?;
        let target = entry.pick(random);
        let split = match entry.tag() {
            _ if !self.tag_header => Split::Untold,
            None => Split::Default,
            Some(tag) => Split::Tag(tag.clone()),
        };
        Some(Target {
            revision: self.revisions.get(&target.revision)?,
            split,
        })
    }
}

/// The control plane's side of the table.
pub struct Publisher {
    shared: Arc<Shared>,
    /// The table of all `ingresses`; a change costs what it touches, not what there is.
    table: RouteTable,
    ingresses: BTreeMap<ObjectKey, Ingress>,
    mappings: BTreeMap<ObjectKey, Mapping>,
    revisions: SharedMap<ObjectKey, Serving>,
    tag_header: bool,
}

impl Publisher {
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            table: RouteTable::default(),
            ingresses: BTreeMap::new(),
            mappings: BTreeMap::new(),
            revisions: SharedMap::default(),
            tag_header: false,
        }
    }

    /// Puts a revision that can serve where routes can name it.
    pub fn add_revision(&mut self, revision: Serving) {
        self.revisions.insert(revision.key().clone(), revision);
        self.swap();
    }

    /// Takes over what an earlier run served, with one swap for all of it.
    pub fn resume(&mut self, revisions: Vec<Serving>, ingresses: Vec<Ingress>) {
        for revision in revisions {
            self.revisions.insert(revision.key().clone(), revision);
        }
        self.table = self.table.with(&ingresses);
        let ingresses = ingresses.into_iter();
        self.ingresses
            .extend(ingresses.map(|ingress| (ingress.route.clone(), ingress)));
        self.swap();
        self.shared.opening.came();
    }

    /// All that an earlier run served is in the table: who asks for anything else is told so.
    pub fn open(&self) {
        self.shared.opening.end();
    }

    /// Takes a revision out of the table.
    pub fn remove_revision(&mut self, key: &ObjectKey) {
        if self.revisions.remove(key).is_some() {
            self.swap();
        }
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

    /// Lets requests choose a tag by header, or not; every request from now on.
    pub fn use_tag_header(&mut self, is_used: bool) {
        if std::mem::replace(&mut self.tag_header, is_used) != is_used {
            self.swap();
        }
    }

    /// The mapping of a DomainMapping as it is served.
    #[must_use]
    pub fn mapping(&self, key: &ObjectKey) -> Option<&Mapping> {
        self.mappings.get(key)
    }

    /// Serves the domain of a DomainMapping from now on; `None` ends it.
    pub fn map(&mut self, key: &ObjectKey, mapping: Option<Mapping>) {
        let old = self.mappings.remove(key);
        if old == mapping {
            self.mappings.extend(old.map(|old| (key.clone(), old)));
            return;
        }
        self.table = self.table.remap(old.as_ref(), mapping.as_ref());
        self.mappings.extend(mapping.map(|new| (key.clone(), new)));
        self.swap();
    }

    fn swap(&self) {
        let table = self.table.clone();
        let revisions = self.revisions.clone();
        self.shared.published.store(Arc::new(Published {
            table,
            revisions,
            tag_header: self.tag_header,
        }));
    }
}
