//! One call in an instance of its own: the guest is polled by whoever waits for its response, and
//! then by whoever reads the response's body. No task, no hand-over.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::heavy::Work;
use super::{Boxed, Ended, Held, Inner, Slot};
use crate::body::{self, Body};
use crate::engine::{Call, Error, GuestBody, Link};

/// How long a request may take, from the moment its lease is called.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Until the last byte of the response.
    pub total: Duration,
    /// Until the head of the response.
    pub response_start: Option<Duration>,
    /// Between two pieces of the response.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// Only a total time.
    pub fn total(total: Duration) -> Timeouts {
        Timeouts {
            total,
            response_start: None,
            idle: None,
        }
    }
}

/// The nearest of a call's deadlines, with one timer that is only made when something waits.
pub(super) struct Clock {
    timeouts: Timeouts,
    started: Instant,
    progressed: Instant,
    answered: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    pub(super) fn new(timeouts: Timeouts) -> Clock {
        let now = Instant::now();
        Clock {
            timeouts,
            started: now,
            progressed: now,
            answered: false,
            sleep: None,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        /// Far enough for every setting, near enough for every timer.
        const FAR: Duration = Duration::from_hours(365 * 24);
        let after = |start: Instant, time: Duration| start + time.min(FAR);
        let total = after(self.started, self.timeouts.total);
        let head = self
            .timeouts
            .response_start
            .filter(|_| !self.answered)
            .map(|time| after(self.started, time));
        let idle = self.timeouts.idle.map(|time| after(self.progressed, time));
        [head, idle].into_iter().flatten().fold(total, Instant::min)
    }

    /// Time that is left of the whole call.
    pub(super) fn left(&self) -> Duration {
        self.timeouts.total.saturating_sub(self.started.elapsed())
    }

    pub(super) fn answered(&mut self) {
        self.answered = true;
        self.progressed();
    }

    pub(super) fn progressed(&mut self) {
        if self.timeouts.idle.is_some() {
            self.progressed = Instant::now();
        }
    }

    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline();
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

/// What a lease starts from.
pub(super) enum Stage {
    Started(Held),
    Reserved(Slot),
}

/// Runs `request` and resolves with the head of its response.
pub(super) async fn run(
    inner: Arc<Inner>,
    shard: usize,
    stage: Stage,
    request: http::Request<Body>,
    timeouts: Timeouts,
) -> Result<http::Response<Body>, Error> {
    let mut clock = Clock::new(timeouts);
    let held = match stage {
        Stage::Started(held) => held,
        Stage::Reserved(slot) => tokio::select! {
            biased;
            held = inner.launch(slot) => held?,
            () = poll_fn(|cx| clock.poll_expired(cx)) => return Err(timed_out(&inner)),
        },
    };
    let (respond, response) = oneshot::channel();
    let (read, until_read) = oneshot::channel();
    let link = Arc::new(Link::default());
    let call = Call {
        request,
        respond,
        read: until_read,
        link: link.clone(),
        hold: None,
    };
    let running = Running::new(inner.clone(), shard, held, call);
    let running = Work::begin(&inner, link.clone(), running);
    // From here on a drop gives the guest its grace.
    let mut exchange = Exchange {
        running: Some(running),
        body: None,
        read: Some(read),
        link,
        clock,
        left: None,
    };
    let mut receiver = Some(response);
    let answer = poll_fn(|cx| exchange.poll_head(cx, &mut receiver)).await?;
    Ok(exchange.into_response(answer))
}

pub(super) fn timed_out(inner: &Inner) -> Error {
    inner.counts.timed_out.fetch_add(1, Relaxed);
    Error::Timeout
}

/// An instance at work. The end of the call decides whether it lives on; a drop before ends it.
pub(super) struct Running {
    future: Boxed<'static, Ended>,
    inner: Arc<Inner>,
    shard: usize,
    id: u64,
    calls: u32,
    slot: Option<Slot>,
}

impl Running {
    fn new(inner: Arc<Inner>, shard: usize, held: Held, call: Call) -> Running {
        let Held {
            guest,
            id,
            calls,
            slot,
        } = held;
        Running {
            future: guest.run(call),
            inner,
            shard,
            id,
            calls: calls + 1,
            slot: Some(slot),
        }
    }
}

impl Future for Running {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let (guest, result) = ready!(self.future.as_mut().poll(cx));
        let counts = &self.inner.counts;
        match (guest, &result) {
            (Some(guest), Ok(())) => {
                let (shard, id, calls) = (self.shard, self.id, self.calls);
                if let Some(slot) = self.slot.take() {
                    let held = Held {
                        guest,
                        id,
                        calls,
                        slot,
                    };
                    self.inner.keep(shard, held);
                }
            }
            (None, Ok(())) => _ = counts.discarded.fetch_add(1, Relaxed),
            (_, Err(error)) => {
                counts.failed.fetch_add(1, Relaxed);
                counts.ends.count(error);
            }
        }
        self.slot = None;
        Poll::Ready(result)
    }
}

/// Both ends of a call as its caller holds them; also the body of the response.
struct Exchange {
    running: Option<Work<Running>>,
    body: Option<GuestBody>,
    /// Dropped when the response was read.
    read: Option<oneshot::Sender<()>>,
    link: Arc<Link>,
    clock: Clock,
    /// Bytes of the body that are still to come, where the guest said how many there are.
    left: Option<u64>,
}

type Head = http::Response<GuestBody>;
type Responding = Option<oneshot::Receiver<Result<Head, Error>>>;

impl Exchange {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Responding,
    ) -> Poll<Result<Head, Error>> {
        // The guest first: the call of a short one is over before its response is looked at.
        let ended = self.poll_guest(cx);
        if let Some(receiver) = response {
            let received = if ended.is_ready() {
                // Not polled: a task that is out of its budget would not see what is there.
                Poll::Ready(receiver.try_recv().ok())
            } else {
                Pin::new(receiver).poll(cx).map(Result::ok)
            };
            match (received, &ended) {
                (Poll::Pending, _) => {}
                (Poll::Ready(None), _) => *response = None,
                // Nothing of it was sent yet: a whole error is better than half a response.
                (Poll::Ready(Some(_)), Poll::Ready(Err(error))) => {
                    return Poll::Ready(Err(error.clone()));
                }
                (Poll::Ready(Some(head)), _) => {
                    *response = None;
                    return Poll::Ready(head);
                }
            }
        }
        match ended {
            Poll::Ready(Ok(())) => Poll::Ready(Err(Error::NoResponse)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.clock.poll_expired(cx));
                Poll::Ready(Err(self.time_out()))
            }
        }
    }

    /// Polls the guest while there is one; a guest that has ended stays so.
    fn poll_guest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(running) = &mut self.running else {
            return Poll::Ready(Ok(()));
        };
        let result = ready!(Pin::new(running).poll(cx));
        self.running = None;
        Poll::Ready(result)
    }

    fn time_out(&mut self) -> Error {
        match self.running.take() {
            Some(running) => timed_out(running.pool()),
            None => Error::Timeout,
        }
    }

    fn into_response(mut self, head: Head) -> http::Response<Body> {
        self.clock.answered();
        let length = head.headers().get(http::header::CONTENT_LENGTH);
        self.left = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let (parts, body) = head.into_parts();
        self.body = Some(body);
        http::Response::from_parts(parts, Body::new(self))
    }

    /// The body gave its last frame: it is whole if the guest did not fail.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Result<(), body::Error> {
        self.read = None;
        // The channel of the body ends in the same way when a trap drops the store: ask the guest.
        if let Poll::Ready(Err(_)) = self.poll_guest(cx) {
            return Err(body::Error::Guest);
        }
        if self.link.has_failed() {
            return Err(body::Error::Guest);
        }
        self.left = Some(0);
        Ok(())
    }

    /// Counts a frame that goes out; at the announced length the body has ended.
    fn progressed(
        &mut self,
        frame: &Frame<Bytes>,
        cx: &mut Context<'_>,
    ) -> Result<(), body::Error> {
        self.clock.progressed();
        if let (Some(left), Some(data)) = (&mut self.left, frame.data_ref()) {
            *left = left.saturating_sub(data.len() as u64);
            // hyper drops such a body without asking for its end: let the guest end now.
            if *left == 0 {
                return self.poll_end(cx);
            }
        }
        Ok(())
    }
}

