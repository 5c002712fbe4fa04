//! Which old Revisions are kept: ConfigMap `config-gc`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Error;
use super::reader::{Reader, invalid, out_of_bounds};
use crate::duration;

const DISABLED: &str = "disabled";

/// The settings of revision garbage collection; `None` is `disabled`.
///
/// # Source
///
/// knative/serving pkg/gc/config.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// `retain-since-create-time`.
    pub retain_since_create_time: Option<Duration>,
    /// `retain-since-last-active-time`.
    pub retain_since_last_active_time: Option<Duration>,
    /// `min-non-active-revisions`.
    pub min_non_active_revisions: u32,
    /// `max-non-active-revisions`.
    pub max_non_active_revisions: Option<u32>,
}

impl Default for Gc {
    fn default() -> Self {
        Self {
            retain_since_create_time: Some(Duration::from_secs(48 * 3600)),
            retain_since_last_active_time: Some(Duration::from_secs(15 * 3600)),
            min_non_active_revisions: 20,
            max_non_active_revisions: Some(1000),
        }
    }
}

impl Gc {
    /// Reads the `data` of the ConfigMap.
    ///
    /// # Errors
    ///
    /// The first key at fault.
    pub fn from_map(data: &BTreeMap<String, String>) -> Result<Self, Error> {
        let default = Self::default();
        let read = Reader::new(data);
        let time = |key, default| {
            let parse = |text: &str| duration::parse(text).ok();
            or_disabled(read, key, default, "a duration or \"disabled\"", parse)
        };
        let count = |text: &str| text.parse().ok();
        let gc = Self {
            retain_since_create_time: time(
                "retain-since-create-time",
                default.retain_since_create_time,
            )?,
            retain_since_last_active_time: time(
                "retain-since-last-active-time",
                default.retain_since_last_active_time,
            )?,
            min_non_active_revisions: read.value(
                "min-non-active-revisions",
                default.min_non_active_revisions,
                "an integer of zero or more",
                count,
            )?,
            max_non_active_revisions: or_disabled(
                read,
                "max-non-active-revisions",
                default.max_non_active_revisions,
                "an integer of zero or more, or \"disabled\"",
                count,
            )?,
        };
        gc.check()
    }

    fn check(self) -> Result<Self, Error> {
        let min = self.min_non_active_revisions;
        match self.max_non_active_revisions {
            Some(max) if min > max => Err(out_of_bounds(
                "min-non-active-revisions",
                &format!("= {min}, must be at most max-non-active-revisions({max})"),
            )),
            _ => Ok(self),
        }
    }
}

fn or_disabled<T>(
    read: Reader<'_>,
    key: &str,
    default: Option<T>,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    match read.text(key) {
        // An empty value counts as absent here, unlike elsewhere.
        None | Some("") => Ok(default),
        Some(text) if text.eq_ignore_ascii_case(DISABLED) => Ok(None),
        Some(text) => match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(key, text, expected)),
        },
    }
}
