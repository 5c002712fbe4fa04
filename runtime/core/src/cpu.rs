//! How much CPU time guests may use while others want the cores, too, and how much they get at least.
//!
//! Input: slices of time that a Revision's guests computed, and whether the machine has time left.
//! Output: how long the guest that used the last slice has to pause. For all guests that compute
//! together: how long those that serve short requests stand back for them.
//!
//! A limit is a share: `250m` is 25 ms of each window of 100 ms, for each replica. On a machine with
//! time left nobody pauses, and nothing is held against anybody later. What was used beyond a window
//! counts in the next ones, so that a share smaller than a slice is kept, too.
//!
//! # Source
//! Kubernetes' `resources.limits.cpu`, which the kernel keeps in windows of 100 ms. Differs: a
//! cluster throttles on an idle machine as well.

use std::time::Duration;

/// The time in which a share has to be kept.
pub const WINDOW: Duration = Duration::from_millis(100);
/// Not worth it to stand back for less.
const SHORTEST_GAP: Duration = Duration::from_micros(100);
/// The longest pause; then the guest is looked at again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What `replicas` with a limit of `millicores` each may use in one window.
#[must_use]
pub fn quota(millicores: u64, replicas: u32) -> Duration {
    let per_window = u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX);
    let nanoseconds = millicores
        .saturating_mul(u64::from(replicas.max(1)))
        .saturating_mul(per_window / 1000);
    Duration::from_nanos(nanoseconds.max(1))
}

/// What one Revision has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of the window that `used` is of.
    window: u128,
    used: Duration,
}

impl Usage {
    /// Counts a slice that was computed just before `now`, which is the time since some fixed
    /// moment. Returns for how long the guest has to pause.
    pub fn spend(
        &mut self,
        slice: Duration,
        now: Duration,
        quota: Duration,
        is_busy: bool,
    ) -> Option<Duration> {
        if !is_busy {
            *self = Self::default();
            return None;
        }
        let window = now.as_nanos() / WINDOW.as_nanos();
        let passed = u32::try_from(window.saturating_sub(self.window)).unwrap_or(u32::MAX);
        self.used = self.used.saturating_sub(quota.saturating_mul(passed));
        self.window = window;
        self.used += slice;
        if self.used < quota {
            return None;
        }
        // To the window in which something of the share is left again.
        let over = (self.used.as_nanos() / quota.as_nanos()).max(1);
        let next = WINDOW
            .as_nanos()
            .saturating_mul(window.saturating_add(over));
        let pause = u64::try_from(next.saturating_sub(now.as_nanos())).unwrap_or(u64::MAX);
        Some(Duration::from_nanos(pause).min(LONGEST_PAUSE))
    }
}

/// What all guests that compute for long have had, and want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Background {
    /// Over this time,
    pub passed: Duration,
    /// they computed so much.
    pub computed: Duration,
    /// How many compute at once.
    pub guests: usize,
    /// Thousandths of a core that their Revisions request.
    pub requested: u64,
}

