//! Several calls in one instance, for guests of WASI 0.3: a task owns the store, calls reach it
//! through a queue.
//!
//! ```text
//! open ── unused for Options::idle ─────────────────────────────▶ ended
//!   │  └─ a call trapped: all calls fail ───────────────────────▶ ended
//!   └─ a call timed out or outlived its caller ─▶ retired ─ the last caller is gone ─▶ ended
//! ```
//! A call cannot be ended alone, so one that should be takes its instance out of use, and the
//! instance goes when nobody waits for it any more. Neighbours keep their time.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{
    AtomicBool, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
    Ordering::Release,
};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::call::{Clock, Timeouts, timed_out};
use super::heavy::Work;
use super::{Boxed, Held, Inner, Slot, lock};
use crate::body::{self, Body};
use crate::engine::{Call, Component, Error, GuestBody, Link};

/// The handle of a task that owns an instance. The queue closes when the last handle is gone.
pub(super) struct Driver {
    queue: mpsc::UnboundedSender<Call>,
    state: Arc<State>,
    code: Option<Component>,
    ended: watch::Receiver<Option<Error>>,
}

/// What the task and its handles share.
#[derive(Default)]
struct State {
    /// Calls that run in the guest, whether or not somebody waits for them.
    busy: AtomicUsize,
    /// Callers that wait for a response or read one.
    callers: AtomicUsize,
    total: AtomicUsize,
    retired: AtomicBool,
    /// `retired` or `callers` changed.
    leaving: Notify,
    /// `busy` became 0.
    free: Notify,
    free_since: Mutex<Option<Instant>>,
    link: Arc<Link>,
}

impl State {
    fn retire(&self) {
        self.retired.store(true, Release);
        self.leaving.notify_one();
    }
}

/// One of the calls that an instance takes at once.
pub(super) struct Seat {
    driver: Arc<Driver>,
    busy: Arc<Busy>,
    _caller: Caller,
}

struct Busy(Arc<State>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, AcqRel) == 1 {
            *lock(&self.0.free_since) = Some(Instant::now());
            self.0.free.notify_one();
        }
    }
}

struct Caller(Arc<State>);

impl Drop for Caller {
    fn drop(&mut self) {
        if self.0.callers.fetch_sub(1, AcqRel) == 1 {
            self.0.leaving.notify_one();
        }
    }
}

impl Driver {
    /// A seat, if the instance takes one more call. Only under the lock of its shard.
    fn seat(self: &Arc<Self>, inner: &Inner) -> Option<Seat> {
        let state = &self.state;
        let takes = !state.retired.load(Acquire)
            && state.busy.load(Relaxed) < inner.options.calls_per_instance
            && state.total.load(Relaxed) < inner.options.calls as usize;
        takes.then(|| {
            state.total.fetch_add(1, Relaxed);
            state.busy.fetch_add(1, AcqRel);
            state.callers.fetch_add(1, AcqRel);
            Seat {
                driver: self.clone(),
                busy: Arc::new(Busy(state.clone())),
                _caller: Caller(state.clone()),
            }
        })
    }

    /// Whether the instance takes calls at all. It takes none once there is better code than its own.
    fn serves(&self) -> bool {
        if self.code.as_ref().is_some_and(Component::is_superseded) {
            self.retire();
        }
        !self.state.retired.load(Acquire)
    }

    /// Gives the instance no more calls; it ends when its last caller has gone.
    pub(super) fn retire(&self) {
        self.state.retire();
    }

    /// Since when the instance runs no call; none if it does.
    pub(super) fn free_since(&self) -> Option<Instant> {
        let free = self.state.busy.load(Acquire) == 0;
        lock(&self.state.free_since).filter(|_| free)
    }

    /// Why the instance ended, once it has.
    pub(super) fn failure(&self) -> impl Future<Output = Error> + Send + 'static {
        failure(self.ended.clone())
    }
}

