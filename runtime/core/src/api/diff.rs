//! What changed between two templates, as Knative tells it.
//!
//! Knative compares Go values and names each difference by its Go path. The paths are made here
//! from the JSON form by the names of Go's fields, so that tools and tests which look for them
//! find them.
//!
//! ```text
//! {*v1.RevisionTemplateSpec}.Spec.PodSpec.Containers[0].Image:
//!     -: "old"
//!     +: "new"
//! ```
//!
//! # Source
//!
//! knative/pkg kmp, `ShortDiff`, and google/go-cmp, `Path`. Differs: structs are shown as JSON, and
//! lists are compared from both ends, not by the least edit.

use serde::Serialize;
use serde_json::{Map, Value};

use super::RevisionTemplate;
use super::podspec::PodSpec;

/// The differences of two templates; empty when there are none.
pub(super) fn template(old: &RevisionTemplate, new: &RevisionTemplate) -> String {
    short_diff("{*v1.RevisionTemplateSpec}", Place::Template, old, new)
}

/// The differences of two specs of Revisions; empty when there are none.
pub(super) fn revision_spec(old: &PodSpec, new: &PodSpec) -> String {
    short_diff("{v1.RevisionSpec}", Place::RevisionSpec, old, new)
}

fn short_diff<T: Serialize>(root: &str, place: Place, old: &T, new: &T) -> String {
    let encode = |value| serde_json::to_value(value).unwrap_or_default();
    let mut out = String::new();
    compare(
        &mut out,
        root,
        place,
        Some(&encode(old)),
        Some(&encode(new)),
    );
    out
}

/// Which Go type a JSON value is, as far as it matters for the names of its members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Template,
    RevisionSpec,
    Probe,
    Volume,
    /// A struct that embeds a reference to an object by name.
    Referring,
    /// A map with keys of the user.
    Map,
    Pointer,
    Other,
}

fn compare(out: &mut String, path: &str, place: Place, old: Option<&Value>, new: Option<&Value>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            compare_members(out, path, place, old, new);
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => compare_items(out, path, old, new),
        (old, new) if old == new => {}
        (old, new) => report(out, path, place, old, new),
    }
}

fn compare_members(
    out: &mut String,
    path: &str,
    place: Place,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let (old, new) = (old.get(key), new.get(key));
        if place == Place::Map {
            let path = format!("{path}[\"{key}\"]");
            if old != new {
                line(out, &path, old.map(shown), new.map(shown));
            }
        } else {
            let path = format!("{path}.{}", go_name(place, key));
            compare(out, &path, member_place(place, key), old, new);
        }
    }
}

/// Items at the same place are compared; of lists of different length, the ends that are the same
/// are left out first.
fn compare_items(out: &mut String, path: &str, old: &[Value], new: &[Value]) {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let pairs = old.iter().rev().zip(new.iter().rev());
    let shorter = old.len().min(new.len());
    let end = pairs
        .take(shorter - start)
        .take_while(|(a, b)| a == b)
        .count();
    let place = item_place(path);
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    for index in start..old_end.max(new_end) {
        let from = old.get(index).filter(|_| index < old_end);
        let to = new.get(index).filter(|_| index < new_end);
        match (from, to) {
            (Some(_), Some(_)) => compare(out, &format!("{path}[{index}]"), place, from, to),
            (Some(from), None) => {
                line(out, &format!("{path}[{index}->?]"), Some(shown(from)), None);
            }
            (None, Some(to)) => line(out, &format!("{path}[?->{index}]"), None, Some(shown(to))),
            (None, None) => {}
        }
    }
}

fn report(out: &mut String, path: &str, place: Place, old: Option<&Value>, new: Option<&Value>) {
    let both = old.is_some() && new.is_some();
    if place == Place::Pointer {
        let path = if both {
            format!("*{path}")
        } else {
            path.to_owned()
        };
        let side = |value: Option<&Value>| value.map_or_else(|| "<nil>".to_owned(), shown);
        return line(out, &path, Some(side(old)), Some(side(new)));
    }
    let side = |value: Option<&Value>, other: Option<&Value>| match (value, other) {
        (Some(value), _) => shown(value),
        (None, Some(other)) => zero(place, other).to_owned(),
        (None, None) => String::new(),
    };
    line(out, path, Some(side(old, new)), Some(side(new, old)));
}

/// What Go has in a field that JSON leaves out.
fn zero(place: Place, other: &Value) -> &'static str {
    match other {
        Value::Object(_) if place == Place::Map => "map[]",
        Value::Array(_) => "[]",
        Value::Bool(_) => "false",
        Value::Number(_) => "0",
        Value::String(_) => "",
        Value::Object(_) | Value::Null => "<nil>",
    }
}

