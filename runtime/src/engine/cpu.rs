//! The CPU time of one Revision's guests, measured in epochs.
//!
//! A guest that an epoch finds at work has computed for one; a call that is shorter than an epoch is
//! found by chance, as often as it is long, so that over many calls the count is right.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serve_core::cpu::{self, Usage};
use tokio::time::Instant;

/// What the guests of one Revision may use together.
#[derive(Debug)]
pub struct Share {
    millicores: u64,
    replicas: AtomicU32,
    start: Instant,
    usage: Mutex<Usage>,
}

impl Share {
    /// A limit of so many thousandths of a core for each replica.
    #[must_use]
    pub fn new(millicores: u64) -> Self {
        Self {
            millicores,
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

    /// Counts one epoch; returns how long the guest has to pause.
    pub(super) fn spend(&self, epoch: Duration, is_busy: bool) -> Option<Duration> {
        let quota = cpu::quota(self.millicores, self.replicas.load(Relaxed));
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.spend(epoch, self.start.elapsed(), quota, is_busy)
    }
}
