//! The task that drops instances which were idle for too long. It runs only while some are idle.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::{Inner, lock};

/// Sees to it that the task runs; called when an instance became idle.
pub(super) fn wake(inner: &Arc<Inner>) {
    // A plain load first: this is the path of every request, and nearly always the task runs.
    if !inner.evicting.load(Acquire) && !inner.evicting.swap(true, AcqRel) {
        let due = Instant::now() + inner.options.idle;
        inner.spawn(evict(Arc::downgrade(inner), due));
    }
}

async fn evict(pool: Weak<Inner>, mut due: Instant) {
    loop {
        tokio::time::sleep_until(due).await;
        let Some(inner) = pool.upgrade() else {
            return;
        };
        if let Some(next) = drop_old(&inner) {
            due = next;
            continue;
        }
        inner.evicting.store(false, Release);
        // An instance that became idle just before found the task running.
        if inner
            .shards
            .iter()
            .any(|shard| !lock(&shard.idle).is_empty())
        {
            wake(&inner);
        }
        return;
    }
}

/// Drops what is too old and returns when the next instance will be; none if none is idle.
fn drop_old(inner: &Inner) -> Option<Instant> {
    let (now, mut next) = (Instant::now(), None);
    for shard in &inner.shards {
        loop {
            let mut idle = lock(&shard.idle);
            let Some(oldest) = idle.front() else {
                break;
            };
            let due = oldest.since + inner.options.idle;
            if due > now {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
                break;
            }
            let entry = idle.pop_front();
            drop(idle);
            inner.counts.evicted.fetch_add(1, Relaxed);
            // The store is dropped here, outside the lock.
            drop(entry);
        }
    }
    next
}