async fn failure(mut ended: watch::Receiver<Option<Error>>) -> Error {
    ended
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|error| error.clone())
        .unwrap_or(Error::Gone)
}

impl Inner {
    /// Retires the instance of `driver` if it still runs no call.
    pub(super) fn retire_free(&self, shard: usize, driver: &Arc<Driver>) -> bool {
        // Seats are given under this lock.
        let mut drivers = lock(&self.shards[shard].shared);
        let free = driver.free_since().is_some() && !driver.state.retired.load(Acquire);
        if free {
            driver.retire();
            drivers.retain(|other| !Arc::ptr_eq(other, driver));
            self.counts.evicted.fetch_add(1, Relaxed);
        }
        free
    }

    /// A seat in an instance that runs already.
    pub(super) fn seat(&self, shard: usize) -> Option<Seat> {
        let mut drivers = lock(&self.shards[shard].shared);
        drivers.retain(|driver| driver.serves());
        drivers.iter().find_map(|driver| driver.seat(self))
    }
}

/// Starts an instance with its task and runs `request` in it.
pub(super) async fn start_and_run(
    inner: &Arc<Inner>,
    shard: usize,
    slot: Slot,
    request: http::Request<Body>,
    timeouts: Timeouts,
) -> Result<http::Response<Body>, Error> {
    let mut clock = Clock::new(timeouts);
    let held = tokio::select! {
        biased;
        held = inner.launch(slot) => held?,
        () = poll_fn(|cx| clock.poll_expired(cx)) => return Err(timed_out(inner)),
    };
    let seat = start(inner, shard, held)?;
    run(inner, seat, request, clock).await
}

/// Gives the instance to a task of its own; the first seat in it is the caller's.
fn start(inner: &Arc<Inner>, shard: usize, held: Held) -> Result<Seat, Error> {
    let Held { guest, slot, .. } = held;
    let state = Arc::new(State::default());
    let (queue, calls) = mpsc::unbounded_channel();
    let (end, ended) = watch::channel(None);
    let driver = Arc::new(Driver {
        queue,
        state: state.clone(),
        code: guest.code(),
        ended,
    });
    let seat = {
        let mut drivers = lock(&inner.shards[shard].shared);
        let seat = driver.seat(inner).ok_or(Error::Gone)?;
        drivers.push(driver);
        seat
    };
    let (counts, pool, idle) = (
        inner.counts.clone(),
        Arc::downgrade(inner),
        inner.options.idle,
    );
    let work = guest.drive(calls, state.link.clone());
    let work = Work::begin(inner, state.link.clone(), work);
    inner.spawn(async move {
        let _slot = slot;
        let result = tokio::select! {
            biased;
            result = work => result,
            () = left(&state) => Err(Error::Gone),
            () = unused(&state, &pool, shard, idle) => {
                counts.evicted.fetch_add(1, Relaxed);
                Ok(())
            }
        };
        state.retire();
        if let Err(error) = &result
            && !matches!(error, Error::Gone)
        {
            counts.failed.fetch_add(1, Relaxed);
            counts.ends.count(error);
        }
        _ = end.send(Some(result.err().unwrap_or(Error::Gone)));
    });
    Ok(seat)
}

/// Resolves when a retired instance has no caller left.
async fn left(state: &State) {
    while !(state.retired.load(Acquire) && state.callers.load(Acquire) == 0) {
        state.leaving.notified().await;
    }
}

/// Resolves, with the instance retired, when it had no call for `idle`.
async fn unused(state: &Arc<State>, pool: &Weak<Inner>, shard: usize, idle: Duration) {
    loop {
        state.free.notified().await;
        while state.busy.load(Acquire) == 0 {
            let total = state.total.load(Relaxed);
            tokio::time::sleep(idle).await;
            let Some(inner) = pool.upgrade() else {
                return;
            };
            // Seats are given under this lock: the instance cannot be taken between look and mark.
            let mut drivers = lock(&inner.shards[shard].shared);
            if state.busy.load(Acquire) == 0 && state.total.load(Relaxed) == total {
                state.retired.store(true, Release);
                drivers.retain(|driver| !Arc::ptr_eq(&driver.state, state));
                return;
            }
        }
    }
}