impl http_body::Body for Exchange {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        loop {
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let progress = self.progressed(&frame, cx);
                    return Poll::Ready(Some(progress.map(|()| frame)));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    self.body = None;
                    return Poll::Ready(self.poll_end(cx).err().map(Err));
                }
                Poll::Pending => {}
            }
            if self.running.is_none() {
                return Poll::Pending;
            }
            match self.poll_guest(cx) {
                // What it wrote last is in the body now.
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(_)) => {
                    self.body = None;
                    return Poll::Ready(Some(Err(body::Error::Guest)));
                }
                Poll::Pending => {}
            }
            // The guest may have written before it waited.
            if let Some(body) = &mut self.body
                && let Poll::Ready(frame) = Pin::new(body).poll_frame(cx)
            {
                return match frame {
                    Some(Ok(frame)) => {
                        Poll::Ready(Some(self.progressed(&frame, cx).map(|()| frame)))
                    }
                    Some(Err(error)) => Poll::Ready(Some(Err(error))),
                    None => {
                        self.body = None;
                        Poll::Ready(self.poll_end(cx).err().map(Err))
                    }
                };
            }
            ready!(self.clock.poll_expired(cx));
            self.body = None;
            self.time_out();
            return Poll::Ready(Some(Err(body::Error::Timeout)));
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let whole = self.left == Some(0)
            || self
                .body
                .as_ref()
                .is_some_and(http_body::Body::is_end_stream);
        self.body = None;
        self.read = None;
        let Some(running) = self.running.take() else {
            return;
        };
        let inner = running.pool().clone();
        // All of the response was read and the guest is still at work: it may go on for as long as
        // its request could have. Otherwise its caller left: it may notice, no more.
        let time = if whole {
            self.clock.left()
        } else {
            inner.options.grace
        };
        if !whole {
            self.link.close();
            inner.counts.cancelled.fetch_add(1, Relaxed);
        }
        let task_inner = inner.clone();
        inner.spawn(async move {
            if tokio::time::timeout(time, running).await.is_err() && whole {
                timed_out(&task_inner);
            }
        });
    }
}
