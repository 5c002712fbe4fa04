//! Admission to one revision: who may run now, who waits, who is sent away.
//!
//! Input: requests, and the capacity that the pool's ready replicas give. Output: permits, in the
//! order of arrival. The decisions are `serve_core::breaker`'s; this module only makes waiting
//! requests wait, and pokes the autoscaler when one waits.
//!
//! ```text
//!           a free place, nobody waits: one atomic operation
//!   admit ────────────────────────────────────────────────▶ permit
//!     │ else: the breaker, under its lock                      ▲
//!     ├─ at zero, and capacity is promised: it is there now ───┤
//!     └─ waits ── a place is handed over ──────────────────────┘
//! ```
//! Invariants: while somebody waits, or somebody has the lock, no place changes hands but by the
//! breaker; so none is lost and nobody is overtaken.

mod usage;

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serve_core::breaker::{Admission, Breaker, Cancelled, Capacity, Places, Ticket};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use usage::Usage;
pub use usage::Used;

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("pending request queue full")]
    QueueFull,
    /// Its deadline passed while it waited.
    #[error("context deadline exceeded")]
    Deadline,
    /// The revision was deleted or the host ends.
    #[error("shutting down")]
    Stopped,
}

/// The admission of one revision.
pub struct Activator {
    /// [`Places`]: all that a request needs while nobody waits.
    places: AtomicU64,
    state: Mutex<State>,
    /// One for each core, so that cores do not wait for each other to count.
    usage: Box<[Shard]>,
    /// Woken by each request that finds no capacity, and by the one that wakes the revision.
    poke: Notify,
}

#[repr(align(128))]
struct Shard(Mutex<Usage>);

struct State {
    breaker: Breaker,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
    stopped: bool,
    /// At zero: the capacity that there is as soon as a request comes.
    at_zero: Option<Capacity>,
    woken: bool,
}

/// The right to run one request. It is given back by dropping it.
pub struct Permit {
    activator: Arc<Activator>,
    core: usize,
    /// It woke the revision, and nobody else knows yet.
    woke: bool,
}

impl Permit {
    /// Whether this request woke the revision from zero: it has to open what was closed, and then
    /// to [`announce`](Permit::announce) it.
    #[must_use]
    pub fn woke(&self) -> bool {
        self.woke
    }

    /// Tells the autoscaler that the revision is awake. What follows from that, on other threads,
    /// competes for cores with the request that woke it.
    pub fn announce(&mut self) {
        if std::mem::take(&mut self.woke) {
            self.activator.poke.notify_one();
        }
    }
}

impl Activator {
    /// No capacity at first; up to `queue` requests wait. Requests come from so many `cores`.
    #[must_use]
    pub fn new(queue: usize, cores: usize) -> Arc<Self> {
        let breaker = Breaker::new(queue);
        let places = AtomicU64::new(breaker.places().word());
        let state = State {
            breaker,
            waiting: HashMap::new(),
            stopped: false,
            at_zero: None,
            woken: false,
        };
        let now = Instant::now();
        let shard = || Shard(Mutex::new(Usage::new(now)));
        Arc::new(Self {
            places,
            state: Mutex::new(state),
            usage: (0..cores.max(1)).map(|_| shard()).collect(),
            poke: Notify::new(),
        })
    }

