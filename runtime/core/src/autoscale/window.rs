//! Averages of what was counted in the last seconds.
//!
//! Input: one value a second from the host. Output: the [`Load`] that [`super::decide()`] compares
//! with the target.
//!
//! ```text
//!            first                    last      now
//!              │                        │        │
//!   ───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬───┬──► seconds
//!      │   │ 3 │ 0 │ 5 │   │ 4 │ 4 │ 2 │ 6 │   │   │
//!   ───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴───┴──
//!              └──────── averaged ──────────┘
//! ```
//!
//! Invariants: the buckets of a window are those of the seconds `last - len + 1 ..= last`, second
//! `s` at index `s mod len`; a bucket without a value is 0; `first` is not later than `last`.

use std::time::Duration;

use super::spec::{Aggregation, Spec};
use crate::time::Timestamp;

/// The weights of a weighted average add up to at least this.
const WEIGHT_PRECISION: f64 = 0.9999;

/// The least weight of the newest second, which bounds how far a long window looks back.
const MIN_WEIGHT: f64 = 0.2;

/// What a revision is loaded with, in units of its metric, over all its replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// The average of the stable window.
    pub stable: f64,
    /// The average of the panic window.
    pub panic: f64,
}

/// The stable and the panic window of one revision.
#[derive(Clone, Debug)]
pub struct Windows {
    stable: Window,
    panic: Window,
}

impl Windows {
    /// Empty windows of the lengths that `spec` has.
    #[must_use]
    pub fn new(spec: &Spec) -> Self {
        Self {
            stable: Window::new(spec.stable_window, spec.aggregation),
            panic: Window::new(spec.panic_window, spec.aggregation),
        }
    }

    /// Adds the value of the second of `now`; several values of a second are added up.
    ///
    /// The value is the average of the requests in flight during that second, or the number of
    /// requests that began. A revision that has replicas needs a value each second, 0 included: an
    /// absent one at the end of the window is not counted as zero.
    pub fn record(&mut self, now: Timestamp, value: f64) {
        self.stable.record(now, value);
        self.panic.record(now, value);
    }

    /// The averages at `now`, or `None` when nothing was recorded for a whole stable window.
    #[must_use]
    pub fn load(&self, now: Timestamp) -> Option<Load> {
        (!self.stable.is_empty(now)).then(|| Load {
            stable: self.stable.average(now),
            panic: self.panic.average(now),
        })
    }

    /// Takes over the lengths and the aggregation that `spec` has, when they changed. Values are
    /// kept as far as they fit.
    pub fn follow(&mut self, spec: &Spec) {
        self.stable.resize(spec.stable_window);
        self.panic.resize(spec.panic_window);
        self.stable.aggregation = spec.aggregation;
        self.panic.aggregation = spec.aggregation;
    }
}

/// A window of one value a second.
///
/// # Source
///
/// knative/serving pkg/autoscaler/aggregation/bucketing.go. Differs: the sum is taken afresh for
/// each average, so that no rounding error stays; resizing does not count seconds before the first
/// value as zero.
#[derive(Clone, Debug)]
pub struct Window {
    /// One for each second of the window, at least one.
    buckets: Vec<f64>,
    aggregation: Aggregation,
    span: Option<Span>,
}

/// The seconds of the first and the last value, since 1970. The first is that since the last time
/// that a whole window was silent.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: i64,
    last: i64,
}

impl Window {
    /// An empty window of `length`, rounded up to whole seconds, at least one.
    #[must_use]
    pub fn new(length: Duration, aggregation: Aggregation) -> Self {
        Self {
            buckets: vec![0.0; bucket_count(length)],
            aggregation,
            span: None,
        }
    }

