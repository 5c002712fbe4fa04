//! Shows in the store what runs: the Deployment, ReplicaSet, Pods and PodAutoscaler of a Revision.
//!
//! Input: what has been observed of a Revision. Output: objects that nobody else writes. A Pod
//! whose replica leaves is marked as being deleted, and is gone when the requests are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use serve_core::kind::Kind;
use serve_core::meta::{ObjectKey, ObjectMeta};
use serve_core::names;
use serve_core::object::Object;
use serve_core::replicas::{Count, Replicas};
use serve_core::resources::derived::{
    Stale, View, make_deployment, make_pod, make_pod_autoscaler, make_replica_set,
};
use serve_core::time::Timestamp;

use super::store::{Error, Store};
use crate::logs::Writer;

/// How often a replica that leaves is asked whether its requests are done.
const LOOK: Duration = Duration::from_millis(100);

/// Writes what is stale of the objects that show a Revision.
///
/// # Errors
/// When somebody else wrote or deleted one of the objects meanwhile; to be called again.
pub fn show(store: &Store, view: &View<'_>, stale: Stale) -> Result<(), Error> {
    let meta = &view.revision.metadata;
    if meta.deletion_timestamp.is_some() {
        return Ok(());
    }
    if stale.autoscaler {
        let make = |before: Option<&Object>| make_pod_autoscaler(view, before);
        put(store, make, Kind::PodAutoscaler, &meta.key())?;
    }
    if stale.workloads {
        show_workloads(store, view)?;
    }
    Ok(())
}

fn show_workloads(store: &Store, view: &View<'_>) -> Result<(), Error> {
    let meta = &view.revision.metadata;
    let key = ObjectKey::new(&meta.namespace, names::deployment_name(&meta.name));
    let deployment = put(
        store,
        |before| make_deployment(view, before),
        Kind::Deployment,
        &key,
    )?;
    let deployment = deployment.metadata();
    let hash = names::template_hash(&meta.uid);
    let key = ObjectKey::new(&meta.namespace, format!("{}-{hash}", deployment.name));
    let make = |before: Option<&Object>| make_replica_set(view, deployment, before);
    let set = put(store, make, Kind::ReplicaSet, &key)?;
    show_pods(store, view, set.metadata())
}

