//! Compiled and linked guests, and the one place where compiling is bounded.
//!
//! `Engine::prepare` runs at deploy time, off the request path, on blocking threads: once per
//! digest however many revisions ask, and no more at a time than [`super::Config::parallel_compiles`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use wasmparser::{Parser, Payload};
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::{p2, p3};

use super::state::State;
use super::{Config, Engine, Error, World};
use crate::image::Digest;
use crate::image::componentize::{ISOLATION_REVISION, ISOLATION_SECTION, handler_version};

/// A guest that is compiled and linked: instances start from it at once. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    linked: Arc<Linked>,
}

pub(super) struct Linked {
    pub(super) pre: ProxyPre<State>,
    facts: Arc<Facts>,
}

impl Component {
    /// What is known of the component without running it.
    pub fn facts(&self) -> &Facts {
        &self.linked.facts
    }

    /// Whether both are the same code in memory, not only equal.
    #[cfg(test)]
    pub(super) fn is_same(&self, other: &Component) -> bool {
        Arc::ptr_eq(&self.linked, &other.linked)
    }

    pub(super) fn pre(&self) -> &ProxyPre<State> {
        &self.linked.pre
    }
}

/// What a component says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Digest of the component's bytes.
    pub digest: Digest,
    /// Which handler interface it exports.
    pub world: World,
    /// It was built to serve many requests in one instance (our SDKs, `ko://` builds).
    pub reuse: bool,
    /// Interfaces that it imports, as it names them.
    pub imports: Vec<String>,
    /// Size of the component in bytes.
    pub size_bytes: usize,
}

impl Facts {
    /// What `isolation: auto` means for this component: whether an instance serves more than one
    /// request.
    pub fn auto_reuse(&self) -> bool {
        self.reuse || self.world == World::P3
    }

    /// Reads the top level of a component.
    ///
    /// # Errors
    /// [`Error::Compile`] for bytes that are no component with a handler, [`Error::Import`] for an
    /// interface that the host does not have.
    pub fn read(bytes: &[u8], config: &Config) -> Result<Facts, Error> {
        let invalid = |error: wasmparser::BinaryReaderError| Error::Compile(error.to_string());
        let (mut world, mut reuse, mut imports, mut depth) = (None, false, Vec::new(), 0usize);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(invalid)? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        imports.push(import.map_err(invalid)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let found = handler_version(export.map_err(invalid)?.name.name)
                            .map(|(world, _)| world);
                        // Of both, the newer one: an instance of it takes several requests.
                        world = if found == Some(World::P3) {
                            found
                        } else {
                            world.or(found)
                        };
                    }
                }
                Payload::CustomSection(section) if depth == 1 => {
                    reuse |=
                        section.name() == ISOLATION_SECTION && section.data() == ISOLATION_REVISION;
                }
                _ => {}
            }
        }
        if let Some(interface) = imports.iter().find(|name| !is_provided(name, config)) {
            return Err(Error::Import {
                interface: interface.clone(),
                hint: provider(interface),
            });
        }
        let world = world.ok_or_else(|| Error::Compile("it exports no request handler".into()))?;
        Ok(Facts {
            digest: Digest::of(bytes),
            world,
            reuse,
            imports,
            size_bytes: bytes.len(),
        })
    }
}

/// Interfaces of WASI 0.2 that wasmtime-wasi and wasmtime-wasi-http implement.
const P2_INTERFACES: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "http/outgoing-handler",
    "http/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
];

/// The same for WASI 0.3.
const P3_INTERFACES: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/types",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "clocks/monotonic-clock",
    "clocks/system-clock",
    "clocks/types",
    "filesystem/preopens",
    "filesystem/types",
    "http/client",
    "http/types",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/ip-name-lookup",
    "sockets/types",
];

fn is_provided(import: &str, config: &Config) -> bool {
    let Some((interface, version)) = import
        .strip_prefix("wasi:")
        .and_then(|name| name.split_once('@'))
    else {
        // Functions and types at the top level: linking tells.
        return !import.contains(':');
    };
    (version.starts_with("0.2.") && P2_INTERFACES.contains(&interface))
        || (config.concurrency && version.starts_with("0.3.") && P3_INTERFACES.contains(&interface))
}

