//! The data plane's face: listeners, connections, and the way of each request to a revision.
//!
//! ```text
//! serve ─ accept ─ clients (may it come in?) ─ executor (which core?)
//!                                                 │
//!                          connection ─ wire ─ framing (one meaning?)
//!                                                 │
//!                                       handler ──┴─▶ revision      respond ◀─ any failure
//! ```

mod clients;
mod connection;
pub mod executor;
pub mod fields;
pub mod framing;
pub mod handler;
pub mod headers;
pub mod opening;
pub mod respond;
pub mod watch;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use serve_core::traffic::Visibility;
use tokio::net::TcpListener;

use crate::config;
use crate::control::publish::Published;
use crate::tasks::Tasks;
use clients::{Clients, Full};
pub use connection::Origin;
use executor::Executor;
use opening::Opening;

/// How long to wait after an accept that failed, for instance because no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
pub struct Shared {
    pub published: ArcSwap<Published>,
    pub config: config::Ingress,
    /// The routes of an earlier run are not yet all there.
    pub opening: Opening,
    clients: Arc<Clients>,
    /// No new connection is taken any more.
    draining: AtomicBool,
}

impl Shared {
    #[must_use]
    pub fn new(config: config::Ingress) -> Self {
        let clients = Clients::new(config.max_connections, config.max_connections_per_address);
        Self {
            published: ArcSwap::default(),
            config,
            opening: Opening::default(),
            clients,
            draining: AtomicBool::new(false),
        }
    }

    /// The host is about to end: from now on probes are told so.
    fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the host is about to end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// Accepts connections until the stop signal, then lets each one end with its running request.
pub async fn serve(
    shared: Arc<Shared>,
    executor: Arc<Executor>,
    listener: TcpListener,
    visibility: Visibility,
    tasks: Arc<Tasks>,
) {
    let mut stop = tasks.stop_signal();
    let mut is_full = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.stopped() => {
                shared.drain();
                return;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = match shared.clients.admit(peer.ip()) {
            Ok(connection) => connection,
            // A refused client knows at once; one in the queue of the listener would wait unseen.
            Err(full) => {
                tracing::debug!(client = %peer.ip(), reason = %full, "a connection was refused");
                if full == Full::Total && !std::mem::replace(&mut is_full, true) {
                    tracing::warn!(
                        limit = shared.config.max_connections,
                        "connections are refused"
                    );
                }
                continue;
            }
        };
        is_full = false;
        let (shared, tasks) = (shared.clone(), tasks.clone());
        executor.give(stream, move |stream, place| {
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => return tracing::warn!(%error, "a connection was not taken over"),
            };
            let origin = Origin {
                listener: visibility,
                client: headers::Client::new(peer.ip()),
                core: place.core,
            };
            let stop = tasks.stop_signal();
            tasks.spawn(async move {
                connection::serve(shared, stream, origin, stop).await;
                drop((connection, place));
            });
        });
    }
}
