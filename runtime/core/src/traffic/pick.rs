//! The choice of a Revision for one request.
//!
//! Input: the targets of a host and a random number. Output: one of them, so that over many
//! requests each has exactly its share. The choice is made for each request, never for a client.

use super::Target;

/// The target for a request with the random number `random`, all values of which are equally
/// likely; `None` when there are no targets.
///
/// A target with 0 percent is never picked, except a single one, which always is.
#[must_use]
pub fn pick(targets: &[Target], random: u64) -> Option<&Target> {
    let (last, others) = targets.split_last()?;
    if others.is_empty() {
        return Some(last);
    }
    let total: u64 = targets.iter().map(|target| u64::from(target.percent)).sum();
    // The high half of the product is uniform over 0..total; a remainder would not be.
    let scaled = (u128::from(random) * u128::from(total)) >> 64;
    let mut point = u64::try_from(scaled).unwrap_or(0);
    for target in targets {
        let percent = u64::from(target.percent);
        if point < percent {
            return Some(target);
        }
        point -= percent;
    }
    // Reached only when all are at 0 percent, which no valid Route asks for.
    Some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::ObjectKey;

    fn targets(percents: &[u8]) -> Vec<Target> {
        let target = |(index, percent): (usize, &u8)| Target {
            revision: ObjectKey::new("ns", format!("r{index}")),
            percent: *percent,
        };
        percents.iter().enumerate().map(target).collect()
    }

    fn picked(targets: &[Target], random: u64) -> &str {
        &pick(targets, random)
            .expect("there are targets")
            .revision
            .name
    }

    /// SplitMix64, by Sebastiano Vigna; public domain.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    struct Case {
        name: &'static str,
        given: (&'static [u8], u64),
        want: &'static str,
    }

    #[track_caller]
    fn check(case: &Case) {
        let (percents, random) = case.given;
        assert_eq!(
            picked(&targets(percents), random),
            case.want,
            "{}",
            case.name
        );
    }

    #[test]
    fn shares_are_exact_at_their_borders() {
        // 2^64 / 100 * 20, rounded up: the first number of the second target.
        let border = (1_u128 << 64) * 20 / 100 + 1;
        let border = u64::try_from(border).expect("a fifth of 2^64 fits");
        for case in [
            Case {
                name: "the smallest number",
                given: (&[20, 80], 0),
                want: "r0",
            },
            Case {
                name: "below the border",
                given: (&[20, 80], border - 1),
                want: "r0",
            },
            Case {
                name: "at the border",
                given: (&[20, 80], border),
                want: "r1",
            },
            Case {
                name: "the largest number",
                given: (&[20, 80], u64::MAX),
                want: "r1",
            },
            Case {
                name: "a single one",
                given: (&[0], u64::MAX / 2),
                want: "r0",
            },
            Case {
                name: "nothing at the start",
                given: (&[0, 100], 0),
                want: "r1",
            },
            Case {
                name: "nothing at the end",
                given: (&[100, 0], u64::MAX),
                want: "r0",
            },
            Case {
                name: "not a hundred in all",
                given: (&[1, 1], u64::MAX / 2 + 1),
                want: "r1",
            },
            Case {
                name: "nothing for any",
                given: (&[0, 0], 7),
                want: "r1",
            },
        ] {
            check(&case);
        }
        assert_eq!(pick(&[], 0), None);
    }

    /// Chi-square with one degree of freedom; 10.83 is passed by 99.9 % of fair splits.
    #[test]
    fn twenty_to_eighty_splits_ten_thousand_requests_fairly() {
        for seed in [1, 2, 3, 4, 5] {
            let mut random = Random(seed);
            let targets = targets(&[20, 80]);
            let first = (0..10_000)
                .filter(|_| picked(&targets, random.next()) == "r0")
                .count();
            let first = f64::from(u32::try_from(first).expect("at most ten thousand"));
            let off = (first - 2000.0).powi(2);
            let chi_square = off / 2000.0 + off / 8000.0;
            assert!(chi_square < 10.83, "seed {seed}: {first} of 10000");
        }
    }

    #[test]
    fn every_target_of_a_wide_split_is_picked_and_none_at_zero() {
        let mut percents = [1_u8; 101];
        percents[50] = 0;
        let targets = targets(&percents);
        let mut random = Random(9);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            seen.insert(picked(&targets, random.next()).to_owned());
        }
        assert_eq!(seen.len(), 100);
        assert!(!seen.contains("r50"));
    }
}
