//! What is wrong with a manifest, with the lines of the file that it is about.
//!
//! The first line of each report is `serve: file:line:column: message`, which programs can read;
//! the excerpt follows it. Colour and line drawing are for terminals only.

use std::io::{IsTerminal, stderr};

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode,
    SourceSpan, ThemeCharacters, ThemeStyles,
};
use serve_runtime::source::manifest::Diagnostic;

/// Lines of the file above and below the one that is meant.
const CONTEXT_LINES: usize = 2;
/// Longer lines, as in JSON that a program wrote, are not shown: they would fill the screen.
const MAX_LINE_BYTES: usize = 400;

/// Prints everything that is wrong on stderr.
pub fn print(diagnostics: &[Diagnostic]) {
    print_as(Severity::Error, diagnostics);
}

/// Prints what is no error on stderr.
pub fn warn(diagnostic: &Diagnostic) {
    print_as(Severity::Warning, std::slice::from_ref(diagnostic));
}

fn print_as(severity: Severity, diagnostics: &[Diagnostic]) {
    let handler = handler(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    for diagnostic in diagnostics {
        eprint!("{}", render(&handler, severity, diagnostic));
    }
}

fn handler(for_terminal: bool) -> GraphicalReportHandler {
    let (mut characters, styles) = if for_terminal {
        (ThemeCharacters::unicode(), ThemeStyles::ansi())
    } else {
        (ThemeCharacters::ascii(), ThemeStyles::none())
    };
    "serve:".clone_into(&mut characters.error);
    "serve: warning:".clone_into(&mut characters.warning);
    // Lines are left as they are: a wrapped place or message cannot be searched for.
    GraphicalReportHandler::new_themed(GraphicalTheme { characters, styles })
        .with_context_lines(CONTEXT_LINES)
        .with_wrap_lines(false)
        .with_links(false)
}

fn render(handler: &GraphicalReportHandler, severity: Severity, diagnostic: &Diagnostic) -> String {
    let excerpt = excerpt(diagnostic).map(|span| Excerpt {
        label: LabeledSpan::new_with_span(
            (!diagnostic.field.is_empty()).then(|| diagnostic.field.clone()),
            span,
        ),
        source: NamedSource::new(
            diagnostic.path.display().to_string(),
            diagnostic.text.clone(),
        ),
    });
    let report = Report {
        message: diagnostic.to_string(),
        severity,
        excerpt,
    };
    let mut text = String::new();
    if handler.render_report(&mut text, &report).is_err() {
        return format!("serve: {diagnostic}\n");
    }
    // The handler indents its headline, and ends a report without an excerpt with nothing.
    let mut text = text.trim_start().trim_end().to_owned();
    text.push('\n');
    text
}

/// The place in the text that is underlined; none when there is nothing to show.
fn excerpt(diagnostic: &Diagnostic) -> Option<SourceSpan> {
    let number = usize::try_from(diagnostic.line).ok()?.checked_sub(1)?;
    let mut offset = 0;
    let mut lines = diagnostic.text.split_inclusive('\n');
    for _ in 0..number {
        offset += lines.next()?.len();
    }
    let context = diagnostic.text.lines();
    let shown = context.skip(number.saturating_sub(CONTEXT_LINES));
    let mut shown = shown.take(1 + 2 * CONTEXT_LINES);
    if shown.any(|line| line.len() > MAX_LINE_BYTES) {
        return None;
    }
    let line = lines.next().unwrap_or_default().trim_end();
    let skipped = usize::try_from(diagnostic.column).ok()?.saturating_sub(1);
    let start = line
        .char_indices()
        .nth(skipped)
        .map_or(line.len(), |(at, _)| at);
    Some(SourceSpan::new(
        (offset + start).into(),
        token(&line[start..]),
    ))
}

/// The length in bytes of the key or value that a line goes on with.
fn token(rest: &str) -> usize {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    if let Some(quote) = quote
        && let Some(end) = rest[1..].find(quote)
    {
        return end + 2;
    }
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        let after = &rest[at + c.len_utf8()..];
        let is_end = match c {
            ':' => after.is_empty() || after.starts_with([' ', '\t']),
            '#' => at > 0 && rest[..at].ends_with([' ', '\t']),
            ',' | ']' | '}' => at > 0,
            _ => false,
        };
        if is_end {
            end = at;
            break;
        }
    }
    rest[..end].trim_end().len()
}

