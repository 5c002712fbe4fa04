//! Where guests go on that compute for long, so that they take nothing from requests that do not.
//!
//! ```text
//! the thread that serves the request          threads of low priority
//!   runs ── preempted, then computes on ─────▶ goes on ── ends ─▶ its caller is woken
//!   (a pool whose last call did so) ─────────▶ runs from the start
//! ```
//! That an epoch finds a guest at work says little on a busy machine, whose epochs pass while others
//! run: from then on the clock of the thread tells what it computes.
//!
//! A guest that computes is stopped by each epoch, but a thread that then serves the others for some
//! microseconds and the guest for another epoch is the guest's nearly all the time. The operating
//! system divides time better: the call moves, with its store, to a thread that runs when nobody
//! else wants to. Its caller stays where it is and waits for the response, as before.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;

use super::turns::{CpuClock, InTurn, Seats};
use super::{Inner, lane};
use crate::engine::{Error, Link};
use crate::priority;

/// A guest that computed for so long, an epoch, after one had stopped it does not belong among short
/// requests.
const LONG: Duration = Duration::from_millis(2);

/// The threads for guests that compute. Cheap to clone; without threads guests stay where they are.
#[derive(Clone, Debug, Default)]
pub struct Heavy(Arc<Threads>);

#[derive(Debug, Default)]
struct Threads {
    started: AtomicBool,
    runtime: Mutex<Option<(Runtime, Arc<Seats>)>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some((runtime, _)) = self
            .runtime
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            // A runtime must not be waited for where another one runs.
            runtime.shutdown_background();
        }
    }
}

