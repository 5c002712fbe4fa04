//! The objects, their versions, and the log of what happened to them.
//!
//! Input: objects that `admit` let in, and statuses. Output: snapshots, and for each watcher every
//! event once, in order. One counter orders all events; it is the `resourceVersion` of an object.
//!
//! Invariants: an object's status changes through [`Store::write_status`] only; `generation` rises
//! when something outside `metadata` and `status` changes; deleting an object deletes what it
//! controls, in the same commit; a watcher gets every event after its version, or [`Gone`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use serve_core::api::{
    ConfigurationStatus, DomainMappingStatus, RevisionStatus, RouteStatus, ServiceStatus,
};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_core::time::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;

/// Events kept for watchers that resume. A watcher that is further behind lists again.
const LOG_LENGTH: usize = 10_000;

/// Names an object of any kind.
pub type Id = (Kind, ObjectKey);

/// The store. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Whether what is written through this handle comes from a client of the API.
    by_client: bool,
}

struct Inner {
    state: Mutex<State>,
    /// The newest revision, for those who wait for the next event.
    head: watch::Sender<u64>,
    /// The same of one kind each, for those who wait for one object.
    heads: [watch::Sender<u64>; Kind::ALL.len()],
    clock: Clock,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Id, Arc<Object>>,
    /// Owner's uid → the objects it controls.
    controlled: HashMap<String, BTreeSet<Id>>,
    revision: u64,
    log: VecDeque<Event>,
}

/// What happened to one object.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where in the order of all events this one stands.
    pub revision: u64,
    pub change: Change,
    /// The object after the change; for a deletion its last state, at the deletion's version.
    pub object: Arc<Object>,
    /// The object before the change; none for one just created.
    pub previous: Option<Arc<Object>>,
    /// Whether a client of the API did it.
    pub by_client: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    /// Modified as well, and by [`Store::write_status`].
    Status,
    Deleted,
}

/// A new status, of the kind that it is written to.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    Service(ServiceStatus),
    Configuration(ConfigurationStatus),
    Revision(RevisionStatus),
    Route(RouteStatus),
    DomainMapping(DomainMappingStatus),
}

/// Why a write was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{} \"{}\" already exists", .0.0.names().plural, .0.1.name)]
    AlreadyExists(Id),
    #[error("{} \"{}\" not found", .0.0.names().plural, .0.1.name)]
    NotFound(Id),
    /// The object changed since it was read.
    #[error("{} \"{}\": the object has been modified", .0.0.names().plural, .0.1.name)]
    Conflict(Id),
}

/// Events after this version are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Gone {
    pub asked: u64,
    pub oldest: u64,
}

impl Store {
    /// An empty store in memory.
    #[must_use]
    pub fn in_memory(clock: Clock) -> Self {
        let state = Mutex::new(State::default());
        Self {
            inner: Arc::new(Inner {
                state,
                head: watch::Sender::new(0),
                heads: std::array::from_fn(|_| watch::Sender::new(0)),
                clock,
            }),
            by_client: false,
        }
    }

    /// The same store, for what clients of the API write.
    #[must_use]
    pub fn for_clients(&self) -> Self {
        Self {
            by_client: true,
            ..self.clone()
        }
    }

    #[must_use]
    pub fn get(&self, kind: Kind, key: &ObjectKey) -> Option<Arc<Object>> {
        self.lock().objects.get(&(kind, key.clone())).cloned()
    }

    /// The objects of a kind, by key, and the version that this list shows.
    #[must_use]
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> (Vec<Arc<Object>>, u64) {
        let state = self.lock();
        let start = (kind, ObjectKey::new(namespace.unwrap_or_default(), ""));
        let objects = state
            .objects
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(|((k, key), _)| {
                *k == kind && namespace.is_none_or(|namespace| key.namespace == namespace)
            })
            .map(|(_, object)| object.clone())
            .collect();
        (objects, state.revision)
    }

