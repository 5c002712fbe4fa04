//! How a pool treats its instances, and what it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Heavy, Pressure};
use crate::engine::Facts;

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
    /// Calls that ran out of time.
    pub timed_out: AtomicU64,
    /// Calls whose caller went away before the guest had returned.
    pub cancelled: AtomicU64,
    /// Instances that were dropped after a good call: leftovers, used up or over a bound.
    pub discarded: AtomicU64,
    /// Calls that went to the threads for guests that compute.
    pub moved: AtomicU64,
    /// Instances that were dropped because they were idle.
    pub evicted: AtomicU64,
    pub(super) empty: Notify,
}
