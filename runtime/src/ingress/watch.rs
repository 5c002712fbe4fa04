//! The time of an exchange whose response the client does not take.
//!
//! A guest's time runs while somebody asks its response's body for more, and nobody does while the
//! client's window or socket is full. So the task that serves the exchange has a time of its own,
//! a little later: then it is dropped, with the guest, and the client sees a reset.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How much later than the guest's its task's time ends: the guest's has a better answer.
const MARGIN: Duration = Duration::from_secs(1);
/// No exchange runs.
const NEVER: u64 = u64::MAX;

tokio::task_local! {
    /// The time of the exchange that this task serves.
    static WATCH: Watch;
}

#[derive(Clone)]
struct Watch {
    start: Instant,
    /// Milliseconds after `start`.
    due: Arc<AtomicU64>,
}

/// An exchange that runs; dropping it ends its time.
pub struct Exchange(Option<Watch>);

impl Exchange {
    /// Begins an exchange of the task that calls; it may last until `deadline`.
    ///
    /// Has no effect outside of [`bounded`], where the caller of the host has clocks of its own.
    #[must_use]
    pub fn begin(deadline: Instant) -> Self {
        let watch = WATCH.try_with(Clone::clone).ok();
        if let Some(watch) = &watch {
            let due = (deadline + MARGIN).saturating_duration_since(watch.start);
            let due = u64::try_from(due.as_millis()).unwrap_or(NEVER - 1);
            watch.due.store(due, Relaxed);
        }
        Self(watch)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.due.store(NEVER, Relaxed);
        }
    }
}

/// Runs a task that serves one exchange at a time. None when one of them took too long.
pub async fn bounded<F: Future>(task: F) -> Option<F::Output> {
    let watch = Watch {
        start: Instant::now(),
        due: Arc::new(AtomicU64::new(NEVER)),
    };
    let task = std::pin::pin!(task);
    let bounded = Bounded {
        task,
        watch: watch.clone(),
        sleep: None,
    };
    WATCH.scope(watch, bounded).await
}

struct Bounded<'a, F> {
    task: Pin<&'a mut F>,
    watch: Watch,
    /// Rings at the time of an exchange, or before: it is set again when it rings, not for each
    /// exchange.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Future for Bounded<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let bounded = &mut *self;
        if let Poll::Ready(output) = bounded.task.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        loop {
            let due = bounded.watch.due.load(Relaxed);
            if due == NEVER {
                return Poll::Pending;
            }
            let due = bounded.watch.start + Duration::from_millis(due);
            let sleep = bounded
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() > due {
                sleep.as_mut().reset(due);
            }
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(None);
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_exchange_that_nobody_ends_is_dropped_after_its_time() {
        let start = Instant::now();
        let ended = bounded(async {
            let _exchange = Exchange::begin(start + Duration::from_secs(10));
            std::future::pending::<()>().await;
        });
        assert_eq!(ended.await, None);
        assert_eq!(start.elapsed().as_secs(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn time_between_exchanges_does_not_count() {
        let start = Instant::now();
        let ended = bounded(async {
            for _ in 0..3 {
                let exchange = Exchange::begin(Instant::now() + Duration::from_secs(10));
                tokio::time::sleep(Duration::from_secs(9)).await;
                drop(exchange);
                tokio::time::sleep(Duration::from_hours(1)).await;
            }
            let _short = Exchange::begin(Instant::now() + Duration::from_secs(1));
            std::future::pending::<()>().await;
        });
        assert_eq!(ended.await, None);
        assert_eq!(start.elapsed().as_secs(), 3 * 3609 + 2);
    }
}