    /// All objects, by kind and key.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Object>> {
        self.lock().objects.values().cloned().collect()
    }

    /// Puts objects of an earlier store into this empty one, as they were. `revision` is the newest
    /// that the earlier one can have given. They are no events: who knows an older version than that
    /// lists again.
    pub fn restore(&self, objects: Vec<Object>, revision: u64) -> Vec<Arc<Object>> {
        let mut state = self.lock();
        // Versions rise over restarts: what a client knew before is older than all that is here.
        let known = objects
            .iter()
            .filter_map(|object| object.metadata().resource_version.parse().ok());
        state.revision = known.max().unwrap_or(0).max(revision).max(state.revision);
        let mut restored = Vec::with_capacity(objects.len());
        for mut object in objects {
            if object.metadata().resource_version.is_empty() {
                state.revision += 1;
                object.metadata_mut().resource_version = state.revision.to_string();
            }
            let object = Arc::new(object);
            state.put(object.clone());
            restored.push(object);
        }
        for head in std::iter::once(&self.inner.head).chain(&self.inner.heads) {
            head.send_replace(state.revision);
        }
        restored
    }

    /// The objects of a kind that the object with this uid controls, by key.
    #[must_use]
    pub fn controlled_by(&self, uid: &str, kind: Kind) -> Vec<Arc<Object>> {
        let state = self.lock();
        let ids = state.controlled.get(uid).into_iter().flatten();
        ids.filter(|id| id.0 == kind)
            .filter_map(|id| state.objects.get(id).cloned())
            .collect()
    }

    /// Adds an object: gives it a name when only `generateName` is set, a uid, a creation time and,
    /// if its kind has one, generation 1.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub fn create(&self, mut object: Object) -> Result<Arc<Object>, Error> {
        let now = self.inner.clock.now().truncated();
        let mut state = self.lock();
        let kind = object.kind();
        let counts = counts_generations(&object);
        let meta = object.metadata_mut();
        if meta.name.is_empty() && !meta.generate_name.is_empty() {
            meta.name = format!("{}{}", meta.generate_name, random_suffix());
        }
        let id = (kind, meta.key());
        if state.objects.contains_key(&id) {
            return Err(Error::AlreadyExists(id));
        }
        meta.uid = random_uid();
        meta.creation_timestamp = Some(now);
        meta.generation = i64::from(counts);
        Ok(self.commit(&mut state, Change::Added, object))
    }

    /// Replaces an object but for its status. A `resourceVersion` that is set must be the current
    /// one. Nothing is written when nothing changes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn update(&self, mut object: Object) -> Result<Arc<Object>, Error> {
        let mut state = self.lock();
        let id = (object.kind(), object.key());
        let old = state
            .objects
            .get(&id)
            .cloned()
            .ok_or(Error::NotFound(id.clone()))?;
        let asked = &object.metadata().resource_version;
        if !asked.is_empty() && *asked != old.metadata().resource_version {
            return Err(Error::Conflict(id));
        }
        copy_status(&old, &mut object);
        let meta = object.metadata_mut();
        let before = old.metadata();
        meta.uid.clone_from(&before.uid);
        meta.creation_timestamp = before.creation_timestamp;
        meta.deletion_timestamp = before.deletion_timestamp;
        meta.deletion_grace_period_seconds = before.deletion_grace_period_seconds;
        meta.generation = before.generation;
        meta.resource_version.clone_from(&before.resource_version);
        if object == *old {
            return Ok(old);
        }
        if counts_generations(&object) && !same_but_for_metadata(&old, &mut object) {
            object.metadata_mut().generation += 1;
        }
        Ok(self.commit(&mut state, Change::Modified, object))
    }

    /// Replaces the status of an object. `resource_version` is the one the decision was made on;
    /// empty skips the check. Nothing is written when nothing changes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn write_status(
        &self,
        key: &ObjectKey,
        resource_version: &str,
        status: Status,
    ) -> Result<Arc<Object>, Error> {
        let mut state = self.lock();
        let id = (status.kind(), key.clone());
        let old = state
            .objects
            .get(&id)
            .cloned()
            .ok_or(Error::NotFound(id.clone()))?;
        if !resource_version.is_empty() && resource_version != old.metadata().resource_version {
            return Err(Error::Conflict(id));
        }
        let mut object = Object::clone(&old);
        match (&mut object, status) {
            (Object::Service(object), Status::Service(status)) => object.status = status,
            (Object::Configuration(object), Status::Configuration(status)) => {
                object.status = status;
            }
            (Object::Revision(object), Status::Revision(status)) => object.status = status,
            (Object::Route(object), Status::Route(status)) => object.status = status,
            (Object::DomainMapping(object), Status::DomainMapping(status)) => {
                object.status = status;
            }
            _ => return Err(Error::NotFound(id)),
        }
        if object == *old {
            return Ok(old);
        }
        Ok(self.commit(&mut state, Change::Status, object))
    }

    /// Deletes an object and all that it controls. Pods that go with their owner begin to end, as
    /// their requests have to; who shows them removes them. `uid` that is set must be the object's.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn delete(&self, kind: Kind, key: &ObjectKey, uid: Option<&str>) -> Result<(), Error> {
        let mut state = self.lock();
        let id = (kind, key.clone());
        let object = state.objects.get(&id).ok_or(Error::NotFound(id.clone()))?;
        if uid.is_some_and(|uid| uid != object.metadata().uid) {
            return Err(Error::Conflict(id));
        }
        let root = id.clone();
        let mut doomed = VecDeque::from([id]);
        while let Some(id) = doomed.pop_front() {
            let Some(object) = state.objects.get(&id).cloned() else {
                continue;
            };
            doomed.extend(
                state
                    .controlled
                    .remove(&object.metadata().uid)
                    .unwrap_or_default(),
            );
            if id.0 == Kind::Pod && id != root {
                self.end(&mut state, &object);
            } else {
                self.commit(&mut state, Change::Deleted, Object::clone(&object));
            }
        }
        Ok(())
    }

    /// Deletes an object, or begins to when finalizers hold it; then it is returned.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn remove(
        &self,
        kind: Kind,
        key: &ObjectKey,
        uid: Option<&str>,
    ) -> Result<Option<Arc<Object>>, Error> {
        let object = self.get(kind, key);
        let is_held = object.is_some_and(|object| !object.metadata().finalizers.is_empty());
        if is_held {
            return self.begin_deletion(kind, key, uid).map(Some);
        }
        self.delete(kind, key, uid).map(|()| None)
    }

    /// Writes down that an object is to go once its finalizers, or for a Pod its requests, are
    /// done; a Pod's time is when it has to be gone. `uid` that is set must be
    /// the object's.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub fn begin_deletion(
        &self,
        kind: Kind,
        key: &ObjectKey,
        uid: Option<&str>,
    ) -> Result<Arc<Object>, Error> {
        let mut state = self.lock();
        let id = (kind, key.clone());
        let old = state
            .objects
            .get(&id)
            .cloned()
            .ok_or(Error::NotFound(id.clone()))?;
        if uid.is_some_and(|uid| uid != old.metadata().uid) {
            return Err(Error::Conflict(id));
        }
        Ok(self.end(&mut state, &old))
    }

    /// Notes that an object is to go, unless that is noted.
    fn end(&self, state: &mut State, old: &Arc<Object>) -> Arc<Object> {
        if old.metadata().deletion_timestamp.is_some() {
            return old.clone();
        }
        let mut object = Object::clone(old);
        let grace = grace_seconds(&object);
        let at = self.inner.clock.now().unix_seconds().saturating_add(grace);
        let meta = object.metadata_mut();
        meta.deletion_timestamp = Some(Timestamp::from_unix_seconds(at));
        meta.deletion_grace_period_seconds = Some(grace);
        self.commit(state, Change::Modified, object)
    }

    /// The events after `revision`, as far as they happened, without waiting.
    ///
    /// # Errors
    /// [`Gone`] when some of them are no longer kept.
    pub fn events_after(&self, revision: u64) -> Result<Vec<Event>, Gone> {
        let state = self.lock();
        let oldest = state
            .log
            .front()
            .map_or(state.revision, |event| event.revision - 1);
        if revision < oldest {
            return Err(Gone {
                asked: revision,
                oldest,
            });
        }
        let start = state
            .log
            .partition_point(|event| event.revision <= revision);
        Ok(state.log.range(start..).cloned().collect())
    }

    /// The version of the newest event; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// A receiver that is woken by each new event. It carries the version of the newest.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<u64> {
        self.inner.head.subscribe()
    }

    /// Waits until `condition` holds for an object (or its absence) and returns that object.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn wait_for(
        &self,
        kind: Kind,
        key: &ObjectKey,
        mut condition: impl FnMut(Option<&Object>) -> bool,
    ) -> Option<Arc<Object>> {
        let mut head = self.inner.heads[kind as usize].subscribe();
        loop {
            head.borrow_and_update();
            let object = self.get(kind, key);
            if condition(object.as_deref()) {
                return object;
            }
            head.changed()
                .await
                .expect("the store that owns the sender is borrowed here");
        }
    }

    fn commit(&self, state: &mut State, change: Change, mut object: Object) -> Arc<Object> {
        state.revision += 1;
        let revision = state.revision;
        object.metadata_mut().resource_version = revision.to_string();
        let object = Arc::new(object);
        let previous = match change {
            Change::Added | Change::Modified | Change::Status => state.put(object.clone()),
            Change::Deleted => state.take(&(object.kind(), object.key())),
        };
        if state.log.len() == LOG_LENGTH {
            state.log.pop_front();
        }
        state.log.push_back(Event {
            revision,
            change,
            object: object.clone(),
            previous,
            by_client: self.by_client,
        });
        self.inner.head.send_replace(revision);
        self.inner.heads[object.kind() as usize].send_replace(revision);
        object
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section either completes or changes nothing that a reader relies on.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts an object in its place. Returns the one that was there.
    fn put(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let id = (object.kind(), object.key());
        let previous = self.take(&id);
        if let Some(owner) = object.metadata().controller() {
            let owned = self.controlled.entry(owner.uid.clone()).or_default();
            owned.insert(id.clone());
        }
        self.objects.insert(id, object);
        previous
    }

    /// Takes an object out.
    fn take(&mut self, id: &Id) -> Option<Arc<Object>> {
        let object = self.objects.remove(id)?;
        if let Some(owner) = object.metadata().controller()
            && let Some(ids) = self.controlled.get_mut(&owner.uid)
        {
            ids.remove(id);
            if ids.is_empty() {
                self.controlled.remove(&owner.uid);
            }
        }
        Some(object)
    }
}

