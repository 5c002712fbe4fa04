//! What is wrong with which field of an object, in Knative's words.
//!
//! Input: the checks of [`crate::api`]. Output: one text for the client, with all problems at
//! once. A check names fields relative to what it looks at; its caller adds where that is with
//! [`FieldErrors::via_field`] and its kin, innermost first.
//!
//! # Source
//!
//! knative/pkg apis/field_error.go: the messages, the path syntax, the merging and the order.

use std::collections::BTreeMap;
use std::fmt;

use crate::text::quote;

/// Whether a problem refuses the object or is only told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    #[default]
    Error,
    Warning,
}

/// One problem and the fields that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldError {
    pub message: String,
    /// Paths such as `spec.traffic[0].tag`; empty when the problem is of no field in particular.
    pub paths: Vec<String>,
    /// Shown on lines of its own; empty for none.
    pub details: String,
    pub level: Level,
}

impl FieldError {
    /// A problem with a message of its own.
    pub fn new<P: Into<String>>(
        message: impl Into<String>,
        paths: impl IntoIterator<Item = P>,
    ) -> Self {
        Self {
            message: message.into(),
            paths: paths.into_iter().map(Into::into).collect(),
            details: String::new(),
            level: Level::Error,
        }
    }

    /// A problem that is of no field in particular, such as a feature that is switched off.
    pub fn general(message: impl Into<String>) -> Self {
        Self::new(message, [""; 0])
    }

    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.level = Level::Warning;
        self
    }

    #[must_use]
    pub fn missing(path: &str) -> Self {
        Self::new("missing field(s)", [path])
    }

    pub fn disallowed<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::new("must not set the field(s)", paths)
    }

    #[must_use]
    pub fn invalid_value(value: impl fmt::Display, path: &str) -> Self {
        Self::new(format!("invalid value: {value}"), [path])
    }

    #[must_use]
    pub fn invalid_key(key: &str, path: &str) -> Self {
        Self::new(format!("invalid key name {}", quote(key)), [path])
    }

    #[must_use]
    pub fn out_of_bounds(
        value: impl fmt::Display,
        lower: impl fmt::Display,
        upper: impl fmt::Display,
        path: &str,
    ) -> Self {
        Self::new(format!("expected {lower} <= {value} <= {upper}"), [path])
    }

    pub fn missing_one_of<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::new("expected exactly one, got neither", paths)
    }

    pub fn multiple_one_of<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self::new("expected exactly one, got both", paths)
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.paths.join(", "))?;
        if !self.details.is_empty() {
            write!(f, "\n{}", self.details)?;
        }
        Ok(())
    }
}

/// Any number of problems. `Display` merges and sorts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors {
    errors: Vec<FieldError>,
}

impl FieldErrors {
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Adds one problem, or all of several.
    pub fn add(&mut self, errors: impl Into<Self>) {
        self.errors.extend(errors.into().errors);
    }

    /// These problems and those.
    #[must_use]
    pub fn and(mut self, errors: impl Into<Self>) -> Self {
        self.add(errors);
        self
    }

    /// The same problems, seen from the object that has them in its member `field`.
    #[must_use]
    pub fn via_field(mut self, field: &str) -> Self {
        for path in self.errors.iter_mut().flat_map(|error| &mut error.paths) {
            *path = flatten(field, path);
        }
        self
    }

    /// The same problems, seen from the list that has them at `index`.
    #[must_use]
    pub fn via_index(self, index: usize) -> Self {
        self.via_field(&format!("[{index}]"))
    }

    /// The same problems, seen from the object whose list `field` has them at `index`.
    #[must_use]
    pub fn via_field_index(self, field: &str, index: usize) -> Self {
        self.via_index(index).via_field(field)
    }

    /// The same problems, seen from the map that has them under `key`.
    #[must_use]
    pub fn via_key(self, key: &str) -> Self {
        self.via_field(&format!("[{key}]"))
    }

    /// The problems of one level only.
    #[must_use]
    pub fn only(&self, level: Level) -> Self {
        let errors = self.errors.iter().filter(|error| error.level == level);
        Self {
            errors: errors.cloned().collect(),
        }
    }

    /// One entry for each message, its paths together and sorted; sorted by message.
    #[must_use]
    pub fn merged(&self) -> Vec<FieldError> {
        let mut paths_by_text: BTreeMap<(&str, &str, Level), Vec<&str>> = BTreeMap::new();
        for error in &self.errors {
            let text = (error.message.as_str(), error.details.as_str(), error.level);
            let paths = paths_by_text.entry(text).or_default();
            paths.extend(error.paths.iter().map(String::as_str));
        }
        let merge = |((message, details, level), mut paths): ((&str, &str, Level), Vec<&str>)| {
            paths.sort_unstable();
            paths.dedup();
            FieldError {
                level,
                ..FieldError::new(message, paths).with_details(details)
            }
        };
        paths_by_text.into_iter().map(merge).collect()
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.merged().iter().enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

impl From<FieldError> for FieldErrors {
    fn from(error: FieldError) -> Self {
        Self {
            errors: vec![error],
        }
    }
}

impl From<Option<FieldError>> for FieldErrors {
    fn from(error: Option<FieldError>) -> Self {
        Self {
            errors: error.into_iter().collect(),
        }
    }
}

/// `path` below `prefix`. A component in brackets joins the one before it, whichever of the two
/// it came from: `traffic` and `[0].tag` make `traffic[0].tag`.
fn flatten(prefix: &str, path: &str) -> String {
    let mut out = String::with_capacity(prefix.len() + path.len() + 1);
    for part in prefix.split('.').chain(path.split('.')) {
        let is_index = part.starts_with('[') && part.ends_with(']');
        if !out.is_empty() && !part.is_empty() && !is_index {
            out.push('.');
        }
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errors: &FieldErrors, want: &str) {
        assert_eq!(errors.to_string(), want);
    }

    #[test]
    fn paths_grow_from_the_inside() {
        let tag = FieldErrors::from(FieldError::missing("tag"));
        check(
            &tag.clone()
                .via_field_index("traffic", 1)
                .via_field("spec.template"),
            "missing field(s): spec.template.traffic[1].tag",
        );
        check(&tag.clone().via_index(0), "missing field(s): [0].tag");
        check(
            &tag.via_key("a.b/c").via_field("annotations"),
            "missing field(s): annotations.[a.b/c].tag",
        );
        let here = FieldErrors::from(FieldError::missing(""));
        check(
            &here.via_field_index("tag", 0).via_field("traffic"),
            "missing field(s): traffic.tag[0]",
        );
    }

    #[test]
    fn a_problem_of_no_field_stays_so() {
        let off = FieldErrors::from(FieldError::general("x is off"));
        check(&off.via_field("spec"), "x is off: ");
    }

    #[test]
    fn one_message_has_all_its_paths_sorted_once() {
        let errors = FieldErrors::none()
            .and(FieldError::missing("b"))
            .and(FieldError::invalid_value("7", "c").with_details("why"))
            .and(FieldError::missing("a"))
            .and(FieldError::missing("b"));
        check(&errors, "invalid value: 7: c\nwhy\nmissing field(s): a, b");
    }

    #[test]
    fn warnings_are_told_apart() {
        let errors = FieldErrors::from(FieldError::missing("a"))
            .and(FieldError::new("better not", ["b"]).as_warning());
        check(&errors.only(Level::Error), "missing field(s): a");
        check(&errors.only(Level::Warning), "better not: b");
        assert!(!errors.is_empty());
    }
}
