//! Bytes as text: what the data of Secrets and the certificates of kubeconfigs are written in.
//!
//! # Source
//!
//! Go's encoding/base64, `StdEncoding`, which is how Kubernetes reads and writes bytes in JSON: line
//! breaks are passed over wherever they are, padding has to be there, and bits that are left in the
//! last digit are not looked at.

use ::base64::Engine;
use ::base64::alphabet::STANDARD;
use ::base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Writes it, with padding and without line breaks.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// Reads it; none for what Go does not read.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    ENGINE.decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (bytes, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(encode(bytes.as_bytes()), want);
            assert_eq!(decode(want).as_deref(), Some(bytes.as_bytes()));
        }
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
    }

    /// Each answer is that of Go's `StdEncoding.DecodeString`.
    #[test]
    fn as_lenient_and_as_strict_as_go() {
        for (given, want) in [
            // Line breaks, also between the padding and behind it.
            ("Zm9\nv\r\n", Some("foo")),
            ("Z\ng\n=\n=\n", Some("f")),
            ("Zg==\r\n\r\n", Some("f")),
            ("\n", Some("")),
            // Bits that are left.
            ("Zh==", Some("f")),
            ("Zm9=", Some("fo")),
            // Padding that is missing, or too much.
            ("Z", None),
            ("Zg", None),
            ("Zg=", None),
            ("Zm9vZ", None),
            ("=", None),
            ("Z===", None),
            ("====", None),
            ("Zm9v=", None),
            // Something behind the padding.
            ("Zg==Zg==", None),
            ("Zg==Zm9v", None),
            // No digits, other white space, and the alphabet for URLs.
            ("Zm9*", None),
            ("Zm 9v", None),
            ("Zm9v ", None),
            ("Zm9v\tZg==", None),
            (" ", None),
            ("Zm-_", None),
            ("Zm9é", None),
        ] {
            let want = want.map(|text| text.as_bytes().to_vec());
            assert_eq!(decode(given), want, "{given:?}");
        }
    }
}
