//! The Kubernetes API of a `serve` host, as `kubectl`, `kn` and other clients of Kubernetes speak
//! it: HTTPS with a token, the serving kinds of Knative and the few core kinds that go with them.
//!
//! Input: requests of clients. Output: objects written to the store of `serve-runtime`, after
//! admission, and answers from that store. Nothing here reconciles.
//!
//! ```text
//! TLS ─ http ─ auth::check ─ request::target ─ answer ┬ discovery, openapi
//!                                                     ├ read, watch ◄── store
//!                                                     └ write ─► admit ─► store
//! ```

mod answer;
pub mod auth;
mod builtin;
mod codec;
mod discovery;
mod http;
pub mod kubeconfig;
mod logs;
mod openapi;
mod patch;
mod read;
mod request;
mod resources;
mod review;
mod selector;
mod status;
mod table;
mod tls;
mod watch;
mod write;

use serve_runtime::Runtime;
use serve_runtime::clock::Clock;
use serve_runtime::control::settings::Current;
use serve_runtime::control::store::Store;
use serve_runtime::logs::Logs;
use serve_runtime::source::resolve::Resolver;

pub use http::{Limits, serve};
pub use tls::{Credentials, Error};

/// What of a runtime the API works on. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    pub store: Store,
    pub settings: Current,
    pub resolver: Resolver,
    pub clock: Clock,
    pub logs: Logs,
}

impl Host {
    /// The parts of a runtime. Creates the objects that every cluster has.
    #[must_use]
    pub fn of(runtime: &Runtime) -> Self {
        let host = Self {
            store: runtime.store().for_clients(),
            settings: runtime.settings().clone(),
            resolver: runtime.resolver().clone(),
            clock: runtime.clock().clone(),
            logs: runtime.logs().clone(),
        };
        builtin::create(&host.store, runtime.domain());
        host
    }
}