    /// Adds `value` to the second of `now`. A time before the window is ignored.
    pub fn record(&mut self, now: Timestamp, value: f64) {
        let second = now.unix_seconds();
        let span = match self.span {
            Some(span) if second - span.last < self.len() => span,
            // Nothing was recorded for a whole window: what comes is a new beginning, not the end
            // of a long silence.
            _ => {
                self.buckets.fill(0.0);
                Span {
                    first: second,
                    last: second,
                }
            }
        };
        if second <= span.last - self.len() {
            return;
        }
        for silent in span.last + 1..=second {
            *self.bucket(silent) = 0.0;
        }
        *self.bucket(second) += value;
        self.span = Some(Span {
            first: span.first.min(second),
            last: span.last.max(second),
        });
    }

    /// The average at `now`; 0 when the window is empty.
    ///
    /// Linear: over the seconds from the first value to the last, as far as they are in the window.
    /// A window that is not filled yet is not diluted, and a silence at its end is not counted.
    /// Weighted: over the whole window, where silence counts as 0.
    #[must_use]
    pub fn average(&self, now: Timestamp) -> f64 {
        let Some(span) = self.span else { return 0.0 };
        let silence = (now.unix_seconds() - span.last).max(0);
        if silence >= self.len() {
            return 0.0;
        }
        let buckets = self.newest_first(span.last, self.len() - silence);
        match self.aggregation {
            Aggregation::Linear => {
                let count = (span.last - span.first + 1).min(self.len() - silence);
                rounded(buckets.sum::<f64>() / count as f64)
            }
            Aggregation::WeightedExponential => {
                let smoothing = self.smoothing();
                let mut weight = smoothing * (1.0 - smoothing).powi(silence as i32);
                let mut average = 0.0;
                for value in buckets {
                    average += value * weight;
                    weight *= 1.0 - smoothing;
                }
                average
            }
        }
    }

    /// Whether nothing was recorded for longer than the window.
    #[must_use]
    pub fn is_empty(&self, now: Timestamp) -> bool {
        self.span
            .is_none_or(|span| now.unix_seconds() - span.last > self.len())
    }

    /// Changes the length; the newest values are kept.
    pub fn resize(&mut self, length: Duration) {
        let count = bucket_count(length);
        if count == self.buckets.len() {
            return;
        }
        let old = std::mem::replace(self, Self::new(length, self.aggregation));
        let Some(span) = old.span else { return };
        let kept = old.len().min(self.len());
        for (value, second) in old
            .newest_first(span.last, kept)
            .zip((span.last - kept + 1..=span.last).rev())
        {
            *self.bucket(second) = value;
        }
        self.span = Some(Span {
            first: span.first.max(span.last - kept + 1),
            last: span.last,
        });
    }

    /// The length in seconds.
    fn len(&self) -> i64 {
        self.buckets.len() as i64
    }

    fn bucket(&mut self, second: i64) -> &mut f64 {
        let index = second.rem_euclid(self.len()) as usize;
        &mut self.buckets[index]
    }

    /// The values of `count` seconds up to `last`, backwards.
    fn newest_first(&self, last: i64, count: i64) -> impl Iterator<Item = f64> {
        (last - count + 1..=last)
            .rev()
            .map(|second| self.buckets[second.rem_euclid(self.len()) as usize])
    }

    /// The weight of the newest second; each one before has this part less.
    fn smoothing(&self) -> f64 {
        let weight = 1.0 - (1.0 - WEIGHT_PRECISION).powf(1.0 / self.buckets.len() as f64);
        weight.max(MIN_WEIGHT)
    }
}

fn bucket_count(length: Duration) -> usize {
    let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
    (seconds as usize).max(1)
}

