//! Failures of a request to responses. The only place of the data plane that picks a status.
//!
//! ```text
//!                     head not sent                       head sent
//! ordinary     status and text                    length unknown: the text, then the end
//!                                                 else: broken off, the client sees a reset
//! gRPC         200 with grpc-status in the head   trailers with grpc-status
//! ```
//! What the guest did wrong is between the host and its owner: after a trap the client gets a bare
//! 500, or, when the head was sent, a response that breaks off.
//!
//! # Source
//! knative/serving pkg/http/handler/timeout.go, pkg/queue/handler.go, pkg/activator/handler; gRPC's
//! doc/http-grpc-status-mapping.md, by which a gateway answers for a server. Differs: time-outs
//! are DEADLINE_EXCEEDED for gRPC, where the mapping makes UNAVAILABLE of every 504.

use std::borrow::Cow;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode, Version};

use super::framing::Refusal;
use crate::activator;
use crate::body::Body;
use crate::engine;

/// What a client reads when its request's time is over.
pub const TIMEOUT_TEXT: &str = "request timeout";

const GRPC: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why a request got no response of a guest.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Two readers could understand it in two ways, or it is too large.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// HTTP/1.1 asks every client to name the host.
    #[error("the request names no host")]
    NoHost,
    /// The host is no host, or there are two different ones.
    #[error("the request's host is malformed")]
    BadHost,
    #[error("no route for host \"{0}\"")]
    UnknownHost(String),
    #[error("method CONNECT")]
    Connect,
    #[error("expectation \"{0}\"")]
    Expectation(String),
    /// A wasi:http guest cannot take over a connection.
    #[error("upgrade to \"{0}\"")]
    Upgrade(String),
    #[error("a probe without a hash")]
    ProbeWithoutHash,
    #[error("a probe with value \"{0}\"")]
    UnknownProbe(String),
    /// A probe of a host that is about to end.
    #[error("shutting down")]
    Draining,
    #[error(transparent)]
    Admission(#[from] activator::Error),
    #[error(transparent)]
    Guest(#[from] engine::Error),
    /// The guest's response cannot be sent.
    #[error("the guest's response is malformed: {0}")]
    BadResponse(&'static str),
}

/// How the client of a request wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub is_http2: bool,
    pub is_head: bool,
    pub is_grpc: bool,
}

impl Asked {
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        Self {
            is_http2: request.version() >= Version::HTTP_2,
            is_head: request.method() == Method::HEAD,
            is_grpc: request.headers().get(CONTENT_TYPE).is_some_and(is_grpc),
        }
    }
}

/// `application/grpc`, with or without a message format; gRPC-Web is another protocol.
fn is_grpc(content_type: &HeaderValue) -> bool {
    let rest = content_type
        .as_bytes()
        .split_at_checked(GRPC.len())
        .filter(|(start, _)| start.eq_ignore_ascii_case(GRPC.as_bytes()));
    rest.is_some_and(|(_, rest)| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The status of a failure and its text for the client, which has no path, no address and nothing
/// of the guest's.
fn status_and_text(failure: &Failure) -> (StatusCode, Cow<'static, str>) {
    use StatusCode as S;
    match failure {
        Failure::Refused(refusal) => (of_refusal(*refusal), refusal.to_string().into()),
        Failure::NoHost => (S::BAD_REQUEST, "the request must have a Host header".into()),
        Failure::BadHost => (S::BAD_REQUEST, "the request's host is malformed".into()),
        Failure::UnknownHost(host) => {
            (S::NOT_FOUND, format!("no route for host \"{host}\"").into())
        }
        Failure::Connect => (S::NOT_IMPLEMENTED, "method CONNECT is not offered".into()),
        Failure::Expectation(_) => (
            S::EXPECTATION_FAILED,
            "the only expectation that can be met is 100-continue".into(),
        ),
        Failure::Upgrade(protocol) => (
            S::NOT_IMPLEMENTED,
            format!(
                "upgrade to \"{protocol}\" is not offered: wasi:http gives guests requests and \
                 responses, not connections"
            )
            .into(),
        ),
        Failure::ProbeWithoutHash => (
            S::BAD_REQUEST,
            "a probe request must contain a non-empty \"K-Network-Hash\" header".into(),
        ),
        Failure::UnknownProbe(value) => (
            S::BAD_REQUEST,
            format!("unexpected probe header value: {value}").into(),
        ),
        Failure::Draining => (S::SERVICE_UNAVAILABLE, "shutting down".into()),
        Failure::Admission(error) => (S::SERVICE_UNAVAILABLE, error.to_string().into()),
        Failure::Guest(error) => of_guest(error),
        Failure::BadResponse(_) => (S::INTERNAL_SERVER_ERROR, "".into()),
    }
}

fn of_refusal(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::Uri => StatusCode::URI_TOO_LONG,
        Refusal::Fields | Refusal::Head => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::LineFeed
        | Refusal::Folded
        | Refusal::RequestLine
        | Refusal::Hosts
        | Refusal::LengthAndCoding
        | Refusal::Length
        | Refusal::Coding => StatusCode::BAD_REQUEST,
    }
}

fn of_guest(error: &engine::Error) -> (StatusCode, Cow<'static, str>) {
    use StatusCode as S;
    use engine::Error as E;
    match error {
        E::Timeout => (S::GATEWAY_TIMEOUT, TIMEOUT_TEXT.into()),
        E::Full => (S::SERVICE_UNAVAILABLE, "no instance is free".into()),
        E::Settings(_)
        | E::TooLarge { .. }
        | E::Import { .. }
        | E::Compile(_)
        | E::Link(_)
        | E::Read(_)
        | E::Start(_) => (S::SERVICE_UNAVAILABLE, "no instance starts".into()),
        E::Request(_) => (S::BAD_REQUEST, "the request cannot be served".into()),
        E::Trap(_) | E::Exit(_) | E::NoResponse | E::ErrorCode(_) | E::Gone => {
            (S::INTERNAL_SERVER_ERROR, "".into())
        }
    }
}

/// Whether what the client sends after the request may be taken for something else.
fn ends_the_connection(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Refused(_) | Failure::NoHost | Failure::BadHost | Failure::Connect
    )
}

