//! Tasks that somebody owns: every spawned task belongs to a set, and the set ends them all.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

/// A set of tasks with one stop signal. Dropping it aborts what still runs.
pub struct Tasks {
    set: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
}

/// Tells a task that it should come to an end. Cheap to clone.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Resolves once the set is stopped, or gone.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn stopped(&mut self) {
        // An error means that the sender is gone, which is the same news.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            set: Mutex::default(),
            stop: watch::Sender::new(false),
        }
    }
}

impl Tasks {
    #[must_use]
    pub fn stop_signal(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Starts a task in this set, within the current span.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        // What ended is taken out here, so that the set holds what runs and not all that ever did.
        while set.try_join_next().is_some() {}
        set.spawn(task.in_current_span());
    }

    /// Tells all tasks to end, without waiting.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops, waits up to `grace` for all tasks to end by themselves, then aborts and joins the
    /// rest. Returns how many had to be aborted.
    pub async fn shutdown(&self, grace: Duration) -> usize {
        self.stop();
        let mut set = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        let drained =
            tokio::time::timeout(grace, async { while set.join_next().await.is_some() {} });
        if drained.await.is_ok() {
            return 0;
        }
        let left = set.len();
        set.shutdown().await;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_tasks_that_end_in_time() {
        let tasks = Tasks::default();
        let mut stop = tasks.stop_signal();
        let (done, finished) = tokio::sync::oneshot::channel();
        tasks.spawn(async move {
            stop.stopped().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            done.send(()).expect("the test waits");
        });
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, 0);
        finished.await.expect("the task ran to its end");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_aborts_what_does_not_end() {
        let tasks = Tasks::default();
        tasks.spawn(std::future::pending());
        assert_eq!(tasks.shutdown(Duration::from_secs(5)).await, 1);
    }
}