/// To six digits, so that the last bit of a sum does not ask for one more replica.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + second)
    }

    fn window(seconds: u64, values: &[(i64, f64)]) -> Window {
        let mut window = Window::new(Duration::from_secs(seconds), Aggregation::Linear);
        for (second, value) in values {
            window.record(at(*second), *value);
        }
        window
    }

    #[test]
    fn a_linear_average_is_over_the_seconds_that_were_recorded() {
        struct Case {
            name: &'static str,
            values: &'static [(i64, f64)],
            now: i64,
            want: f64,
        }
        let cases = [
            Case {
                name: "nothing",
                values: &[],
                now: 0,
                want: 0.0,
            },
            Case {
                name: "not filled yet",
                values: &[(0, 4.0), (1, 2.0)],
                now: 1,
                want: 3.0,
            },
            Case {
                name: "values of a second add up",
                values: &[(0, 4.0), (0, 2.0)],
                now: 0,
                want: 6.0,
            },
            Case {
                name: "a gap is zero",
                values: &[(0, 4.0), (3, 4.0)],
                now: 3,
                want: 2.0,
            },
            Case {
                name: "silence at the end is not counted",
                values: &[(0, 4.0), (1, 2.0)],
                now: 3,
                want: 3.0,
            },
            Case {
                name: "old values leave",
                values: &[(0, 100.0), (4, 4.0)],
                now: 4,
                want: 4.0,
            },
            Case {
                name: "old values leave during silence",
                values: &[(0, 100.0), (1, 2.0)],
                now: 4,
                want: 2.0,
            },
            Case {
                name: "a silent window",
                values: &[(0, 4.0)],
                now: 4,
                want: 0.0,
            },
            Case {
                name: "a new beginning",
                values: &[(0, 4.0), (9, 2.0), (10, 4.0)],
                now: 10,
                want: 3.0,
            },
            Case {
                name: "a late value",
                values: &[(1, 4.0), (0, 2.0)],
                now: 1,
                want: 3.0,
            },
            Case {
                name: "a value before the window",
                values: &[(9, 4.0), (5, 2.0)],
                now: 9,
                want: 4.0,
            },
            Case {
                name: "a clock behind the last value",
                values: &[(5, 4.0)],
                now: 0,
                want: 4.0,
            },
            Case {
                name: "rounded",
                values: &[(0, 2.0), (1, 0.0), (2, 0.0)],
                now: 2,
                want: 0.666_667,
            },
        ];
        for case in cases {
            let got = window(4, case.values).average(at(case.now));
            assert_eq!(got, case.want, "{}", case.name);
        }
    }

    #[test]
    fn a_weighted_average_looks_mostly_at_the_newest_second() {
        let mut window = Window::new(Duration::from_secs(4), Aggregation::WeightedExponential);
        for (second, value) in [(0, 8.0), (1, 0.0), (2, 4.0)] {
            window.record(at(second), value);
        }
        // Four seconds: 1 - 0.0001^(1/4) = 0.9.
        let want = 4.0 * 0.9 + 8.0 * 0.9 * 0.01;
        assert!((window.average(at(2)) - want).abs() < 1e-9);
        assert!((window.average(at(3)) - want / 10.0).abs() < 1e-9);
        assert_eq!(window.average(at(7)), 0.0);
        let long = Window::new(Duration::from_secs(60), Aggregation::WeightedExponential);
        assert_eq!(long.smoothing(), MIN_WEIGHT);
    }

    #[test]
    fn a_window_is_empty_after_more_than_its_length() {
        let window = window(4, &[(0, 0.0)]);
        assert!(!window.is_empty(at(4)));
        assert!(window.is_empty(at(5)));
    }

    #[test]
    fn resizing_keeps_the_newest_values() {
        let values = &[(0, 10.0), (1, 1.0), (2, 2.0), (3, 3.0)];
        let cases = [(2, 2.5), (4, 4.0), (9, 4.0)];
        for (seconds, want) in cases {
            let mut window = window(4, values);
            window.resize(Duration::from_secs(seconds));
            assert_eq!(window.average(at(3)), want, "{seconds} s");
            window.record(at(4), want);
            assert_eq!(window.len(), seconds as i64);
        }
        let mut empty = window(4, &[]);
        empty.resize(Duration::from_secs(2));
        assert!(empty.is_empty(at(0)));
    }

    #[test]
    fn a_length_is_whole_seconds_and_at_least_one() {
        for (millis, want) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(bucket_count(Duration::from_millis(millis)), want);
        }
    }
}