fn show_pods(store: &Store, view: &View<'_>, set: &ObjectMeta) -> Result<(), Error> {
    let mut gone = store.controlled_by(&set.uid, Kind::Pod);
    for replica in view.replicas.all() {
        let key = ObjectKey::new(&set.namespace, names::pod_name(&set.name, &replica.id));
        gone.retain(|pod| pod.key() != key);
        let is_leaving = replica.leaving_since.is_some();
        if is_leaving && store.get(Kind::Pod, &key).is_none() {
            // Somebody deleted it at once; what is gone does not come back to end.
            continue;
        }
        put(store, |_| make_pod(view, set, replica), Kind::Pod, &key)?;
        if is_leaving {
            store.begin_deletion(Kind::Pod, &key, None)?;
        }
    }
    for pod in gone {
        match store.delete(Kind::Pod, &pod.key(), Some(&pod.metadata().uid)) {
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Creates an object or makes the one that is there like it.
fn put(
    store: &Store,
    make: impl FnOnce(Option<&Object>) -> Object,
    kind: Kind,
    key: &ObjectKey,
) -> Result<Arc<Object>, Error> {
    let before = store.get(kind, key);
    let mut object = make(before.as_deref());
    let Some(before) = before else {
        return store.create(object);
    };
    let old = before.metadata();
    let owner = |meta: &ObjectMeta| meta.controller().map(|owner| owner.uid.clone());
    if owner(old) != owner(object.metadata()) {
        // It is of an object of the same name that is gone.
        remove(store, kind, old)?;
        return store.create(object);
    }
    observe_spec(&before, &mut object);
    let meta = object.metadata_mut();
    meta.resource_version.clone_from(&old.resource_version);
    store.update(object)
}

/// Removes an object with what it controls, and the Pods too: nobody waits for their requests.
fn remove(store: &Store, kind: Kind, old: &ObjectMeta) -> Result<(), Error> {
    let sets = store.controlled_by(&old.uid, Kind::ReplicaSet);
    let pods = sets
        .iter()
        .flat_map(|set| store.controlled_by(&set.metadata().uid, Kind::Pod));
    let pods: Vec<_> = pods.map(|pod| pod.key()).collect();
    store.delete(kind, &old.key(), Some(&old.uid))?;
    for pod in pods {
        store.delete(Kind::Pod, &pod, None)?;
    }
    Ok(())
}

/// Says in the status that the spec was seen, whose generation the store is about to raise if it
/// changes.
fn observe_spec(before: &Object, object: &mut Object) {
    let (Object::Dynamic(before), Object::Dynamic(object)) = (before, object) else {
        return;
    };
    let differs = before.body.get("spec") != object.body.get("spec");
    let generation = before.metadata.generation + i64::from(differs);
    if let Some(status) = object.body.get_mut("status")
        && let Some(observed) = status.get_mut("observedGeneration")
    {
        *observed = generation.into();
    }
}

/// The replicas of one Revision, with what their end waits for.
#[derive(Debug, Default)]
pub struct Members {
    replicas: Replicas,
    count: Count,
    /// Ready replicas, for those who wait beside the controller.
    ready: Arc<AtomicU32>,
    is_draining: bool,
    /// As told last.
    restarts: u32,
    ends: u32,
}

impl Members {
    #[must_use]
    pub fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    pub fn scale(&mut self, count: Count, now: Timestamp) {
        self.count = count;
        self.ready.store(count.ready, Relaxed);
        self.replicas.scale(count, now, new_id);
    }

    /// Lets one end and another take its place. Returns whether there was one.
    pub fn replace(&mut self, id: &str, now: Timestamp) -> bool {
        self.replicas.replace(id, self.count, now, new_id)
    }

    /// Takes in how often the code was started again since the first replica of now began. All
    /// replicas share their instances, and so each restart.
    pub fn restarted(&mut self, times: u32, now: Timestamp) {
        let more = times.saturating_sub(self.restarts);
        self.restarts = times;
        self.replicas.restarted(more, now);
    }

    /// Takes in how often code has ended by itself since the first replica of now began, and the
    /// exit code of the last time.
    pub fn exited(&mut self, (times, exit_code): (u32, i32), now: Timestamp) {
        let more = times.saturating_sub(self.ends);
        self.ends = times;
        self.replicas.exited(more, exit_code, now);
    }

    /// Those that leave are gone.
    pub fn drained(&mut self) {
        self.is_draining = false;
        self.replicas.drained();
    }

    /// Who writes lines of output: the living replicas, by age.
    #[must_use]
    pub fn writers(&self) -> Vec<Writer> {
        let writer = |one: &serve_core::replicas::Replica| Writer {
            replica: one.id.as_str().into(),
            run: one.restarts,
        };
        self.replicas.living().map(writer).collect()
    }

    /// The keys of the Pods that show the replicas of this Revision.
    #[must_use]
    pub fn pods(&self, revision: &ObjectKey, uid: &str) -> Vec<ObjectKey> {
        let deployment = names::deployment_name(&revision.name);
        let set = format!("{deployment}-{}", names::template_hash(uid));
        let all = self.replicas.all().iter();
        all.map(|one| ObjectKey::new(&revision.namespace, names::pod_name(&set, &one.id)))
            .collect()
    }

    /// What those that leave wait for; none when nobody leaves, or somebody waits already.
    pub fn begin_drain(&mut self, container_concurrency: u32) -> Option<Drain> {
        if self.is_draining || !self.replicas.has_leaving() {
            return None;
        }
        self.is_draining = true;
        Some(Drain {
            ready: self.ready.clone(),
            container_concurrency,
        })
    }
}

/// The end of the requests of replicas that leave.
#[derive(Debug)]
pub struct Drain {
    ready: Arc<AtomicU32>,
    container_concurrency: u32,
}

impl Drain {
    /// The end of all requests of a revision.
    #[must_use]
    pub fn of_all() -> Self {
        Self {
            ready: Arc::default(),
            container_concurrency: 0,
        }
    }

    /// Waits until the replicas that stay have room for all requests that run.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn wait(self, running: impl Fn() -> usize) {
        // The first look is not at once, so that whoever watches sees that a replica ends.
        loop {
            tokio::time::sleep(LOOK).await;
            if self.is_done(running()) {
                return;
            }
        }
    }

    fn is_done(&self, running: usize) -> bool {
        let ready = self.ready.load(Relaxed);
        match self.container_concurrency {
            // Without a limit the requests of one replica are as well the requests of another.
            0 => running == 0 || ready > 0,
            limit => running as u64 <= u64::from(ready) * u64::from(limit),
        }
    }
}

/// Five characters, as Kubernetes generates names.
fn new_id() -> String {
    (0..5)
        .map(|_| char::from(names::SAFE[fastrand::usize(..names::SAFE.len())]))
        .collect()
}

#[cfg(test)]
mod tests;
