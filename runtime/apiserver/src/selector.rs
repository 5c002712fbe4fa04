//! Label and field selectors: which objects of a collection are meant.
//!
//! # Source
//!
//! kubernetes/apimachinery pkg/labels and pkg/fields.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serve_core::api::syntax;
use serve_core::kind::Kind;
use serve_core::object::Object;

use crate::status::Status;

/// Both selectors of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    NotExists,
    Above(i64),
    Below(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    of: Of,
    value: String,
    is_equal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Name,
    Namespace,
    /// Where a text is in the object.
    At(&'static str),
}

/// The fields of a kind that its objects can be selected by, beside name and namespace.
///
/// Source: kubernetes/kubernetes pkg/apis/core/v1/conversion.go.
fn fields_of(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Pod => &[
            ("spec.nodeName", "/spec/nodeName"),
            ("spec.restartPolicy", "/spec/restartPolicy"),
            ("spec.schedulerName", "/spec/schedulerName"),
            ("spec.serviceAccountName", "/spec/serviceAccountName"),
            ("status.phase", "/status/phase"),
            ("status.podIP", "/status/podIP"),
        ],
        Kind::Event => &[
            ("involvedObject.kind", "/involvedObject/kind"),
            ("involvedObject.namespace", "/involvedObject/namespace"),
            ("involvedObject.name", "/involvedObject/name"),
            ("involvedObject.uid", "/involvedObject/uid"),
            ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
            (
                "involvedObject.resourceVersion",
                "/involvedObject/resourceVersion",
            ),
            ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
            ("reason", "/reason"),
            ("reportingComponent", "/reportingComponent"),
            ("source", "/source/component"),
            ("type", "/type"),
        ],
        Kind::ReplicaSet => &[("status.replicas", "/status/replicas")],
        _ => &[],
    }
}

impl Selector {
    /// Reads both; an empty text selects everything.
    ///
    /// # Errors
    /// 400 with what cannot be read.
    pub fn parse(kind: Kind, labels: &str, fields: &str) -> Result<Self, Status> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(kind, fields)?,
        })
    }

    /// A selector of one object more: the one of this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.fields.push(Field {
            of: Of::Name,
            value: name.to_owned(),
            is_equal: true,
        });
        self
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    #[must_use]
    pub fn matches(&self, object: &Object) -> bool {
        let meta = object.metadata();
        let fields = self.fields.iter().all(|field| {
            let found = match field.of {
                Of::Name => Cow::Borrowed(meta.name.as_str()),
                Of::Namespace => Cow::Borrowed(meta.namespace.as_str()),
                Of::At(pointer) => text_at(object, pointer),
            };
            (found == field.value) == field.is_equal
        });
        fields && self.labels.iter().all(|label| label.holds(&meta.labels))
    }
}

/// The text or number at a place of an object; empty where there is none. A kind that is selected so is
/// kept as it was given.
fn text_at<'a>(object: &'a Object, pointer: &str) -> Cow<'a, str> {
    let Object::Dynamic(object) = object else {
        return Cow::Borrowed("");
    };
    let mut parts = pointer.split('/').skip(1);
    let first = parts.next().and_then(|name| object.body.get(name));
    let found = parts.try_fold(first, |value, name| Some(value?.get(name)));
    match found.flatten() {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Number(number)) => Cow::Owned(number.to_string()),
        _ => Cow::Borrowed(""),
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key);
        let number = || found.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => found.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => found.is_none_or(|value| !values.contains(value)),
            Test::Exists => found.is_some(),
            Test::NotExists => found.is_none(),
            Test::Above(bound) => number().is_some_and(|value| value > *bound),
            Test::Below(bound) => number().is_some_and(|value| value < *bound),
        }
    }
}

fn parse_fields(kind: Kind, text: &str) -> Result<Vec<Field>, Status> {
    let mut fields = Vec::new();
    for term in text.split(',').filter(|term| !term.is_empty()) {
        let (key, value, is_equal) = if let Some((key, value)) = term.split_once("!=") {
            (key, value, false)
        } else if let Some((key, value)) = term.split_once("==") {
            (key, value, true)
        } else if let Some((key, value)) = term.split_once('=') {
            (key, value, true)
        } else {
            return Err(Status::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{term}'"
            )));
        };
        let of = match key {
            "metadata.name" => Of::Name,
            "metadata.namespace" => Of::Namespace,
            other => {
                let known = fields_of(kind).iter().find(|(name, _)| *name == other);
                let Some((_, pointer)) = known else {
                    let problem = format!("field label not supported: {other}");
                    return Err(Status::bad_request(problem));
                };
                Of::At(pointer)
            }
        };
        fields.push(Field {
            of,
            value: value.replace('\\', ""),
            is_equal,
        });
    }
    Ok(fields)
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, Status> {
    let wrong =
        |problem: &str| Status::bad_request(format!("unable to parse requirement: {problem}"));
    terms(text)
        .into_iter()
        .map(|term| requirement(term.trim()).map_err(|problem| wrong(&problem)))
        .collect()
}

/// The parts between commas that are in no parentheses.
fn terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() || !terms.is_empty() {
        terms.push(&text[start..]);
    }
    terms
}