/// Who provides an interface that this host does not have.
fn provider(interface: &str) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        (
            "wasi:keyvalue/",
            "; hosts such as wasmCloud and Spin do, here a guest would call a store over HTTP",
        ),
        (
            "wasi:config/",
            "; settings reach a guest as environment variables here",
        ),
        (
            "wasi:logging/",
            "; what a guest writes to standard output is logged here",
        ),
        (
            "wasi:nn/",
            "; it needs a host with a machine learning backend",
        ),
        ("wasi:tls/", "; TLS ends at the host here"),
        (
            "wasi:messaging/",
            "; events reach a guest as HTTP requests here",
        ),
        ("wasi:blobstore/", "; hosts such as wasmCloud do"),
        (
            "wasi:http/",
            "; only WASI 0.2.x and 0.3.x do here, release candidates do not",
        ),
        (
            "fermyon:",
            "; it is Spin's, build the guest with the \"wasi-http\" template instead",
        ),
        (
            "spin:",
            "; it is Spin's, build the guest with the \"wasi-http\" template instead",
        ),
        ("wasmcloud:", "; it is wasmCloud's"),
        (
            "fastly:",
            "; it is Fastly's, build the guest for wasm32-wasip2 instead",
        ),
        (
            "wasi_snapshot_preview1",
            "; it is of a core module, deploy that module instead",
        ),
        (
            "wasi:",
            "; of WASI there are cli, clocks, filesystem, http, io, random and sockets, 0.2.x and 0.3.x",
        ),
    ];
    KNOWN
        .iter()
        .find(|(prefix, _)| interface.starts_with(prefix))
        .map_or(
            "; compose the component with one that exports it (\"wac plug\")",
            |(_, hint)| hint,
        )
}

/// Size of a component whose code is mapped in some tens of microseconds.
const QUICK_BYTES: usize = 1 << 20;

/// Bounds on compiling.
pub(super) struct Compiler {
    permits: Arc<Semaphore>,
    /// Components by digest while somebody holds them, and the lock of the digest's compilation.
    known: Mutex<HashMap<Digest, Arc<Known>>>,
}

#[derive(Default)]
struct Known {
    busy: Arc<tokio::sync::Mutex<()>>,
    linked: Mutex<Weak<Linked>>,
}

impl Compiler {
    pub(super) fn new(config: &Config) -> Compiler {
        let permits = match config.parallel_compiles {
            0 => std::thread::available_parallelism()
                .map_or(1, |cores| cores.get().saturating_sub(1).max(1)),
            n => n,
        };
        Compiler {
            permits: Arc::new(Semaphore::new(permits)),
            known: Mutex::default(),
        }
    }
}

impl Engine {
    /// The compiled and linked form of a component.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Import`], [`Error::Compile`] or [`Error::Link`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop a compilation that has begun; it ends on its thread, and
    /// its result is in the cache.
    pub async fn prepare(&self, component: impl Into<Bytes>) -> Result<Component, Error> {
        let bytes = component.into();
        let limit = self.inner.config.component_bytes;
        if bytes.len() > limit {
            return Err(Error::TooLarge {
                bytes: bytes.len(),
                limit,
            });
        }
        // Before the cache is asked: a component that cannot run here says so every time.
        let digest = Facts::read(&bytes, &self.inner.config)?.digest;
        self.load(digest, || Ok(bytes)).await
    }

    /// The compiled and linked form of the component `digest`, whose bytes are only fetched if its
    /// code is not in the cache.
    ///
    /// # Errors
    /// As [`Engine::prepare`], and [`Error::Read`] when `fetch` fails.
    ///
    /// # Cancel safety
    /// As [`Engine::prepare`].
    pub async fn load<F>(&self, digest: Digest, fetch: F) -> Result<Component, Error>
    where
        F: FnOnce() -> std::io::Result<Bytes> + Send + 'static,
    {
        let known = self.known(&digest);
        // Held by the work, not by its caller: who comes after a caller that left waits for it.
        let busy = known.busy.clone().lock_owned().await;
        if let Some(linked) = lock(&known.linked).upgrade() {
            return Ok(Component { linked });
        }
        if let Some(linked) = self.load_quickly(&digest)? {
            *lock(&known.linked) = Arc::downgrade(&linked);
            drop(busy);
            return Ok(Component { linked });
        }
        let engine = self.clone();
        let (busy, cached) =
            blocking(move || engine.load_cached(&digest).map(|cached| (busy, cached))).await?;
        let Some(linked) = cached else {
            // Mapping is cheap, compiling is not: only this waits for its turn.
            let permit = self.inner.compiler.permits.clone().acquire_owned().await;
            let (engine, known) = (self.clone(), known.clone());
            let compiled = blocking(move || {
                let (_busy, _permit) = (busy, permit);
                let bytes = fetch().map_err(|error| Error::Read(format!("{digest}: {error}")))?;
                let linked = engine.compile(&digest, &bytes)?;
                // Before the next one is let in.
                *lock(&known.linked) = Arc::downgrade(&linked);
                Ok(linked)
            });
            return Ok(Component {
                linked: compiled.await?,
            });
        };
        *lock(&known.linked) = Arc::downgrade(&linked);
        drop(busy);
        Ok(Component { linked })
    }

