//! Everything that names wasmtime: settings, compiled code, stores and calls into guests.
//!
//! Input is component bytes from [`crate::image`] and, per revision, an [`InstanceSpec`]. Output is
//! an [`Instance`], which [`crate::pool`] owns and gives [`Call`]s to.
//!
//! ```text
//! bytes ─ Engine::prepare ─ Component ─ Engine::start ─ Instance ─ run(Call) / drive(Calls)
//! ```
//! A large component that is new gets code of the baseline compiler, and optimised code takes its
//! place when that is there ([`baseline`]).
//!
//! Invariants: one epoch ticker per engine, asleep while no guest runs; every store has a limiter,
//! an epoch callback and the numbers of [`Limits`]; a guest can name all of WASI, and what it may
//! not do fails when it tries.

mod asynchronous;
mod baseline;
mod cache;
mod call;
mod component;
mod cpu;
mod facts;
mod instance;
mod limits;
mod output;
mod place;
mod shelf;
mod state;
mod ticker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error as ThisError;

pub use self::call::{Call, Calls, GuestBody, Link};
pub use self::component::Component;
pub use self::cpu::Share;
pub use self::facts::Facts;
pub use self::instance::Instance;
pub use self::limits::Limits;
pub use self::output::{Sink, Stream};
pub use self::shelf::Slot;
pub use self::state::{InstanceSpec, Scratch};
use crate::image::Digest;
pub use crate::image::componentize::World;

/// Settings of an [`Engine`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Use the pooling allocator; without it a fresh instance costs about twice as much.
    pub pooling: bool,
    /// Instances that can exist at once, of all revisions. Reserves 4 GiB of address space each.
    pub instances: u32,
    /// Bytes of each linear memory that stay resident in a slot between two instances.
    pub keep_resident_bytes: usize,
    /// Slots that are given back to the kernel together.
    pub decommit_batch: usize,
    /// Components larger than this are refused.
    pub component_bytes: usize,
    /// Revisions that have their code loaded at once; each holds a file open and three mappings.
    pub loaded: usize,
    /// How many components compile at once; 0 means one less than there are cores.
    pub parallel_compiles: usize,
    /// A component with this many bytes or more that was not compiled before runs on code of the
    /// baseline compiler until it is optimised; none never does.
    pub baseline_bytes: Option<usize>,
    /// Directory for compiled code; without one, each start compiles again.
    pub cache: Option<PathBuf>,
    /// Time between two epochs: a guest that computes gives way this often.
    pub tick: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            pooling: true,
            instances: 1000,
            keep_resident_bytes: 1 << 20,
            decommit_batch: 64,
            component_bytes: 64 << 20,
            loaded: 8192,
            parallel_compiles: 0,
            baseline_bytes: Some(1 << 20),
            cache: None,
            tick: Duration::from_millis(2),
        }
    }
}

/// What can go wrong between component bytes and the end of a call.
///
/// A guest's failure ([`Error::Trap`], [`Error::Exit`], [`Error::NoResponse`], [`Error::ErrorCode`])
/// is an ordinary value here; `ingress::respond` gives each variant its status.
#[derive(Clone, Debug, ThisError)]
pub enum Error {
    /// The engine's settings do not work on this machine.
    #[error("the engine cannot start: {0}")]
    Settings(String),
    /// The component is larger than [`Config::component_bytes`].
    #[error("the component has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Size of the component.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The component imports an interface that is not there.
    #[error("imports \"{interface}\", which this host does not provide{hint}")]
    Import {
        /// The interface as the component names it.
        interface: String,
        /// Who would provide it, with a leading separator, or nothing.
        hint: &'static str,
    },
    /// The bytes are no valid component, or it is not one that handles requests.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// An interface is there, but a function in it has another type.
    #[error("the component does not link: {0}")]
    Link(String),
    /// The bytes of the component could not be read.
    #[error("the component cannot be read: {0}")]
    Read(String),
    /// No place for one more instance: of this revision or of all together.
    #[error("no instance is free")]
    Full,
    /// The guest failed while it was instantiated.
    #[error("the instance does not start: {0}")]
    Start(String),
    /// The request cannot be given to a guest.
    #[error("the request is not one a guest can take: {0}")]
    Request(String),
    /// The guest trapped. The log has the backtrace.
    #[error("the guest trapped: {0}")]
    Trap(String),
    /// The guest ended its program.
    #[error("the guest exited with code {0}")]
    Exit(i32),
    /// The guest returned without a response.
    #[error("the guest returned without a response")]
    NoResponse,
    /// The guest answered with an error code of `wasi:http`.
    #[error("the guest answered with the error {0}")]
    ErrorCode(String),
    /// The call ran out of time; its instance is gone.
    #[error("the guest did not answer in time")]
    Timeout,
    /// The instance went away under the call: another call of it trapped or the pool was closed.
    #[error("the instance ended while the call ran")]
    Gone,
}

