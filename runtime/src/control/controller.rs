//! Makes the world follow the objects: one task that takes one key after the other, asks the pure
//! reconciler of its kind what should be, and writes that.
//!
//! Input: the store's events, and facts that the data plane reports. Output: children and statuses
//! in the store, started revisions, published routes. The queue is first in, first out, and an
//! object's owner comes before the object itself: so each status that a Route passes through
//! reaches its Service as a write of its own, which is what `kn` prints while it waits.
//!
//! Nothing here is lost when the task ends: all of it can be made again from the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serve_core::api::{Configuration, Revision, Route, RouteStatus, Service};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::{ObjectKey, ObjectMeta};
use serve_core::names;
use serve_core::object::Object;
use serve_core::reconcile::route::IngressState;
use serve_core::reconcile::{self, EventSeverity, Plan, Write};
use serve_core::resources::derived::{self, Stale};
use serve_core::resources::event::{self, About};
use serve_core::time::Timestamp;
use serve_core::traffic::Ingress;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::events::Recorder;
use super::mirror;
use super::naming::Naming;
use super::observe::{Fact, What};
use super::publish::Publisher;
use super::queue::Queue;
use super::readers::Readers;
use super::resume::Restoring;
use super::revisions::Revisions;
use super::routes::{Around, Routes};
use super::settings::Live;
use super::store::{self, Change, Event, Id, Status, Store};
use crate::clock::Clock;
use crate::tasks::Stop;

/// How long a Service waits that a client of the API wrote: `kn` reads it back before it watches
/// it, and prints only what changes after that. A tenth of what a person notices.
const CLIENT_PAUSE: Duration = Duration::from_millis(10);

/// The controller's state. One task owns it.
pub struct Controller {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) naming: Naming,
    settings: Live,
    pub(super) publisher: Publisher,
    pub(super) queue: Queue,
    /// The version up to which events were seen.
    pub(super) seen: u64,
    pub(super) routes: Routes,
    pub(super) mapping_readers: Readers,
    pub(super) revisions: Revisions,
    recorder: Recorder,
    pub(super) facts: UnboundedReceiver<Fact>,
    pub(super) report: UnboundedSender<Fact>,
    /// What an earlier run left.
    restoring: Option<Restoring>,
}