impl Heavy {
    /// Starts so many threads, once; returns whether this call did.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start(&self, threads: usize) -> std::io::Result<bool> {
        let mut runtime = self.lock();
        if threads > 0 && runtime.is_none() {
            let started = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name("serve-heavy")
                .enable_all()
                // A task here is polled for milliseconds: who comes from outside, and timers, are
                // looked at after each, not after some dozens.
                .global_queue_interval(1)
                .event_interval(1)
                .on_thread_start(priority::yield_to_all)
                .build()?;
            *runtime = Some((started, Seats::new(threads)));
            self.0.started.store(true, Relaxed);
            return Ok(true);
        }
        Ok(false)
    }

    /// Each thread that serves requests runs this beside them: it stands still now and then where
    /// guests that compute get too little otherwise.
    pub async fn leave_room(&self) {
        if let Some((_, seats)) = self.place() {
            // Blocking is what it is for.
            seats.leave_room(std::thread::sleep).await;
        }
    }

    /// Ends the threads; what still runs on them ends at its next epoch.
    pub fn stop(&self) {
        self.0.started.store(false, Relaxed);
        if let Some((runtime, _)) = self.lock().take() {
            runtime.shutdown_background();
        }
    }

    fn place(&self) -> Option<(Handle, Arc<Seats>)> {
        // Nearly always there is nothing to look for.
        if !self.0.started.load(Relaxed) {
            return None;
        }
        let place = self.lock();
        let (runtime, seats) = place.as_ref()?;
        Some((runtime.handle().clone(), seats.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Runtime, Arc<Seats>)>> {
        self.0
            .runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guest at work, which moves when it computes for long.
pub(super) struct Work<F> {
    inner: Arc<Inner>,
    link: Arc<Link>,
    place: Place<F>,
}

enum Place<F> {
    Here(F),
    There(JoinHandle<Result<(), Error>>),
    Ended,
}

impl<F> Work<F>
where
    F: Future<Output = Result<(), Error>> + Send + Unpin + 'static,
{
    /// Begins where it is polled; elsewhere if the pool's guests have lately computed for long.
    pub(super) fn begin(inner: &Arc<Inner>, link: Arc<Link>, future: F) -> Work<F> {
        let mut work = Work {
            inner: inner.clone(),
            link,
            place: Place::Here(future),
        };
        if inner.computes.load(Relaxed) {
            work.leave();
        }
        work
    }

    pub(super) fn pool(&self) -> &Arc<Inner> {
        &self.inner
    }

    fn leave(&mut self) {
        let Some((threads, seats)) = self.inner.options.heavy.place() else {
            return;
        };
        if let Place::Here(future) = std::mem::replace(&mut self.place, Place::Ended) {
            self.link.measure();
            let in_turn = InTurn::new(future, self.inner.clone(), self.link.clone(), seats);
            self.place = Place::There(threads.spawn(in_turn));
            self.inner.counts.moved.fetch_add(1, Relaxed);
        }
    }
}

impl<F> Future for Work<F>
where
    F: Future<Output = Result<(), Error>> + Send + Unpin + 'static,
{
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let work = &mut *self;
        if let Place::Here(future) = &mut work.place {
            let before = work.link.preempted();
            // Reading the clock takes a part of a short call: only when an epoch was one's own.
            let clock = (before > 0).then(CpuClock::start);
            let party = || work.inner.options.cpu.party();
            let polled = lane::charged(party, || Pin::new(future).poll(cx));
            if let Some(clock) = clock {
                work.link.add_computed(clock.elapsed());
            }
            if work.link.preempted() == before {
                // It waits for something: what it computed until now was not long.
                work.link.rested();
            }
            if polled.is_ready() || work.link.computed() < LONG {
                return polled;
            }
            work.inner.computes.store(true, Relaxed);
            work.leave();
        }
        match &mut work.place {
            Place::Here(_) => Poll::Pending,
            Place::There(task) => {
                let ended = std::task::ready!(Pin::new(task).poll(cx));
                work.place = Place::Ended;
                if work.link.computed() < LONG {
                    // It did not need to be here, nor does the next one.
                    work.inner.computes.store(false, Relaxed);
                }
                Poll::Ready(ended.unwrap_or(Err(Error::Gone)))
            }
            Place::Ended => Poll::Ready(Err(Error::Gone)),
        }
    }
}

impl<F> Drop for Work<F> {
    fn drop(&mut self) {
        if let Place::There(task) = &self.place {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::thread::ThreadId;

    use super::*;
    use crate::engine::{Call, Calls};
    use crate::pool::{Boxed, Ended, Guest, Launch, Options, Pool};

    struct Nothing;

    impl Launch for Nothing {
        fn launch(&self, _id: u64) -> Boxed<'_, Result<Box<dyn Guest>, Error>> {
            Box::pin(async { Ok(Box::new(Nothing) as Box<dyn Guest>) })
        }
    }

    impl Guest for Nothing {
        fn run(self: Box<Self>, _call: Call) -> Boxed<'static, Ended> {
            Box::pin(async { (None, Ok(())) })
        }

        fn drive(
            self: Box<Self>,
            _calls: Calls,
            _link: Arc<Link>,
        ) -> Boxed<'static, Result<(), Error>> {
            Box::pin(async { Ok(()) })
        }

        fn memory_bytes(&self) -> usize {
            0
        }
    }

    fn pool(heavy: &Heavy) -> Pool {
        let options = Options {
            heavy: heavy.clone(),
            ..Options::default()
        };
        Pool::new(Arc::new(Nothing), options)
    }

    /// Runs a guest that computes for so many epochs, with a rest after each `rest`; returns where
    /// it ended.
    async fn compute(pool: &Pool, epochs: u32, rest: u32) -> ThreadId {
        run(pool, epochs, rest, LONG).await
    }

    /// The same, of a guest that has its core for so long in each epoch.
    async fn run(pool: &Pool, epochs: u32, rest: u32, has: Duration) -> ThreadId {
        let link = Arc::new(Link::default());
        let (of_guest, mut left) = (link.clone(), epochs);
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        let guest = poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            if left == 0 {
                if let Some(tell) = tell.take() {
                    let _ = tell.send(std::thread::current().id());
                }
                return Poll::Ready(Ok(()));
            }
            left -= 1;
            if rest == 0 || left % rest != 0 {
                // As it is measured: from the second epoch on.
                if of_guest.preempted() > 0 {
                    of_guest.add_computed(has);
                }
                of_guest.preempt();
            }
            Poll::Pending
        });
        let ended = Work::begin(&pool.inner, link, guest).await;
        assert!(ended.is_ok());
        told.await.expect("it told where it ended")
    }

    #[tokio::test]
    async fn a_guest_that_computes_moves_and_the_next_begins_there() {
        let heavy = Heavy::default();
        heavy.start(1).expect("started");
        let (pool, here) = (pool(&heavy), std::thread::current().id());
        let moved = || pool.counts().moved.load(Relaxed);
        assert_eq!(compute(&pool, 0, 0).await, here);
        assert_eq!(compute(&pool, 1, 0).await, here, "one epoch can be chance");
        assert_ne!(compute(&pool, 9, 0).await, here);
        assert_ne!(compute(&pool, 9, 0).await, here);
        assert_eq!(moved(), 2);
        assert_ne!(
            compute(&pool, 0, 0).await,
            here,
            "the pool's guests compute"
        );
        assert_eq!(compute(&pool, 0, 0).await, here, "no longer");
        assert_eq!(moved(), 3);
        heavy.stop();
    }

    #[tokio::test]
    async fn a_guest_that_rests_between_stays() {
        let heavy = Heavy::default();
        heavy.start(1).expect("started");
        let (pool, here) = (pool(&heavy), std::thread::current().id());
        assert_eq!(compute(&pool, 100, 2).await, here);
        heavy.stop();
    }

    #[tokio::test]
    async fn a_guest_that_only_waits_for_its_core_stays() {
        let heavy = Heavy::default();
        heavy.start(1).expect("started");
        let (pool, here) = (pool(&heavy), std::thread::current().id());
        assert_eq!(run(&pool, 100, 0, Duration::ZERO).await, here);
        heavy.stop();
    }

    #[tokio::test]
    async fn without_threads_guests_stay() {
        let (pool, here) = (pool(&Heavy::default()), std::thread::current().id());
        assert_eq!(compute(&pool, 100, 0).await, here);
    }
}
