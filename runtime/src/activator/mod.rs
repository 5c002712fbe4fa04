//! Admission to one revision: who may run now, who waits, who is sent away.
//!
//! Input: requests, and the capacity that the pool's ready replicas give. Output: permits, in the
//! order of arrival. The decisions are `serve_core::breaker`'s; this module only makes waiting
//! requests wait, and pokes the autoscaler when one waits at zero.

mod usage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serve_core::breaker::{Admission, Breaker, Cancelled, Capacity, Ticket};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use usage::Usage;
pub use usage::Used;

/// Why a request was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("pending request queue full")]
    QueueFull,
    /// Its deadline passed while it waited.
    #[error("context deadline exceeded")]
    Deadline,
    /// The revision was deleted or the host ends.
    #[error("shutting down")]
    Stopped,
}

/// The admission of one revision.
pub struct Activator {
    state: Mutex<State>,
    /// Woken by each request that finds no capacity.
    poke: Notify,
}

struct State {
    breaker: Breaker,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
    stopped: bool,
    usage: Usage,
}

/// The right to run one request. It is given back by dropping it.
pub struct Permit {
    activator: Arc<Activator>,
}

impl Activator {
    /// No capacity at first; up to `queue` requests wait.
    #[must_use]
    pub fn new(queue: usize) -> Arc<Self> {
        let state = State {
            breaker: Breaker::new(queue),
            waiting: HashMap::new(),
            stopped: false,
            usage: Usage::new(Instant::now()),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            poke: Notify::new(),
        })
    }

    /// Waits for capacity, at most until `deadline`.
    ///
    /// # Errors
    /// As [`Error`] says.
    ///
    /// # Cancel safety
    /// A request that no longer waits leaves the queue, and gives back what it may just have got.
    pub async fn admit(self: &Arc<Self>, deadline: Instant) -> Result<Permit, Error> {
        let (ticket, admitted) = {
            let mut state = self.lock();
            if state.stopped {
                return Err(Error::Stopped);
            }
            let now = Instant::now();
            match state.breaker.try_admit() {
                Admission::Full => return Err(Error::QueueFull),
                Admission::Admitted => {
                    state.usage.begin(now);
                    return Ok(Permit {
                        activator: self.clone(),
                    });
                }
                Admission::Waiting(ticket) => {
                    state.usage.begin(now);
                    let (sender, receiver) = oneshot::channel();
                    state.waiting.insert(ticket, sender);
                    (ticket, receiver)
                }
            }
        };
        self.poke.notify_one();
        let mut place = Place {
            activator: self,
            ticket: Some(ticket),
        };
        match timeout_at(deadline, admitted).await {
            Ok(Ok(())) => {
                place.ticket = None;
                Ok(Permit {
                    activator: self.clone(),
                })
            }
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) => Err(Error::Deadline),
        }
    }

    /// Changes how many requests may run at once.
    pub fn set_capacity(&self, capacity: Capacity) {
        let mut state = self.lock();
        let admitted = state.breaker.set_capacity(capacity);
        for ticket in admitted {
            state.wake(ticket);
        }
    }

    /// Sends away who waits and who comes.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        // Each leaves the queue by itself when it sees that nobody will answer it.
        state.waiting.clear();
    }

    /// Requests that run and requests that wait.
    #[must_use]
    pub fn load(&self) -> Load {
        let state = self.lock();
        Load {
            running: state.breaker.in_flight(),
            waiting: state.breaker.waiting(),
        }
    }

    /// Resolves when a request had to wait since the last call.
    ///
    /// # Cancel safety
    /// A poke is kept for the next call.
    pub async fn poked(&self) {
        self.poke.notified().await;
    }

    /// How much was asked of this revision since the last call.
    #[must_use]
    pub fn take_usage(&self) -> Used {
        self.lock().usage.take(Instant::now())
    }

    fn release(&self) {
        let mut state = self.lock();
        state.usage.end(Instant::now());
        if let Some(ticket) = state.breaker.release() {
            state.wake(ticket);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one revision has to do right now, in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub running: usize,
    pub waiting: usize,
}

impl State {
    fn wake(&mut self, ticket: Ticket) {
        let sender = self.waiting.remove(&ticket);
        // A receiver that is gone has a `Place` that gives the admission back: see its drop.
        if let Some(sender) = sender {
            let _ = sender.send(());
        }
    }
}

/// A place in the queue; dropping it leaves the queue.
struct Place<'a> {
    activator: &'a Activator,
    ticket: Option<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.activator.lock();
        state.waiting.remove(&ticket);
        match state.breaker.cancel(ticket) {
            Cancelled::Removed => state.usage.end(Instant::now()),
            // Between its wake-up and this drop: somebody else may run instead.
            Cancelled::Admitted => {
                drop(state);
                self.activator.release();
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.activator.release();
    }
}

#[cfg(test)]
mod tests;
