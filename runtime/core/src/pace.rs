//! Whether a thread keeps up with what it is asked to do.
//!
//! Input: when the thread had nothing to do. Output: whether it had next to none of that lately.
//!
//! A thread that keeps up serves in any order: nobody waits for long. Only one that is behind has to
//! choose, and only then is it worth it to measure for whom it works.

use std::time::Duration;

/// How long the thread is watched for one answer: long beside a call, short beside the window in
/// which shares are kept.
const LOOK: Duration = Duration::from_millis(10);
/// A thread that rested for less than one part in so many has always something to do: asking the
/// operating system for more work takes a little time, too.
const RESTED: u32 = 8;

/// What is known of one thread. Times are those since some fixed moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    began: Duration,
    rested: Duration,
    is_behind: bool,
}

impl Pace {
    /// The thread had nothing to do between these times.
    pub fn rest(&mut self, from: Duration, until: Duration) {
        self.rested += until.saturating_sub(from);
        self.look(until);
    }

    /// Whether the thread is behind.
    pub fn is_behind(&mut self, now: Duration) -> bool {
        self.look(now);
        self.is_behind
    }

    fn look(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.began);
        if passed >= LOOK {
            *self = Self {
                began: now,
                rested: Duration::ZERO,
                is_behind: self.rested < passed / RESTED,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_is_who_hardly_rests() {
        struct Case {
            name: &'static str,
            /// Microseconds of work and of rest, again and again.
            work: u64,
            rest: u64,
            want: bool,
        }
        for case in [
            Case {
                name: "nothing_to_do",
                work: 0,
                rest: 1000,
                want: false,
            },
            Case {
                name: "half_the_time",
                work: 100,
                rest: 100,
                want: false,
            },
            Case {
                name: "little_rests",
                work: 60,
                rest: 2,
                want: true,
            },
            Case {
                name: "never",
                work: 100,
                rest: 0,
                want: true,
            },
            Case {
                name: "long_work_and_long_rests",
                work: 30_000,
                rest: 15_000,
                want: false,
            },
        ] {
            let (mut pace, mut now) = (Pace::default(), Duration::from_secs(7));
            while now < Duration::from_secs(8) {
                now += Duration::from_micros(case.work);
                let until = now + Duration::from_micros(case.rest);
                if case.rest > 0 {
                    pace.rest(now, until);
                }
                now = until;
                pace.is_behind(now);
            }
            assert_eq!(pace.is_behind(now), case.want, "{}", case.name);
        }
    }

    #[test]
    fn it_changes_within_one_look() {
        let ms = Duration::from_millis;
        let mut pace = Pace::default();
        assert!(!pace.is_behind(ms(9)), "it is not known yet");
        assert!(pace.is_behind(ms(10)));
        pace.rest(ms(12), ms(15));
        assert!(pace.is_behind(ms(19)), "until the look is over");
        assert!(!pace.is_behind(ms(20)));
        assert!(pace.is_behind(ms(30)));
        assert!(pace.is_behind(ms(5)), "a time of before changes nothing");
    }
}