impl Status {
    fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Configuration(_) => Kind::Configuration,
            Self::Revision(_) => Kind::Revision,
            Self::Route(_) => Kind::Route,
            Self::DomainMapping(_) => Kind::DomainMapping,
        }
    }
}

fn copy_status(from: &Object, to: &mut Object) {
    match (from, to) {
        (Object::Service(from), Object::Service(to)) => to.status.clone_from(&from.status),
        (Object::Configuration(from), Object::Configuration(to)) => {
            to.status.clone_from(&from.status);
        }
        (Object::Revision(from), Object::Revision(to)) => to.status.clone_from(&from.status),
        (Object::Route(from), Object::Route(to)) => to.status.clone_from(&from.status),
        (Object::DomainMapping(from), Object::DomainMapping(to)) => {
            to.status.clone_from(&from.status);
        }
        _ => {}
    }
}

/// Objects that Kubernetes counts no changes of, such as ConfigMaps and Pods, have no generation.
fn counts_generations(object: &Object) -> bool {
    match object {
        Object::Dynamic(object) => {
            object.kind == Kind::ClusterDomainClaim
                || object.kind.is_derived() && object.kind != Kind::Pod
        }
        _ => true,
    }
}

/// How long an object that is being deleted may take.
fn grace_seconds(object: &Object) -> i64 {
    match object {
        Object::Dynamic(object) if object.kind == Kind::Pod => object
            .body
            .get("spec")
            .and_then(|spec| spec.get("terminationGracePeriodSeconds")?.as_i64())
            .unwrap_or(0),
        _ => 0,
    }
}

/// Whether two objects with the same status differ in their metadata at most. The status of an
/// object that is kept as it was given is written with the rest, and does not count.
fn same_but_for_metadata(old: &Object, new: &mut Object) -> bool {
    if let (Object::Dynamic(old), Object::Dynamic(new)) = (old, &*new) {
        let is_spec = |(name, _): &(&String, &Value)| *name != "status";
        let (old, new) = (old.body.iter(), new.body.iter());
        return old.filter(is_spec).eq(new.filter(is_spec));
    }
    let kept = std::mem::replace(new.metadata_mut(), old.metadata().clone());
    let same = *old == *new;
    *new.metadata_mut() = kept;
    same
}

/// A random (version 4) UUID.
fn random_uid() -> String {
    let bits = fastrand::u128(..);
    let bits = bits & !(0xf << 76) | 0x4 << 76;
    let bits = bits & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

/// Five characters of the alphabet that Kubernetes uses for `generateName`: no vowels, so that no
/// words appear.
fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5)
        .map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests;
