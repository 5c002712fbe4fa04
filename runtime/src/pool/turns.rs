//! Guests take turns on the threads for those that compute.
//!
//! ```text
//! resting ─ woken ─▶ waiting ─ has a seat ─▶ a turn ─ stopped by an epoch ─▶ waiting
//!    ▲                  ▲                      ├─ used up its limit ─▶ paused ─▶ waiting
//!    └───────────────── │ ─────────────────────┴─ waits for something ─▶ resting
//! ```
//! There are as many seats as threads, so that no more guests compute than there are cores, and who
//! has the next one is `serve_core::turns`' decision. A turn is measured by the clock of its thread,
//! which stands still while the operating system has others run.
//!
//! The operating system has others run whenever they want to. Where short requests want to all the
//! time, the threads that serve them stand still now and then ([`Seats::leave_room`]).
//!
//! Invariants: a seat is given back by its drop, however the turn ended; nobody is woken under the
//! lock, and no thread that serves requests takes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serve_core::cpu::{self, Background};
use serve_core::turns::{Party, Turns};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, Sleep};

use super::{Inner, lock};
use crate::engine::{Error, Link};

/// How long a turn takes, about: an epoch stops it.
const TURN: Duration = Duration::from_millis(2);

/// How often it is looked whether guests that compute get too little.
const ROUND: Duration = Duration::from_millis(10);

/// The seats of all pools.
#[derive(Debug)]
pub(super) struct Seats {
    turns: Mutex<Turns<oneshot::Sender<Seat>>>,
    count: usize,
    seen: Seen,
}

/// What the threads that serve requests may know: they must not wait for a lock whose holder runs
/// only when they do not.
#[derive(Debug, Default)]
struct Seen {
    /// CPU time of all turns that ended, in nanoseconds.
    computed: AtomicU64,
    /// Guests that have a seat.
    taken: AtomicUsize,
    /// What those weigh that have one or wait for one.
    weight: AtomicU64,
    /// Guests that have been moved here and have not ended.
    guests: AtomicUsize,
    /// One more was. Told and heard by threads that serve requests alone.
    moved: Notify,
}

/// The right to compute for one turn.
#[derive(Debug)]
pub(super) struct Seat {
    /// None when the seat was given back already.
    seats: Option<Arc<Seats>>,
    id: u64,
    used: Duration,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(seats) = self.seats.take() {
            let nanoseconds = u64::try_from(self.used.as_nanos()).unwrap_or(u64::MAX);
            seats.seen.computed.fetch_add(nanoseconds, Relaxed);
            seats.change(|turns| turns.end(self.id, self.used));
            seats.give();
        }
    }
}

impl Seats {
    pub(super) fn new(count: usize) -> Arc<Seats> {
        Arc::new(Seats {
            turns: Mutex::new(Turns::new(count, TURN)),
            count,
            seen: Seen::default(),
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Turns<oneshot::Sender<Seat>>) -> T) -> T {
        let mut turns = lock(&self.turns);
        let result = change(&mut turns);
        self.seen.taken.store(turns.taken(), Relaxed);
        self.seen.weight.store(turns.weight(), Relaxed);
        result
    }

    /// Has the thread that polls this stand still from time to time, by `stand_still`, when guests
    /// that compute get too little. Each thread that serves requests runs it; never ends.
    pub(super) async fn leave_room(self: Arc<Self>, mut stand_still: impl FnMut(Duration)) {
        loop {
            let seen = &self.seen;
            let mut moved = std::pin::pin!(seen.moved.notified());
            moved.as_mut().enable();
            if seen.guests.load(Acquire) == 0 {
                moved.await;
            }
            let (began, before) = (Instant::now(), seen.computed.load(Relaxed));
            tokio::time::sleep(ROUND).await;
            let computed = seen.computed.load(Relaxed).wrapping_sub(before);
            let background = Background {
                passed: began.elapsed(),
                computed: Duration::from_nanos(computed),
                guests: seen.taken.load(Relaxed),
                requested: seen.weight.load(Relaxed),
            };
            if let Some(gap) = cpu::stand_back(&background, self.count) {
                stand_still(gap.min(ROUND));
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.seen.taken.load(Relaxed) >= self.count
    }

    fn ask(self: &Arc<Self>, party: Party) -> oneshot::Receiver<Seat> {
        let (give, seat) = oneshot::channel();
        self.change(|turns| turns.ask(party, give));
        self.give();
        seat
    }

    /// Gives seats until all are taken or nobody waits.
    fn give(self: &Arc<Self>) {
        loop {
            let Some((id, ticket)) = self.change(Turns::give) else {
                return;
            };
            let seat = Seat {
                seats: Some(self.clone()),
                id,
                used: Duration::ZERO,
            };
            if let Err(mut seat) = ticket.send(seat) {
                // Who asked is gone. Not by its drop, which would come here again for each of many.
                seat.seats = None;
                self.change(|turns| turns.end(id, Duration::ZERO));
            }
        }
    }
}

/// A guest that computes only when it has a seat.
pub(super) struct InTurn<F> {
    future: F,
    _guest: Moved,
    pool: Arc<Inner>,
    link: Arc<Link>,
    seats: Arc<Seats>,
    stage: Stage,
}

/// Counts one guest until it has ended.
struct Moved(Arc<Seats>);

impl Moved {
    fn new(seats: &Arc<Seats>) -> Moved {
        seats.seen.guests.fetch_add(1, AcqRel);
        seats.seen.moved.notify_waiters();
        Moved(seats.clone())
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        self.0.seen.guests.fetch_sub(1, AcqRel);
    }
}

enum Stage {
    Resting,
    Waiting(oneshot::Receiver<Seat>),
    Paused(Pin<Box<Sleep>>),
}

impl<F> InTurn<F>
where
    F: Future<Output = Result<(), Error>> + Unpin,
{
    pub(super) fn new(
        future: F,
        pool: Arc<Inner>,
        link: Arc<Link>,
        seats: Arc<Seats>,
    ) -> InTurn<F> {
        InTurn {
            future,
            _guest: Moved::new(&seats),
            pool,
            link,
            seats,
            stage: Stage::Resting,
        }
    }

    fn wait(&self) -> Stage {
        Stage::Waiting(self.seats.ask(self.pool.options.cpu.party()))
    }

    /// One turn; on `Pending` the stage is what comes next.
    fn compute(&mut self, mut seat: Seat, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let preempted = self.link.preempted();
        let clock = CpuClock::start();
        let polled = Pin::new(&mut self.future).poll(cx);
        let whole = clock.began.elapsed();
        seat.used = clock.elapsed();
        self.link.add_computed(seat.used);
        let nanoseconds = u64::try_from(seat.used.as_nanos()).unwrap_or(u64::MAX);
        self.pool.counts.computed.fetch_add(nanoseconds, Relaxed);
        if polled.is_ready() {
            return polled;
        }
        // Cores are wanted when all seats are taken, and when the operating system had others run
        // for more than a little of the time.
        let is_busy = self.seats.is_busy() || whole > seat.used + seat.used / 4;
        self.stage = if let Some(pause) = self.pool.options.cpu.spend(seat.used, is_busy) {
            Stage::Paused(Box::pin(tokio::time::sleep(pause)))
        } else if self.link.preempted() == preempted {
            Stage::Resting
        } else {
            // Before its seat is free: it is one of those among whom the next one is chosen.
            self.wait()
        };
        Poll::Pending
    }
}

impl<F> Future for InTurn<F>
where
    F: Future<Output = Result<(), Error>> + Unpin,
{
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::Resting => this.stage = this.wait(),
                Stage::Paused(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.stage = this.wait();
                }
                Stage::Waiting(seat) => {
                    // The seats are there as long as this is.
                    let Ok(seat) = ready!(Pin::new(seat).poll(cx)) else {
                        return Poll::Ready(Err(Error::Gone));
                    };
                    let polled = this.compute(seat, cx);
                    if polled.is_pending() && !matches!(this.stage, Stage::Resting) {
                        // After the tasks beside it; an end of the call is noticed between.
                        cx.waker().wake_by_ref();
                    }
                    return polled;
                }
            }
        }
    }
}