/// Runs `request` in a seat and resolves with the head of its response.
pub(super) async fn run(
    inner: &Arc<Inner>,
    seat: Seat,
    request: http::Request<Body>,
    clock: Clock,
) -> Result<http::Response<Body>, Error> {
    let (respond, response) = oneshot::channel();
    let (read, until_read) = oneshot::channel();
    let link = Arc::new(Link::default());
    let hold: Arc<dyn std::any::Any + Send + Sync> = seat.busy.clone();
    let call = Call {
        request,
        respond,
        read: until_read,
        link: link.clone(),
        hold: Some(hold),
    };
    if seat.driver.queue.send(call).is_err() {
        return Err(seat.driver.failure().await);
    }
    let mut exchange = Exchange {
        inner: inner.clone(),
        seat,
        body: None,
        ended: None,
        read: Some(read),
        link,
        clock,
        over: false,
    };
    let head = tokio::select! {
        biased;
        head = response => match head {
            Ok(head) => head,
            Err(_) => Err(exchange.seat.driver.failure().await),
        },
        () = poll_fn(|cx| exchange.clock.poll_expired(cx)) => Err(exchange.time_out()),
    };
    let head = head.inspect_err(|_| exchange.over = true)?;
    exchange.clock.answered();
    let (parts, body) = head.into_parts();
    exchange.body = Some(body);
    Ok(http::Response::from_parts(parts, Body::new(exchange)))
}

/// The caller's end of a call; also the body of the response.
struct Exchange {
    inner: Arc<Inner>,
    seat: Seat,
    body: Option<GuestBody>,
    /// The end of the instance, listened to when the body makes its reader wait.
    ended: Option<Boxed<'static, Error>>,
    read: Option<oneshot::Sender<()>>,
    link: Arc<Link>,
    clock: Clock,
    /// Nothing more is wanted of the guest.
    over: bool,
}

impl Exchange {
    /// Why nothing more will come. A body that the guest forwards does not end with its instance.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<body::Error> {
        let driver = &self.seat.driver;
        let ended = self.ended.get_or_insert_with(|| Box::pin(driver.failure()));
        if ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(body::Error::Guest);
        }
        ready!(self.clock.poll_expired(cx));
        self.time_out();
        Poll::Ready(body::Error::Timeout)
    }

    fn time_out(&mut self) -> Error {
        self.over = true;
        self.link.close();
        self.seat.driver.state.retire();
        timed_out(&self.inner)
    }
}

impl http_body::Body for Exchange {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let error = ready!(self.poll_broken(cx));
                self.over = true;
                self.body = None;
                return Poll::Ready(Some(Err(error)));
            }
        };
        match &frame {
            Some(Ok(_)) => self.clock.progressed(),
            Some(Err(_)) => self.over = true,
            None => {
                (self.over, self.body, self.read) = (true, None, None);
                // The body ends in the same way when a trap drops the store.
                if self.seat.driver.state.link.has_failed() || self.link.has_failed() {
                    return Poll::Ready(Some(Err(body::Error::Guest)));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let ended = self.over
            || self
                .body
                .as_ref()
                .is_some_and(http_body::Body::is_end_stream);
        (self.body, self.read) = (None, None);
        if ended {
            return;
        }
        self.link.close();
        self.inner.counts.cancelled.fetch_add(1, Relaxed);
        let (busy, state, grace) = (
            Arc::downgrade(&self.seat.busy),
            self.seat.driver.state.clone(),
            self.inner.options.grace,
        );
        self.inner.spawn(async move {
            tokio::time::sleep(grace).await;
            // Only the guest's end of the call can still hold it.
            if busy.strong_count() > 0 {
                state.retire();
            }
        });
    }
}
