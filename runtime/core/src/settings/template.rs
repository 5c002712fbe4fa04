//! Templates of names: `{{.Name}}.{{.Namespace}}.{{.Domain}}`.
//!
//! A subset of Go's text/template, parsed once: the actions `{{.Name}}`, `{{.Namespace}}`,
//! `{{.Domain}}`, `{{.Tag}}`, `{{index .Annotations "key"}}` and `{{index .Labels "key"}}`, with
//! `-` beside a brace to trim the space there. A missing key renders as nothing, as in Go.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

/// A template, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name,
    Namespace,
    Domain,
    Tag,
    Annotation(String),
    Label(String),
}

/// What a template can ask for. Texts that do not apply are empty.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub domain: &'a str,
    pub tag: &'a str,
    pub annotations: &'a BTreeMap<String, String>,
    pub labels: &'a BTreeMap<String, String>,
}

/// Why a text is not a template of the subset.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    #[error("has an action that is not closed by \"}}}}\": \"{template}\"")]
    Unclosed { template: String },
    #[error(
        "has an action that is not supported: \"{{{{{action}}}}}\"; expected .Name, .Namespace, \
         .Domain, .Tag, index .Annotations \"key\" or index .Labels \"key\""
    )]
    Action { action: String },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// [`Error::Unclosed`] and [`Error::Action`].
    pub fn parse(source: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut rest = source;
        let mut trim_next = false;
        while let Some((text, after)) = rest.split_once("{{") {
            let (action, after) = after.split_once("}}").ok_or_else(|| Error::Unclosed {
                template: source.to_owned(),
            })?;
            let trim_before = action.strip_prefix("- ");
            let text = trimmed(text, trim_next, trim_before.is_some());
            let action = trim_before.unwrap_or(action);
            let trim_after = action.strip_suffix(" -");
            push_text(&mut parts, text);
            parts.push(parse_action(trim_after.unwrap_or(action).trim())?);
            trim_next = trim_after.is_some();
            rest = after;
        }
        push_text(&mut parts, trimmed(rest, trim_next, false));
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// The template as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text with the values in place.
    #[must_use]
    pub fn render(&self, values: &Values<'_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Name => values.name,
                Part::Namespace => values.namespace,
                Part::Domain => values.domain,
                Part::Tag => values.tag,
                Part::Annotation(key) => values.annotations.get(key).map_or("", String::as_str),
                Part::Label(key) => values.labels.get(key).map_or("", String::as_str),
            });
        }
        out
    }

    /// A template that is the same text for all values.
    pub(super) fn constant(text: &str) -> Self {
        Self {
            source: text.to_owned(),
            parts: vec![Part::Text(text.to_owned())],
        }
    }

    /// `{{.Name}}.{{.Namespace}}.{{.Domain}}`.
    pub(super) fn default_domain() -> Self {
        let dot = || Part::Text(".".to_owned());
        Self {
            source: "{{.Name}}.{{.Namespace}}.{{.Domain}}".to_owned(),
            parts: vec![Part::Name, dot(), Part::Namespace, dot(), Part::Domain],
        }
    }

    /// `{{.Tag}}-{{.Name}}`.
    pub(super) fn default_tag() -> Self {
        Self {
            source: "{{.Tag}}-{{.Name}}".to_owned(),
            parts: vec![Part::Tag, Part::Text("-".to_owned()), Part::Name],
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

fn trimmed(text: &str, start: bool, end: bool) -> &str {
    let text = if start { text.trim_start() } else { text };
    if end { text.trim_end() } else { text }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

fn parse_action(action: &str) -> Result<Part, Error> {
    let words: Vec<&str> = action.split_whitespace().collect();
    let key = |word: &str| {
        let double = word.strip_prefix('"').and_then(|w| w.strip_suffix('"'));
        let raw = word.strip_prefix('`').and_then(|w| w.strip_suffix('`'));
        let key = double.filter(|key| !key.contains('\\')).or(raw)?;
        Some(key.to_owned())
    };
    let part = match words.as_slice() {
        [".Name"] => Some(Part::Name),
        [".Namespace"] => Some(Part::Namespace),
        [".Domain"] => Some(Part::Domain),
        [".Tag"] => Some(Part::Tag),
        ["index", ".Annotations", word] => key(word).map(Part::Annotation),
        ["index", ".Labels", word] => key(word).map(Part::Label),
        _ => None,
    };
    part.ok_or_else(|| Error::Action {
        action: action.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, want: &str) {
        let annotations = BTreeMap::from([("sub.x/y".to_owned(), "ann".to_owned())]);
        let labels = BTreeMap::from([("app".to_owned(), "lab".to_owned())]);
        let values = Values {
            name: "h1",
            namespace: "default",
            domain: "example.com",
            tag: "v1",
            annotations: &annotations,
            labels: &labels,
        };
        let template = Template::parse(template).expect(template);
        assert_eq!(template.render(&values), want);
    }

    #[test]
    fn values_are_put_in_place() {
        check(
            "{{.Name}}.{{.Namespace}}.{{.Domain}}",
            "h1.default.example.com",
        );
        check("{{ .Tag }}-{{.Name}}", "v1-h1");
        check("x{{index .Annotations \"sub.x/y\"}}y", "xanny");
        check("{{index .Labels `app`}}-{{index .Labels \"none\"}}", "lab-");
        check("a {{- .Name -}} b", "ah1b");
        check("plain", "plain");
        check("", "");
    }

    #[test]
    fn the_defaults_are_what_their_source_says() {
        for template in [Template::default_domain(), Template::default_tag()] {
            assert_eq!(Template::parse(template.source()), Ok(template));
        }
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for (template, want) in [
            (
                "{{.Name",
                "has an action that is not closed by \"}}\": \"{{.Name\"",
            ),
            (
                "{{if .Name}}x{{end}}",
                "has an action that is not supported: \"{{if .Name}}\"; expected .Name, \
                 .Namespace, .Domain, .Tag, index .Annotations \"key\" or index .Labels \"key\"",
            ),
        ] {
            let error = Template::parse(template).expect_err(template);
            assert_eq!(error.to_string(), want);
        }
        for template in [
            "{{.Nam}}",
            "{{}}",
            "{{index .Labels}}",
            "{{index .Labels \"a\\n\"}}",
        ] {
            Template::parse(template).expect_err(template);
        }
    }
}
