//! Compiled and linked guests, and the one place where compiling is bounded.
//!
//! `Engine::prepare` runs at deploy time, off the request path, on blocking threads: once per
//! digest however many revisions ask, and no more at a time than [`super::Config::parallel_compiles`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::{p2, p3};

use super::state::State;
use super::{Config, Engine, Error, Facts, World};
use crate::image::Digest;

/// A guest that is compiled and linked: instances start from it at once. Cheap to clone.
#[derive(Clone)]
pub struct Component {
    linked: Arc<Linked>,
}

pub(super) struct Linked {
    pub(super) pre: ProxyPre<State>,
    facts: Arc<Facts>,
    /// Optimised code of the same component, where this is code of the baseline compiler.
    better: OnceLock<Arc<Linked>>,
}

impl Linked {
    /// Links code of an engine with what its host offers.
    pub(super) fn new(
        linker: &Linker<State>,
        component: &wasmtime::component::Component,
        facts: Arc<Facts>,
    ) -> Result<Arc<Linked>, Error> {
        let link = |error: wasmtime::Error| Error::Link(format!("{error:#}"));
        let pre = linker.instantiate_pre(component).map_err(link)?;
        let pre = match facts.world {
            World::P3 => ProxyPre::P3(p3::bindings::ServicePre::new(pre).map_err(link)?),
            World::P2 => ProxyPre::P2(p2::bindings::ProxyPre::new(pre).map_err(link)?),
        };
        Ok(Arc::new(Linked {
            pre,
            facts,
            better: OnceLock::new(),
        }))
    }

    pub(super) fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// There is optimised code now: what runs this code is replaced when it has ended its call.
    pub(super) fn supersede(&self, better: Arc<Linked>) {
        // There is one optimisation of each code.
        _ = self.better.set(better);
    }
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

    /// The engine that runs it.
    pub(super) fn engine(&self) -> &wasmtime::Engine {
        match &self.linked.pre {
            ProxyPre::P2(pre) => pre.engine(),
            ProxyPre::P3(pre) => pre.engine(),
        }
    }

    /// The optimised code that has taken the place of this one, if it has.
    pub fn better(&self) -> Option<Component> {
        let linked = self.linked.better.get()?.clone();
        Some(Component { linked })
    }

    /// Whether there is better code than this now.
    pub fn is_superseded(&self) -> bool {
        self.linked.better.get().is_some()
    }
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
pub(super) struct Known {
    busy: Arc<tokio::sync::Mutex<()>>,
    linked: Mutex<Weak<Linked>>,
}

impl Known {
    /// From now on who asks for the component gets `linked`.
    pub(super) fn set(&self, linked: &Arc<Linked>) {
        *lock(&self.linked) = Arc::downgrade(linked);
    }
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
        let digest = Facts::read(&bytes)?.digest;
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
            known.set(&linked);
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
                let facts = Arc::new(Facts::read(&bytes)?);
                if facts.digest != digest {
                    let found = facts.digest;
                    let why = format!("{digest}: these are the bytes of {found}");
                    return Err(Error::Read(why));
                }
                let linked = match engine.compile_quickly(&facts, &bytes, &known) {
                    Some(linked) => linked,
                    None => engine.compile(facts, &bytes)?,
                };
                // Before the next one is let in.
                known.set(&linked);
                Ok(linked)
            });
            return Ok(Component {
                linked: compiled.await?,
            });
        };
        known.set(&linked);
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
        let Some((component, facts)) = cache.load(self, digest) else {
            return Ok(None);
        };
        let place = self.place(&facts)?;
        Linked::new(&place.linker, &component, facts).map(Some)
    }

    /// Optimised code, which is kept in the cache.
    pub(super) fn compile(&self, facts: Arc<Facts>, bytes: &[u8]) -> Result<Arc<Linked>, Error> {
        let invalid = |error: wasmtime::Error| Error::Compile(format!("{error:#}"));
        let place = self.place(&facts)?;
        let wasmtime = &place.wasmtime;
        let component = wasmtime::component::Component::new(wasmtime, bytes).map_err(invalid)?;
        if let Some(cache) = &self.inner.cache {
            let code = component.serialize().map_err(invalid)?;
            let digest = &facts.digest;
            match cache.save(&facts, &code) {
                // From here on the code is of the page cache and not of this process.
                Ok(()) => {
                    if let Some((component, facts)) = cache.load(self, digest) {
                        return Linked::new(&place.linker, &component, facts);
                    }
                }
                Err(error) => {
                    tracing::warn!(%digest, %error, "compiled code is not kept, the next start compiles again");
                }
            }
        }
        Linked::new(&place.linker, &component, facts)
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
