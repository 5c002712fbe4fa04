//! Durations as Kubernetes objects and ConfigMaps write them: Go's `1m30s`, `6s`, `1.5h`.
//!
//! Input: annotation and ConfigMap values. Output: nanoseconds or a [`Duration`], and the text that
//! Go prints for them, which error messages quote.
//!
//! # Source
//!
//! Go's `time.ParseDuration` and `time.Duration.String`, the error texts included.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

const SECOND: u64 = 1_000_000_000;

/// The magnitude of the smallest duration; the largest is one nanosecond shorter.
const LIMIT: u64 = 1 << 63;

/// Why a text is not a duration; the messages are Go's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Not a sequence of decimal numbers with units, or outside of about 292 years.
    #[error("time: invalid duration {}", Quoted(.text))]
    Invalid {
        /// The whole text.
        text: String,
    },
    /// A number without a unit. Only `0` may stand alone.
    #[error("time: missing unit in duration {}", Quoted(.text))]
    MissingUnit {
        /// The whole text.
        text: String,
    },
    /// A unit other than `ns`, `us`, `µs`, `ms`, `s`, `m` and `h`.
    #[error("time: unknown unit {} in duration {}", Quoted(.unit), Quoted(.text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// A duration below zero where only a length of time makes sense.
    #[error("duration {} is negative", Quoted(.text))]
    Negative {
        /// The whole text.
        text: String,
    },
}

