//! Reads single values out of the `data` of a ConfigMap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Error, Template};
use crate::duration;
use crate::quantity::Quantity;

/// The `data` of a ConfigMap. Each method returns `default` when the key is absent.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    data: &'a BTreeMap<String, String>,
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a BTreeMap<String, String>) -> Self {
        Self { data }
    }

    pub fn text(self, key: &str) -> Option<&'a str> {
        self.data.get(key).map(String::as_str)
    }

    /// The value of the first of `keys` that is present; older spellings come last.
    pub fn first(self, keys: &[&'static str]) -> Option<(&'static str, &'a str)> {
        keys.iter().find_map(|key| Some((*key, self.text(key)?)))
    }

    /// The value as `parse` reads it. `expected` has its article.
    pub fn value<T>(
        self,
        key: &str,
        default: T,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let Some(text) = self.text(key) else {
            return Ok(default);
        };
        parse(text).ok_or_else(|| invalid(key, text, expected))
    }

    /// The spellings are those of Go's `strconv.ParseBool`.
    pub fn boolean(self, key: &str, default: bool) -> Result<bool, Error> {
        self.value(key, default, "true or false", |text| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
    }

    pub fn integer(self, key: &str, default: i64) -> Result<i64, Error> {
        self.value(key, default, "an integer", |text| text.parse().ok())
    }

    pub fn duration(self, key: &str, default: Duration) -> Result<Duration, Error> {
        let expected = "a duration of zero or more, such as \"1m30s\"";
        self.value(key, default, expected, |text| duration::parse(text).ok())
    }

    pub fn quantity(self, key: &str, default: Option<Quantity>) -> Result<Option<Quantity>, Error> {
        let expected = "a quantity, such as \"100m\" or \"64Mi\"";
        self.value(key, default, expected, |text| Some(text.parse().ok()))
            .and_then(|parsed| match (parsed, self.text(key)) {
                (None, Some(text)) => Err(invalid(key, text, expected)),
                (parsed, _) => Ok(parsed),
            })
    }

    /// Texts between commas, trimmed.
    pub fn set(self, key: &str, default: BTreeSet<String>) -> BTreeSet<String> {
        let Some(text) = self.text(key) else {
            return default;
        };
        let items = text.split(',').map(|item| item.trim().to_owned());
        items.filter(|item| !item.is_empty()).collect()
    }

    pub fn template(self, key: &str, default: Template) -> Result<Template, Error> {
        let Some(text) = self.text(key) else {
            return Ok(default);
        };
        Template::parse(text).map_err(|error| out_of_bounds(key, &error))
    }
}

pub(super) fn invalid(key: &str, value: &str, expected: &str) -> Error {
    Error {
        key: key.to_owned(),
        message: format!("failed to parse \"{key}\": \"{value}\" is not {expected}"),
    }
}

/// The value of `key` can be read but is not permitted; `rule` continues after the key.
pub(super) fn out_of_bounds(key: &str, rule: &dyn std::fmt::Display) -> Error {
    Error {
        key: key.to_owned(),
        message: format!("{key} {rule}"),
    }
}
