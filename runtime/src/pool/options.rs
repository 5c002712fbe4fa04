//! How a pool treats its instances, and what it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serve_core::replicas::ABORTED;
use tokio::sync::Notify;

use super::{Heavy, Pressure};
use crate::engine::{Error, Facts, Share};

/// Whether an instance serves more than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Instances are reused by the requests of one revision.
    Revision,
    /// Each request gets a fresh instance.
    Request,
}

impl Isolation {
    /// What `auto` means for a component: reuse for guests that are known to be made for it.
    pub fn auto(facts: &Facts) -> Isolation {
        if facts.auto_reuse() {
            Isolation::Revision
        } else {
            Isolation::Request
        }
    }
}

/// How a pool treats the instances of its revision.
#[derive(Clone, Debug)]
pub struct Options {
    /// `namespace/name` of the revision, for logs.
    pub revision: Arc<str>,
    /// Whether instances are reused.
    pub isolation: Isolation,
    /// Calls at once in one instance; more than 1 only for guests of WASI 0.3.
    pub calls_per_instance: usize,
    /// Instances at once, of all replicas.
    pub instances: usize,
    /// Lists of idle instances, one per core.
    pub shards: usize,
    /// An instance that was idle for longer is dropped.
    pub idle: Duration,
    /// Instances that are kept for another call; those beyond are dropped after their call.
    pub idle_instances: usize,
    /// Bytes that all instances that are kept may have together.
    pub idle_bytes: usize,
    /// Calls after which an instance is replaced.
    pub calls: u32,
    /// How long an instance may take to start.
    pub start: Duration,
    /// How long a guest may take to return after its caller went away.
    pub grace: Duration,
    /// The pools that make room for each other when the engine is full.
    pub pressure: Pressure,
    /// Where guests go that compute for long.
    pub heavy: Heavy,
    /// CPU time of the revision.
    pub cpu: Arc<Share>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            revision: "".into(),
            isolation: Isolation::Revision,
            calls_per_instance: 1,
            instances: 1000,
            shards: 1,
            idle: Duration::from_mins(1),
            idle_instances: 1000,
            idle_bytes: 1 << 30,
            calls: 1_000_000,
            // Wall time: on a machine that is busy with builds a start is not done in one second.
            start: Duration::from_secs(10),
            grace: Duration::from_millis(50),
            pressure: Pressure::default(),
            heavy: Heavy::default(),
            cpu: Arc::default(),
        }
    }
}

/// Numbers of a pool; every one only rises, apart from `live` and what is kept. None is written on
/// the way of a request that finds an instance and gives it back.
#[derive(Debug, Default)]
pub struct Counts {
    /// Instances that exist or are being started.
    pub live: AtomicUsize,
    /// Of those, how many served a call and are idle or serve the next one.
    pub kept: AtomicUsize,
    /// Bytes that those keep.
    pub kept_bytes: AtomicUsize,
    /// Instances that were started.
    pub started: AtomicU64,
    /// Calls that ended with a trap or an exit.
    pub failed: AtomicU64,
    /// How often the code ended by itself, by a trap or an exit, and how the last time.
    pub ends: Ends,
    /// Calls that ran out of time.
    pub timed_out: AtomicU64,
    /// Calls whose caller went away before the guest had returned.
    pub cancelled: AtomicU64,
    /// Instances that were dropped after a good call: leftovers, used up or over a bound.
    pub discarded: AtomicU64,
    /// Calls that went to the threads for guests that compute.
    pub moved: AtomicU64,
    /// CPU time of the calls there, in nanoseconds.
    pub computed: AtomicU64,
    /// Instances that were dropped because they were idle.
    pub evicted: AtomicU64,
    pub(super) empty: Notify,
}

/// The ends that code brought about itself.
#[derive(Debug, Default)]
pub struct Ends {
    /// How often, above the exit code of the last one: one word, so that both are of one moment.
    word: AtomicU64,
}

impl Ends {
    /// Counts an end, if this error is one.
    pub(super) fn count(&self, error: &Error) {
        let code = match error {
            Error::Exit(code) => *code,
            Error::Trap(_) => ABORTED,
            _ => return,
        };
        let next = |word: u64| {
            let times = (word >> 32).saturating_add(1) & u64::from(u32::MAX);
            Some(times << 32 | u64::from(code.cast_unsigned()))
        };
        // It always has a next value.
        let _ = self.word.fetch_update(Relaxed, Relaxed, next);
    }

    /// How often, and the exit code of the last one. The number begins again after its largest.
    #[must_use]
    pub fn get(&self) -> (u32, i32) {
        let word = self.word.load(Relaxed);
        let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        (half(word >> 32), half(word).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_counted_with_its_code() {
        let ends = Ends::default();
        assert_eq!(ends.get(), (0, 0));
        for (error, want) in [
            (Error::Exit(-1), (1, -1)),
            (Error::Trap("unreachable".into()), (2, 134)),
            (Error::Timeout, (2, 134)),
            (Error::NoResponse, (2, 134)),
            (Error::Exit(0), (3, 0)),
        ] {
            ends.count(&error);
            assert_eq!(ends.get(), want, "{error}");
        }
        ends.word.store(u64::MAX, Relaxed);
        assert_eq!(ends.get(), (u32::MAX, -1));
        ends.count(&Error::Exit(2));
        assert_eq!(ends.get(), (0, 2));
    }
}
