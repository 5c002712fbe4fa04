//! How many requests one revision had at once, on average over time, and how many came.

use tokio::time::Instant;

/// What was asked of a revision in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Requests at once, running or waiting, averaged over the interval.
    pub concurrency: f64,
    pub requests_per_second: f64,
}

impl std::ops::Add for Used {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            concurrency: self.concurrency + other.concurrency,
            requests_per_second: self.requests_per_second + other.requests_per_second,
        }
    }
}

/// Counts the requests of one core over time.
#[derive(Debug)]
pub struct Usage {
    current: u32,
    /// Request-seconds since `start`.
    integral: f64,
    requests: u32,
    start: Instant,
    last: Instant,
}

impl Usage {
    pub fn new(now: Instant) -> Self {
        Self {
            current: 0,
            integral: 0.0,
            requests: 0,
            start: now,
            last: now,
        }
    }

    /// A request came.
    pub fn begin(&mut self, now: Instant) {
        self.advance(now);
        self.current += 1;
        self.requests += 1;
    }

    /// A request ended, or no longer waits.
    pub fn end(&mut self, now: Instant) {
        self.advance(now);
        self.current = self.current.saturating_sub(1);
    }

    /// What happened since the last call. An interval without length has what is there now.
    pub fn take(&mut self, now: Instant) -> Used {
        self.advance(now);
        let seconds = now.duration_since(self.start).as_secs_f64();
        let requests = f64::from(self.requests);
        let used = if seconds > 0.0 {
            Used {
                concurrency: self.integral / seconds,
                requests_per_second: requests / seconds,
            }
        } else {
            Used {
                concurrency: f64::from(self.current),
                requests_per_second: requests,
            }
        };
        (self.integral, self.requests, self.start) = (0.0, 0, now);
        used
    }

    fn advance(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.last).as_secs_f64();
        self.integral += f64::from(self.current) * seconds;
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn concurrency_is_an_average_over_time() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut usage = Usage::new(start);
        usage.begin(at(0));
        usage.begin(at(500));
        usage.end(at(750));
        let used = usage.take(at(1000));
        assert!((used.concurrency - 1.25).abs() < 1e-9);
        assert!((used.requests_per_second - 2.0).abs() < 1e-9);
        let used = usage.take(at(1500));
        assert!(
            (used.concurrency - 1.0).abs() < 1e-9,
            "one request still runs"
        );
        assert!(used.requests_per_second.abs() < 1e-9);
    }

    #[test]
    fn an_interval_without_length_has_what_is_there() {
        let now = Instant::now();
        let mut usage = Usage::new(now);
        usage.begin(now);
        let used = usage.take(now);
        assert!((used.concurrency - 1.0).abs() < 1e-9);
    }
}
