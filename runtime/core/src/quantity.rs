//! Resource quantities: `350Mi`, `100m`, `1.5`, `2e3`.
//!
//! Input: the texts of `resources`, `sizeLimit` and ConfigMaps. Output: bytes, thousandths of a
//! core, and the one spelling that Kubernetes writes back.
//!
//! # Source
//!
//! kubernetes/apimachinery pkg/api/resource: grammar, canonical form, error texts. A quantity has
//! a precision of 10^-9, is rounded away from zero beyond it, and is at most 2^63 - 1.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const NANOS_PER_UNIT: i128 = 1_000_000_000;
const MAX_NANOS: i128 = (i64::MAX as i128) * NANOS_PER_UNIT;

/// Binary suffixes; each is 1024 times the one before it.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Decimal suffixes and their powers of ten, largest first.
const DECIMAL: [(&str, i32); 10] = [
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("", 0),
    ("m", -3),
    ("u", -6),
    ("n", -9),
];

/// Why a text is not a quantity; the messages are Kubernetes'.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
    #[error("unable to parse numeric part of quantity")]
    Number,
}

/// Which family of suffixes a quantity was written with, and is written back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Binary,
    Decimal,
    Exponent,
}

/// An amount of a resource. Two are equal when they are the same amount, however written.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// The amount in whole units, such as bytes, rounded up; 0 for a negative one.
    #[must_use]
    pub fn units(self) -> u64 {
        scaled(self.nanos, NANOS_PER_UNIT)
    }

    /// The amount in thousandths, such as those of a core, rounded up; 0 for a negative one.
    #[must_use]
    pub fn thousandths(self) -> u64 {
        scaled(self.nanos, NANOS_PER_UNIT / 1000)
    }

    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Format`] when the text has other characters or another order of them,
    /// [`Error::Suffix`] for an unknown suffix, [`Error::Number`] for a number such as `1.2.3`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        if number.is_empty() || !is_suffix_shaped(suffix) {
            return Err(Error::Format);
        }
        let (scale, format) = Scale::parse(suffix).ok_or(Error::Suffix)?;
        let magnitude = scale.apply(number).ok_or(Error::Number)?;
        let nanos = if text.starts_with('-') {
            -magnitude
        } else {
            magnitude
        };
        Ok(Self { nanos, format })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.nanos.abs() < 1024 * NANOS_PER_UNIT;
        match self.format {
            Format::Binary if !small => self.write_binary(f),
            Format::Binary | Format::Decimal => {
                let (digits, suffix, _) = self.decimal();
                write!(f, "{digits}{suffix}")
            }
            Format::Exponent => match self.decimal() {
                (digits, _, 0) => write!(f, "{digits}"),
                (digits, _, exponent) => write!(f, "{digits}e{exponent}"),
            },
        }
    }
}

impl Quantity {
    fn write_binary(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let mut units = self.nanos.abs().div_euclid(NANOS_PER_UNIT);
        if self.nanos % NANOS_PER_UNIT != 0 {
            units += 1;
        }
        let mut suffix = "";
        for larger in BINARY {
            if units % 1024 != 0 {
                break;
            }
            units /= 1024;
            suffix = larger;
        }
        write!(f, "{sign}{units}{suffix}")
    }

    /// The shortest number with a decimal suffix: number, suffix, power of ten.
    fn decimal(self) -> (i128, &'static str, i32) {
        if self.nanos == 0 {
            return (0, "", 0);
        }
        for (suffix, exponent) in DECIMAL {
            let nanos_per_suffix = power_of_ten(exponent + 9);
            if nanos_per_suffix.is_some_and(|unit| self.nanos % unit == 0) {
                let unit = nanos_per_suffix.unwrap_or(1);
                return (self.nanos / unit, suffix, exponent);
            }
        }
        (self.nanos, "n", -9)
    }
}

/// Nanounits in units of `per`, rounded up.
fn scaled(nanos: i128, per: i128) -> u64 {
    let rounded = nanos.max(0).div_euclid(per) + i128::from(nanos.max(0) % per != 0);
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

/// Letters, then a sign, then digits; each may be absent.
fn is_suffix_shaped(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    rest.bytes().all(|byte| byte.is_ascii_digit())
}

/// What the number before a suffix is multiplied with.
enum Scale {
    /// A power of 1024.
    Binary(u32),
    /// A power of ten.
    Ten(i32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<(Self, Format)> {
        if let Some(index) = BINARY.iter().position(|binary| *binary == suffix) {
            let power = u32::try_from(index).ok()? + 1;
            return Some((Self::Binary(power), Format::Binary));
        }
        if let Some((_, exponent)) = DECIMAL.iter().find(|(decimal, _)| *decimal == suffix) {
            return Some((Self::Ten(*exponent), Format::Decimal));
        }
        let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        Some((Self::Ten(exponent), Format::Exponent))
    }

    /// `number` at this scale in nanounits, capped; `None` when it is not a number.
    fn apply(&self, number: &str) -> Option<i128> {
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let digits: String = [whole, fraction].concat();
        let digits = digits.trim_start_matches('0');
        let places = i64::try_from(fraction.len()).ok()?;
        let (factor, exponent) = match self {
            Self::Binary(power) => (1_i128 << (10 * power), 0),
            Self::Ten(exponent) => (1, i64::from(*exponent)),
        };
        // The value is digits * factor * 10^shift nanounits.
        let shift = exponent + 9 - places;
        let exact = |digits: &str| digits.parse::<i128>().ok()?.checked_mul(factor);
        if digits.is_empty() {
            return Some(0);
        }
        if shift >= 0 {
            let power = i32::try_from(shift).ok().and_then(power_of_ten);
            let nanos = exact(digits).and_then(|value| value.checked_mul(power?));
            return Some(nanos.map_or(MAX_NANOS, |nanos| nanos.min(MAX_NANOS)));
        }
        Some(divided(digits, factor, shift.unsigned_abs()).min(MAX_NANOS))
    }
}

/// `digits` * `factor` / 10^`shift`, rounded up.
fn divided(digits: &str, factor: i128, shift: u64) -> i128 {
    // 18 digits times the largest factor, 2^60, fit; what is cut off can only round up by one.
    let keep = digits.len().min(18);
    let (kept, cut) = digits.split_at(keep);
    let value = kept.parse::<i128>().unwrap_or(i128::MAX);
    let Some(product) = value.checked_mul(factor) else {
        return MAX_NANOS;
    };
    let cut_digits = u64::try_from(cut.len()).unwrap_or(u64::MAX);
    let inexact = i128::from(cut.bytes().any(|digit| digit != b'0'));
    if cut_digits > shift {
        let power = i32::try_from(cut_digits - shift)
            .ok()
            .and_then(power_of_ten);
        return power
            .and_then(|power| product.checked_mul(power))
            .unwrap_or(MAX_NANOS);
    }
    match i32::try_from(shift - cut_digits)
        .ok()
        .and_then(power_of_ten)
    {
        Some(power) => product / power + i128::from(product % power != 0).max(inexact),
        None => 1,
    }
}

/// Ten to the power of `exponent`, when it is not negative and fits.
fn power_of_ten(exponent: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, canonical: &str, units: u64, thousandths: u64) {
        let quantity: Quantity = text.parse().expect(text);
        assert_eq!(quantity.to_string(), canonical, "{text}");
        assert_eq!(quantity.units(), units, "{text}");
        assert_eq!(quantity.thousandths(), thousandths, "{text}");
        let again: Quantity = canonical.parse().expect(canonical);
        assert_eq!(again.to_string(), canonical, "{text}");
    }

    #[test]
    fn reads_and_writes_the_canonical_form() {
        check("0", "0", 0, 0);
        check("00.000", "0", 0, 0);
        check("1", "1", 1, 1000);
        check("100m", "100m", 1, 100);
        check("1000m", "1", 1, 1000);
        check("1500m", "1500m", 2, 1500);
        check("0.5", "500m", 1, 500);
        check(".5", "500m", 1, 500);
        check("5.", "5", 5, 5000);
        check("1.0Mi", "1Mi", 1 << 20, 1000 << 20);
        check("1.5Gi", "1536Mi", 3 << 29, 1000 * (3 << 29));
        check("350Mi", "350Mi", 350 << 20, 350_000 << 20);
        check("2048Ki", "2Mi", 2 << 20, 2000 << 20);
        check("100Ki", "100Ki", 100 << 10, 100_000 << 10);
        check("0.5Ki", "512", 512, 512_000);
        check("1k", "1k", 1000, 1_000_000);
        check("1000k", "1M", 1_000_000, 1_000_000_000);
        check("1e3", "1e3", 1000, 1_000_000);
        check("12E2", "1200", 1200, 1_200_000);
        check("1E", "1E", 1_000_000_000_000_000_000, u64::MAX);
        check("100u", "100u", 1, 1);
        check("1n", "1n", 1, 1);
    }

    #[test]
    fn finer_than_a_billionth_rounds_away_from_zero() {
        check("0.0000000001", "1n", 1, 1);
        check("1e-30", "1e-9", 1, 1);
        check("1.0000000001", "1000000001n", 2, 1001);
    }

    #[test]
    fn too_large_is_the_largest() {
        let max = i64::MAX.to_string();
        for text in [
            "100E",
            "1e40",
            "1e999999999",
            "9999999999999999999999999999999999999999",
        ] {
            let quantity: Quantity = text.parse().expect(text);
            assert_eq!(quantity.units(), i64::MAX as u64, "{text}");
        }
        assert_eq!(max.parse::<Quantity>().map(|q| q.to_string()), Ok(max));
    }

    #[test]
    fn below_zero_is_kept_and_counts_as_nothing() {
        let quantity: Quantity = "-1.5Gi".parse().expect("a quantity");
        assert!(quantity.is_negative());
        assert_eq!(quantity.units(), 0);
        assert_eq!(quantity.to_string(), "-1536Mi");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for (text, want) in [
            ("", Error::Format),
            ("-", Error::Format),
            ("abc", Error::Format),
            ("1 Gi", Error::Format),
            ("1Gi ", Error::Format),
            ("1.2.3", Error::Number),
            (".", Error::Number),
            ("1ki", Error::Suffix),
            ("1K", Error::Suffix),
            ("1GB", Error::Format),
            ("1e", Error::Suffix),
            ("1mm", Error::Suffix),
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(want), "{text}");
        }
    }
}
