//! The instances of one revision: who is running, who is idle, who may be started.
//!
//! Input is a request and the number of the core that took it; output is the guest's response,
//! whose body still belongs to the call. The pool owns every store from its start to its end.
//!
//! ```text
//!            lease (count taken)          call                 guest returned, body read
//! idle ───────────────▶ reserved ────────▶ running ───────────────────────────▶ idle
//!   │ too long, too many,   │ full: Error::Full   │ trap, time-out, caller gone,
//!   ▼ scale to zero         ▼                     ▼ leftovers, used up
//! dropped                                      dropped
//! ```
//! Invariants: `live` counts every instance that is idle, running or being started, and never
//! exceeds [`Options::instances`]; an instance is idle only after its last response was read or
//! dropped; no lock is held across an `await`; the pool starts no thread, and its tasks end with it.

mod call;
mod driver;
mod heavy;
pub mod lane;
mod options;
mod pressure;
mod replica;
mod shared;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serve_core::breaker::Capacity;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

pub use self::call::Timeouts;
pub use self::heavy::Heavy;
pub use self::lane::Turn;
pub use self::options::{Counts, Isolation, Options};
pub use self::pressure::Pressure;
pub use self::replica::{Launcher, Source};
use crate::body::Body;
use crate::engine::{Call, Calls, Component, Error, Link};

/// How long a request waits for the end of others' instances before it asks for a place again.
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(2);

/// A future of a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts instances: the seam between pool and engine, and the one trait that exists for tests.
pub trait Launch: Send + Sync + 'static {
    /// Starts an instance; `id` is its name in logs.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    fn launch(&self, id: u64) -> Boxed<'_, Result<Box<dyn Guest>, Error>>;

    /// Loads what `launch` needs, unless it is there. Loading may compile: no limit on the start of
    /// an instance counts it.
    fn load(&self) -> Option<Boxed<'_, Result<(), Error>>> {
        None
    }

    /// Learns how many replicas there are to be.
    fn scaled(&self, _replicas: usize) {}

    /// Lets go of what was loaded; the next `load` loads it again.
    fn unload(&self) {}
}

/// How a call ended, with the instance if it can take another.
pub type Ended = (Option<Box<dyn Guest>>, Result<(), Error>);

/// A started instance.
pub trait Guest: Send + 'static {
    /// Runs one call to its end and gives the instance back if it can take another.
    fn run(self: Box<Self>, call: Call) -> Boxed<'static, Ended>;

    /// Runs calls beside each other until the queue ends.
    /// Marks `link` as failed before anything that the calls hold is dropped.
    fn drive(self: Box<Self>, calls: Calls, link: Arc<Link>) -> Boxed<'static, Result<(), Error>>;

    /// Bytes that the instance keeps while it is idle.
    fn memory_bytes(&self) -> usize;

    /// What it runs: an instance that takes several calls gets no more when there is better code.
    fn code(&self) -> Option<Component> {
        None
    }
}

/// The instances of one revision; cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    launch: Arc<dyn Launch>,
    options: Options,
    counts: Arc<Counts>,
    shards: Box<[Shard]>,
    next_id: AtomicU64,
    /// Instances with a lower number are not kept: their replica was restarted.
    oldest_kept: AtomicU64,
    /// False at zero: nothing becomes idle, and code is let go when the last instance is.
    open: AtomicBool,
    /// The last call that computed for long did so not long ago: the next begins where it belongs.
    computes: AtomicBool,
    /// Whether the task that drops old idle instances runs.
    evicting: AtomicBool,
    /// Calls whose caller is gone, and drivers: all that outlives a caller's future.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
#[repr(align(128))]
struct Shard {
    /// The newest at the back: it is taken first, its memory is still in the caches.
    idle: Mutex<VecDeque<Idle>>,
    shared: Mutex<Vec<Arc<shared::Driver>>>,
}

struct Idle {
    held: Held,
    since: Instant,
}

