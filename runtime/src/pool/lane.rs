//! In which order short calls go on where a thread has more of them than it can do at once.
//!
//! ```text
//!            the thread keeps up, or works for one Revision
//! a call ───────────────────────────────────────────────────────────▶ runs
//!   └ it is behind ─▶ waits ─ [`run`] gives the next turn, ─▶ its turn: until the guest
//!                             when what came in was looked at        waits for something
//! ```
//! A thread runs one guest at a time anyway, in the order in which their requests came; where that is
//! more than it can do, whoever sends most gets most. `serve_core::turns` orders them by what their
//! Revisions request instead, and `serve_core::pace` says when. What a guest computes after its turn
//! is counted against its Revision's next turns.
//!
//! Only the threads of the data plane have a lane; nobody waits for one of another thread. Time is
//! that of the wall: its clock takes a thirtieth of the time that the thread's own does, and what the
//! operating system has others run meets all Revisions alike.
//!
//! Invariants: a turn is given back by its drop, however it ended; nobody is woken under the lock.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use serve_core::cpu::WINDOW;
use serve_core::pace::Pace;
use serve_core::turns::{Party, Turns};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::lock;

/// How long a turn takes, about.
const TURN: Duration = Duration::from_micros(100);

thread_local! {
    static LANE: RefCell<Option<Arc<Lane>>> = const { RefCell::new(None) };
    static METER: Cell<Meter> = const { Cell::new(Meter::Off) };
}

/// Whether what a guest computes on this thread is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meter {
    /// Nobody has to know.
    Off,
    On,
    /// Somebody further up measures.
    Runs,
}

/// The calls of one thread.
#[derive(Debug)]
struct Lane {
    state: Mutex<State>,
    /// A turn is over, or somebody waits where nobody did.
    next: Notify,
}

#[derive(Debug)]
struct State {
    began: Instant,
    pace: Pace,
    /// Since when the thread has nothing to do.
    rests: Option<Instant>,
    /// Whose call was the last, and since when all are of one Revision.
    last: Option<u64>,
    mixed: Instant,
    turns: Turns<oneshot::Sender<Turn>>,
}

/// The right of one call to begin.
#[derive(Debug)]
pub struct Turn {
    lane: Arc<Lane>,
    id: u64,
    used: Duration,
}

impl Drop for Turn {
    fn drop(&mut self) {
        lock(&self.lane.state).turns.end(self.id, self.used);
        self.lane.next.notify_one();
    }
}

impl Lane {
    fn new() -> Lane {
        let now = Instant::now();
        Lane {
            state: Mutex::new(State {
                began: now,
                pace: Pace::default(),
                rests: None,
                last: None,
                mixed: now,
                turns: Turns::new(1, TURN),
            }),
            next: Notify::new(),
        }
    }

    /// Gives the next turn unless there is one.
    fn give(self: &Arc<Self>) {
        loop {
            let Some((id, ticket)) = lock(&self.state).turns.give() else {
                return;
            };
            let turn = Turn {
                lane: self.clone(),
                id,
                used: Duration::ZERO,
            };
            // Who asked may be gone: the turn ends with it, and the next one has it.
            if ticket.send(turn).is_ok() {
                return;
            }
        }
    }
}

impl State {
    /// Whether this call, that came at `now`, has to wait for its turn.
    fn has_to_wait(&mut self, party: Party, now: Instant) -> bool {
        if self.last != Some(party.id) {
            self.last = Some(party.id);
            self.mixed = now;
        }
        let is_behind = self.pace.is_behind(now.duration_since(self.began));
        is_behind && now.duration_since(self.mixed) < WINDOW
    }
}

fn here() -> Option<Arc<Lane>> {
    LANE.with_borrow(Clone::clone)
}

/// Makes a lane for this thread and gives its turns; never ends.
pub async fn run() {
    let lane = Arc::new(Lane::new());
    LANE.set(Some(lane.clone()));
    loop {
        lane.next.notified().await;
        // What came in meanwhile is read first, so that it is one of those who can be next.
        tokio::task::yield_now().await;
        lane.give();
    }
}

/// This thread has nothing to do from now on.
pub fn rests() {
    LANE.with_borrow(|lane| {
        if let Some(lane) = lane {
            lock(&lane.state).rests = Some(Instant::now());
        }
    });
}

/// This thread has something to do again.
pub fn goes_on() {
    LANE.with_borrow(|lane| {
        if let Some(lane) = lane {
            let state = &mut *lock(&lane.state);
            if let Some(rests) = state.rests.take() {
                let (from, until) = (
                    rests.duration_since(state.began),
                    Instant::now().duration_since(state.began),
                );
                state.pace.rest(from, until);
            }
        }
    });
}

/// What a call that came at `now` has to wait for before it begins on this thread; none if it may
/// begin.
///
/// # Cancel safety
/// Who does not wait any more leaves the queue, and gives back the turn that it may just have got.
pub(super) fn ask(party: impl FnOnce() -> Party, now: Instant) -> Option<oneshot::Receiver<Turn>> {
    let lane = here()?;
    let party = party();
    let mut state = lock(&lane.state);
    let waits = state.has_to_wait(party, now);
    METER.set(if waits { Meter::On } else { Meter::Off });
    if !waits {
        return None;
    }
    let (give, turn) = oneshot::channel();
    let is_free = !state.turns.is_busy();
    state.turns.ask(party, give);
    drop(state);
    if is_free {
        lane.next.notify_one();
    }
    Some(turn)
}

