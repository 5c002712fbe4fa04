//! Asks the probes of a revision's replicas and restarts them.
//!
//! Input: the probes, and the answers of the guest. Output: whether the replicas take requests, and
//! how often they were restarted. The decisions are `serve_core::probe`'s; this module only asks
//! and waits. The replicas of a revision share their instances, so one verdict is that of all.
//!
//! A probe is a request that goes past the activator: it takes no place of a client's request, and
//! the autoscaler does not count it.
//!
//! # Source
//! kubernetes pkg/probe/http and pkg/probe/grpc; grpc/health/v1. Differs: at most 10 KiB of a
//! response are read, as there, and a redirect passes without being followed.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use serve_core::keys;
use serve_core::probe::{Action, Kind, Outcome, Probes, State, Step};
use tokio::time::{Instant, sleep_until, timeout};

use crate::body::Body;
use crate::engine::Error;
use crate::pool::{self, Boxed, Pool};

/// How the kubelet names itself.
const AGENT: HeaderValue = HeaderValue::from_static("kube-probe/1.32");
/// What Knative adds to the probes that the kubelet sends through its proxy.
const THROUGH_PROXY: HeaderValue = HeaderValue::from_static("queue");
/// How much of a response is read.
const MOST_BYTES: usize = 10 << 10;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: &str = "grpc-status";

/// The replicas of one revision as their probes see them.
pub struct Prober {
    probes: Arc<Probes>,
    pool: Pool,
    /// What a probe names as its host if its manifest names none.
    host: HeaderValue,
    state: State,
    /// Times are counted from here.
    origin: Instant,
    asked: FuturesUnordered<Boxed<'static, Answer>>,
    starting: Option<Boxed<'static, Result<(), Error>>>,
    told: Health,
}

struct Answer {
    kind: Kind,
    outcome: Outcome,
    asked: Duration,
}

/// What the probes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub is_ready: bool,
    pub restarts: u32,
}

impl Prober {
    /// For replicas whose first instance was started just now; `port` is the container's.
    #[must_use]
    pub fn new(probes: Arc<Probes>, pool: Pool, port: u16) -> Self {
        let state = State::new(&probes, Duration::ZERO);
        let mut prober = Self {
            probes,
            pool,
            host: host(port),
            state,
            origin: Instant::now(),
            asked: FuturesUnordered::new(),
            starting: None,
            told: Health::default(),
        };
        // Most containers are ready once they were started: nobody has to wait for that.
        prober.act();
        prober.told = prober.health();
        prober
    }

    /// What the probes say now.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            is_ready: self.state.is_ready(),
            restarts: self.state.restarts(),
        }
    }

    /// Asks and restarts until something is other than it was told last.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was asked is asked on in the next call.
    pub async fn changed(&mut self) -> Health {
        loop {
            let due = self.act();
            let health = self.health();
            if health != self.told {
                self.told = health;
                return health;
            }
            tokio::select! {
                biased;
                Some(answer) = self.asked.next() => self.take(&answer),
                result = started(&mut self.starting) => {
                    self.starting = None;
                    let now = self.origin.elapsed();
                    match result {
                        Ok(()) => self.state.started(&self.probes, now),
                        Err(_) => self.state.did_not_start(now),
                    }
                }
                () = until(due) => {}
            }
        }
    }

    fn take(&mut self, answer: &Answer) {
        let times = (answer.asked, self.origin.elapsed());
        let (kind, outcome) = (answer.kind, answer.outcome);
        self.state.answered(&self.probes, kind, outcome, times);
        if !self.state.is_up() {
            tracing::warn!(
                reason = format!("{kind:?} probe failed").to_lowercase(),
                "replicas are restarted"
            );
            // Questions to what is gone have no answer.
            self.asked.clear();
            self.pool.restart();
        }
    }

    /// Does what is due; returns when there is something to do next.
    fn act(&mut self) -> Option<Instant> {
        while let Some((at, step)) = self.state.next(&self.probes) {
            let now = self.origin.elapsed();
            if at > now {
                return Some(self.origin + at);
            }
            match step {
                Step::Ask(kind) => self.ask(kind, now),
                Step::Start => {
                    self.state.starting();
                    let pool = self.pool.clone();
                    self.starting = Some(Box::pin(async move { pool.warm().await }));
                }
            }
        }
        None
    }

    fn ask(&mut self, kind: Kind, asked: Duration) {
        let time = self.state.begin(&self.probes, kind);
        let Some(check) = self.probes.get(kind) else {
            return;
        };
        let pool = self.pool.clone();
        let answer = move |outcome| Answer {
            kind,
            outcome,
            asked,
        };
        match &check.action {
            // There is an instance, or this would not be asked.
            Action::Started => self.take(&answer(Outcome::Passed)),
            Action::HttpGet {
                path,
                host,
                headers,
            } => {
                let request = get(path, host, headers, kind, &self.host);
                self.asked.push(Box::pin(async move {
                    answer(within(time, http_outcome(pool, request, time)).await)
                }));
            }
            Action::Grpc { service } => {
                let request = check_health(service, &self.host);
                self.asked.push(Box::pin(async move {
                    answer(within(time, grpc_outcome(pool, request, time)).await)
                }));
            }
        }
    }
}

