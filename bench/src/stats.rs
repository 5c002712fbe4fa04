//! Medians and percentiles.

use std::time::Duration;

/// The value that this share of the samples does not exceed (nearest rank); 0 of no samples.
pub fn percentile(samples: &[f64], percent: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

pub fn median(samples: &[f64]) -> f64 {
    percentile(samples, 50.0)
}

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        struct Case {
            name: &'static str,
            given: (&'static [f64], f64),
            want: f64,
        }
        for case in [
            Case {
                name: "none",
                given: (&[], 50.0),
                want: 0.0,
            },
            Case {
                name: "one",
                given: (&[7.0], 99.0),
                want: 7.0,
            },
            Case {
                name: "the middle of three, in any order",
                given: (&[3.0, 1.0, 2.0], 50.0),
                want: 2.0,
            },
            Case {
                name: "the last of four",
                given: (&[1.0, 2.0, 3.0, 4.0], 99.0),
                want: 4.0,
            },
        ] {
            let (samples, percent) = case.given;
            assert_eq!(percentile(samples, percent), case.want, "{}", case.name);
        }
    }
}