/// The CPU time of this thread from its start on; where the operating system does not tell it, the
/// time that passes.
pub(super) struct CpuClock {
    began: Instant,
    thread: Option<Duration>,
}

impl CpuClock {
    pub(super) fn start() -> CpuClock {
        CpuClock {
            began: Instant::now(),
            thread: thread_time(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        match (self.thread, thread_time()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => self.began.elapsed(),
        }
    }
}

/// CPU time of this thread, where the operating system tells it.
fn thread_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(time).ok()
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PARTY: Party = Party { id: 1, weight: 2 };

    /// For how long a thread stands still over 100 rounds, in each of which guests compute so much.
    async fn stands_still(seats: &Arc<Seats>, computed: Duration) -> Duration {
        let total = Cell::new(Duration::ZERO);
        let room = seats.clone().leave_room(|gap| total.set(total.get() + gap));
        let rounds = async {
            for _ in 0..100 {
                tokio::time::sleep(ROUND).await;
                let nanoseconds = u64::try_from(computed.as_nanos()).expect("short");
                seats.seen.computed.fetch_add(nanoseconds, Relaxed);
            }
        };
        tokio::select! {
            biased;
            () = room => {}
            () = rounds => {}
        }
        total.get()
    }

    #[tokio::test(start_paused = true)]
    async fn threads_stand_still_for_guests_that_get_nothing() {
        let seats = Seats::new(2);
        assert_eq!(stands_still(&seats, Duration::ZERO).await, Duration::ZERO);
        let guest = Moved::new(&seats);
        let seat = seats.ask(PARTY).await.expect("one is free");
        let starving = stands_still(&seats, Duration::ZERO).await;
        // A twentieth of each of two threads; a round is a little longer than it is wanted to be.
        let want = Duration::from_millis(50);
        assert!(
            starving > want * 9 / 10 && starving < want * 3 / 2,
            "{starving:?}"
        );
        let fed = stands_still(&seats, ROUND / 5).await;
        assert!(fed < starving / 10, "{fed:?}");
        drop(seat);
        let waiting = stands_still(&seats, Duration::ZERO).await;
        assert_eq!(waiting, Duration::ZERO, "it waits for something");
        drop(guest);
    }

    #[tokio::test]
    async fn a_seat_goes_to_the_next_that_still_wants_it() {
        let seats = Seats::new(1);
        let first = seats.ask(PARTY).await.expect("it is free");
        let gone: Vec<_> = (0..100_000).map(|_| seats.ask(PARTY)).collect();
        let last = seats.ask(PARTY);
        drop(gone);
        drop(first);
        assert!(last.await.is_ok());
        assert_eq!(lock(&seats.turns).taken(), 0);
    }
}