/// An instance with the count that it stands for.
struct Held {
    guest: Box<dyn Guest>,
    id: u64,
    calls: u32,
    slot: Slot,
}

/// One of the pool's `live` instances, and its part of what may be kept.
struct Slot {
    counts: Arc<Counts>,
    /// Bytes that are counted as kept. An instance stays counted while it runs again, so that a
    /// request that finds one and gives it back writes nothing that other cores read.
    kept: Option<usize>,
}

impl Slot {
    /// Counts `bytes` as kept by this instance; false when `options` have no room for them.
    fn keep(&mut self, bytes: usize, options: &Options) -> bool {
        if self.kept == Some(bytes) {
            return true;
        }
        let counts = &self.counts;
        if self.kept.is_none() && !replace(&counts.kept, 0, 1, options.idle_instances) {
            return false;
        }
        // From here on the drop takes back what is counted.
        let before = *self.kept.get_or_insert(0);
        let fits = replace(&counts.kept_bytes, before, bytes, options.idle_bytes);
        if fits {
            self.kept = Some(bytes);
        }
        fits
    }
}

/// Counts `more` in the place of `less`, unless the sum would be above `limit`.
fn replace(count: &AtomicUsize, less: usize, more: usize, limit: usize) -> bool {
    let next = |now: usize| {
        let next = now.saturating_sub(less).saturating_add(more);
        (next <= limit).then_some(next)
    };
    count.fetch_update(Relaxed, Relaxed, next).is_ok()
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(bytes) = self.kept {
            self.counts.kept.fetch_sub(1, Relaxed);
            self.counts.kept_bytes.fetch_sub(bytes, Relaxed);
        }
        if self.counts.live.fetch_sub(1, AcqRel) == 1 {
            self.counts.empty.notify_waiters();
        }
    }
}

/// The right to run one call: an idle instance, or a place for a new one.
pub struct Lease {
    pool: Pool,
    shard: usize,
    /// Taken by the call; what is left at the drop goes back.
    from: Option<From>,
}

enum From {
    Idle(Held),
    New(Slot),
    Shared(shared::Seat),
    NewShared(Slot),
}

impl Pool {
    /// A pool without instances.
    pub fn new(launch: Arc<dyn Launch>, mut options: Options) -> Pool {
        if options.isolation == Isolation::Request {
            options.calls_per_instance = 1;
        }
        let shards = (0..options.shards.max(1))
            .map(|_| Shard::default())
            .collect();
        let inner = Inner {
            launch,
            options,
            counts: Arc::default(),
            shards,
            next_id: AtomicU64::new(0),
            oldest_kept: AtomicU64::new(0),
            open: AtomicBool::new(true),
            computes: AtomicBool::new(false),
            evicting: AtomicBool::new(false),
            tasks: Mutex::default(),
        };
        let pool = Pool {
            inner: Arc::new(inner),
        };
        pool.inner.options.pressure.join(&pool);
        pool
    }

    /// The pool's numbers.
    pub fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    /// How many instances wait for a call.
    #[must_use]
    pub fn idle(&self) -> usize {
        let shards = self.inner.shards.iter();
        shards.map(|shard| lock(&shard.idle).len()).sum()
    }

    /// Takes an idle instance of `shard`, or a place for a new one.
    ///
    /// # Errors
    /// [`Error::Full`] when as many instances run as may.
    pub fn lease(&self, shard: usize) -> Result<Lease, Error> {
        let shard = shard % self.inner.shards.len();
        let from = match self.inner.options.calls_per_instance {
            0 | 1 => self
                .inner
                .take(shard)
                .map(From::Idle)
                .or_else(|| self.inner.slot().map(From::New)),
            _ => self
                .inner
                .seat(shard)
                .map(From::Shared)
                .or_else(|| self.inner.slot().map(From::NewShared)),
        };
        let from = from
            .or_else(|| self.inner.take_elsewhere(shard).map(From::Idle))
            .ok_or(Error::Full)?;
        Ok(Lease {
            pool: self.clone(),
            shard,
            from: Some(from),
        })
    }

