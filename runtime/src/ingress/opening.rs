//! The routes of an earlier run, while they come back.
//!
//! Input: requests for hosts that are not there yet. Output: those hosts, for who brings the routes
//! back, so that these come first; and the end of the wait.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// Hosts that are remembered; who asks for more of them waits until all are there.
const MOST: usize = 10_000;

/// Whether all routes are there, and what is waited for.
pub struct Opening {
    /// Counts what came, as long as something is to come; none when all is there.
    came: watch::Sender<Option<u64>>,
    wanted: Mutex<Vec<String>>,
}

impl Default for Opening {
    /// Nothing is to come.
    fn default() -> Self {
        Self {
            came: watch::Sender::new(None),
            wanted: Mutex::default(),
        }
    }
}

impl Opening {
    /// Something is to come.
    pub fn begin(&self) {
        self.came.send_replace(Some(0));
    }

    /// More routes are in the table.
    pub fn came(&self) {
        self.came
            .send_if_modified(|came| came.as_mut().map(|count| *count += 1).is_some());
    }

    /// All routes are in the table.
    pub fn end(&self) {
        self.came.send_replace(None);
    }

    /// The hosts that were asked for since the last call.
    pub fn take_wanted(&self) -> Vec<String> {
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks with `find` until that finds something, or all is there.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn find<T>(&self, host: &str, mut find: impl FnMut() -> Option<T>) -> Option<T> {
        let mut came = self.came.subscribe();
        let mut is_wanted = false;
        loop {
            let all_there = came.borrow_and_update().is_none();
            let found = find();
            if found.is_some() || all_there {
                return found;
            }
            if !std::mem::replace(&mut is_wanted, true) {
                let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
                if wanted.len() < MOST {
                    wanted.push(host.to_owned());
                }
            }
            // The sender is in `self`.
            let _ = came.changed().await;
        }
    }

    /// Whether all routes are there.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.came.borrow().is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_looks_waits_until_it_is_there_or_all_is() {
        let opening = Opening::default();
        assert_eq!(
            opening.find("a", || None::<u32>).await,
            None,
            "nothing is to come"
        );
        opening.begin();
        let table = Cell::new(None);
        let mut found = pin!(opening.find("a", || table.get()));
        let mut never = pin!(opening.find("b", || None::<u32>));
        assert!(found.as_mut().now_or_never().is_none());
        assert!(never.as_mut().now_or_never().is_none());
        assert_eq!(opening.take_wanted(), ["a", "b"]);
        opening.came();
        assert!(found.as_mut().now_or_never().is_none());
        assert_eq!(opening.take_wanted(), [""; 0], "it is asked for once");
        table.set(Some(1));
        opening.came();
        assert_eq!(found.await, Some(1));
        assert!(!opening.is_over());
        opening.end();
        assert_eq!(never.await, None);
        assert!(opening.is_over());
    }
}
