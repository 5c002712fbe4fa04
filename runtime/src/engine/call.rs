//! A call as it passes between pool and engine: the request, the ends that wait for its response,
//! and the two bodies in the guest's terms.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::Error;
use crate::body::{self, Body};

/// A request on its way into a guest, with the ends that its caller listens on.
pub struct Call {
    /// The request; needs an authority in its URI or a `Host` header.
    pub request: http::Request<Body>,
    /// Where the head of the response goes, once.
    pub respond: oneshot::Sender<Result<http::Response<GuestBody>, Error>>,
    /// Resolves or is dropped when the caller has read the response to its end or wants no more.
    pub read: oneshot::Receiver<()>,
    /// What both sides must know of each other.
    pub link: Arc<Link>,
    /// Dropped when the call has ended in the guest, however it ended.
    pub hold: Option<Arc<dyn Any + Send + Sync>>,
}

/// Calls for an instance that takes several at once.
pub type Calls = mpsc::UnboundedReceiver<Call>;

/// The state that the two ends of one call share.
#[derive(Debug, Default)]
pub struct Link {
    gone: AtomicBool,
    reader: AtomicWaker,
    failed: AtomicBool,
    /// Epochs at which the guest was still computing, since it last waited for something.
    preempted: AtomicU32,
    measured: AtomicBool,
    /// CPU time of the guest since then, as far as it was measured, in nanoseconds.
    computed: AtomicU64,
}

impl Link {
    /// The caller went away: the guest's request body ends with an error.
    pub fn close(&self) {
        self.gone.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// The guest ended without finishing its response: what was sent of it is not whole.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// An epoch stopped the guest.
    pub(crate) fn preempt(&self) {
        self.preempted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many epochs stopped the guest since it last rested.
    pub fn preempted(&self) -> u32 {
        self.preempted.load(Ordering::Relaxed)
    }

    /// From now on the guest's CPU time is counted where it is polled.
    pub(crate) fn measure(&self) {
        self.measured.store(true, Ordering::Relaxed);
    }

    /// Whether [`Link::measure`] was called.
    pub(crate) fn is_measured(&self) -> bool {
        self.measured.load(Ordering::Relaxed)
    }

    /// The guest computed for so long.
    pub(crate) fn add_computed(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.computed.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// CPU time of the guest since it last rested, as far as it was measured.
    pub(crate) fn computed(&self) -> Duration {
        Duration::from_nanos(self.computed.load(Ordering::Relaxed))
    }

    /// The guest waited for something.
    pub fn rested(&self) {
        if self.preempted() > 0 {
            self.preempted.store(0, Ordering::Relaxed);
            self.computed.store(0, Ordering::Relaxed);
        }
    }

    /// Whether [`Link::fail`] was called.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// The body of a response as the guest writes it.
pub struct GuestBody(pub(super) WasiBody);

#[cfg(test)]
impl GuestBody {
    /// The body of a fake guest.
    pub(crate) fn new(body: Body) -> GuestBody {
        use http_body_util::BodyExt;
        GuestBody(
            body.map_err(|_| HttpError::HttpProtocolError)
                .boxed_unsync(),
        )
    }
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        Pin::new(&mut self.0)
            .poll_frame(cx)
            .map(|frame| frame.map(|frame| frame.map_err(|_| body::Error::Guest)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The body of a request as the guest reads it.
pub(super) struct RequestBody {
    pub(super) body: Body,
    pub(super) link: Arc<Link>,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        self.link.reader.register(cx.waker());
        if self.link.gone.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(HttpError::ConnectionTerminated)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(|_| HttpError::HttpProtocolError)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
