//! What happened, and what is to be looked at for it: events of the store and facts of the data
//! plane become keys in the controller's queue.
//!
//! Input: the events after those that were seen, and one fact at a time. Output: keys in the queue;
//! beside them what waits for no reconciler: settings are read again, a Revision that started or
//! woke is published, a replica whose Pod was deleted is replaced, what a deleted object had ends.
//!
//! - A key says where to look and not what is there: what to do is the reconcilers' to decide.
//! - An object's owner and its readers come before the object itself.
//! - A status that the controller wrote is no reason to look at its object again, unless it makes
//!   stale what shows a Revision.
//! - Events that were missed do no harm: all objects are looked at then.

use std::time::Duration;

use serve_core::api::{Revision, Service};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::reconcile;
use serve_core::resources::derived::Stale;
use tokio::time::Instant;

use super::controller::{Controller, typed};
use super::observe::{Fact, What};
use super::settings::Live;
use super::store::{Change, Event, Id};

/// How long a Service waits that a client of the API wrote: `kn` reads it back before it watches
/// it, and prints only what changes after that. A tenth of what a person notices.
const CLIENT_PAUSE: Duration = Duration::from_millis(10);

impl Controller {
    /// Follows what happened in the store since the last time.
    pub(super) fn follow_events(&mut self) {
        match self.store.events_after(self.seen) {
            Ok(events) => {
                for event in events {
                    self.seen = event.revision;
                    self.follow(&event);
                }
            }
            // Too far behind: what is there now is what counts.
            Err(gone) => {
                tracing::warn!(%gone, "events were missed; all objects are reconciled");
                self.seen = self.store.revision();
                self.refresh_settings();
                self.revisions.show_all_again();
                self.push_all(&[
                    Kind::Revision,
                    Kind::Configuration,
                    Kind::Route,
                    Kind::Service,
                    Kind::DomainMapping,
                ]);
            }
        }
    }

    fn push_all(&mut self, kinds: &[Kind]) {
        for kind in kinds {
            for object in self.store.list(*kind, None).0 {
                self.queue.push((*kind, object.key()));
            }
        }
    }

    /// Puts in the queue what an event is about: owners and readers first, then the object.
    fn follow(&mut self, event: &Event) {
        let id = (event.object.kind(), event.object.key());
        if id.0.is_volatile() {
            return self.follow_volatile(event);
        }
        // Who wrote the status of an object has seen all that there was, and what comes after that
        // is an event of its own.
        let mut is_settled = event.change == Change::Status && !event.by_client;
        if id.0 == Kind::Revision {
            // What a wake from zero writes: nobody who reads a Revision reads that of it.
            if is_only_scaled(event) {
                return;
            }
            let stale = stale_by(event);
            self.revisions.show_again(&id.1, stale);
            is_settled &= stale == Stale::default();
        }
        if Live::concerns(&id) && self.refresh_settings() {
            tracing::info!(name = id.1.name, "settings changed");
            self.push_all(&[
                Kind::Revision,
                Kind::Configuration,
                Kind::Route,
                Kind::DomainMapping,
            ]);
        }
        if matches!(id.0, Kind::ConfigMap | Kind::Secret) {
            for key in self.revisions.retry(&id.1.namespace) {
                self.queue.push((Kind::Revision, key));
            }
        }
        // A Route has just made it, and is not to come before its own status.
        let is_new_placeholder = id.0 == Kind::KubernetesService
            && event.change == Change::Added
            && event.object.metadata().controller().is_some();
        if is_new_placeholder {
            return;
        }
        if let Some(owner) = event.object.metadata().controller()
            && let Some(kind) = Kind::find(&owner.api_version, &owner.kind)
        {
            let owner = (kind, ObjectKey::new(&id.1.namespace, &owner.name));
            if self.has_traffic_to_migrate(&event.object, &owner) {
                // Its Route is in the queue already, for the Revision that became ready. If that
                // came first, the Service would never say that its traffic is not yet migrated.
                self.queue.push_first(owner);
            } else {
                self.queue.push(owner);
            }
        }
        for route in self.routes.readers(&id) {
            self.queue.push((Kind::Route, route));
        }
        for mapping in self.mapping_readers.of(&id) {
            self.queue.push((Kind::DomainMapping, mapping));
        }
        if event.change == Change::Deleted {
            self.forget(&id, &event.object);
        }
        if event.by_client && event.change != Change::Deleted && id.0 == Kind::Service {
            self.queue.push_at(Instant::now() + CLIENT_PAUSE, id);
        } else if !is_settled {
            self.queue.push(id);
        }
    }

