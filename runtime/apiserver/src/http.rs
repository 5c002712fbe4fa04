//! Connections: TLS, HTTP/1.1 and HTTP/2, and the bounds on both.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use serve_runtime::tasks::{Stop, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::answer::Server;
use crate::auth::{Names, Token};
use crate::builtin;
use crate::{Credentials, Host};

/// The body of an answer: a whole one, or the lines of a watch.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How much of what clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body of a request.
    pub body_bytes: usize,
    pub connections: usize,
    pub watches: usize,
    /// Time of a request that is no watch, from its header to its answer.
    pub request_time: Duration,
    pub handshake_time: Duration,
    /// Time without a request after which a connection is closed, and for the header of one.
    pub idle_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 3 << 20,
            connections: 1_000,
            watches: 1_000,
            request_time: Duration::from_secs(60),
            handshake_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
        }
    }
}

/// Bytes of the header of a request, and of one of its HTTP/2 field lists.
const MAX_HEADER: usize = 64 << 10;
const MAX_STREAMS: u32 = 250;
/// How often a silent HTTP/2 client is asked whether it is still there, and how long it may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API on a listener until the tasks are stopped. Each connection is a task of the set.
pub async fn serve(
    host: Host,
    credentials: Credentials,
    limits: Limits,
    listener: TcpListener,
    tasks: Arc<Tasks>,
) {
    let mut stop = tasks.stop_signal();
    tasks.spawn(builtin::follow(host.store.clone(), stop.clone()));
    let acceptor = TlsAcceptor::from(credentials.config.clone());
    let server = Arc::new(server(
        host,
        credentials.token,
        credentials.names,
        limits,
        &stop,
    ));
    let connections = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.stopped() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection to the API was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // One connection too many is closed at once: its client tries again.
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            tracing::warn!("the API has as many connections as it may have");
            continue;
        };
        let (server, acceptor, stop) = (server.clone(), acceptor.clone(), stop.clone());
        tasks.spawn(async move {
            connection(server, acceptor, stream, stop).await;
            drop(permit);
        });
    }
}

pub(crate) fn server(
    host: Host,
    token: Token,
    names: Names,
    limits: Limits,
    stop: &Stop,
) -> Server {
    Server {
        host,
        token,
        names,
        limits,
        watches: Arc::new(Semaphore::new(limits.watches)),
        stop: stop.clone(),
    }
}

async fn connection(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream, mut stop: Stop) {
    let _ = stream.set_nodelay(true);
    let limits = server.limits;
    let stream = match timeout(limits.handshake_time, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_time)
        .max_buf_size(MAX_HEADER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADER).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let service = service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        async move { Ok::<Response<Body>, Infallible>(server.answer(request).await) }
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.stopped() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection to the API ended early");
    }
}

#[cfg(test)]
mod tests {
    use serve_runtime::clock::Clock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

    use super::*;

    struct World {
        address: std::net::SocketAddr,
        ca: String,
        token: String,
        tasks: Arc<Tasks>,
        _directory: tempfile::TempDir,
    }

    impl World {
        async fn start(limits: Limits) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let keys = directory.path().join("api");
            let credentials = Credentials::open(&keys, address).expect("credentials");
            let (ca, token) = (
                credentials.ca.clone(),
                credentials.token.as_str().to_owned(),
            );
            let tasks = Arc::new(Tasks::default());
            let (host, _) = crate::answer::tests::host(Clock::System);
            tasks.spawn(serve(host, credentials, limits, listener, tasks.clone()));
            Self {
                address,
                ca,
                token,
                tasks,
                _directory: directory,
            }
        }

        async fn connect(
            &self,
            name: &'static str,
            protocol: Option<&[u8]>,
        ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("a certificate");
            roots.add(ca).expect("a CA");
            let mut config =
                ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                    .with_safe_default_protocol_versions()
                    .expect("versions")
                    .with_root_certificates(roots)
                    .with_no_client_auth();
            config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
            let stream = TcpStream::connect(self.address).await?;
            let name = ServerName::try_from(name).expect("a name");
            TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await
        }

        /// The status line and all that follows until the server closes.
        async fn ask(&self, path: &str, fields: &str) -> String {
            let mut stream = self.connect("localhost", None).await.expect("connected");
            let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            // A server that ends need not say goodbye.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        }
    }

    #[tokio::test]
    async fn certificates_are_good_for_all_names_of_this_server() {
        let world = World::start(Limits::default()).await;
        for name in ["localhost", "127.0.0.1", "::1"] {
            let stream = world.connect(name, Some(b"h2")).await.expect(name);
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        }
        assert!(world.connect("evil.example", None).await.is_err());
    }

    #[tokio::test]
    async fn without_a_token_only_health_and_version_are_answered() {
        let world = World::start(Limits::default()).await;
        let close = "connection: close\r\n";
        for (path, want) in [
            ("/livez", "200"),
            ("/readyz?verbose", "200"),
            ("/healthz", "200"),
            ("/version", "200"),
            ("/", "401"),
            ("/api", "401"),
            ("/apis/serving.knative.dev/v1/services?watch=true", "401"),
            ("/nothing", "401"),
        ] {
            let answer = world.ask(path, close).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {want}")),
                "{path}: {answer}"
            );
        }
        let token = format!("authorization: Bearer {}\r\n{close}", world.token);
        assert!(world.ask("/api", &token).await.starts_with("HTTP/1.1 200"));
        let foreign = format!("{token}origin: https://evil.example\r\n");
        assert!(
            world
                .ask("/api", &foreign)
                .await
                .starts_with("HTTP/1.1 403")
        );
    }

    #[tokio::test]
    async fn a_watch_does_not_hold_a_server_that_stops() {
        let world = World::start(Limits::default()).await;
        let mut stream = world.connect("localhost", None).await.expect("connected");
        let head = format!(
            "GET /api/v1/namespaces?watch=true HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {}\r\n\r\n",
            world.token
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = vec![0; 12];
        stream
            .read_exact(&mut answer)
            .await
            .expect("the watch has begun");
        assert_eq!(answer, b"HTTP/1.1 200");
        world.tasks.stop();
        // A server that ends need not say goodbye.
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(world.tasks.shutdown(Duration::from_secs(60)).await, 0);
    }

    #[tokio::test]
    async fn connections_and_handshakes_are_bounded() {
        let limits = Limits {
            connections: 1,
            handshake_time: Duration::from_secs(2),
            ..Limits::default()
        };
        let world = World::start(limits).await;
        let mut silent = TcpStream::connect(world.address).await.expect("connected");
        let mut byte = [0];
        // The one place is taken by a client that says nothing, until its time is over.
        assert!(world.connect("localhost", None).await.is_err());
        assert_eq!(silent.read(&mut byte).await.expect("closed"), 0);
        let mut plain = TcpStream::connect(world.address).await.expect("connected");
        plain
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("sent");
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "no plain HTTP");
    }
}
