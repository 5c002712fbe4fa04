//! What pools do for each other when the engine has no place for one more instance: the instances
//! that were idle for longest go, whichever revision they are of.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Weak};

use tokio::time::Instant;

use super::shared::Driver;
use super::{Inner, Pool, lock};

/// Instances that are dropped together: looking for the oldest costs a pass over all pools.
const BATCH: usize = 32;

/// The pools that share one engine; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    pools: Arc<Mutex<Vec<Weak<Inner>>>>,
}

impl Pressure {
    /// Counts `pool` among those that make room.
    pub(super) fn join(&self, pool: &Pool) {
        let mut pools = lock(&self.pools);
        // Now and then, so that a pool costs the same however many there were.
        if pools.len() == pools.capacity() {
            pools.retain(|pool| pool.strong_count() > 0);
        }
        pools.push(Arc::downgrade(&pool.inner));
    }

    /// Drops the instances that were idle for longest and returns how many those were.
    pub(super) async fn relieve(&self) -> usize {
        let mut oldest = self.oldest();
        if oldest.len() > BATCH {
            oldest.select_nth_unstable_by_key(BATCH, |candidate| candidate.since);
            oldest.truncate(BATCH);
        }
        let mut dropped = 0;
        for Candidate {
            pool,
            shard,
            driver,
            ..
        } in oldest
        {
            let gone = match driver {
                None => pool.drop_oldest(shard),
                Some(driver) => {
                    let retired = pool.retire_free(shard, &driver);
                    if retired {
                        // Its task drops the store; the place is free after that.
                        driver.failure().await;
                    }
                    retired
                }
            };
            dropped += usize::from(gone);
        }
        dropped
    }

    /// The oldest idle instance of each list, and every shared one that runs no call.
    fn oldest(&self) -> Vec<Candidate> {
        let pools: Vec<_> = lock(&self.pools).iter().filter_map(Weak::upgrade).collect();
        let mut oldest = Vec::new();
        for pool in pools
            .into_iter()
            .filter(|pool| pool.counts.live.load(Relaxed) > 0)
        {
            for (index, shard) in pool.shards.iter().enumerate() {
                let found = |since, driver| Candidate {
                    since,
                    pool: pool.clone(),
                    shard: index,
                    driver,
                };
                oldest.extend(
                    lock(&shard.idle)
                        .front()
                        .map(|entry| found(entry.since, None)),
                );
                for driver in lock(&shard.shared).iter() {
                    oldest.extend(
                        driver
                            .free_since()
                            .map(|since| found(since, Some(driver.clone()))),
                    );
                }
            }
        }
        oldest
    }
}

/// An instance that could go.
struct Candidate {
    since: Instant,
    pool: Arc<Inner>,
    shard: usize,
    /// Of a shared instance.
    driver: Option<Arc<Driver>>,
}

impl Inner {
    fn drop_oldest(&self, shard: usize) -> bool {
        let entry = lock(&self.shards[shard].idle).pop_front();
        let Some(entry) = entry else {
            return false;
        };
        self.counts.evicted.fetch_add(1, Relaxed);
        drop(entry);
        true
    }
}
