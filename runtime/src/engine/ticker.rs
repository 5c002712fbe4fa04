//! The one thread that lets epochs pass, in all engines. It sleeps for good while no guest runs.
//!
//! ```text
//! ticking ── no guest runs for IDLE_TICKS ticks ──▶ parked
//! parked  ── a guest starts to run (Handle::running) ─▶ ticking
//! ```
//! A guest counts itself in before it looks whether the thread is parked, and the thread parks
//! before it looks at the counts again: one of the two sees the other (both orders are `SeqCst`).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// Counters are spread so that cores do not fight for one cache line.
const COUNTERS: usize = 16;
/// Ticks without a guest after which the thread parks: a busy host never parks between requests.
const IDLE_TICKS: u32 = 100;

pub(super) struct Ticker(Handle);

/// Counts running calls; each instance has one of its own.
#[derive(Clone)]
pub(super) struct Handle {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    engines: Mutex<Vec<wasmtime::EngineWeak>>,
    running: [Counter; COUNTERS],
    parked: AtomicBool,
    stop: AtomicBool,
    cores: usize,
}

#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

impl Ticker {
    /// A ticker that no engine has joined yet.
    pub(super) fn spawn(tick: Duration) -> io::Result<Ticker> {
        let shared = Arc::new(Shared {
            engines: Mutex::default(),
            running: Default::default(),
            parked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        });
        let of_thread = shared.clone();
        let handle = std::thread::Builder::new()
            .name("serve-epoch".into())
            .spawn(move || {
                let mut idle = 0;
                while !of_thread.stop.load(Ordering::Acquire) {
                    idle = if of_thread.any_running() { 0 } else { idle + 1 };
                    if idle > IDLE_TICKS {
                        of_thread.park();
                        idle = 0;
                    }
                    std::thread::park_timeout(tick);
                    of_thread.increment_epochs();
                }
            })?;
        Ok(Ticker(Handle {
            shared,
            thread: handle.thread().clone(),
        }))
    }

    pub(super) fn handle(&self) -> Handle {
        self.0.clone()
    }

    /// Lets epochs pass in `engine`.
    pub(super) fn join(&self, engine: &wasmtime::Engine) {
        let engines = &self.0.shared.engines;
        let mut engines = engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.push(engine.weak());
    }

    /// Lets one epoch pass.
    pub(super) fn increment_epochs(&self) {
        self.0.shared.increment_epochs();
    }
}

impl Handle {
    /// Counts one running call until the guard is dropped.
    fn running(&self) -> Running<'_> {
        let slot = SLOT.with(|slot| *slot);
        self.shared.running[slot].0.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running {
            counter: &self.shared.running[slot],
        }
    }
}

impl Handle {
    /// Whether as many guests compute at this moment as there are cores.
    pub(super) fn is_busy(&self) -> bool {
        let counters = self.shared.running.iter();
        let running: usize = counters
            .map(|counter| counter.0.load(Ordering::Relaxed))
            .sum();
        running >= self.shared.cores
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.shared.stop.store(true, Ordering::Release);
        self.0.thread.unpark();
    }
}

impl Shared {
    fn increment_epochs(&self) {
        let engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        for engine in engines.iter().filter_map(wasmtime::EngineWeak::upgrade) {
            engine.increment_epoch();
        }
    }

    fn any_running(&self) -> bool {
        self.running
            .iter()
            .any(|counter| counter.0.load(Ordering::SeqCst) != 0)
    }

    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        // `unpark` may also be left over from before, so look again after each return.
        while !self.any_running() && !self.stop.load(Ordering::Acquire) {
            std::thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

/// Runs `future` and counts it whenever it is polled: guest code runs at no other time.
pub(super) fn counted<'a, F: Future>(
    ticker: &'a Handle,
    mut future: Pin<&'a mut F>,
) -> impl Future<Output = F::Output> + 'a {
    std::future::poll_fn(move |cx| {
        let _running = ticker.running();
        future.as_mut().poll(cx)
    })
}

/// A call that runs; see [`Handle::running`].
struct Running<'a> {
    counter: &'a Counter,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.counter.0.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    static SLOT: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % COUNTERS
    };
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Waits, without a clock, until the thread did what `done` looks for.
    #[track_caller]
    fn until(done: impl Fn() -> bool) {
        for _ in 0..10_000_000 {
            if done() {
                return;
            }
            std::thread::yield_now();
        }
        panic!("the ticker did not get there");
    }

    #[test]
    fn thread_parks_when_nothing_runs_and_wakes_for_a_call() {
        let ticker = Ticker::spawn(Duration::from_micros(10)).unwrap();
        let handle = ticker.handle();
        let parked = || handle.shared.parked.load(Ordering::SeqCst);
        for _ in 0..3 {
            until(parked);
            let running = handle.running();
            until(|| !parked());
            drop(running);
        }
        drop(ticker);
        // The thread had the only other handle.
        until(|| Arc::strong_count(&handle.shared) == 1);
    }
}
