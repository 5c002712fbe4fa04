//! Takes over what an earlier run left: serves what was settled as it was, before anything is
//! reconciled.
//!
//! Input: batches of objects. Output: the store, the published table, and a queue of all that is to
//! be looked at. While objects are missing nothing is reconciled, since what is not there yet would
//! be made anew.

use std::sync::Arc;

use serve_core::api::Route;
use serve_core::kind::Kind;
use serve_core::object::Object;
use serve_core::reconcile::route::IngressState;
use serve_core::traffic::Ingress;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};

use super::controller::{Controller, typed};
use super::routes::Around;
use super::snapshot::{self, Batch, Load};
use super::store::Id;
use crate::ingress::Shared;
use crate::tasks::Stop;

/// Routes that nobody waits for are published together: each time costs a copy of much of the table.
const PAUSE: Duration = Duration::from_millis(100);

/// How far the objects of an earlier run are.
#[derive(Clone, Debug, Default)]
pub enum Restored {
    #[default]
    Reading,
    /// All are there as of this version, and what was settled is served.
    Done(u64),
    /// They cannot be read. What was is served; nothing is changed.
    Failed(Arc<snapshot::Error>),
}

/// The objects of an earlier run on their way into the store.
pub struct Restoring {
    batches: mpsc::Receiver<(Batch, u64)>,
    reading: JoinHandle<Result<(), snapshot::Error>>,
    state: watch::Sender<Restored>,
}

impl Restoring {
    /// Begins to read, on a thread for that; first what requests wait for.
    #[must_use]
    pub fn begin(load: Load, shared: Arc<Shared>, state: watch::Sender<Restored>) -> Self {
        // One is read ahead: what somebody waits for comes after it.
        let (sender, batches) = mpsc::channel(1);
        shared.opening.begin();
        let reading =
            tokio::task::spawn_blocking(move || load.run(|| shared.opening.take_wanted(), &sender));
        Self {
            batches,
            reading,
            state,
        }
    }
}

/// What is not published yet.
#[derive(Default)]
struct Waiting {
    revisions: Vec<crate::revision::sleeper::Serving>,
    ingresses: Vec<Ingress>,
    /// Routes that look at what may still come.
    routes: Vec<Arc<Object>>,
}

impl Controller {
    /// Takes over the objects of an earlier run. Returns whether they are all there.
    pub(super) async fn restore(&mut self, restoring: Restoring, stop: &mut Stop) -> bool {
        let Restoring {
            mut batches,
            reading,
            state,
        } = restoring;
        let (mut waiting, mut last) = (Waiting::default(), Instant::now());
        loop {
            tokio::select! {
                () = stop.stopped() => return false,
                Some(fact) = self.facts.recv() => self.take(fact),
                batch = batches.recv() => {
                    let Some((batch, revision)) = batch else {
                        break;
                    };
                    self.resume(batch.objects, revision, &mut waiting);
                    if batch.is_wanted || last.elapsed() > PAUSE {
                        self.publish(&mut waiting);
                        last = Instant::now();
                    }
                }
            }
        }
        let read = reading.await.unwrap_or_else(|error| {
            let path = std::path::PathBuf::new();
            let source = std::io::Error::other(error);
            Err(snapshot::Error::File { path, source })
        });
        if let Err(error) = read {
            self.publisher.open();
            state.send_replace(Restored::Failed(Arc::new(error)));
            return false;
        }
        let routes = std::mem::take(&mut waiting.routes);
        for object in routes {
            let resumed = self.resume_route(&object);
            self.push_again((Kind::Route, object.key()), resumed.is_some());
            waiting.ingresses.extend(resumed);
        }
        self.publish(&mut waiting);
        self.seen = self.store.revision();
        // Before the wait of requests ends: what leads to a Route is not yet in the table.
        for object in self.store.list(Kind::DomainMapping, None).0 {
            self.reconcile(&(Kind::DomainMapping, object.key()));
        }
        self.publisher.open();
        state.send_replace(Restored::Done(self.seen));
        true
    }

    fn resume(&mut self, objects: Vec<Object>, revision: u64, waiting: &mut Waiting) {
        let objects = self.store.restore(objects, revision);
        if objects
            .iter()
            .any(|object| object.kind() == Kind::ConfigMap)
        {
            self.refresh_settings();
        }
        for object in &objects {
            let id = (object.kind(), object.key());
            match &**object {
                Object::Revision(revision) => {
                    let resumed = self.revisions.resume(revision, &self.report);
                    let is_settled = resumed.as_ref().is_some_and(|one| one.is_settled);
                    waiting.revisions.extend(resumed.map(|one| one.serving));
                    self.push_again(id, is_settled);
                }
                Object::Service(_) | Object::Configuration(_) => {
                    self.push_again(id, object.is_ready());
                }
                _ => {}
            }
        }
        for object in objects {
            if object.kind() != Kind::Route {
                continue;
            }
            if let Some(ingress) = self.resume_route(&object) {
                waiting.ingresses.push(ingress);
                self.push_again((Kind::Route, object.key()), true);
            } else {
                waiting.routes.push(object);
            }
        }
    }

    fn publish(&mut self, waiting: &mut Waiting) {
        let revisions = std::mem::take(&mut waiting.revisions);
        let ingresses = std::mem::take(&mut waiting.ingresses);
        self.publisher.resume(revisions, ingresses);
    }

    /// That it still is as it should be is looked at when nothing else is to do.
    fn push_again(&mut self, id: Id, is_settled: bool) {
        if is_settled {
            self.queue.push_idle(id);
        } else {
            self.queue.push(id);
        }
    }

    /// The rules of a Route that was ready when the earlier run ended, and whose Revisions are
    /// there. They serve while it is looked at, as they did before.
    fn resume_route(&mut self, object: &Object) -> Option<Ingress> {
        let route = typed::<Route>(object).filter(|_| object.is_ready())?;
        let key = object.key();
        let around = Around::read(&self.store, route, &self.names_of(route));
        let now = self.clock.now();
        let (plan, wanted) = self.plan_route(route, &around, None, IngressState::Restored, now);
        let wanted = wanted.filter(|_| plan.writes.is_empty() && plan.requeue_after.is_none())?;
        self.routes.set_reads(&key, around.reads);
        self.routes.set(&key, wanted.clone(), IngressState::Ready);
        Some(wanted)
    }
}
