//! The one body type of requests and responses, between the sockets, the guests and the host.
//!
//! A request body comes from hyper or from the host program, a response body from a guest or from
//! `ingress::respond`. Bodies of hyper and bodies held in memory are kept without a box.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error as ThisError;

/// Why a body broke off. Whoever sends it on must not end it as if it were whole.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The client's connection failed or it sent something malformed.
    #[error("the client's request body broke off")]
    Client(#[source] hyper::Error),
    /// The guest trapped, exited or ended before its response was whole.
    #[error("the guest ended before its response was whole")]
    Guest,
    /// The request ran out of time while its response was being sent.
    #[error("the request timed out while its response was sent")]
    Timeout,
    /// The other side of the exchange went away.
    #[error("the other side went away")]
    Gone,
    /// A body of the host program failed; the text is its error.
    #[error("{0}")]
    Other(String),
}

/// A stream of bytes with optional trailers; also an [`http_body::Body`].
pub struct Body(Inner);

enum Inner {
    Empty,
    Whole(Bytes),
    Client(Incoming),
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>),
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Body {
        Body(Inner::Empty)
    }

    /// A body that streams from `body`.
    pub fn new<B>(body: B) -> Body
    where
        B: http_body::Body<Data = Bytes, Error = Error> + Send + 'static,
    {
        Body(Inner::Stream(Box::pin(body)))
    }
}

impl Default for Body {
    fn default() -> Body {
        Body::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Inner::Empty => "empty",
            Inner::Whole(_) => "whole",
            Inner::Client(_) => "client",
            Inner::Stream(_) => "stream",
        };
        f.debug_tuple("Body").field(&kind).finish()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        if bytes.is_empty() {
            Body::empty()
        } else {
            Body(Inner::Whole(bytes))
        }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Body {
        Body(Inner::Client(body))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Inner::Empty => Poll::Ready(None),
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Inner::Client(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Error::Client))),
            Inner::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Whole(_) => false,
            Inner::Client(body) => body.is_end_stream(),
            Inner::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Client(body) => body.size_hint(),
            Inner::Stream(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn whole_body_is_one_frame_of_known_size() {
        let body = Body::from("abc");
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert!(http_body::Body::is_end_stream(&Body::from("")));
    }
}
