//! Text as Go prints it, for messages that clients compare with Knative's.

use std::fmt::Write as _;

/// `value` in double quotes with Go's escapes, as the verb `%q` prints it.
///
/// Source: Go's `strconv.Quote`. Differs: which characters count as printable is decided by
/// [`char::is_control`] alone.
pub(crate) fn quote(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of texts as Go prints a slice: `[a b]`.
pub(crate) fn bracketed<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (given, want) in [
            ("a", "\"a\""),
            ("a\"\\\n\t", "\"a\\\"\\\\\\n\\t\""),
            ("\u{1}\u{7f}", "\"\\x01\\x7f\""),
            ("é\u{85}", "\"é\\u0085\""),
        ] {
            assert_eq!(quote(given), want);
        }
    }

    #[test]
    fn lists_print_as_go_slices() {
        assert_eq!(bracketed(&["a", "b"]), "[a b]");
        assert_eq!(bracketed::<&str>(&[]), "[]");
    }
}
