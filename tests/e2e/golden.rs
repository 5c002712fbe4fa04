//! What clients print, compared to files in `tests/golden`.

use std::path::Path;

/// Compares a text to a file; `UPDATE_GOLDEN=1` writes the file instead.
#[track_caller]
pub fn check(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, got).expect("written");
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = want
        .lines()
        .zip(got.lines())
        .find(|(want, got)| want != got);
    assert!(
        want == got,
        "{name} differs, first at {differs:?}; UPDATE_GOLDEN=1 rewrites it; now it is\n{got}"
    );
}

/// Puts `_` for every number of seconds, in columns of the same width.
pub fn without_seconds(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let mut rest = line;
        let mut shown = String::new();
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let end = rest[start..]
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .map_or(rest.len(), |length| start + length);
            let is_word =
                !rest[..start].ends_with(|c: char| c.is_alphanumeric() || "-_.".contains(c));
            let after = rest[end..].strip_prefix('s');
            if let Some(after) =
                after.filter(|after| !after.starts_with(char::is_alphanumeric) && is_word)
            {
                shown.push_str(rest[..start].trim_end_matches(' '));
                shown.push_str(" _s ");
                rest = after.trim_start_matches(' ');
            } else {
                shown.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
        shown.push_str(rest);
        lines.push_str(shown.trim_end());
        lines.push('\n');
    }
    lines
}

#[test]
fn only_seconds_are_taken_out() {
    for (line, want) in [
        ("  0.011s The Route", " _s The Route"),
        (
            "h1-00001   h1   12s    3 OK / 3",
            "h1-00001   h1 _s 3 OK / 3",
        ),
        (
            "100%  @latest (h1-00001) [1] (5s)",
            "100%  @latest (h1-00001) [1] ( _s )",
        ),
        ("Age:        3s", "Age: _s"),
        ("h1-00002s 2 apples, h3s", "h1-00002s 2 apples, h3s"),
        ("  ++ Ready                  17s", "  ++ Ready _s"),
    ] {
        assert_eq!(without_seconds(line).trim_end_matches('\n'), want);
    }
}