    /// What shows the replicas is written here alone, so that only its end by another hand is news.
    fn follow_volatile(&mut self, event: &Event) {
        let meta = event.object.metadata();
        let is_ending = event.change == Change::Deleted || meta.deletion_timestamp.is_some();
        if !is_ending && !event.by_client {
            return;
        }
        let Some(revision) = meta.label(keys::REVISION_LABEL) else {
            return;
        };
        let key = ObjectKey::new(&meta.namespace, revision);
        self.revisions.show_again(&key, Stale::ALL);
        if !is_ending {
            // What a client wrote over is put right with the next change.
            return;
        }
        if event.object.kind() == Kind::Pod
            && let Some((_, id)) = meta.name.rsplit_once('-')
            && self.revisions.replace(&key, id, &self.report)
        {
            tracing::info!(name = %meta.name, "a replica is replaced");
        }
        self.queue.push((Kind::Revision, key));
    }

    /// Whether this is a Configuration with another ready Revision than its Service knows of.
    fn has_traffic_to_migrate(&self, configuration: &Object, owner: &Id) -> bool {
        let Object::Configuration(configuration) = configuration else {
            return false;
        };
        let Some(owner) = self.store.get(owner.0, &owner.1) else {
            return false;
        };
        let Some(service) = typed::<Service>(&owner) else {
            return false;
        };
        let known = &service.status.latest_ready_revision_name;
        !known.is_empty() && *known != configuration.status.latest_ready_revision_name
    }

    fn forget(&mut self, id: &Id, object: &Object) {
        let uid = &object.metadata().uid;
        match id.0 {
            Kind::Route => {
                self.routes.forget(&id.1);
                self.publisher.remove(&id.1);
            }
            Kind::Revision => {
                let Some((running, members)) = self.revisions.forget(&id.1, uid) else {
                    return;
                };
                self.publisher.remove_revision(&id.1);
                let (store, pods) = (self.store.clone(), members.pods(&id.1, uid));
                self.revisions.after_requests(running, move || {
                    for pod in pods {
                        // One that is gone went with its namespace.
                        let _ = store.delete(Kind::Pod, &pod, None);
                    }
                });
            }
            Kind::DomainMapping => {
                // Another one of this name may be there already, and has what this one had.
                if let Ok(mapping) = object.try_into()
                    && self.store.get(id.0, &id.1).is_none()
                {
                    self.forget_domain_mapping(mapping);
                }
            }
            _ => {}
        }
    }

    /// Takes in news of a Revision, and puts it in the queue unless more is about to come.
    pub(super) fn take(&mut self, fact: Fact) {
        let key = fact.key.clone();
        // Its scaler is about to tell more.
        let says_nothing_new =
            matches!(fact.what, What::Woken(_)) && self.revisions.is_started(&key);
        if let Some(serving) = self.revisions.take(fact) {
            self.publisher.add_revision(serving);
        }
        if !says_nothing_new {
            self.queue.push((Kind::Revision, key));
        }
    }
}

/// Whether the controller has shown replicas of a Revision in its status, and nothing else.
fn is_only_scaled(event: &Event) -> bool {
    let is_only_scaled =
        |(before, after)| reconcile::revision::is_only_scaled(before, after) && !event.by_client;
    modified_revision(event).is_some_and(is_only_scaled)
}

/// What an event of a Revision makes stale of what shows it.
fn stale_by(event: &Event) -> Stale {
    modified_revision(event).map_or(Stale::ALL, |(before, after)| {
        Stale::by_revision(before, after)
    })
}

/// A Revision before and after an event that modified it.
fn modified_revision(event: &Event) -> Option<(&Revision, &Revision)> {
    let before = event.previous.as_deref().and_then(typed::<Revision>);
    let both = before.zip(typed::<Revision>(&event.object));
    both.filter(|_| event.change != Change::Deleted)
}
