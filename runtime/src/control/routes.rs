//! How far each Route's rules have come on their way into the route table, and what each Route
//! reads.

use std::collections::{BTreeSet, HashMap};

use serve_core::api::{Configuration, Revision, Route};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::reconcile::route::IngressState;
use serve_core::traffic::Ingress;

use super::store::{Id, Store};

/// All Routes that were reconciled.
#[derive(Default)]
pub struct Routes {
    states: HashMap<ObjectKey, State>,
    readers: HashMap<Id, BTreeSet<ObjectKey>>,
}

/// The state of one Route's rules.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The rules that are wanted.
    pub ingress: Option<Ingress>,
    pub state: IngressState,
    reads: BTreeSet<Id>,
}

impl Routes {
    /// The Routes that look at this object.
    pub fn readers(&self, id: &Id) -> Vec<ObjectKey> {
        self.readers
            .get(id)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub fn state(&self, route: &ObjectKey) -> Option<&State> {
        self.states.get(route)
    }

    /// Sets how far a Route's rules are.
    pub fn set(&mut self, route: &ObjectKey, ingress: Ingress, state: IngressState) {
        let entry = self.states.entry(route.clone()).or_default();
        entry.ingress = Some(ingress);
        entry.state = state;
    }

    /// Notes what a Route looks at from now on.
    pub fn set_reads(&mut self, route: &ObjectKey, reads: BTreeSet<Id>) {
        let state = self.states.entry(route.clone()).or_default();
        for id in state.reads.difference(&reads) {
            remove_reader(&mut self.readers, id, route);
        }
        for id in reads.difference(&state.reads) {
            self.readers
                .entry(id.clone())
                .or_default()
                .insert(route.clone());
        }
        state.reads = reads;
    }

    pub fn forget(&mut self, route: &ObjectKey) {
        let Some(state) = self.states.remove(route) else {
            return;
        };
        for id in &state.reads {
            remove_reader(&mut self.readers, id, route);
        }
    }
}

fn remove_reader(readers: &mut HashMap<Id, BTreeSet<ObjectKey>>, id: &Id, route: &ObjectKey) {
    if let Some(routes) = readers.get_mut(id) {
        routes.remove(route);
        if routes.is_empty() {
            readers.remove(id);
        }
    }
}

/// What the Route reconciler looks at beside the Route.
#[derive(Default)]
pub struct Around {
    pub configurations: Vec<Configuration>,
    pub revisions: Vec<Revision>,
    /// All that was looked for, whether it is there or not.
    pub reads: BTreeSet<Id>,
}

impl Around {
    /// Reads the Configurations and Revisions that a Route names, those that these lead to, and
    /// those that carry a note of the Route.
    pub fn read(store: &Store, route: &Route) -> Self {
        let mut around = Self::default();
        let namespace = &route.metadata.namespace;
        let key = |name: &str| ObjectKey::new(namespace, name);
        // A Service's Route has the name of its Configuration.
        let mut configurations = BTreeSet::from([route.metadata.name.as_str()]);
        let mut revisions = BTreeSet::new();
        for target in route.spec.traffic.iter().chain(&route.status.traffic) {
            configurations.insert(&target.configuration_name);
            revisions.insert(target.revision_name.as_str());
        }
        configurations.remove("");
        revisions.remove("");
        for name in revisions {
            around.add_revision(store, key(name));
        }
        let made_by: Vec<_> = around
            .revisions
            .iter()
            .filter_map(|r| r.metadata.label(keys::CONFIGURATION_LABEL).map(key))
            .collect();
        for key in configurations.into_iter().map(key).chain(made_by) {
            around.add_configuration(store, key);
        }
        around
    }

    fn add_configuration(&mut self, store: &Store, key: ObjectKey) {
        if !self.reads.insert((Kind::Configuration, key.clone())) {
            return;
        }
        let Some(object) = store.get(Kind::Configuration, &key) else {
            return;
        };
        let Object::Configuration(configuration) = &*object else {
            return;
        };
        for revision in store.controlled_by(&configuration.metadata.uid, Kind::Revision) {
            self.add_revision(store, revision.key());
        }
        self.configurations
            .push(Configuration::clone(configuration));
    }

    fn add_revision(&mut self, store: &Store, key: ObjectKey) {
        if !self.reads.insert((Kind::Revision, key.clone())) {
            return;
        }
        if let Some(object) = store.get(Kind::Revision, &key)
            && let Object::Revision(revision) = &*object
        {
            self.revisions.push(Revision::clone(revision));
        }
    }
}