fn requirement(term: &str) -> Result<Requirement, String> {
    if let Some(key) = term.strip_prefix('!') {
        return made(key, Test::NotExists);
    }
    // The longer operators first, since they contain the shorter.
    for (operator, is_equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = term.split_once(operator) {
            let value = vec![label_value(value)?];
            let test = if is_equal {
                Test::In(value)
            } else {
                Test::NotIn(value)
            };
            return made(key, test);
        }
    }
    for (operator, is_above) in [('>', true), ('<', false)] {
        if let Some((key, value)) = term.split_once(operator) {
            let bound = value.trim().parse().map_err(|_| {
                format!("values[0]: Invalid value: \"{}\": for 'Gt', 'Lt' operators, the value must be an integer", value.trim())
            })?;
            let test = if is_above {
                Test::Above(bound)
            } else {
                Test::Below(bound)
            };
            return made(key, test);
        }
    }
    let Some((key, rest)) = term.split_once(char::is_whitespace) else {
        return made(term, Test::Exists);
    };
    let rest = rest.trim();
    let (is_in, list) = match (rest.strip_prefix("in"), rest.strip_prefix("notin")) {
        (_, Some(list)) => (false, list.trim()),
        (Some(list), _) => (true, list.trim()),
        _ => {
            return Err(format!(
                "found '{rest}', expected: in, notin, =, ==, !=, gt, lt"
            ));
        }
    };
    let values = list
        .strip_prefix('(')
        .and_then(|list| list.strip_suffix(')'))
        .ok_or_else(|| format!("found '{list}', expected: '('"))?
        .split(',')
        .map(label_value)
        .collect::<Result<Vec<_>, _>>()?;
    let test = if is_in {
        Test::In(values)
    } else {
        Test::NotIn(values)
    };
    made(key, test)
}

fn made(key: &str, test: Test) -> Result<Requirement, String> {
    let key = key.trim();
    if let Some(problem) = syntax::qualified_name(key).into_iter().next() {
        return Err(format!("key: Invalid value: \"{key}\": {problem}"));
    }
    let key = key.to_owned();
    Ok(Requirement { key, test })
}

fn label_value(text: &str) -> Result<String, String> {
    let text = text.trim();
    match label_value_problem(text) {
        Some(problem) => Err(format!("values[0]: Invalid value: \"{text}\": {problem}")),
        None => Ok(text.to_owned()),
    }
}

/// What keeps a text from being the value of a label.
#[must_use]
pub fn label_value_problem(text: &str) -> Option<String> {
    const FORM: &str = "a valid label must be an empty string or consist of alphanumeric \
        characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
        'MyValue',  or 'my_value',  or '12345', regex used for validation is \
        '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    if text.len() > 63 {
        return Some("must be no more than 63 bytes".to_owned());
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edges = [text.chars().next(), text.chars().last()];
    let good = text.chars().all(inner) && edges.iter().flatten().all(char::is_ascii_alphanumeric);
    (!good).then(|| FORM.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> Object {
        Object::from_value(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "c", "namespace": "n", "labels": {"a": "b", "x.y/n": "5"}}}),
        )
        .expect("an object")
    }

    #[test]
    fn selectors_select_as_in_kubernetes() {
        for (labels, fields, want) in [
            ("", "", true),
            ("a=b", "", true),
            ("a==b, x.y/n", "", true),
            ("a!=b", "", false),
            ("c!=b", "", true),
            ("a in (b,c),x.y/n notin (4)", "", true),
            ("a in (c)", "", false),
            ("!c", "", true),
            ("!a", "", false),
            ("x.y/n>4", "", true),
            ("x.y/n<5", "", false),
            ("a>1", "", false),
            ("", "metadata.name=c,metadata.namespace!=m", true),
            ("", "metadata.name=d", false),
        ] {
            let selector = Selector::parse(Kind::Service, labels, fields).expect("a selector");
            assert_eq!(selector.matches(&object()), want, "{labels:?} {fields:?}");
        }
    }

    #[test]
    fn a_replica_set_is_selected_by_its_number_of_replicas() {
        let set = Object::from_value(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "r", "namespace": "n"}, "status": {"replicas": 2},
        }));
        let set = set.expect("a ReplicaSet");
        for (fields, want) in [
            ("status.replicas=2", true),
            ("status.replicas=0", false),
            ("status.replicas!=0", true),
        ] {
            let selector = Selector::parse(Kind::ReplicaSet, "", fields).expect(fields);
            assert_eq!(selector.matches(&set), want, "{fields}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for (labels, fields) in [
            ("a b", ""),
            ("a in b", ""),
            ("=b", ""),
            ("a=,,", ""),
            ("a>x", ""),
            ("a=b c", ""),
            ("", "spec.x=1"),
            ("", "metadata.name"),
        ] {
            let status = Selector::parse(Kind::Service, labels, fields).expect_err(labels);
            assert_eq!(status.code, 400, "{labels:?} {fields:?}");
        }
    }

    #[test]
    fn events_are_selected_by_what_they_are_about() {
        let event = serde_json::json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "h1.1", "namespace": "n"},
            "involvedObject": {"kind": "Service", "name": "h1"}, "type": "Normal",
        });
        let event = Object::from_value(event).expect("an Event");
        for (fields, want) in [
            ("involvedObject.name=h1,involvedObject.kind=Service", true),
            ("involvedObject.name=h2", false),
            ("involvedObject.uid=u", false),
            ("type!=Normal", false),
            ("metadata.namespace=n,reason=", true),
        ] {
            let selector = Selector::parse(Kind::Event, "", fields).expect(fields);
            assert_eq!(selector.matches(&event), want, "{fields}");
        }
        let unknown = Selector::parse(Kind::Event, "", "status.phase=Running");
        assert_eq!(unknown.expect_err("of Pods").code, 400);
    }
}