    /// Waits until a call that came at `now` may begin on this thread, which it may at once where
    /// the thread keeps up: then there is no turn. See [`lane`].
    ///
    /// # Errors
    /// [`Error::Timeout`] at `deadline`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue.
    pub async fn turn(&self, now: Instant, deadline: Instant) -> Result<Option<Turn>, Error> {
        let Some(turn) = lane::ask(|| self.inner.options.cpu.party(), now) else {
            return Ok(None);
        };
        match timeout_at(deadline, turn).await {
            // Its lane is gone only with the thread.
            Ok(turn) => Ok(turn.ok()),
            Err(_) => Err(call::timed_out(&self.inner)),
        }
    }

    /// Starts one instance and keeps it if instances are reused: a revision is ready when this was.
    ///
    /// # Errors
    /// Those of the launch, and [`Error::Full`].
    pub async fn warm(&self) -> Result<(), Error> {
        let slot = self.inner.slot().ok_or(Error::Full)?;
        let held = self.inner.launch(slot).await?;
        if self.inner.options.calls_per_instance <= 1 {
            self.inner.keep(0, held);
        }
        Ok(())
    }

    /// Tells the pool how many replicas there are to be. At zero it drops what is idle, keeps
    /// nothing that becomes idle, and lets go of the code; running calls end as they would.
    pub fn set_target(&self, replicas: usize) {
        self.inner.open.store(replicas > 0, Relaxed);
        self.inner.launch.scaled(replicas);
        if replicas == 0 {
            self.clear();
            self.inner.launch.unload();
        }
    }

    /// How many calls the pool can run at once.
    #[must_use]
    pub fn most_calls(&self) -> usize {
        let options = &self.inner.options;
        options
            .instances
            .saturating_mul(options.calls_per_instance.max(1))
    }

    /// What so many replicas take at once, as far as there can be instances for it: requests beyond
    /// that wait, where a guest could only refuse them.
    #[must_use]
    pub fn capacity(&self, replicas: u32, container_concurrency: u32) -> Capacity {
        let most = self.most_calls();
        match Capacity::of(replicas, container_concurrency) {
            Capacity::Limited(places) => Capacity::Limited(places.min(most)),
            Capacity::Unlimited => Capacity::Limited(most),
        }
    }

    /// Uses none of the instances of now for another call: those that are idle go at once, the
    /// others when their calls have ended.
    pub fn restart(&self) {
        let next = self.inner.next_id.load(Acquire);
        self.inner.oldest_kept.store(next, Release);
        self.clear();
    }

    /// Drops all idle instances.
    pub fn clear(&self) {
        for shard in &self.inner.shards {
            let idle = std::mem::take(&mut *lock(&shard.idle));
            // The stores go outside the lock.
            drop(idle);
            // Each ends when its last caller has gone.
            let drivers = std::mem::take(&mut *lock(&shard.shared));
            for driver in drivers {
                driver.retire();
            }
        }
    }

    /// Waits until no instance is left, after `set_target(0)`.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn drained(&self) {
        loop {
            let mut empty = std::pin::pin!(self.inner.counts.empty.notified());
            empty.as_mut().enable();
            if self.inner.counts.live.load(Acquire) == 0 {
                return;
            }
            empty.await;
        }
    }
}

impl Lease {
    /// Runs `request` in the leased instance; resolves with the head of the response.
    ///
    /// # Errors
    /// Every way in which a guest fails before the head of its response, and [`Error::Timeout`].
    ///
    /// # Cancel safety
    /// Dropping the future, or later the body of the response, ends the call: the guest gets
    /// [`Options::grace`] to notice that its streams are closed, then its instance is dropped.
    pub async fn call(
        mut self,
        request: http::Request<Body>,
        timeouts: Timeouts,
    ) -> Result<http::Response<Body>, Error> {
        let (inner, shard) = (self.pool.inner.clone(), self.shard);
        let from = self.from.take();
        drop(self);
        match from.ok_or(Error::Gone)? {
            From::Idle(held) => {
                call::run(inner, shard, call::Stage::Started(held), request, timeouts).await
            }
            From::New(slot) => {
                call::run(inner, shard, call::Stage::Reserved(slot), request, timeouts).await
            }
            From::Shared(seat) => {
                shared::run(&inner, seat, request, call::Clock::new(timeouts)).await
            }
            From::NewShared(slot) => {
                shared::start_and_run(&inner, shard, slot, request, timeouts).await
            }
        }
    }
}