impl Turn {
    /// Runs `call` to its end; the turn is over when it first waits for something.
    pub async fn begin<F: Future>(self, mut call: Pin<&mut F>) -> F::Output {
        let mut turn = Some(self);
        poll_fn(|cx: &mut Context<'_>| match turn.take() {
            Some(mut turn) => {
                let (polled, used) = measured(|| call.as_mut().poll(cx));
                turn.used = used;
                polled
            }
            None => call.as_mut().poll(cx),
        })
        .await
    }
}

/// Polls a guest, and counts what it computes if somebody has to know and nobody else does.
pub(super) fn charged<T>(party: impl FnOnce() -> Party, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
    if METER.get() != Meter::On {
        return poll();
    }
    let (polled, used) = measured(poll);
    if let Some(lane) = here() {
        lock(&lane.state).turns.charge(party(), used);
    }
    polled
}

fn measured<T>(poll: impl FnOnce() -> T) -> (T, Duration) {
    let before = METER.replace(Meter::Runs);
    let began = Instant::now();
    let polled = poll();
    METER.set(before);
    (polled, began.elapsed())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::task::JoinSet;

    use super::*;

    const SMALL: Party = Party { id: 1, weight: 100 };
    const LARGE: Party = Party { id: 2, weight: 300 };

    /// Runs `test` on a thread with a lane.
    fn on_a_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_park(rests)
                .on_thread_unpark(goes_on)
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::spawn(run());
                tokio::task::yield_now().await;
                test().await;
            });
        });
        thread.join().expect("it passes");
    }

    /// One call, as the request path makes it; returns whether it had to wait for a turn.
    async fn call(party: Party, compute: impl FnMut()) -> bool {
        let mut compute = compute;
        let guest = pin!(poll_fn(|_| {
            compute();
            Poll::Ready(())
        }));
        let Some(turn) = ask(|| party, Instant::now()) else {
            guest.await;
            return false;
        };
        turn.await.expect("the lane is there").begin(guest).await;
        true
    }

    /// Takes so much of the thread's time.
    fn spin(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    /// Clients that ask again as soon as they are answered, until so many calls were made; returns
    /// how many each Revision got, and how many of all waited for a turn.
    async fn load(clients: &[(Party, usize)], calls: usize) -> (Vec<usize>, usize) {
        const CALL: Duration = Duration::from_micros(200);
        let got: Arc<[AtomicUsize]> = clients.iter().map(|_| AtomicUsize::new(0)).collect();
        let waited = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for (index, (party, count)) in clients.iter().enumerate() {
            for _ in 0..*count {
                let (got, waited, party) = (got.clone(), waited.clone(), *party);
                tasks.spawn(async move {
                    while got.iter().map(|got| got.load(Relaxed)).sum::<usize>() < calls {
                        let has_waited = call(party, || spin(CALL)).await;
                        got[index].fetch_add(1, Relaxed);
                        waited.fetch_add(usize::from(has_waited), Relaxed);
                        tokio::task::yield_now().await;
                    }
                });
            }
        }
        tasks.join_all().await;
        let got = got.iter().map(|got| got.load(Relaxed)).collect();
        (got, waited.load(Relaxed))
    }

    #[test]
    fn a_thread_that_is_behind_is_shared_by_weight() {
        on_a_thread(async || {
            let (got, _) = load(&[(SMALL, 6), (LARGE, 6)], 2000).await;
            let ratio = got[1] * 100 / got[0];
            assert!((200..450).contains(&ratio), "{got:?}");
        });
    }

    #[test]
    fn more_clients_get_no_more() {
        on_a_thread(async || {
            let equal = Party { id: 3, ..SMALL };
            let (got, _) = load(&[(SMALL, 12), (equal, 3)], 2000).await;
            let ratio = got[0] * 100 / got[1];
            assert!((60..160).contains(&ratio), "{got:?}");
        });
    }

    #[test]
    fn one_revision_never_waits_for_a_turn() {
        on_a_thread(async || {
            let (got, waited) = load(&[(SMALL, 8)], 1000).await;
            assert!(got[0] >= 1000);
            // But for what was before the first window of it alone.
            let first = WINDOW.as_micros() / 200 + 8;
            assert!((waited as u128) <= first, "{waited}");
        });
    }

    #[test]
    fn who_leaves_keeps_nobody_waiting() {
        on_a_thread(async || {
            // Behind, by work for both.
            load(&[(SMALL, 2), (LARGE, 2)], 500).await;
            let waiting: Vec<_> = (0..100)
                .filter_map(|_| ask(|| LARGE, Instant::now()))
                .collect();
            assert!(!waiting.is_empty(), "it is behind");
            let last = ask(|| SMALL, Instant::now()).expect("it is behind");
            drop(waiting);
            let turn = last.await.expect("the lane is there");
            // One that is not used is given on, too.
            let next = ask(|| LARGE, Instant::now()).expect("it is behind");
            drop(turn);
            next.await.expect("the lane is there");
        });
    }

    #[test]
    fn what_is_computed_after_a_turn_counts() {
        on_a_thread(async || {
            load(&[(SMALL, 2), (LARGE, 2)], 500).await;
            let one = ask(|| SMALL, Instant::now()).expect("it is behind");
            let two = ask(|| LARGE, Instant::now()).expect("it is behind");
            let late = charged(
                || LARGE,
                || {
                    spin(Duration::from_millis(20));
                    Poll::Ready(())
                },
            );
            assert!(late.is_ready());
            tokio::select! {
                biased;
                _ = two => panic!("it has had its time"),
                turn = one => assert!(turn.is_ok()),
            }
        });
    }

    #[tokio::test]
    async fn a_thread_without_a_lane_has_no_turns() {
        assert!(!call(SMALL, || ()).await);
        assert!(!call(LARGE, || ()).await);
        rests();
        goes_on();
    }
}