fn line(out: &mut String, path: &str, old: Option<String>, new: Option<String>) {
    out.push_str(path);
    out.push_str(":\n");
    for (sign, value) in [('-', old), ('+', new)] {
        if let Some(value) = value {
            out.push_str(&format!("\t{sign}: \"{value}\"\n"));
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Knative's own members of the spec; the others are those of the embedded pod.
const KNATIVE_FIELDS: [&str; 4] = [
    "containerConcurrency",
    "timeoutSeconds",
    "responseStartTimeoutSeconds",
    "idleTimeoutSeconds",
];

/// Members that Go has as pointers to a scalar.
const POINTERS: [&str; 14] = [
    "enableServiceLinks",
    "automountServiceAccountToken",
    "optional",
    "allowPrivilegeEscalation",
    "privileged",
    "readOnlyRootFilesystem",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "defaultMode",
    "mode",
    "expirationSeconds",
    "mountPropagation",
    "shareProcessNamespace",
];

fn go_name(place: Place, key: &str) -> String {
    let name = match key {
        "tty" => "TTY".to_owned(),
        "metadata" if place == Place::Template => "ObjectMeta".to_owned(),
        "httpGet" => "HTTPGet".to_owned(),
        "tcpSocket" => "TCPSocket".to_owned(),
        "grpc" => "GRPC".to_owned(),
        "httpHeaders" => "HTTPHeaders".to_owned(),
        "dnsPolicy" => "DNSPolicy".to_owned(),
        "dnsConfig" => "DNSConfig".to_owned(),
        "csi" => "CSI".to_owned(),
        key => {
            let mut chars = key.chars();
            let first = chars.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(chars).collect()
        }
    };
    match place {
        Place::RevisionSpec if !KNATIVE_FIELDS.contains(&key) => format!("PodSpec.{name}"),
        Place::Probe if matches!(key, "httpGet" | "tcpSocket" | "grpc" | "exec") => {
            format!("ProbeHandler.{name}")
        }
        Place::Volume if key != "name" => format!("VolumeSource.{name}"),
        Place::Referring if key == "name" => format!("LocalObjectReference.{name}"),
        _ => name,
    }
}

fn member_place(place: Place, key: &str) -> Place {
    match (place, key) {
        (Place::Template, "spec") => Place::RevisionSpec,
        (Place::RevisionSpec, key) if KNATIVE_FIELDS.contains(&key) => Place::Pointer,
        (_, "annotations" | "labels" | "limits" | "requests" | "nodeSelector") => Place::Map,
        (_, "livenessProbe" | "readinessProbe" | "startupProbe") => Place::Probe,
        (_, "configMapKeyRef" | "secretKeyRef" | "configMapRef" | "secretRef" | "configMap") => {
            Place::Referring
        }
        (_, key) if POINTERS.contains(&key) => Place::Pointer,
        _ => Place::Other,
    }
}

fn item_place(path: &str) -> Place {
    if path.ends_with(".Volumes") {
        Place::Volume
    } else {
        Place::Other
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(old: Value, new: Value, want: &str) {
        let read = |value| serde_json::from_value::<RevisionTemplate>(value).expect("a template");
        assert_eq!(template(&read(old), &read(new)), want);
    }

    #[test]
    fn equal_templates_have_no_differences() {
        let given = json!({"spec": {"containers": [{"image": "a"}]}});
        check(given.clone(), given, "");
    }

    #[test]
    fn a_field_is_named_by_its_path_in_go() {
        check(
            json!({"spec": {"containers": [{"image": "old"}], "containerConcurrency": 1}}),
            json!({"spec": {"containers": [{"image": "new"}], "containerConcurrency": 2}}),
            "*{*v1.RevisionTemplateSpec}.Spec.ContainerConcurrency:\n\t-: \"1\"\n\t+: \"2\"\n\
             {*v1.RevisionTemplateSpec}.Spec.PodSpec.Containers[0].Image:\n\t-: \"old\"\n\t+: \"new\"\n",
        );
    }

    #[test]
    fn keys_of_maps_are_in_brackets() {
        check(
            json!({"metadata": {"annotations": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"annotations": {"a": "3", "c": "4"}}}),
            "{*v1.RevisionTemplateSpec}.ObjectMeta.Annotations[\"a\"]:\n\t-: \"1\"\n\t+: \"3\"\n\
             {*v1.RevisionTemplateSpec}.ObjectMeta.Annotations[\"b\"]:\n\t-: \"2\"\n\
             {*v1.RevisionTemplateSpec}.ObjectMeta.Annotations[\"c\"]:\n\t+: \"4\"\n",
        );
    }

    #[test]
    fn items_come_and_go() {
        let with = |names: &[&str]| {
            let env: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({"spec": {"containers": [{"env": env}]}})
        };
        let path = "{*v1.RevisionTemplateSpec}.Spec.PodSpec.Containers[0].Env";
        check(
            with(&["A", "C"]),
            with(&["A", "B", "C"]),
            &format!("{path}[?->1]:\n\t+: \"{{\"name\":\"B\"}}\"\n"),
        );
        check(
            with(&["A", "B"]),
            with(&["A"]),
            &format!("{path}[1->?]:\n\t-: \"{{\"name\":\"B\"}}\"\n"),
        );
        check(
            with(&["A"]),
            with(&["B"]),
            &format!("{path}[0].Name:\n\t-: \"A\"\n\t+: \"B\"\n"),
        );
    }

    #[test]
    fn what_was_absent_is_shown_as_go_has_it() {
        check(
            json!({"spec": {"containers": [{}]}}),
            json!({"spec": {"containers": [{"workingDir": "/x"}], "timeoutSeconds": 5}}),
            "{*v1.RevisionTemplateSpec}.Spec.PodSpec.Containers[0].WorkingDir:\n\t-: \"\"\n\t+: \"/x\"\n\
             {*v1.RevisionTemplateSpec}.Spec.TimeoutSeconds:\n\t-: \"<nil>\"\n\t+: \"5\"\n",
        );
    }
}
