//! Under which domain a Route is reached: ConfigMap `config-domain`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::Error;
use super::reader::invalid;
use crate::keys::{CLUSTER_LOCAL_VISIBILITY, VISIBILITY_LABEL};

/// The domain of the cluster itself.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// The domain of names that only the inside can reach.
pub const CLUSTER_LOCAL_DOMAIN: &str = "svc.cluster.local";

/// Which domain which Routes are under.
///
/// # Source
///
/// knative/serving pkg/reconciler/route/config/domain.go. Differs: a selector is written in JSON
/// or in the plain block form of the documentation, not in all of YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Domain to the labels that a Route must have; never without an entry that selects all.
    selectors: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for Domain {
    fn default() -> Self {
        Self {
            selectors: BTreeMap::from([(CLUSTER_LOCAL_DOMAIN.to_owned(), BTreeMap::new())]),
        }
    }
}

impl Domain {
    /// Reads the `data` of the ConfigMap: each key but `_example` is a domain.
    ///
    /// # Errors
    ///
    /// The first domain whose selector cannot be read.
    pub fn from_map(data: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut selectors = BTreeMap::new();
        for (domain, text) in data.iter().filter(|(domain, _)| *domain != "_example") {
            let expected = "a selector: {\"selector\": {\"label\": \"value\"}}";
            let selector = parse_selector(text).ok_or_else(|| invalid(domain, text, expected))?;
            selectors.insert(domain.clone(), selector);
        }
        if selectors.values().all(|selector| !selector.is_empty()) {
            selectors.insert(CLUSTER_LOCAL_DOMAIN.to_owned(), BTreeMap::new());
        }
        Ok(Self { selectors })
    }

    /// Every Route under one domain.
    #[must_use]
    pub fn everywhere(domain: &str) -> Self {
        Self {
            selectors: BTreeMap::from([(domain.to_owned(), BTreeMap::new())]),
        }
    }

    /// The domain of a Route with these labels: the one whose selector has the most labels, the
    /// smallest name among equals. A Route that is cluster-local by label is under
    /// [`CLUSTER_LOCAL_DOMAIN`] whatever else is set.
    #[must_use]
    pub fn of(&self, labels: &BTreeMap<String, String>) -> &str {
        if labels.get(VISIBILITY_LABEL).map(String::as_str) == Some(CLUSTER_LOCAL_VISIBILITY) {
            return CLUSTER_LOCAL_DOMAIN;
        }
        let matches = |selector: &BTreeMap<String, String>| {
            let mut wanted = selector.iter();
            wanted.all(|(label, value)| labels.get(label) == Some(value))
        };
        self.selectors
            .iter()
            .filter(|(_, selector)| matches(selector))
            .min_by_key(|(domain, selector)| (Reverse(selector.len()), domain.as_str()))
            .map_or(CLUSTER_LOCAL_DOMAIN, |(domain, _)| domain)
    }
}

fn parse_selector(text: &str) -> Option<BTreeMap<String, String>> {
    #[derive(Default, Deserialize)]
    struct Selecting {
        #[serde(default)]
        selector: Option<BTreeMap<String, String>>,
    }
    if text.trim_start().starts_with('{') {
        let selecting: Selecting = serde_json::from_str(text).ok()?;
        return Some(selecting.selector.unwrap_or_default());
    }
    parse_block(text)
}

/// Reads `selector:` and lines of `label: value` below it, further to the right.
fn parse_block(text: &str) -> Option<BTreeMap<String, String>> {
    let lines = text.lines().map(str::trim_end);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'));
    match lines.next() {
        None => return Some(BTreeMap::new()),
        Some("selector:") => {}
        Some("selector: {}") => return lines.next().is_none().then(BTreeMap::new),
        Some(_) => return None,
    }
    let mut selector = BTreeMap::new();
    let mut indent = None;
    for line in lines {
        let width = line.len() - line.trim_start_matches(' ').len();
        if width == 0 || *indent.get_or_insert(width) != width {
            return None;
        }
        let (label, value) = line.trim().split_once(':')?;
        selector.insert(scalar(label)?, scalar(value.trim())?);
    }
    Some(selector)
}

/// A word, perhaps in quotes.
fn scalar(text: &str) -> Option<String> {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            let inner = rest.strip_suffix(quote)?;
            return (!inner.contains([quote, '\\'])).then(|| inner.to_owned());
        }
    }
    (!text.contains(['{', '[', '&', '*', '!', '|', '>', '#', ' '])).then(|| text.to_owned())
}