impl Controller {
    /// A controller that has seen nothing yet.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        naming: Naming,
        settings: Live,
        publisher: Publisher,
        revisions: Revisions,
    ) -> Self {
        let (report, facts) = unbounded_channel();
        Self {
            store,
            clock,
            naming,
            settings,
            publisher,
            queue: Queue::default(),
            seen: 0,
            routes: Routes::default(),
            mapping_readers: Readers::default(),
            revisions,
            recorder: Recorder::default(),
            facts,
            report,
            restoring: None,
        }
    }

    /// Begins with what an earlier run left, if that is anything.
    #[must_use]
    pub fn restoring(mut self, restoring: Option<Restoring>) -> Self {
        self.restoring = restoring;
        self
    }

    /// Reconciles until the stop signal.
    pub async fn run(mut self, mut stop: Stop) {
        if let Some(restoring) = self.restoring.take()
            && !self.restore(restoring, &mut stop).await
        {
            return;
        }
        let mut head = self.store.head();
        loop {
            head.borrow_and_update();
            self.follow_events();
            while let Ok(fact) = self.facts.try_recv() {
                self.take(fact);
            }
            if let Some(id) = self.queue.pop(Instant::now()) {
                self.reconcile(&id);
                // Requests share this thread's runtime; a long queue must not starve them.
                tokio::task::yield_now().await;
                if stop.is_stopped() {
                    return;
                }
                continue;
            }
            let due = self.queue.next_at();
            let timer = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.stopped() => return,
                _ = head.changed() => {}
                fact = self.facts.recv() => if let Some(fact) = fact { self.take(fact) },
                () = timer => {}
            }
        }
    }

    fn follow_events(&mut self) {
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

    /// Reads the settings again, and gives the data plane those that it looks at. Returns whether
    /// anything changed.
    pub(super) fn refresh_settings(&mut self) -> bool {
        let changed = self.settings.refresh(&self.store);
        if changed {
            let by_header = self
                .naming
                .settings
                .borrow()
                .features
                .tag_header_based_routing;
            self.publisher.use_tag_header(by_header.is_enabled());
        }
        changed
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

    pub(super) fn reconcile(&mut self, id: &Id) {
        let (kind, key) = id;
        let span = tracing::debug_span!(
            "reconcile",
            kind = kind.names().kind,
            namespace = key.namespace,
            name = key.name
        );
        let _entered = span.enter();
        let Some(object) = self.store.get(*kind, key) else {
            return;
        };
        match &*object {
            Object::Service(service) => self.reconcile_service(service),
            Object::Configuration(configuration) => self.reconcile_configuration(configuration),
            Object::Revision(revision) => self.reconcile_revision(revision),
            Object::Route(route) => self.reconcile_route(route),
            Object::Dynamic(object) if object.kind == Kind::Event => {
                self.recorder.expire(&self.store, self.clock.now());
            }
            Object::DomainMapping(mapping) => self.reconcile_domain_mapping(mapping),
            Object::Dynamic(_) => {}
        }
    }

    fn reconcile_service(&mut self, service: &Service) {
        let key = service.metadata.key();
        let configuration = self.store.get(Kind::Configuration, &key);
        let route = self.store.get(Kind::Route, &key);
        let named = &service.spec.template.metadata.name;
        let named = self
            .store
            .get(Kind::Revision, &ObjectKey::new(&key.namespace, named));
        let revisions: Vec<&Revision> = named.iter().filter_map(|o| typed(o)).collect();
        let plan = reconcile::service::service(
            &reconcile::service::View {
                service,
                configuration: configuration.as_deref().and_then(typed),
                route: route.as_deref().and_then(typed),
                revisions: &revisions,
            },
            self.clock.now(),
        );
        self.carry_out(
            (Kind::Service, key),
            &service.metadata,
            plan,
            Status::Service,
        );
    }

    fn reconcile_configuration(&mut self, configuration: &Configuration) {
        let meta = &configuration.metadata;
        let key = meta.key();
        let mut objects = self.store.controlled_by(&meta.uid, Kind::Revision);
        // Somebody else's Revision may have the name that the next one is to get.
        let named = &configuration.spec.template.metadata.name;
        let next = if named.is_empty() {
            names::revision_name(&meta.name, meta.generation)
        } else {
            named.clone()
        };
        let next = ObjectKey::new(&key.namespace, next);
        if !objects.iter().any(|object| object.key() == next) {
            objects.extend(self.store.get(Kind::Revision, &next));
        }
        let revisions: Vec<&Revision> = objects.iter().filter_map(|o| typed(o)).collect();
        let plan = reconcile::configuration::configuration(
            &reconcile::configuration::View {
                configuration,
                revisions: &revisions,
            },
            self.clock.now(),
        );
        let id = (Kind::Configuration, key);
        if self.carry_out(id.clone(), meta, plan, Status::Configuration) {
            self.collect_garbage(id, configuration, &revisions);
        }
    }

    /// Deletes the Revisions of a Configuration that no Route has needed for long enough, and comes
    /// back when there may be more.
    fn collect_garbage(&mut self, id: Id, configuration: &Configuration, revisions: &[&Revision]) {
        let settings = self.naming.settings.borrow().gc.clone();
        let now = self.clock.now();
        let uid = &configuration.metadata.uid;
        let mut own = revisions.to_vec();
        own.retain(|revision| revision.metadata.is_controlled_by(uid));
        let old = reconcile::gc::collect(configuration, &own, &settings, now);
        for name in &old {
            let key = ObjectKey::new(&id.1.namespace, *name);
            tracing::info!(
                namespace = key.namespace,
                name = key.name,
                "an old revision is deleted"
            );
            if let Err(error) = self.store.delete(Kind::Revision, &key, None) {
                tracing::debug!(%error, "an old revision was gone before");
            }
        }
        own.retain(|revision| !old.contains(&revision.metadata.name.as_str()));
        if let Some(delay) = reconcile::gc::next(configuration, &own, &settings, now) {
            self.queue.push_by(Instant::now() + delay, id);
        }
    }

    fn reconcile_revision(&mut self, revision: &Revision) {
        let is_always_schedulable = {
            let settings = self.naming.settings.borrow();
            settings.deployment.pod_is_always_schedulable
        };
        let facts = self.revisions.observe(revision, &self.report);
        let plan = reconcile::revision::revision(
            &reconcile::revision::View {
                revision,
                facts,
                log_url_template: "",
                is_always_schedulable,
            },
            self.clock.now(),
        );
        let key = revision.metadata.key();
        let id = (Kind::Revision, key.clone());
        self.carry_out(id.clone(), &revision.metadata, plan, Status::Revision);
        let Some((facts, replicas, stale)) = self.revisions.to_show(&key) else {
            return;
        };
        let view = derived::View {
            revision,
            facts,
            replicas,
            now: self.clock.now(),
        };
        match mirror::show(&self.store, &view, stale) {
            Ok(()) => self.revisions.set_shown(&key),
            Err(error) => {
                tracing::debug!(%error, "what runs is shown again");
                self.queue.push(id);
            }
        }
    }

    fn reconcile_route(&mut self, route: &Route) {
        let key = route.metadata.key();
        let around = Around::read(&self.store, route, &self.names_of(route));
        let before = self.routes.state(&key).cloned().unwrap_or_default();
        self.routes.set_reads(&key, around.reads.clone());
        let now = self.clock.now();
        let (plan, wanted) =
            self.plan_route(route, &around, before.ingress.as_ref(), before.state, now);
        let mut state = before.state;
        if let Some(wanted) = wanted {
            if !before
                .ingress
                .is_some_and(|before| before.routes_like(&wanted))
            {
                // The reconciler saw that, and its status says that nobody has looked at them yet.
                // What only remembers more needs no looking at.
                state = IngressState::NotConfigured;
            }
            let next = match state {
                IngressState::NotConfigured => IngressState::Programming,
                IngressState::Programming | IngressState::Ready | IngressState::Restored => {
                    IngressState::Ready
                }
            };
            if state == IngressState::Programming {
                self.publisher.apply(wanted.clone());
            }
            self.routes.set(&key, wanted, next);
        }
        let id = (Kind::Route, key);
        let done = self.carry_out(id.clone(), &route.metadata, plan, Status::Route);
        if done && state != IngressState::Ready && self.routes.state(&id.1).is_some() {
            self.queue.push(id);
        }
    }

    /// The names that a Route and its tags have within the cluster, as far as they can be made.
    pub(super) fn names_of(&self, route: &Route) -> BTreeSet<String> {
        let tags = route.spec.traffic.iter().map(|target| target.tag.as_str());
        self.naming.with(&route.metadata, |naming| {
            let names = tags.chain([""]);
            names
                .filter_map(|tag| naming.name(&route.metadata, tag).ok())
                .collect()
        })
    }

    pub(super) fn plan_route(
        &self,
        route: &Route,
        around: &Around,
        ingress: Option<&Ingress>,
        ingress_state: IngressState,
        now: Timestamp,
    ) -> (Plan<RouteStatus>, Option<Ingress>) {
        let configurations: Vec<_> = all_typed(&around.configurations);
        let revisions: Vec<_> = all_typed(&around.revisions);
        let services: Vec<_> = around.services.iter().filter_map(|o| o.dynamic()).collect();
        self.naming.with(&route.metadata, |naming| {
            reconcile::route::route(
                &reconcile::route::View {
                    route,
                    configurations: &configurations,
                    revisions: &revisions,
                    ingress,
                    ingress_state,
                    services: &services,
                    naming,
                    rollout_duration: self.naming.settings.borrow().network.rollout_duration,
                },
                now,
            )
        })
    }

    /// Writes what a reconciler planned. When the store refuses one, nothing after it is written
    /// and the key is looked at again: somebody else was faster.
    pub(super) fn carry_out<S>(
        &mut self,
        id: Id,
        read: &ObjectMeta,
        plan: Plan<S>,
        status: impl FnOnce(S) -> Status,
    ) -> bool {
        let written = plan
            .writes
            .into_iter()
            .try_for_each(|write| self.write(write))
            .and_then(|()| match plan.status {
                Some(new) => self
                    .store
                    .write_status(&id.1, &read.resource_version, status(new))
                    .map(drop),
                None => Ok(()),
            });
        if written.is_ok() {
            for event in plan.events {
                self.tell(&id, read, &event);
            }
        }
        if let Some(delay) = plan.requeue_after {
            self.queue.push_at(Instant::now() + delay, id.clone());
        }
        if let Err(error) = &written {
            tracing::debug!(%error, "a plan was overtaken");
            self.queue.push(id);
        }
        written.is_ok()
    }

    fn tell(&mut self, id: &Id, read: &ObjectMeta, event: &reconcile::Event) {
        let (kind, key) = (id.0.names().kind, &id.1);
        let (reason, message) = (event.reason, &event.message);
        match event.severity {
            EventSeverity::Normal => tracing::debug!(kind, name = %key, reason, message, "event"),
            EventSeverity::Warning => tracing::warn!(kind, name = %key, reason, message, "event"),
        }
        let about = About::of(id.0, read);
        let told = self
            .recorder
            .tell(&self.store, &about, event, self.clock.now());
        if let Some(told) = told {
            // A second later than it may go, so that it then does.
            let at = Instant::now() + event::LIFETIME + Duration::from_secs(1);
            self.queue.push_at(at, (Kind::Event, told));
        }
    }

    pub(super) fn write(&self, write: Write) -> Result<(), store::Error> {
        match write {
            Write::Create(object) => self.store.create(object).map(drop),
            Write::Update(object) => self.store.update(object).map(drop),
            Write::Delete(kind, key) => self.store.delete(kind, &key, None),
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

/// The objects as the type that they have.
fn all_typed<'a, T>(objects: &'a [Arc<Object>]) -> Vec<&'a T>
where
    &'a T: TryFrom<&'a Object>,
{
    objects.iter().filter_map(|object| typed(object)).collect()
}

/// The object as the type that it has.
pub(super) fn typed<'a, T>(object: &'a Object) -> Option<&'a T>
where
    &'a T: TryFrom<&'a Object>,
{
    object.try_into().ok()
}
