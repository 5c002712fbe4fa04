//! Scale-down delay: less is run only after less was wanted for some time.
//!
//! Input and output: the number of replicas that a decision wants, before and after the delay.

use std::collections::VecDeque;
use std::time::Duration;

use super::TICK;
use crate::time::Timestamp;

/// The largest number wanted within the delay.
///
/// Invariant: from front to back, entries rise in tick and fall in value. An entry that is neither
/// newer nor larger than another can never be the largest again and is not kept, so the front is
/// the largest.
///
/// # Source
///
/// knative/serving pkg/autoscaler/aggregation/max. Differs: the delay is given with each value, so
/// a changed setting applies at once.
#[derive(Clone, Debug, Default)]
pub struct DelayWindow {
    entries: VecDeque<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    tick: i64,
    replicas: u32,
}

impl DelayWindow {
    /// Adds what is wanted at `now` and returns the largest number wanted during `delay`, which is
    /// rounded up to whole ticks.
    pub fn record(&mut self, now: Timestamp, wanted: u32, delay: Duration) -> u32 {
        let tick = now.unix_seconds().div_euclid(TICK.as_secs() as i64);
        let length = delay.as_nanos().div_ceil(TICK.as_nanos()).max(1);
        let mut newest = Entry {
            // A clock that went back must not make entries last longer.
            tick: self.entries.back().map_or(tick, |last| last.tick.max(tick)),
            replicas: wanted,
        };
        while let Some(last) = self.entries.back() {
            if last.replicas > wanted && last.tick < newest.tick {
                break;
            }
            newest.replicas = newest.replicas.max(last.replicas);
            self.entries.pop_back();
        }
        self.entries.push_back(newest);
        while let Some(oldest) = self.entries.front() {
            let age = newest.tick - oldest.tick;
            if u128::from(age.unsigned_abs()) < length {
                return oldest.replicas;
            }
            self.entries.pop_front();
        }
        newest.replicas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(delay_seconds: u64, steps: &[(i64, u32, u32)]) {
        let mut window = DelayWindow::default();
        for (second, wanted, want) in steps {
            let now = Timestamp::from_unix_seconds(1_700_000_000 + second);
            let got = window.record(now, *wanted, Duration::from_secs(delay_seconds));
            assert_eq!(got, *want, "at {second} s");
        }
    }

    #[test]
    fn less_is_run_after_less_was_wanted_for_the_delay() {
        check(6, &[(0, 5, 5), (2, 1, 5), (4, 1, 5), (6, 1, 1)]);
    }

    #[test]
    fn the_next_largest_follows_the_largest() {
        let steps = [
            (0, 9, 9),
            (2, 7, 9),
            (4, 8, 9),
            (6, 1, 8),
            (8, 1, 8),
            (10, 1, 1),
        ];
        check(6, &steps);
    }

    #[test]
    fn more_is_run_at_once() {
        check(60, &[(0, 1, 1), (2, 3, 3), (4, 2, 3), (6, 4, 4)]);
    }

    #[test]
    fn the_delay_is_rounded_up_to_ticks() {
        check(3, &[(0, 5, 5), (2, 1, 5), (4, 1, 1)]);
        check(1, &[(0, 5, 5), (2, 1, 1)]);
    }

    #[test]
    fn the_largest_of_a_tick_counts() {
        check(2, &[(0, 5, 5), (1, 1, 5), (2, 1, 1)]);
    }

    #[test]
    fn a_silence_forgets() {
        check(6, &[(0, 5, 5), (100, 1, 1)]);
    }

    #[test]
    fn a_clock_that_goes_back_prolongs_nothing() {
        check(4, &[(10, 5, 5), (0, 1, 5), (12, 1, 5), (14, 1, 1)]);
    }

    #[test]
    fn a_shorter_delay_applies_at_once() {
        let mut window = DelayWindow::default();
        let at = Timestamp::from_unix_seconds;
        window.record(at(0), 5, Duration::from_secs(60));
        assert_eq!(window.record(at(10), 1, Duration::from_secs(60)), 5);
        assert_eq!(window.record(at(12), 1, Duration::from_secs(2)), 1);
    }

    #[test]
    fn it_is_the_maximum_of_a_sliding_window() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for length in 1..8 {
            let mut window = DelayWindow::default();
            let mut all = Vec::new();
            for tick in 0..500_i64 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                all.push((random % 20) as u32);
                let now = Timestamp::from_unix_seconds(tick * 2);
                let got = window.record(now, all[tick as usize], TICK * length);
                let want = all.iter().rev().take(length as usize).max();
                assert_eq!(Some(&got), want, "window {length}, tick {tick}");
            }
        }
    }
}
