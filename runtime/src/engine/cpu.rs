//! The CPU time of one Revision's guests: what they weigh beside others, and their limit.
//!
//! A guest on a thread that also serves others is measured in epochs: one that an epoch finds at
//! work has computed for one; a call that is shorter than an epoch is found by chance, as often as
//! it is long, so that over many calls the count is right. A guest that computes for long has a
//! thread whose clock tells its time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serve_core::cpu::{self, Usage};
use serve_core::turns::{self, Party};
use tokio::time::Instant;

/// What the guests of one Revision may use together.
#[derive(Debug)]
pub struct Share {
    id: u64,
    requested: u64,
    limit: Option<u64>,
    replicas: AtomicU32,
    start: Instant,
    usage: Mutex<Usage>,
}

impl Share {
    /// So many thousandths of a core for each replica are requested, and are its limit.
    #[must_use]
    pub fn new(requested: u64, limit: Option<u64>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            requested,
            limit,
            replicas: AtomicU32::new(1),
            start: Instant::now(),
            usage: Mutex::default(),
        }
    }

    /// Tells how many replicas there are.
    pub fn set_replicas(&self, replicas: usize) {
        let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
        self.replicas.store(replicas, Relaxed);
    }

    /// Who asks when a guest wants to compute.
    pub(crate) fn party(&self) -> Party {
        Party {
            id: self.id,
            weight: turns::weight(self.requested, self.replicas.load(Relaxed)),
        }
    }

    /// Counts time that a guest computed; returns how long it has to pause.
    pub(crate) fn spend(&self, time: Duration, is_busy: bool) -> Option<Duration> {
        let limit = self.limit?;
        let usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(usage, limit, time, is_busy)
    }

    /// The same on a thread that also serves others: it waits for none that may have to wait for
    /// it. What is not counted for that is next to nothing.
    pub(super) fn sample(&self, time: Duration, is_busy: bool) -> Option<Duration> {
        let limit = self.limit?;
        self.count(self.usage.try_lock().ok()?, limit, time, is_busy)
    }

    fn count(
        &self,
        mut usage: MutexGuard<'_, Usage>,
        limit: u64,
        time: Duration,
        is_busy: bool,
    ) -> Option<Duration> {
        let quota = cpu::quota(limit, self.replicas.load(Relaxed));
        usage.spend(time, self.start.elapsed(), quota, is_busy)
    }
}

impl Default for Share {
    /// Nothing is requested, and nothing is the limit.
    fn default() -> Self {
        Self::new(0, None)
    }
}
