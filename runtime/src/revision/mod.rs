//! One Revision as it runs: where requests, objects and time meet.
//!
//! Input: requests from the ingress, and from the control plane what to run. Output: responses,
//! and the facts that become the Revision's status.

pub mod environment;
pub mod launch;
pub mod sleeper;
mod tracked;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;
use serve_core::api::podspec::PodSpec;
use serve_core::meta::ObjectKey;
use tokio::time::{Instant, timeout};

use crate::activator::{Activator, Permit};
use crate::body::Body;
use crate::ingress::respond::{Asked, Ending, Failure};
use crate::ingress::watch::Exchange;
use crate::pool::{self, Pool};
use tracked::{Hold, Tracked};

/// `timeoutSeconds` of a Revision that was admitted without one.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a request may keep to itself that it woke its revision: longer than small guests need.
const ANNOUNCE: Duration = Duration::from_millis(5);
/// A body that is sent in one go.
const SHORT_BYTES: u64 = 64 << 10;

/// A Revision that was started. It stays the same when it is scaled to zero and back.
pub struct Revision {
    pub key: ObjectKey,
    /// Of the Revision object, so that a new one with the same name is told from this one.
    pub uid: String,
    pub activator: Arc<Activator>,
    pub pool: Pool,
    pub timeouts: Timeouts,
    /// `containerConcurrency`: requests at once in a replica; 0 is no bound.
    pub container_concurrency: u32,
}

/// How long an exchange may take. All run from its begin, the wait for capacity included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `timeoutSeconds`: to the last byte of the response.
    pub total: Duration,
    /// `responseStartTimeoutSeconds`: to the head of the response.
    pub response_start: Option<Duration>,
    /// `idleTimeoutSeconds`: between two pieces of the response, and before the first.
    pub idle: Option<Duration>,
}

impl Timeouts {
    /// Those of a manifest; 0 and absent are none.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Self {
        let seconds = |seconds: Option<i64>| {
            let seconds = seconds.and_then(|s| u64::try_from(s).ok());
            seconds.filter(|s| *s > 0).map(Duration::from_secs)
        };
        Self {
            total: seconds(spec.timeout_seconds).unwrap_or(DEFAULT_TIMEOUT),
            response_start: seconds(spec.response_start_timeout_seconds),
            idle: seconds(spec.idle_timeout_seconds),
        }
    }

    /// The time within which something must have been written.
    fn first(self) -> Duration {
        let times = [self.response_start, self.idle];
        times.into_iter().flatten().fold(self.total, Duration::min)
    }

    /// What is left for the guest of a request that waited.
    fn after(self, waited: Duration) -> pool::Timeouts {
        let first = self.first();
        let has_start = first < self.total;
        pool::Timeouts {
            total: self.total.saturating_sub(waited),
            response_start: has_start.then(|| first.saturating_sub(waited)),
            idle: self.idle,
        }
    }
}

impl Revision {
    /// There are no replicas: the next request takes the capacity of one, and starts it.
    pub fn sleep(&self) {
        let capacity = self.pool.capacity(1, self.container_concurrency);
        self.activator.sleep(capacity);
    }

    /// Runs one request: waits for capacity, then gives it to an instance of this core's.
    ///
    /// # Errors
    /// The request was not admitted, or the guest failed before its response began.
    ///
    /// # Cancel safety
    /// Dropping the future gives back the place in the queue or the instance.
    pub async fn call(
        self: &Arc<Self>,
        request: Request<Body>,
        asked: Asked,
        core: usize,
    ) -> Result<Response<Body>, Failure> {
        let start = Instant::now();
        let deadline = start + self.timeouts.first();
        let mut permit = self.activator.admit(core, start, deadline).await?;
        // Who wakes a revision is one, and its thread has the start to do before any turn.
        let turn = if permit.woke() {
            None
        } else {
            self.pool.turn(start, deadline).await?
        };
        let exchange = Exchange::begin(start + self.timeouts.total);
        let timeouts = self.timeouts.after(start.elapsed());
        let response = if permit.woke() {
            self.wake(request, timeouts, core, &mut permit).await?
        } else {
            // Without an instance until it begins: who waits for a turn takes none from others.
            let call = pin!(async { self.pool.lease(core)?.call(request, timeouts).await });
            match turn {
                Some(turn) => turn.begin(call).await?,
                None => call.await?,
            }
        };
        let has_length = response.body().size_hint().exact().is_some();
        let ending = Ending::of(asked, response.headers(), has_length);
        let hold = Hold {
            _permit: permit,
            _exchange: exchange,
        };
        let revision = self.clone();
        Ok(response.map(|body| Body::new(Tracked::new(body, ending, revision, hold))))
    }

    /// Runs the request that woke the revision: it starts the first instance itself, and the others
    /// learn of it when it is answered, or when that takes a while.
    async fn wake(
        &self,
        request: Request<Body>,
        timeouts: pool::Timeouts,
        core: usize,
        permit: &mut Permit,
    ) -> Result<Response<Body>, Failure> {
        self.pool.set_target(1);
        let mut call = pin!(self.pool.lease(core)?.call(request, timeouts));
        let response = if let Ok(response) = timeout(ANNOUNCE, &mut call).await {
            response?
        } else {
            permit.announce();
            call.await?
        };
        // A short response is sent before its permit goes, which announces, too.
        let is_short = |bytes: u64| bytes <= SHORT_BYTES;
        if !response.body().size_hint().exact().is_some_and(is_short) {
            permit.announce();
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
