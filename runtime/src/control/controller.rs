//! Makes the world follow the objects: one task that takes one key after the other, asks the pure
//! reconciler of its kind what should be, and writes that.
//!
//! Input: the store's events, and facts that the data plane reports; `follow` says which keys they
//! put in the queue. Output: children and statuses in the store, started revisions, published
//! routes. The queue is first in, first out, and an object's owner comes before the object itself:
//! so each status that a Route passes through reaches its Service as a write of its own, which is
//! what `kn` prints while it waits.
//!
//! Nothing here is lost when the task ends: all of it can be made again from the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serve_core::api::{Configuration, Revision, Route, RouteStatus, Service};
use serve_core::kind::Kind;
use serve_core::meta::{ObjectKey, ObjectMeta};
use serve_core::names;
use serve_core::object::Object;
use serve_core::reconcile::route::IngressState;
use serve_core::reconcile::{self, EventSeverity, Plan, Write};
use serve_core::resources::derived;
use serve_core::resources::event::{self, About};
use serve_core::time::Timestamp;
use serve_core::traffic::Ingress;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::events::Recorder;
use super::mirror;
use super::naming::Naming;
use super::observe::Fact;
use super::publish::Publisher;
use super::queue::Queue;
use super::readers::Readers;
use super::resume::Restoring;
use super::revisions::Revisions;
use super::routes::{Around, Routes};
use super::settings::Live;
use super::store::{self, Id, Status, Store};
use crate::clock::Clock;
use crate::tasks::Stop;

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
