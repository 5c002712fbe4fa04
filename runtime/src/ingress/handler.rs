//! One request, from its head to its response: the whole of the request path, in order.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, UPGRADE, USER_AGENT};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use serve_core::keys;

use super::fields::{Fields, Kind};
use super::framing::Refusal;
use super::respond::{self, Asked, Failure};
use super::{Origin, Shared, fields, headers};
use crate::body::Body;
use crate::revision::Revision;

/// Fields that the header of a request may have.
pub const MAX_FIELDS: usize = 100;
/// How long a guest may go on with a body that the client does not get, as after HEAD.
const UNSENT_BODY: Duration = Duration::from_millis(50);

/// Answers a request that came in through one of the listeners, or from the embedder.
///
/// # Cancel safety
/// Dropping the future is the client going away: the permit and the lease are given back, the
/// guest's streams are closed.
pub async fn handle(shared: &Shared, origin: &Origin, request: Request<Body>) -> Response<Body> {
    let asked = Asked::of(&request);
    match answer(shared, origin, asked, request).await {
        Ok(response) => response,
        Err(Failed { failure, revision }) => {
            tracing::debug!(
                revision = revision.map(|revision| tracing::field::display(revision.key.clone())),
                status = respond::status(&failure).as_u16(),
                reason = %failure,
                "a request failed"
            );
            respond::from_error(&failure, asked)
        }
    }
}

/// A failure, and the revision that it is about.
struct Failed {
    failure: Failure,
    revision: Option<Arc<Revision>>,
}

impl<F: Into<Failure>> From<F> for Failed {
    fn from(failure: F) -> Self {
        Self {
            failure: failure.into(),
            revision: None,
        }
    }
}

async fn answer(
    shared: &Shared,
    origin: &Origin,
    asked: Asked,
    mut request: Request<Body>,
) -> Result<Response<Body>, Failed> {
    check(shared, asked, &request)?;
    let host = host(asked, &request)?;

    let headers = request.headers();
    let find = || {
        let published = shared.published.load();
        let target = published.pick(host, origin.listener, headers, fastrand::u64(..));
        target.map(|target| (target.revision.clone(), target.split))
    };
    let mut found = find();
    if found.is_none() && !shared.opening.is_over() {
        found = shared.opening.find(host, find).await;
    }
    let (serving, split) = found.ok_or_else(|| Failure::UnknownHost(host.to_owned()))?;

    let fields = Fields::of(headers);
    if fields.has(Kind::Probe)
        && let Some(answer) = answer_probe(shared, headers)
    {
        return Ok(answer?);
    }
    if fields.has_any(&[Kind::Upgrade, Kind::Expect]) {
        check_wishes(asked, &mut request)?;
    }
    use_origin_form(asked, &mut request);
    headers::prepare(request.headers_mut(), fields, &origin.client);
    split.tell(request.headers_mut(), fields);

    let revision = serving.revision().await?;
    let response = match revision.call(request, asked, origin.core).await {
        Ok(response) => finish(asked, response).await,
        Err(failure) => Err(failure),
    };
    response.map_err(|failure| Failed {
        failure,
        revision: Some(revision),
    })
}

/// Checks what no revision could change.
fn check(shared: &Shared, asked: Asked, request: &Request<Body>) -> Result<(), Failure> {
    if !asked.is_http2
        && let Some(refusal) = Refusal::of(request.method())
    {
        return Err(refusal.into());
    }
    if request.method() == Method::CONNECT {
        return Err(Failure::Connect);
    }
    // Of HTTP/1.1 this was done before the head was parsed.
    let uri = request.uri().path_and_query().map(PathAndQuery::as_str);
    let max_uri = usize::try_from(shared.config.max_uri_bytes.0).unwrap_or(usize::MAX);
    if uri.is_some_and(|uri| uri.len() > max_uri) {
        return Err(Refusal::Uri.into());
    }
    if request.headers().len() > MAX_FIELDS {
        return Err(Refusal::Fields.into());
    }
    Ok(())
}

