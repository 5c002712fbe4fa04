//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use serve_core::traffic::Visibility;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::framing::Limits;
use super::headers::Client;
use super::watch::bounded;
use super::wire::{Protocol, Wire};
use super::{Shared, handler};
use crate::body::Body;
use crate::config;
use crate::tasks::Stop;

/// Streams that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 128;
/// Streams that a client has reset before they were looked at.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that were reset for an error of the client.
const MAX_ERROR_RESETS: usize = 1024;
/// How long an idle client may take to agree to the end of its HTTP/2 connection.
const GOODBYE: Duration = Duration::from_secs(10);

/// Where requests of a connection come from, and where they are served.
#[derive(Debug)]
pub struct Origin {
    pub listener: Visibility,
    pub client: Client,
    /// Which shard of the pools their instances are in.
    pub core: usize,
}

/// What the requests of one connection have in common.
struct Here {
    shared: Arc<Shared>,
    origin: Origin,
}

/// Serves a connection to its end. After the stop signal it ends with its running requests.
pub async fn serve(shared: Arc<Shared>, stream: TcpStream, origin: Origin, stop: Stop) {
    // Small responses must not wait for the acknowledgement of earlier ones.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let time = shared.config.header_read_timeout.0;
    let mut stopped = stop.clone();
    let opened = tokio::select! {
        opened = Wire::open(stream, limits(&shared.config), time) => opened,
        () = stopped.stopped() => return,
    };
    let here = Arc::new(Here { shared, origin });
    let ended = match opened {
        Ok(Some((wire, Protocol::Http1))) => http1(here, wire, stop).await,
        Ok(Some((wire, Protocol::Http2))) => http2(here, wire, stop).await,
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(%error, "a connection ended before it began");
            return;
        }
    };
    if let Err(error) = ended {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        tracing::debug!(%error, source, "a connection ended early");
    }
}

fn limits(config: &config::Ingress) -> Limits {
    Limits {
        head_bytes: bytes(config.max_header_bytes),
        uri_bytes: bytes(config.max_uri_bytes),
        fields: handler::MAX_FIELDS,
    }
}

fn bytes(size: config::Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

async fn http1(here: Arc<Here>, wire: Wire, mut stop: Stop) -> hyper::Result<()> {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The time of a head is the wire's to keep; this one runs from the response before.
        .header_read_timeout(here.shared.config.keep_alive_timeout.0)
        // The buffer must hold a whole head, and hyper's own minimum is 8 KiB.
        .max_buf_size(bytes(here.shared.config.max_header_bytes).max(32 << 10) * 2);
    let service = service_fn(move |request: Request<Incoming>| {
        let here = here.clone();
        async move { answer(&here, request).await }
    });
    let connection = bounded(async {
        let mut connection = pin!(builder.serve_connection(wire, service));
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    connection.await.unwrap_or_else(|| {
        overdue();
        Ok(())
    })
}

async fn http2(here: Arc<Here>, wire: Wire, mut stop: Stop) -> hyper::Result<()> {
    let streams = Streams::default();
    let _owner = Owner(streams.clone());
    let idle = here.shared.config.keep_alive_timeout.0;
    let header_bytes = u32::try_from(here.shared.config.max_header_bytes.0).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_header_list_size(header_bytes);
    let service = service_fn(move |request: Request<Incoming>| {
        let here = here.clone();
        async move { answer(&here, request).await }
    });
    let mut connection = pin!(builder.serve_connection(wire, service));
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = streams.idle_for(idle) => {
            connection.as_mut().graceful_shutdown();
            let ended = tokio::time::timeout(GOODBYE, connection).await;
            ended.unwrap_or(Ok(()))
        }
    }
}

async fn answer(here: &Here, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let request = request.map(Body::from);
    Ok(handler::handle(&here.shared, &here.origin, request).await)
}

fn overdue() {
    tracing::debug!("a client did not take its response in time");
}

/// The streams of one HTTP/2 connection; they end with it.
#[derive(Clone, Default)]
struct Streams {
    tasks: Arc<Mutex<JoinSet<()>>>,
    count: Arc<Count>,
}

#[derive(Default)]
struct Count {
    open: AtomicUsize,
    /// All that there ever were.
    total: AtomicUsize,
    none: Notify,
}

/// One open stream.
struct Open(Arc<Count>);

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, AcqRel) == 1 {
            self.0.none.notify_one();
        }
    }
}

/// Ends the streams: they hold a handle of their own set, so that it does not end by itself.
struct Owner(Streams);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.tasks().abort_all();
    }
}

impl Streams {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when no stream was open for this long.
    async fn idle_for(&self, time: Duration) {
        let count = &self.count;
        loop {
            let total = count.total.load(Acquire);
            if count.open.load(Acquire) > 0 {
                count.none.notified().await;
                continue;
            }
            tokio::time::sleep(time).await;
            if count.open.load(Acquire) == 0 && count.total.load(Acquire) == total {
                return;
            }
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.count.total.fetch_add(1, AcqRel);
        self.count.open.fetch_add(1, AcqRel);
        let open = Open(self.count.clone());
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let _open = open;
            bounded(stream).await.unwrap_or_else(overdue);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_while_no_stream_is_open() {
        let streams = Streams::default();
        let start = Instant::now();
        let sleep = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
        streams.execute(sleep(100));
        let opener = streams.clone();
        streams.execute(async move {
            sleep(130).await;
            opener.execute(sleep(1));
        });
        streams.idle_for(Duration::from_secs(75)).await;
        let idle = start.elapsed().as_secs();
        assert!((205..=206).contains(&idle), "{idle}");
    }
}