/// The response to a failed request.
#[must_use]
pub fn from_error(failure: &Failure, asked: Asked) -> Response<Body> {
    let (status, text) = status_and_text(failure);
    let mut response = if asked.is_grpc {
        let (code, message) = (grpc_code(failure, status), grpc_message(&text));
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        headers.extend(grpc_fields(code, &message));
        response
    } else {
        let is_timeout = matches!(failure, Failure::Guest(engine::Error::Timeout));
        // Knative ends all its texts with a line break, except those of its time-outs.
        let line_break = if is_timeout || text.is_empty() {
            ""
        } else {
            "\n"
        };
        text_response(status, text.into_owned() + line_break, asked)
    };
    if ends_the_connection(failure) && !asked.is_http2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    if matches!(
        failure,
        Failure::Admission(activator::Error::QueueFull) | Failure::Guest(engine::Error::Full)
    ) {
        let soon = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, soon);
    }
    response
}

/// The status that the log shows for a failure.
#[must_use]
pub fn status(failure: &Failure) -> StatusCode {
    status_and_text(failure).0
}

fn text_response(status: StatusCode, text: String, asked: Asked) -> Response<Body> {
    let length = text.len();
    let body = if asked.is_head {
        Body::empty()
    } else {
        Body::from(text)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    if length > 0 {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(CONTENT_TYPE, plain);
        let no_sniff = HeaderValue::from_static("nosniff");
        headers.insert(X_CONTENT_TYPE_OPTIONS, no_sniff);
    }
    response
}

/// The answer to a network probe: the hash that was asked with.
#[must_use]
pub fn probe(hash: &HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response
        .headers_mut()
        .insert(serve_core::keys::NETWORK_HASH_HEADER, hash.clone());
    response
}

/// The answer to a probe of the kubelet's kind.
#[must_use]
pub fn healthy() -> Response<Body> {
    Response::new(Body::empty())
}

/// How a response ends whose time is over after its head was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With [`TIMEOUT_TEXT`], as if it were whole.
    Text,
    /// With trailers that tell gRPC's status.
    Grpc,
    /// Broken off: its length was announced.
    Cut,
}

impl Ending {
    /// How the response with this head would end; `has_length` when its body's length is known.
    #[must_use]
    pub fn of(asked: Asked, headers: &HeaderMap, has_length: bool) -> Self {
        if asked.is_grpc {
            Self::Grpc
        } else if has_length || headers.contains_key(CONTENT_LENGTH) {
            Self::Cut
        } else {
            Self::Text
        }
    }
}

/// The trailers of a gRPC response whose time is over.
#[must_use]
pub fn timeout_trailers() -> HeaderMap {
    grpc_fields(GrpcCode::DeadlineExceeded, TIMEOUT_TEXT)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GrpcCode {
    Unknown = 2,
    DeadlineExceeded = 4,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

fn grpc_code(failure: &Failure, status: StatusCode) -> GrpcCode {
    let is_late = matches!(
        failure,
        Failure::Guest(engine::Error::Timeout) | Failure::Admission(activator::Error::Deadline)
    );
    match status {
        _ if is_late => GrpcCode::DeadlineExceeded,
        StatusCode::BAD_REQUEST => GrpcCode::Internal,
        StatusCode::NOT_FOUND => GrpcCode::Unimplemented,
        StatusCode::SERVICE_UNAVAILABLE => GrpcCode::Unavailable,
        _ => GrpcCode::Unknown,
    }
}

fn grpc_fields(code: GrpcCode, message: &str) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(2);
    fields.insert(GRPC_STATUS, HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::from_str(message)
        && !message.is_empty()
    {
        fields.insert(GRPC_MESSAGE, message);
    }
    fields
}

/// A text as gRPC wants it in a field.
fn grpc_message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => message.push(byte.into()),
            _ => message += &format!("%{byte:02X}"),
        }
    }
    message
}

#[cfg(test)]
mod tests;