impl Drop for Lease {
    /// An instance that was leased and not called is idle again.
    fn drop(&mut self) {
        if let Some(From::Idle(held)) = self.from.take() {
            self.pool.inner.keep(self.shard, held);
        }
    }
}

impl Inner {
    /// A place for one more instance.
    fn slot(&self) -> Option<Slot> {
        let one_more = |live| (live < self.options.instances).then_some(live + 1);
        self.counts
            .live
            .fetch_update(AcqRel, Relaxed, one_more)
            .ok()?;
        Some(Slot {
            counts: self.counts.clone(),
            kept: None,
        })
    }

    fn take(&self, shard: usize) -> Option<Held> {
        let entry = lock(&self.shards[shard].idle).pop_back()?;
        Some(entry.held)
    }

    /// An idle instance of another core, when there is no place for a new one.
    fn take_elsewhere(&self, shard: usize) -> Option<Held> {
        let count = self.shards.len();
        (1..count).find_map(|step| self.take((shard + step) % count))
    }

    async fn launch(&self, slot: Slot) -> Result<Held, Error> {
        if let Some(loading) = self.launch.load() {
            loading.await?;
        }
        let id = self.next_id.fetch_add(1, Relaxed);
        let start = tokio::time::timeout(self.options.start, self.try_launch(id)).await;
        let guest = start
            .unwrap_or_else(|_| {
                let limit = self.options.start;
                Err(Error::Start(format!("it took longer than {limit:?}")))
            })
            .inspect_err(|error| {
                // A full engine is ordinary: the request waits or is told so.
                if !matches!(error, Error::Full) {
                    let revision = &*self.options.revision;
                    tracing::warn!(revision, %error, "an instance does not start");
                }
            })?;
        self.counts.started.fetch_add(1, Relaxed);
        Ok(Held {
            guest,
            id,
            calls: 0,
            slot,
        })
    }

    /// Starts an instance; a full engine is asked again after idle instances made room.
    async fn try_launch(&self, id: u64) -> Result<Box<dyn Guest>, Error> {
        // Others can take the room that was made: ask some more times, then say so.
        const TRIES: usize = 16;
        for _ in 1..TRIES {
            match self.launch.launch(id).await {
                Err(Error::Full) => {
                    // Nothing was idle, or somebody else was faster and is making room just now.
                    if self.options.pressure.relieve().await == 0 {
                        tokio::time::sleep(PAUSE_WHEN_FULL).await;
                    }
                }
                launched => return launched,
            }
        }
        self.launch.launch(id).await
    }

    /// Makes an instance idle, or drops it when it should not live on.
    fn keep(self: &Arc<Self>, shard: usize, mut held: Held) {
        let (options, counts) = (&self.options, &self.counts);
        if options.isolation == Isolation::Request && held.calls > 0 {
            return;
        }
        let bytes = held.guest.memory_bytes();
        let fits = held.calls < options.calls
            && held.id >= self.oldest_kept.load(Acquire)
            && held.slot.keep(bytes, options);
        if !fits {
            counts.discarded.fetch_add(1, Relaxed);
            return;
        }
        lock(&self.shards[shard].idle).push_back(Idle {
            held,
            since: Instant::now(),
        });
        if !self.open.load(Relaxed) {
            // Scaled to zero meanwhile: whoever cleared the lists may have missed this one.
            Pool {
                inner: self.clone(),
            }
            .clear();
            return;
        }
        driver::wake(self);
    }

    /// Runs `task` until it ends or the pool is dropped.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &runtime);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
