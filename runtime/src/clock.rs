//! The one place that reads the time of day.

use serve_core::time::Timestamp;
use tokio::time::Instant;

/// Where the control plane gets the time of day from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Starts at a given time and advances with tokio's clock, which tests pause.
    Tokio { start: Timestamp, since: Instant },
}

impl Clock {
    /// A clock that shows `start` now and advances with tokio's clock.
    #[must_use]
    pub fn tokio(start: Timestamp) -> Self {
        Self::Tokio {
            start,
            since: Instant::now(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                #[allow(clippy::disallowed_methods, reason = "this is the clock")]
                let nanos = jiff::Timestamp::now().as_nanosecond();
                Timestamp::from_unix_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
            }
            Self::Tokio { start, since } => *start + since.elapsed(),
        }
    }
}
