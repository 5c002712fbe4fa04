//! Which revisions have their code loaded, and who loses it when there are too many.
//!
//! Code that is loaded holds a file open and three mappings, of which a process has only so many.
//! Each revision has a [`Slot`]; when more slots are filled than may be, those whose code was not
//! used for longest are emptied. An instance that runs keeps what it runs; the next one loads the
//! code again, which takes about as long as starting an instance.
//!
//! Time is counted in loads: which of two slots was used last matters only when one more is filled.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use super::Component;

/// Slots that are emptied together: looking for the oldest costs a pass over all of them.
const BATCH: usize = 16;

/// All slots of one engine.
#[derive(Debug)]
pub(super) struct Shelf {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit: usize,
    /// How often a slot was filled.
    loads: AtomicU64,
    filled: Mutex<Vec<Weak<Slot>>>,
}

/// The place of one revision's code.
pub struct Slot {
    code: ArcSwapOption<Component>,
    used: AtomicU64,
    shelf: Arc<Inner>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("filled", &self.code.load().is_some())
            .finish_non_exhaustive()
    }
}

impl Shelf {
    /// At most `limit` slots are filled.
    pub(super) fn new(limit: usize) -> Shelf {
        Shelf {
            inner: Arc::new(Inner {
                limit: limit.max(1),
                loads: AtomicU64::new(0),
                filled: Mutex::default(),
            }),
        }
    }

    /// A new, empty slot.
    pub(super) fn slot(&self) -> Arc<Slot> {
        Arc::new(Slot {
            code: ArcSwapOption::empty(),
            used: AtomicU64::new(0),
            shelf: self.inner.clone(),
        })
    }
}

impl Slot {
    /// The code, which counts as used by that.
    pub fn get(&self) -> Option<Arc<Component>> {
        let code = self.code.load_full()?;
        let now = self.shelf.loads.load(Relaxed);
        // Written only when it changes: other cores read the line, too.
        if self.used.load(Relaxed) != now {
            self.used.store(now, Relaxed);
        }
        Some(code)
    }

    /// Fills the slot and, if there are too many now, empties the oldest others.
    pub fn fill(self: &Arc<Self>, code: Arc<Component>) {
        let now = self.shelf.loads.fetch_add(1, Relaxed) + 1;
        self.used.store(now, Relaxed);
        self.code.store(Some(code));
        let mut filled = lock(&self.shelf.filled);
        filled.push(Arc::downgrade(self));
        if filled.len() > self.shelf.limit {
            make_room(&mut filled, self.shelf.limit);
        }
    }

    /// Lets go of the code.
    pub fn empty(&self) {
        self.code.store(None);
    }

    /// Whether there is code.
    pub fn is_filled(&self) -> bool {
        self.code.load().is_some()
    }
}

/// Forgets slots that are empty or gone, and empties the oldest while there are too many.
fn make_room(filled: &mut Vec<Weak<Slot>>, limit: usize) {
    let mut slots: Vec<Arc<Slot>> = filled.iter().filter_map(Weak::upgrade).collect();
    slots.retain(|slot| slot.is_filled());
    // A slot that was emptied and filled again is there twice.
    slots.sort_unstable_by_key(Arc::as_ptr);
    slots.dedup_by(|a, b| Arc::ptr_eq(a, b));
    if slots.len() > limit {
        // Some more than needed, so that not each load has to look for the oldest.
        let count = (slots.len() - limit + limit / BATCH).min(slots.len() - 1);
        slots.select_nth_unstable_by_key(count, |slot| slot.used.load(Relaxed));
        for slot in slots.drain(..count) {
            slot.empty();
        }
        tracing::debug!(count, limit, "code was let go to make room for others'");
    }
    *filled = slots.iter().map(Arc::downgrade).collect();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::engine::{Config, Engine};

    async fn code() -> Arc<Component> {
        let engine = Engine::new(&Config {
            pooling: false,
            ..Config::default()
        })
        .unwrap();
        let wat = include_bytes!("../../../tests/guests/hello.wat");
        let component = engine.prepare(crate::image::componentize(wat).unwrap());
        Arc::new(component.await.unwrap())
    }

    #[tokio::test]
    async fn who_used_its_code_longest_ago_loses_it() {
        let (shelf, code) = (Shelf::new(3), code().await);
        let slots: Vec<_> = (0..4).map(|_| shelf.slot()).collect();
        for slot in &slots[..3] {
            slot.fill(code.clone());
        }
        assert!(
            slots[0].get().is_some(),
            "used after all others were filled"
        );
        slots[3].fill(code.clone());
        let filled: Vec<_> = slots.iter().map(|slot| slot.is_filled()).collect();
        assert_eq!(filled, [true, false, true, true]);
    }

    #[tokio::test]
    async fn slots_that_are_emptied_or_gone_take_no_room() {
        let (shelf, code) = (Shelf::new(2), code().await);
        let kept = shelf.slot();
        kept.fill(code.clone());
        for _ in 0..10 {
            let other = shelf.slot();
            other.fill(code.clone());
            other.empty();
            other.fill(code.clone());
        }
        assert!(kept.is_filled());
        assert!(lock(&shelf.inner.filled).len() <= 3, "nothing is gathered");
    }
}
