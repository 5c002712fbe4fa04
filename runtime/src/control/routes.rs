//! How far each Route's rules have come on their way into the route table, and what each Route
//! reads.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serve_core::api::Route;
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::reconcile::route::IngressState;
use serve_core::traffic::Ingress;

use super::readers::Readers;
use super::store::{Id, Store};

/// All Routes that were reconciled.
#[derive(Default)]
pub struct Routes {
    states: HashMap<ObjectKey, State>,
    readers: Readers,
}

/// The state of one Route's rules.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The rules that are wanted.
    pub ingress: Option<Ingress>,
    pub state: IngressState,
}

impl Routes {
    /// The Routes that look at this object.
    pub fn readers(&self, id: &Id) -> Vec<ObjectKey> {
        self.readers.of(id)
    }

    pub fn state(&self, route: &ObjectKey) -> Option<&State> {
        self.states.get(route)
    }

    /// Sets how far a Route's rules are.
    pub fn set(&mut self, route: &ObjectKey, ingress: Ingress, state: IngressState) {
        let ingress = Some(ingress);
        self.states.insert(route.clone(), State { ingress, state });
    }

    /// Notes what a Route looks at from now on.
    pub fn set_reads(&mut self, route: &ObjectKey, reads: BTreeSet<Id>) {
        self.readers.set(route, reads);
    }

    pub fn forget(&mut self, route: &ObjectKey) {
        self.states.remove(route);
        self.readers.forget(route);
    }
}

/// What the Route reconciler looks at beside the Route.
#[derive(Default)]
pub struct Around {
    pub configurations: Vec<Arc<Object>>,
    pub revisions: Vec<Arc<Object>>,
    pub services: Vec<Arc<Object>>,
    /// All that was looked for, whether it is there or not.
    pub reads: BTreeSet<Id>,
}

impl Around {
    /// Reads the Configurations and Revisions that a Route names, those that these lead to, and
    /// those that carry a note of the Route; and the Kubernetes Services with these names, and those
    /// that the Route has.
    pub fn read(store: &Store, route: &Route, names: &BTreeSet<String>) -> Self {
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
            .filter_map(|r| r.metadata().label(keys::CONFIGURATION_LABEL).map(key))
            .collect();
        for key in configurations.into_iter().map(key).chain(made_by) {
            around.add_configuration(store, key);
        }
        for name in names {
            around.add_service(store, key(name));
        }
        for service in store.controlled_by(&route.metadata.uid, Kind::KubernetesService) {
            around.add_service(store, service.key());
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
        for revision in store.controlled_by(&object.metadata().uid, Kind::Revision) {
            self.add_revision(store, revision.key());
        }
        self.configurations.push(object);
    }

    fn add_revision(&mut self, store: &Store, key: ObjectKey) {
        if !self.reads.insert((Kind::Revision, key.clone())) {
            return;
        }
        self.revisions.extend(store.get(Kind::Revision, &key));
    }

    fn add_service(&mut self, store: &Store, key: ObjectKey) {
        if !self.reads.insert((Kind::KubernetesService, key.clone())) {
            return;
        }
        self.services
            .extend(store.get(Kind::KubernetesService, &key));
    }
}
