//! A response body that holds its request's permit, and that ends as it may when its time is over.
//!
//! Concurrency counts to the last byte. A response whose time is over after its head was sent ends
//! with a text, with trailers or not at all, as [`Ending`] says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::Revision;
use crate::activator::Permit;
use crate::body::{self, Body};
use crate::ingress::respond::{Ending, TIMEOUT_TEXT, timeout_trailers};
use crate::ingress::watch::Exchange;

/// What is given back at the end of a body.
pub struct Hold {
    pub _permit: Permit,
    pub _exchange: Exchange,
}

/// Gives the permit back at the end of the body, or when it is dropped.
pub struct Tracked {
    /// None when it has ended, well or not.
    body: Option<Body>,
    /// Why it breaks off, when all before it had its turn to be sent.
    broken: Option<body::Error>,
    ending: Ending,
    revision: Arc<Revision>,
    hold: Option<Hold>,
}

impl Tracked {
    pub fn new(body: Body, ending: Ending, revision: Arc<Revision>, hold: Hold) -> Self {
        Self {
            body: Some(body),
            broken: None,
            ending,
            revision,
            hold: Some(hold),
        }
    }

    /// What the client gets in place of the rest.
    fn end(&self, error: &body::Error) -> Option<Frame<Bytes>> {
        tracing::debug!(
            revision = %self.revision.key,
            reason = %error,
            "a response did not come to its end"
        );
        match (error, self.ending) {
            (body::Error::Timeout, Ending::Text) => {
                let text = Bytes::from_static(TIMEOUT_TEXT.as_bytes());
                Some(Frame::data(text))
            }
            (body::Error::Timeout, Ending::Grpc) => Some(Frame::trailers(timeout_trailers())),
            _ => None,
        }
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => return Poll::Ready(Some(Ok(frame))),
            Poll::Ready(Some(Err(error))) => {
                let last = self.end(&error);
                if last.is_none() {
                    self.broken = Some(error);
                }
                last
            }
            Poll::Ready(None) => None,
            Poll::Pending => return Poll::Pending,
        };
        (self.body, self.hold) = (None, None);
        if self.broken.is_some() {
            // The connection drops what it has not sent when it sees an error: let it send first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        let is_ended = |body: &Body| body.is_end_stream();
        self.broken.is_none() && self.body.as_ref().is_none_or(is_ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None if self.broken.is_some() => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}