/// How long each of `cores` threads stands back for guests that compute for long, when they had too
/// little while short requests took all there was.
///
/// They get what their Revisions request, a tenth of a core for each guest at least, and half of the
/// cores at most: short requests never wait for longer than they would beside equals.
#[must_use]
pub fn stand_back(background: &Background, cores: usize) -> Option<Duration> {
    let cores = u32::try_from(cores.max(1)).unwrap_or(u32::MAX);
    let guests = u32::try_from(background.guests)
        .unwrap_or(u32::MAX)
        .min(cores);
    if guests == 0 {
        return None;
    }
    let millicores = u32::try_from(background.requested).unwrap_or(u32::MAX);
    let (least, most) = (guests.saturating_mul(100), cores.saturating_mul(500));
    let share = background.passed * millicores.clamp(least.min(most), most) / 1000;
    let each = share.saturating_sub(background.computed) / cores;
    (each >= SHORTEST_GAP).then_some(each)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_compute_get_their_least() {
        struct Case {
            name: &'static str,
            computed: Duration,
            guests: usize,
            requested: u64,
            /// Microseconds of each of two threads in 10 ms.
            want: Option<u64>,
        }
        let cases = [
            Case {
                name: "nobody_computes",
                computed: ms(0),
                guests: 0,
                requested: 1000,
                want: None,
            },
            Case {
                name: "a_tenth_of_a_core_each",
                computed: ms(0),
                guests: 1,
                requested: 2,
                want: Some(500),
            },
            Case {
                name: "no_more_than_cores",
                computed: ms(0),
                guests: 100,
                requested: 200,
                want: Some(1000),
            },
            Case {
                name: "what_is_missing",
                computed: ms(1),
                guests: 2,
                requested: 0,
                want: Some(500),
            },
            Case {
                name: "nearly_enough",
                computed: Duration::from_micros(1900),
                guests: 2,
                requested: 0,
                want: None,
            },
            Case {
                name: "more_than_enough",
                computed: ms(20),
                guests: 2,
                requested: 0,
                want: None,
            },
            Case {
                name: "what_is_requested",
                computed: ms(0),
                guests: 1,
                requested: 600,
                want: Some(3000),
            },
            Case {
                name: "half_at_most",
                computed: ms(0),
                guests: 1,
                requested: u64::MAX,
                want: Some(5000),
            },
        ];
        for case in cases {
            let background = Background {
                passed: ms(10),
                computed: case.computed,
                guests: case.guests,
                requested: case.requested,
            };
            let want = case.want.map(Duration::from_micros);
            assert_eq!(stand_back(&background, 2), want, "{}", case.name);
        }
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_share_is_of_each_replica_and_never_nothing() {
        for (millicores, replicas, want) in [
            (250, 1, ms(25)),
            (250, 3, ms(75)),
            (2000, 1, ms(200)),
            (250, 0, ms(25)),
            (0, 1, Duration::from_nanos(1)),
        ] {
            assert_eq!(
                quota(millicores, replicas),
                want,
                "{millicores}m x {replicas}"
            );
        }
    }

    #[test]
    fn a_guest_pauses_when_its_share_of_the_window_is_used() {
        struct Case {
            name: &'static str,
            /// Times at which a slice of 2 ms ended.
            given: &'static [u64],
            quota: Duration,
            is_busy: bool,
            /// The pause after the last one.
            want: Option<Duration>,
        }
        let cases = [
            Case {
                name: "within",
                given: &[2, 4, 6],
                quota: ms(10),
                is_busy: true,
                want: None,
            },
            Case {
                name: "used_up",
                given: &[2, 4, 6, 8, 10],
                quota: ms(10),
                is_busy: true,
                want: Some(ms(90)),
            },
            Case {
                name: "a_new_window",
                given: &[2, 4, 6, 8, 10, 102],
                quota: ms(10),
                is_busy: true,
                want: None,
            },
            Case {
                name: "less_than_a_slice",
                given: &[2],
                quota: ms(1),
                is_busy: true,
                want: Some(ms(198)),
            },
            Case {
                name: "time_is_left",
                given: &[2, 4, 6, 8, 10, 12],
                quota: ms(10),
                is_busy: false,
                want: None,
            },
        ];
        for case in cases {
            let mut usage = Usage::default();
            let spend = |at: &u64| usage.spend(ms(2), ms(*at), case.quota, case.is_busy);
            let pauses: Vec<_> = case.given.iter().map(spend).collect();
            assert_eq!(pauses.last().copied().flatten(), case.want, "{}", case.name);
        }
    }

    #[test]
    fn over_time_a_guest_gets_its_share() {
        for (millicores, want) in [(100, 0.1), (10, 0.01), (500, 0.5)] {
            let (mut usage, quota) = (Usage::default(), quota(millicores, 1));
            let (mut now, mut computed) = (Duration::ZERO, Duration::ZERO);
            while now < Duration::from_secs(60) {
                now += ms(2);
                computed += ms(2);
                now += usage.spend(ms(2), now, quota, true).unwrap_or_default();
            }
            let share = computed.as_secs_f64() / now.as_secs_f64();
            assert!(
                (share - want).abs() < want * 0.1,
                "{millicores}m got {share}"
            );
        }
    }
}