/// The host that the request is for: of the URI when it has one, else of the `Host` field.
fn host(asked: Asked, request: &Request<Body>) -> Result<&str, Failure> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Refusal::Hosts.into());
    }
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    // HTTP/1.1 says which one counts, HTTP/2 that they are the same.
    if asked.is_http2
        && let (Some(authority), Some(field)) = (authority, field)
        && !authority.as_bytes().eq_ignore_ascii_case(field.as_bytes())
    {
        return Err(Failure::BadHost);
    }
    let host = match (authority, field) {
        (Some(authority), _) => authority.as_bytes(),
        (None, Some(field)) => field.as_bytes(),
        (None, None) => return Err(Failure::NoHost),
    };
    if host.is_empty() {
        return Err(Failure::NoHost);
    }
    // RFC 3986, of which neither user names nor percent signs belong to HTTP's hosts.
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]".contains(byte);
    if !host.iter().all(is_host) {
        return Err(Failure::BadHost);
    }
    std::str::from_utf8(host).map_err(|_| Failure::BadHost)
}

/// The answer to a request that probes the data plane and not the guest; none for any other.
fn answer_probe(shared: &Shared, headers: &HeaderMap) -> Option<Result<Response<Body>, Failure>> {
    let field = |name| headers.get(name).filter(|value| !value.is_empty());
    let network = field(keys::NETWORK_PROBE_HEADER);
    let is_kubelet = headers
        .get(USER_AGENT)
        .is_some_and(|agent| agent.as_bytes().starts_with(fields::KUBELET_AGENT))
        || field(keys::KUBELET_PROBE_HEADER).is_some();
    if network.is_none() && !is_kubelet {
        return None;
    }
    if shared.is_draining() {
        return Some(Err(Failure::Draining));
    }
    let Some(value) = network else {
        return Some(Ok(respond::healthy()));
    };
    if value != "probe" {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        return Some(Err(Failure::UnknownProbe(value)));
    }
    let hash = field(keys::NETWORK_HASH_HEADER).ok_or(Failure::ProbeWithoutHash);
    Some(hash.map(respond::probe))
}

/// Refuses what a client asks of the connection and a wasi:http guest cannot give.
fn check_wishes(asked: Asked, request: &mut Request<Body>) -> Result<(), Failure> {
    // Other upgrades are a client's offer, which may be passed over.
    if !asked.is_http2
        && let Some(protocol) = request.headers().get_all(UPGRADE).iter().find(is_websocket)
    {
        let protocol = String::from_utf8_lossy(protocol.as_bytes()).into_owned();
        return Err(Failure::Upgrade(protocol));
    }
    // The connection answers it, when the guest begins to read the body.
    if let Some(expectation) = request.headers_mut().remove(EXPECT)
        && !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        let expectation = String::from_utf8_lossy(expectation.as_bytes()).into_owned();
        return Err(Failure::Expectation(expectation));
    }
    Ok(())
}

fn is_websocket(protocols: &&HeaderValue) -> bool {
    let mut protocols = protocols.as_bytes().split(|byte| *byte == b',');
    protocols.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Makes of `GET http://host/path` what the guest of any other client sees.
fn use_origin_form(asked: Asked, request: &mut Request<Body>) {
    if asked.is_http2 {
        return;
    }
    let Some(authority) = request.uri().authority() else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        request.headers_mut().insert(HOST, host);
    }
}

/// Makes of a guest's response what goes to the client.
async fn finish(asked: Asked, mut response: Response<Body>) -> Result<Response<Body>, Failure> {
    if response.status().is_informational() {
        return Err(Failure::BadResponse("its status is below 200"));
    }
    headers::prepare_response(response.headers_mut()).map_err(Failure::BadResponse)?;
    let status = response.status();
    if asked.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response = without_body(asked, response).await;
    }
    Ok(response)
}

/// Takes the body away, and lets the guest get through with it if it does so soon.
async fn without_body(asked: Asked, mut response: Response<Body>) -> Response<Body> {
    let mut body = std::mem::take(response.body_mut());
    let length = body.size_hint().exact().filter(|length| *length > 0);
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    } else if let (true, Some(length)) = (asked.is_head, length) {
        let length = HeaderValue::from(length);
        response
            .headers_mut()
            .entry(CONTENT_LENGTH)
            .or_insert(length);
    }
    let unsent = async { while let Some(Ok(_)) = body.frame().await {} };
    // A guest that goes on for longer is told that nobody reads.
    let _ = tokio::time::timeout(UNSENT_BODY, unsent).await;
    response
}

#[cfg(test)]
mod tests;