    /// Removes compiled code of components that are not in `keep` and returns how many that were.
    ///
    /// # Errors
    /// The first failure of the file system.
    pub fn retain_code(&self, keep: &HashSet<Digest>) -> std::io::Result<usize> {
        self.inner
            .cache
            .as_ref()
            .map_or(Ok(0), |cache| cache.retain(keep))
    }

    fn known(&self, digest: &Digest) -> Arc<Known> {
        let mut known = lock(&self.inner.compiler.known);
        // Now and then, so that a load costs the same however many components there are.
        if known.len() == known.capacity() {
            known.retain(|_, entry| {
                Arc::strong_count(entry) > 1 || lock(&entry.linked).strong_count() > 0
            });
        }
        known.entry(*digest).or_default().clone()
    }

    /// Loads code where the caller runs, if that takes less time than another thread's to wake: it
    /// was loaded before and is small.
    fn load_quickly(&self, digest: &Digest) -> Result<Option<Arc<Linked>>, Error> {
        let cache = self.inner.cache.as_ref();
        let known = cache.and_then(|cache| cache.verified(digest));
        match known {
            Some(facts) if facts.size_bytes <= QUICK_BYTES => self.load_cached(digest),
            _ => Ok(None),
        }
    }

    fn load_cached(&self, digest: &Digest) -> Result<Option<Arc<Linked>>, Error> {
        let Some(cache) = &self.inner.cache else {
            return Ok(None);
        };
        let Some((component, facts)) = cache.load(&self.inner.wasmtime, digest) else {
            return Ok(None);
        };
        self.link(&component, facts).map(Some)
    }

    fn compile(&self, digest: &Digest, bytes: &[u8]) -> Result<Arc<Linked>, Error> {
        let facts = Arc::new(Facts::read(bytes, &self.inner.config)?);
        if facts.digest != *digest {
            return Err(Error::Read(format!(
                "{digest}: these are the bytes of {}",
                facts.digest
            )));
        }
        let invalid = |error: wasmtime::Error| Error::Compile(format!("{error:#}"));
        let wasmtime = &self.inner.wasmtime;
        let component = wasmtime::component::Component::new(wasmtime, bytes).map_err(invalid)?;
        if let Some(cache) = &self.inner.cache {
            let code = component.serialize().map_err(invalid)?;
            match cache.save(&facts, &code) {
                // From here on the code is of the page cache and not of this process.
                Ok(()) => {
                    if let Some((component, facts)) = cache.load(wasmtime, digest) {
                        return self.link(&component, facts);
                    }
                }
                Err(error) => {
                    tracing::warn!(%digest, %error, "compiled code is not kept, the next start compiles again");
                }
            }
        }
        self.link(&component, facts)
    }

    fn link(
        &self,
        component: &wasmtime::component::Component,
        facts: Arc<Facts>,
    ) -> Result<Arc<Linked>, Error> {
        let link = |error: wasmtime::Error| Error::Link(format!("{error:#}"));
        let pre = self.inner.linker.instantiate_pre(component).map_err(link)?;
        let pre = match facts.world {
            World::P3 => ProxyPre::P3(p3::bindings::ServicePre::new(pre).map_err(link)?),
            World::P2 => ProxyPre::P2(p2::bindings::ProxyPre::new(pre).map_err(link)?),
        };
        Ok(Arc::new(Linked { pre, facts }))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Compile(error.to_string()))?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