/// A diagnostic in miette's form.
#[derive(Debug)]
struct Report {
    message: String,
    severity: Severity,
    excerpt: Option<Excerpt>,
}

#[derive(Debug)]
struct Excerpt {
    label: LabeledSpan,
    source: NamedSource<std::sync::Arc<str>>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt
            .as_ref()
            .map(|excerpt| &excerpt.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let excerpt = self.excerpt.as_ref()?;
        Some(Box::new(std::iter::once(excerpt.label.clone())))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serve_runtime::source::manifest;

    use super::*;

    const SERVICE: &str = "apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: app
spec:
  template:
    spec:
      containers:
      - imagee: ./app.wasm # not ours
        env:
";

    fn wrong(text: &str) -> Diagnostic {
        let wrong = manifest::parse(Path::new("app.yaml"), text).expect_err("it is wrong");
        wrong.into_iter().next().expect("one at least")
    }

    #[track_caller]
    fn plain(diagnostic: &Diagnostic) -> String {
        let text = render(&handler(false), Severity::Error, diagnostic);
        assert!(text.is_ascii(), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        text
    }

    #[test]
    fn the_field_is_underlined_below_a_line_for_programs() {
        assert_eq!(
            plain(&wrong(SERVICE)),
            r#"serve: app.yaml:9:9: unknown field "spec.template.spec.containers[0].imagee"
    ,-[app.yaml:9:9]
  7 |     spec:
  8 |       containers:
  9 |       - imagee: ./app.wasm # not ours
    :         ^^^|^^
    :            `-- spec.template.spec.containers[0].imagee
 10 |         env:
    `----
"#
        );
    }

    #[test]
    fn a_terminal_gets_colour_and_the_same_words() {
        let text = render(&handler(true), Severity::Error, &wrong(SERVICE));
        assert!(text.contains("\u{1b}["), "{text}");
        assert!(text.contains('─'), "{text}");
        assert!(text.contains("app.yaml:9:9: unknown field"), "{text}");
    }

    #[test]
    fn what_is_of_no_field_has_its_line_without_a_name() {
        let text = plain(&wrong("a: [1\nb: }"));
        assert!(text.starts_with("serve: app.yaml:2:"), "{text}");
        assert!(text.contains("2 | b: }"), "{text}");
        assert!(!text.contains("`-- "), "{text}");
    }

    #[test]
    fn what_has_no_line_is_one_line() {
        assert_eq!(
            plain(&wrong("")),
            "serve: app.yaml: the file has no objects\n"
        );
    }

    #[test]
    fn a_file_of_one_long_line_is_not_shown() {
        let long = format!(
            "{{\"kind\": \"{}\", \"apiVersion\": \"v1\"}}",
            "x".repeat(500)
        );
        assert_eq!(plain(&wrong(&long)).lines().count(), 1);
    }

    #[test]
    fn a_place_that_is_not_in_the_text_is_no_reason_to_fail() {
        let mut diagnostic = wrong(SERVICE);
        for (line, column) in [(1, 900), (12, 1), (900, 1), (9, 0), (u64::MAX, u64::MAX)] {
            (diagnostic.line, diagnostic.column) = (line, column);
            let text = plain(&diagnostic);
            assert!(text.starts_with("serve: app.yaml:"), "{text}");
        }
    }

    #[test]
    fn keys_values_and_quoted_ones_are_underlined_whole() {
        for (rest, want) in [
            ("image: x", "image"),
            ("image:", "image"),
            ("http://x:1 # why", "http://x:1"),
            ("\"a: b\": c", "\"a: b\""),
            ("'open", "'open"),
            ("1, 2]", "1"),
            ("]", "]"),
            ("größe: 1", "größe"),
            ("", ""),
        ] {
            assert_eq!(&rest[..token(rest)], want, "{rest}");
        }
    }
}