/// Compiled code, stores and their limits for one host; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    places: place::Places<Result<place::Place, Error>>,
    room: Arc<limits::Room>,
    ticker: ticker::Ticker,
    compiler: component::Compiler,
    baseline: baseline::Baseline,
    cache: Option<cache::Cache>,
    shelf: shelf::Shelf,
    config: Config,
}

impl Engine {
    /// An engine with its ticker thread.
    ///
    /// Falls back to on-demand allocation, with a warning, where the address space of the pooling
    /// allocator cannot be reserved.
    ///
    /// # Errors
    /// [`Error::Settings`] when wasmtime refuses the settings or the ticker cannot start.
    pub fn new(config: &Config) -> Result<Engine, Error> {
        let ticker = ticker::Ticker::spawn(config.tick)
            .map_err(|error| Error::Settings(format!("no thread for the ticker: {error}")))?;
        let places = place::Places::default();
        let usual = place::optimized(&places, false, config, &ticker)?;
        let compiler = component::Compiler::new(config);
        let cache = config.cache.as_ref().map(|root| {
            let cache = cache::Cache::open(root, &usual.wasmtime);
            cache.map_err(|error| Error::Settings(format!("no cache for compiled code: {error}")))
        });
        let (cache, config) = (cache.transpose()?, config.clone());
        let shelf = shelf::Shelf::new(config.loaded);
        let inner = Inner {
            places,
            room: Arc::new(limits::Room::new(config.instances)),
            ticker,
            compiler,
            baseline: baseline::Baseline::default(),
            cache,
            shelf,
            config,
        };
        Ok(Engine {
            inner: Arc::new(inner),
        })
    }

    /// Where optimised code of a component runs.
    fn place(&self, facts: &Facts) -> Result<&place::Place, Error> {
        let Inner {
            places,
            config,
            ticker,
            ..
        } = &*self.inner;
        place::optimized(places, facts.is_async, config, ticker)
    }

    /// A place for the code of one revision.
    pub fn slot(&self) -> Arc<Slot> {
        self.inner.shelf.slot()
    }

    /// Whether code that is let go can be loaded again without compiling it.
    pub fn keeps_code(&self) -> bool {
        self.inner.cache.is_some()
    }

    /// Whether the code of a component was compiled and kept before.
    pub fn has_code(&self, digest: &Digest) -> bool {
        let cache = self.inner.cache.as_ref();
        cache.is_some_and(|cache| cache.has(digest))
    }

    /// Whether it was loaded here before: nobody has to look for it on disk.
    pub fn has_loaded(&self, digest: &Digest) -> bool {
        let cache = self.inner.cache.as_ref();
        cache.is_some_and(|cache| cache.verified(digest).is_some())
    }

    /// Lets one epoch pass, as the ticker does every [`Config::tick`].
    pub fn increment_epoch(&self) {
        self.inner.ticker.increment_epochs();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn engine_without_the_address_space_allocates_on_demand() {
        let engine = Engine::new(&Config {
            instances: 1 << 24,
            ..Config::default()
        })
        .unwrap();
        let usual = place::optimized(
            &engine.inner.places,
            false,
            &engine.inner.config,
            &engine.inner.ticker,
        );
        let usual = &usual.unwrap_or_else(|error| panic!("{error}")).wasmtime;
        assert!(usual.pooling_allocator_metrics().is_none());
        let wat = include_bytes!("../../../tests/guests/hello.wat");
        let component = engine
            .prepare(crate::image::componentize(wat).unwrap())
            .await
            .unwrap();
        engine
            .start(&component, &InstanceSpec::new("test"), 0)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn full_engine_is_told_from_a_failed_start() {
        let engine = Engine::new(&Config {
            instances: 1,
            ..Config::default()
        })
        .unwrap();
        let wat = include_bytes!("../../../tests/guests/hello.wat");
        let component = engine
            .prepare(crate::image::componentize(wat).unwrap())
            .await
            .unwrap();
        let p3 = include_bytes!("../../../tests/guests/echo-p3.wat");
        let of_another_engine = engine
            .prepare(crate::image::componentize(p3).unwrap())
            .await
            .unwrap();
        let spec = InstanceSpec::new("test");
        let first = engine.start(&component, &spec, 0).await.unwrap();
        for component in [&component, &of_another_engine] {
            let second = engine.start(component, &spec, 1).await;
            assert!(matches!(second, Err(Error::Full)));
        }
        drop(first);
        engine.start(&of_another_engine, &spec, 2).await.unwrap();
        engine.start(&component, &spec, 3).await.unwrap();
    }

    #[tokio::test]
    async fn component_is_compiled_once_for_all_who_ask() {
        let engine = Engine::new(&Config {
            pooling: false,
            ..Config::default()
        })
        .unwrap();
        let wat = include_bytes!("../../../tests/guests/hello.wat");
        let bytes = bytes::Bytes::from(crate::image::componentize(wat).unwrap());
        let asked = (0..8).map(|_| engine.prepare(bytes.clone()));
        let components = futures_util::future::join_all(asked).await;
        let first = components[0].as_ref().unwrap();
        for component in &components {
            assert!(first.is_same(component.as_ref().unwrap()));
        }
    }
}