/// Reads a duration that may be negative, in nanoseconds.
///
/// # Errors
///
/// [`Error::Invalid`], [`Error::MissingUnit`] and [`Error::UnknownUnit`], as Go does.
pub fn parse_nanos(text: &str) -> Result<i64, Error> {
    let invalid = || Error::Invalid {
        text: text.to_owned(),
    };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let number = take_number(&mut rest).ok_or_else(invalid)?;
        let nanos_per_unit = take_unit(&mut rest, text)?;
        total = number
            .times(nanos_per_unit)
            .and_then(|nanos| total.checked_add(nanos))
            .filter(|total| *total <= LIMIT)
            .ok_or_else(invalid)?;
    }
    if negative {
        return Ok(0_i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// Reads a duration of zero or more.
///
/// # Errors
///
/// Those of [`parse_nanos`], and [`Error::Negative`].
pub fn parse(text: &str) -> Result<Duration, Error> {
    u64::try_from(parse_nanos(text)?)
        .map(Duration::from_nanos)
        .map_err(|_| Error::Negative {
            text: text.to_owned(),
        })
}

/// Writes a duration as Go does: `1m30s`, `1h0m0s`, `1.5ms`, `0s`.
///
/// Lengths over 292 years are written as the longest one that Go has.
#[must_use]
pub fn format(duration: Duration) -> String {
    format_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// Writes a duration in nanoseconds as Go does.
#[must_use]
pub fn format_nanos(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    if magnitude == 0 {
        return "0s".to_owned();
    }
    if magnitude < SECOND {
        let (unit, digits) = match magnitude {
            0..1_000 => ("ns", 0),
            1_000..1_000_000 => ("µs", 3),
            _ => ("ms", 6),
        };
        return format!("{sign}{}{unit}", decimal(magnitude, digits));
    }
    let minutes = magnitude / SECOND / 60;
    let seconds = decimal(magnitude - minutes * 60 * SECOND, 9);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value` over ten to the power of `digits`, without trailing zeros.
fn decimal(value: u64, digits: u32) -> String {
    let scale = 10_u64.pow(digits);
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = digits as usize;
    let text = format!("{whole}.{fraction:0width$}");
    text.trim_end_matches('0').to_owned()
}

/// A decimal number: `whole` plus `fraction` over `scale`.
struct Number {
    whole: u64,
    fraction: u64,
    scale: f64,
}

impl Number {
    /// The product in nanoseconds, or `None` when it does not fit.
    fn times(&self, nanos_per_unit: u64) -> Option<u64> {
        let whole = self.whole.checked_mul(nanos_per_unit)?;
        // In floating point, as Go computes it: the last digit of the result depends on it.
        let fraction = self.fraction as f64 * (nanos_per_unit as f64 / self.scale);
        whole
            .checked_add(fraction as u64)
            .filter(|nanos| *nanos <= LIMIT)
    }
}

/// Takes digits with an optional fraction off the front; `None` when there is no digit or the
/// whole part is too large.
fn take_number(rest: &mut &str) -> Option<Number> {
    let digits = take_while(rest, |byte| byte.is_ascii_digit());
    let mut whole = 0_u64;
    for digit in digits.bytes() {
        whole = whole
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    let mut number = Number {
        whole: Some(whole).filter(|whole| *whole <= LIMIT)?,
        fraction: 0,
        scale: 1.0,
    };
    let Some(after_point) = rest.strip_prefix('.') else {
        return (!digits.is_empty()).then_some(number);
    };
    *rest = after_point;
    let fraction = take_while(rest, |byte| byte.is_ascii_digit());
    // Digits beyond the precision are read and dropped, not refused.
    for digit in fraction.bytes() {
        let longer = number
            .fraction
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .filter(|value| *value <= LIMIT);
        let Some(longer) = longer else { break };
        number.fraction = longer;
        number.scale *= 10.0;
    }
    (!digits.is_empty() || !fraction.is_empty()).then_some(number)
}

/// Takes a unit off the front and returns its length in nanoseconds.
fn take_unit(rest: &mut &str, text: &str) -> Result<u64, Error> {
    match take_while(rest, |byte| byte != b'.' && !byte.is_ascii_digit()) {
        "" => Err(Error::MissingUnit {
            text: text.to_owned(),
        }),
        "ns" => Ok(1),
        // The micro sign and the Greek letter mu look the same; Go takes both.
        "us" | "\u{b5}s" | "\u{3bc}s" => Ok(1_000),
        "ms" => Ok(1_000_000),
        "s" => Ok(SECOND),
        "m" => Ok(60 * SECOND),
        "h" => Ok(3_600 * SECOND),
        unit => Err(Error::UnknownUnit {
            unit: unit.to_owned(),
            text: text.to_owned(),
        }),
    }
}

/// Takes the longest prefix whose bytes pass `test`, which must decide alike on all bytes of a
/// character.
fn take_while<'a>(rest: &mut &'a str, test: impl Fn(u8) -> bool) -> &'a str {
    let end = rest
        .bytes()
        .position(|byte| !test(byte))
        .unwrap_or(rest.len());
    let (taken, left) = rest.split_at(end);
    *rest = left;
    taken
}

/// A text in double quotes, with bytes outside of printable ASCII written as `\x..`.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..=0x7f => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: i64 = i64::MAX;

    /// Each row was printed by Go 1.26: text, nanoseconds, `String()`.
    const GOOD: &[(&str, i64, &str)] = &[
        ("0", 0, "0s"),
        ("-0", 0, "0s"),
        ("+0", 0, "0s"),
        ("0s", 0, "0s"),
        ("6s", 6_000_000_000, "6s"),
        ("1m30s", 90_000_000_000, "1m30s"),
        ("1.5h", 5_400_000_000_000, "1h30m0s"),
        ("1h", 3_600_000_000_000, "1h0m0s"),
        ("+5s", 5_000_000_000, "5s"),
        ("-42s", -42_000_000_000, "-42s"),
        ("-.5s", -500_000_000, "-500ms"),
        (".5s", 500_000_000, "500ms"),
        ("1.s", 1_000_000_000, "1s"),
        ("311m", 18_660_000_000_000, "5h11m0s"),
        ("21m31s", 1_291_000_000_000, "21m31s"),
        ("30s1h", 3_630_000_000_000, "1h0m30s"),
        ("1s1s1s", 3_000_000_000, "3s"),
        ("1ns", 1, "1ns"),
        ("1us", 1_000, "1µs"),
        ("1\u{b5}s", 1_000, "1µs"),
        ("1\u{3bc}s", 1_000, "1µs"),
        ("1.0001ms", 1_000_100, "1.0001ms"),
        ("0.9ns", 0, "0s"),
        ("1.99999999999999999999999s", 2_000_000_000, "2s"),
        ("3.000000001s", 3_000_000_001, "3.000000001s"),
        ("0.100000000000000000000h", 360_000_000_000, "6m0s"),
        ("0.3333333333333333333h", 1_200_000_000_000, "20m0s"),
        (
            "9007199254.740993ms",
            9_007_199_254_740_993,
            "2501h59m59.254740993s",
        ),
        ("9223372036854775807ns", MAX, "2562047h47m16.854775807s"),
        (
            "-9223372036854775808ns",
            i64::MIN,
            "-2562047h47m16.854775808s",
        ),
        (
            "9223372036s854ms775us807ns",
            MAX,
            "2562047h47m16.854775807s",
        ),
    ];

    /// Each message was printed by Go 1.26.
    const BAD: &[(&str, &str)] = &[
        ("", r#"time: invalid duration """#),
        ("-", r#"time: invalid duration "-""#),
        ("s", r#"time: invalid duration "s""#),
        (".", r#"time: invalid duration ".""#),
        (".s", r#"time: invalid duration ".s""#),
        ("+.s", r#"time: invalid duration "+.s""#),
        (" 1s", r#"time: invalid duration " 1s""#),
        ("--1s", r#"time: invalid duration "--1s""#),
        ("3", r#"time: missing unit in duration "3""#),
        ("1m30", r#"time: missing unit in duration "1m30""#),
        ("00", r#"time: missing unit in duration "00""#),
        ("1.2.3s", r#"time: missing unit in duration "1.2.3s""#),
        ("1d", r#"time: unknown unit "d" in duration "1d""#),
        ("5 s", r#"time: unknown unit " s" in duration "5 s""#),
        ("1h-2m", r#"time: unknown unit "h-" in duration "1h-2m""#),
        ("1S", r#"time: unknown unit "S" in duration "1S""#),
        ("1\"\\", r#"time: unknown unit "\"\\" in duration "1\"\\""#),
        (
            "1é\n",
            r#"time: unknown unit "\xc3\xa9\x0a" in duration "1\xc3\xa9\x0a""#,
        ),
        (
            "9223372036854775808ns",
            r#"time: invalid duration "9223372036854775808ns""#,
        ),
        (
            "-9223372036854775809ns",
            r#"time: invalid duration "-9223372036854775809ns""#,
        ),
        ("2562048h", r#"time: invalid duration "2562048h""#),
        (
            "99999999999999999999s",
            r#"time: invalid duration "99999999999999999999s""#,
        ),
    ];

    #[test]
    fn reads_and_writes_as_go_does() {
        for (text, nanos, printed) in GOOD {
            assert_eq!(parse_nanos(text), Ok(*nanos), "{text}");
            assert_eq!(format_nanos(*nanos), *printed, "{text}");
        }
    }

    #[test]
    fn refuses_with_the_messages_of_go() {
        for (text, message) in BAD {
            let error = parse_nanos(text).expect_err(text);
            assert_eq!(error.to_string(), *message, "{text}");
        }
    }

    #[test]
    fn a_length_of_time_is_not_negative() {
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(
            parse("-1s").expect_err("negative").to_string(),
            r#"duration "-1s" is negative"#
        );
    }

    #[test]
    fn a_length_beyond_go_is_written_as_the_longest() {
        assert_eq!(format(Duration::from_millis(1500)), "1.5s");
        assert_eq!(format(Duration::MAX), "2562047h47m16.854775807s");
    }
}
