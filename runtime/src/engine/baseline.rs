//! Large components that are new: they run on code of the baseline compiler, Winch, which is there
//! in a fraction of the time, until a thread that gives way to everything else has optimised them.
//!
//! ```text
//! not in the cache ─ Winch ─ linked ─ instances ── each ends after its call ──▶ (dropped)
//!                              │ Optimizer                     ▲ Linked::supersede
//!                              └─ Cranelift ─ cache ─ linked ──┴─ new instances
//! ```
//! Code of either compiler runs in an engine of its own ([`place`]). What Winch cannot compile (other
//! processors than x86-64, tail calls, garbage collection) is compiled by Cranelift at once, as are
//! components that come when [`MOST_WAITING`] wait already: each that waits holds its bytes and two
//! kinds of code.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::watch;
use wasmtime::component::Component;

use super::component::{Known, Linked};
use super::place::{self, Place, Places};
use super::{Engine, Facts, Inner};
use crate::priority;

/// Components that wait to be optimised, the one that is being included.
const MOST_WAITING: usize = 8;

/// Engines for baseline code and the thread that makes it superfluous; all are made when needed.
#[derive(Default)]
pub(super) struct Baseline {
    places: Places<Option<Place>>,
    optimizer: Mutex<Option<Sender<Job>>>,
    waiting: watch::Sender<usize>,
}

/// A component to optimise.
struct Job {
    bytes: Bytes,
    quick: Arc<Linked>,
    known: Arc<Known>,
}

impl Engine {
    /// Waits until no component is waiting to be optimised.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn optimized(&self) {
        let mut waiting = self.inner.baseline.waiting.subscribe();
        // The sender is ours: it does not go.
        _ = waiting.wait_for(|waiting| *waiting == 0).await;
    }

    /// Code of the baseline compiler for a large component, which is optimised from now on. None
    /// when it has to be optimised at once.
    pub(super) fn compile_quickly(
        &self,
        facts: &Arc<Facts>,
        bytes: &Bytes,
        known: &Arc<Known>,
    ) -> Option<Arc<Linked>> {
        let baseline = &self.inner.baseline;
        let least = self.inner.config.baseline_bytes?;
        if bytes.len() < least || *baseline.waiting.borrow() >= MOST_WAITING {
            return None;
        }
        let Inner { config, ticker, .. } = &*self.inner;
        let place = place::baseline(&baseline.places, facts.is_async, config, ticker)?;
        let digest = &facts.digest;
        // Whatever a component does to this compiler, the other one decides what is wrong with it.
        let compile = AssertUnwindSafe(|| Component::new(&place.wasmtime, bytes));
        let component = match catch_unwind(compile) {
            Ok(Ok(component)) => component,
            Ok(Err(error)) => {
                tracing::debug!(%digest, error = format!("{error:#}"), "no baseline code");
                return None;
            }
            Err(_) => {
                tracing::warn!(%digest, "the baseline compiler failed, optimising at once");
                return None;
            }
        };
        let quick = Linked::new(&place.linker, &component, facts.clone()).ok()?;
        let job = Job {
            bytes: bytes.clone(),
            quick: quick.clone(),
            known: known.clone(),
        };
        self.optimize(job).then_some(quick)
    }

    /// Gives a component to the optimiser; false when there is no thread for it.
    fn optimize(&self, job: Job) -> bool {
        let baseline = &self.inner.baseline;
        let mut optimizer = baseline
            .optimizer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if optimizer.is_none() {
            let (sender, jobs) = channel();
            let engine = Arc::downgrade(&self.inner);
            let thread = std::thread::Builder::new()
                .name("serve-optimize".into())
                .spawn(move || optimizer_thread(&engine, &jobs));
            if let Err(error) = thread {
                tracing::warn!(%error, "no thread that optimises, components are compiled at once");
                return false;
            }
            *optimizer = Some(sender);
        }
        baseline.waiting.send_modify(|waiting| *waiting += 1);
        let sent = optimizer
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            baseline.waiting.send_modify(|waiting| *waiting -= 1);
        }
        sent
    }
}

/// Optimises one component after the other, until the engine is gone.
fn optimizer_thread(engine: &Weak<Inner>, jobs: &Receiver<Job>) {
    priority::yield_to_control();
    while let Ok(job) = jobs.recv() {
        let Some(inner) = engine.upgrade() else {
            return;
        };
        optimize(&Engine { inner }, &job);
    }
}

fn optimize(engine: &Engine, job: &Job) {
    let facts = job.quick.facts().clone();
    let digest = facts.digest;
    let compile = || {
        // wasmtime uses the threads of the pool that it is called in.
        let threads = rayon::ThreadPoolBuilder::new()
            .thread_name(|n| format!("serve-optimize-{n}"))
            .start_handler(|_| priority::yield_to_control())
            .build();
        match threads {
            Ok(threads) => threads.install(|| engine.compile(facts, &job.bytes)),
            Err(_) => engine.compile(facts, &job.bytes),
        }
    };
    match catch_unwind(AssertUnwindSafe(compile)) {
        Ok(Ok(better)) => {
            job.known.set(&better);
            job.quick.supersede(better);
        }
        Ok(Err(error)) => tracing::warn!(%digest, %error, "a component is not optimised"),
        Err(_) => tracing::warn!(%digest, "a component is not optimised, the compiler failed"),
    }
    let waiting = &engine.inner.baseline.waiting;
    waiting.send_modify(|waiting| *waiting -= 1);
}