    /// Waits for capacity, at most until `deadline`. `core` is where the request runs, `now` when
    /// it came.
    ///
    /// # Errors
    /// As [`Error`] says.
    ///
    /// # Cancel safety
    /// A request that no longer waits leaves the queue, and gives back what it may just have got.
    pub async fn admit(
        self: &Arc<Self>,
        core: usize,
        now: Instant,
        deadline: Instant,
    ) -> Result<Permit, Error> {
        if self.change(Places::enter) {
            self.usage(core).begin(now);
            return Ok(self.permit(core, false));
        }
        let (ticket, admitted) = {
            let mut state = self.guard();
            if state.stopped {
                return Err(Error::Stopped);
            }
            let woke = state.wake_from_zero();
            match state.breaker.try_admit() {
                Admission::Full => return Err(Error::QueueFull),
                Admission::Admitted => {
                    drop(state);
                    self.usage(core).begin(now);
                    return Ok(self.permit(core, woke));
                }
                Admission::Waiting(ticket) => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiting.insert(ticket, sender);
                    (ticket, receiver)
                }
            }
        };
        self.usage(core).begin(now);
        let mut place = Place {
            activator: self,
            core,
            ticket: Some(ticket),
        };
        self.poke.notify_one();
        match timeout_at(deadline, admitted).await {
            Ok(Ok(())) => {
                place.ticket = None;
                Ok(self.permit(core, false))
            }
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Err(Error::Deadline),
        }
    }

    fn permit(self: &Arc<Self>, core: usize, woke: bool) -> Permit {
        Permit {
            activator: self.clone(),
            core,
            woke,
        }
    }

    /// Changes how many requests may run at once.
    pub fn set_capacity(&self, capacity: Capacity) {
        let mut state = self.guard();
        state.at_zero = None;
        let admitted = state.breaker.set_capacity(capacity);
        for ticket in admitted {
            state.wake(ticket);
        }
    }

    /// There are no replicas: the next request gets this capacity by itself, without waiting for
    /// anybody. If requests wait already it is not given, and they have poked.
    pub fn sleep(&self, capacity: Capacity) {
        let mut state = self.guard();
        state.woken = false;
        state.at_zero = (state.breaker.waiting() == 0).then_some(capacity);
    }

    /// Whether a request gave itself the capacity of [`Activator::sleep`] since the last call.
    pub fn take_woken(&self) -> bool {
        std::mem::take(&mut self.guard().woken)
    }

    /// Changes how many requests may wait.
    pub fn set_queue(&self, queue: usize) {
        self.guard().breaker.set_max_waiting(queue);
    }

    /// Sends away who waits and who comes.
    pub fn stop(&self) {
        let mut state = self.guard();
        state.stopped = true;
        // Each leaves the queue by itself when it sees that nobody will answer it.
        state.waiting.clear();
    }

    /// Requests that run and requests that wait.
    #[must_use]
    pub fn load(&self) -> Load {
        let state = self.guard();
        Load {
            running: state.breaker.in_flight(),
            waiting: state.breaker.waiting(),
        }
    }

    /// Resolves when a request had to wait, or woke the revision, since the last call.
    ///
    /// # Cancel safety
    /// A poke is kept for the next call.
    pub async fn poked(&self) {
        self.poke.notified().await;
    }

    /// How much was asked of this revision since the last call.
    #[must_use]
    pub fn take_usage(&self) -> Used {
        let now = Instant::now();
        let taken = self.usage.iter().map(|shard| lock(&shard.0).take(now));
        taken.fold(Used::default(), |sum, used| sum + used)
    }

    fn usage(&self, core: usize) -> MutexGuard<'_, Usage> {
        lock(&self.usage[core % self.usage.len()].0)
    }

    fn release(&self, core: usize) {
        self.usage(core).end(Instant::now());
        if !self.change(Places::leave) {
            self.guard().release();
        }
    }

    /// Changes the word as `step` says; false when it is the breaker's to change.
    fn change(&self, step: impl Fn(Places) -> Option<Places>) -> bool {
        let step = |word| step(Places::from_word(word)).map(Places::word);
        self.places.fetch_update(AcqRel, Acquire, step).is_ok()
    }

    /// The breaker, while nobody else can change the places.
    fn guard(&self) -> Guard<'_> {
        let mut state = lock(&self.state);
        let word = self.places.fetch_or(Places::GUARDED, AcqRel);
        state.breaker.adopt(Places::from_word(word));
        Guard {
            places: &self.places,
            state,
        }
    }
}

/// The state under its lock; its drop lets requests change the places again if nobody waits.
struct Guard<'a> {
    places: &'a AtomicU64,
    state: MutexGuard<'a, State>,
}

impl Deref for Guard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let stays = if self.state.stopped {
            Places::GUARDED
        } else {
            0
        };
        let word = self.state.breaker.places().word() | stays;
        self.places.store(word, Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one revision has to do right now, in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub running: usize,
    pub waiting: usize,
}

impl Load {
    #[must_use]
    pub fn requests(self) -> usize {
        self.running + self.waiting
    }
}

impl State {
    fn wake(&mut self, ticket: Ticket) {
        let sender = self.waiting.remove(&ticket);
        // A receiver that is gone has a `Place` that gives the admission back: see its drop.
        if let Some(sender) = sender {
            let _ = sender.send(());
        }
    }

    /// Gives the capacity that was promised at zero; true if there was one.
    fn wake_from_zero(&mut self) -> bool {
        let Some(capacity) = self.at_zero.take() else {
            return false;
        };
        // Nobody waits at zero, or no capacity would have been promised.
        for ticket in self.breaker.set_capacity(capacity) {
            self.wake(ticket);
        }
        self.woken = true;
        true
    }

    fn release(&mut self) {
        if let Some(ticket) = self.breaker.release() {
            self.wake(ticket);
        }
    }
}

/// A place in the queue; dropping it leaves the queue.
struct Place<'a> {
    activator: &'a Activator,
    core: usize,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        self.activator.usage(self.core).end(Instant::now());
        let mut state = self.activator.guard();
        state.waiting.remove(&ticket);
        match state.breaker.cancel(ticket) {
            Cancelled::Removed => {}
            // Between its wake-up and this drop: somebody else may run instead.
            Cancelled::Admitted => state.release(),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.announce();
        self.activator.release(self.core);
    }
}

#[cfg(test)]
mod tests;