fn host(port: u16) -> HeaderValue {
    HeaderValue::try_from(format!("127.0.0.1:{port}")).expect("digits and dots are a header value")
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn started<T>(starting: &mut Option<Boxed<'static, T>>) -> T {
    match starting {
        Some(starting) => Pin::new(starting).await,
        None => std::future::pending().await,
    }
}

async fn within(time: Duration, outcome: impl Future<Output = Outcome>) -> Outcome {
    timeout(time, outcome).await.unwrap_or(Outcome::Failed)
}

/// The request of an `httpGet` probe; none when its manifest asks for what is no request.
fn get(
    path: &str,
    host: &str,
    headers: &[(String, String)],
    kind: Kind,
    own_host: &HeaderValue,
) -> Option<Request<Body>> {
    let mut request = Request::get(path).body(Body::empty()).ok()?;
    let fields = request.headers_mut();
    for (name, value) in headers {
        let name: HeaderName = name.parse().ok()?;
        fields.append(name, HeaderValue::from_str(value).ok()?);
    }
    if !host.is_empty() {
        fields.insert(HOST, HeaderValue::from_str(host).ok()?);
    }
    fields.entry(HOST).or_insert_with(|| own_host.clone());
    fields.entry(USER_AGENT).or_insert(AGENT);
    fields
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    // Knative asks the readiness probe itself.
    if kind != Kind::Readiness {
        fields.insert(keys::KUBELET_PROBE_HEADER, THROUGH_PROXY);
    }
    Some(request)
}

/// Lets the guest answer. A full pool is no verdict about the guest.
async fn call(
    pool: &Pool,
    request: Option<Request<Body>>,
    time: Duration,
) -> Result<Response<Body>, Outcome> {
    let request = request.ok_or(Outcome::Failed)?;
    let outcome = |error: Error| match error {
        Error::Full => Outcome::Unknown,
        _ => Outcome::Failed,
    };
    let lease = pool.lease(0).map_err(outcome)?;
    let response = lease.call(request, pool::Timeouts::total(time)).await;
    response.map_err(outcome)
}

async fn http_outcome(pool: Pool, request: Option<Request<Body>>, time: Duration) -> Outcome {
    let response = match call(&pool, request, time).await {
        Ok(response) => response,
        Err(outcome) => return outcome,
    };
    let status = response.status();
    // Read, so that the guest comes to its end and its instance is kept.
    let whole = read(response.into_body()).await;
    let is_well = status.is_success() || status.is_redirection();
    if is_well && whole.is_some() {
        Outcome::Passed
    } else {
        Outcome::Failed
    }
}

/// The first bytes of a body and its trailers; none when it breaks off.
async fn read(mut body: Body) -> Option<(Vec<u8>, HeaderMap)> {
    let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.ok()?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > MOST_BYTES {
            break;
        }
        if let Ok(last) = frame.into_trailers() {
            trailers = last;
        }
    }
    Some((bytes, trailers))
}

/// The request of a `grpc` probe: `grpc.health.v1.Health/Check` with one message.
fn check_health(service: &str, host: &HeaderValue) -> Option<Request<Body>> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, a string.
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push((length & 0x7f) as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).ok()?.to_be_bytes());
    bytes.extend(message);
    Request::post("/grpc.health.v1.Health/Check")
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONTENT_TYPE, GRPC)
        .header(TE, "trailers")
        .body(Body::from(Bytes::from(bytes)))
        .ok()
}

async fn grpc_outcome(pool: Pool, request: Option<Request<Body>>, time: Duration) -> Outcome {
    let response = match call(&pool, request, time).await {
        Ok(response) => response,
        Err(outcome) => return outcome,
    };
    let (parts, body) = response.into_parts();
    let Some((bytes, trailers)) = read(body).await else {
        return Outcome::Failed;
    };
    let status = trailers
        .get(GRPC_STATUS)
        .or_else(|| parts.headers.get(GRPC_STATUS));
    let is_ok = parts.status.is_success() && status.is_some_and(|status| status == "0");
    // One message that is not compressed: field 1, an enum, is SERVING.
    if is_ok && bytes == [0, 0, 0, 0, 2, 0x08, 1] {
        Outcome::Passed
    } else {
        Outcome::Failed
    }
}

#[cfg(test)]
mod tests;
