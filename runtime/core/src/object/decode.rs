//! Reads objects from JSON.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{Dynamic, Object};
use crate::api::{Configuration, DomainMapping, Revision, Route, Service};
use crate::kind::Kind;
use crate::meta::ObjectMeta;

/// Why JSON is not an object of a known kind.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The JSON is a list or a scalar.
    #[error("an object is expected, with apiVersion and kind")]
    NotAnObject,
    /// `apiVersion` or `kind` is not there, or no text.
    #[error("{field}: Required value")]
    Missing { field: &'static str },
    /// The kind is none of ours.
    #[error("no matches for kind \"{kind}\" in version \"{api_version}\"")]
    UnknownKind { api_version: String, kind: String },
    /// A member has a value of another form.
    #[error("{path}: {problem}")]
    Field { path: String, problem: String },
}

impl Object {
    /// Reads an object of any known kind. Members that are null count as absent, unknown members
    /// are ignored.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; the first member at fault is named.
    pub fn from_value(mut value: Value) -> Result<Self, DecodeError> {
        drop_nulls(&mut value);
        match kind_of(&value)? {
            Kind::Service => decode::<Service>(value).map(Self::from),
            Kind::Configuration => decode::<Configuration>(value).map(Self::from),
            Kind::Revision => decode::<Revision>(value).map(Self::from),
            Kind::Route => decode::<Route>(value).map(Self::from),
            Kind::DomainMapping => decode::<DomainMapping>(value).map(Self::from),
            kind => dynamic(kind, value),
        }
    }

    /// Reads the JSON of an object of this kind that was written before: as [`Object::from_value`],
    /// in less time.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; the first member at fault is named.
    pub fn from_slice(kind: Kind, json: &[u8]) -> Result<Self, DecodeError> {
        let read = match kind {
            Kind::Service => serde_json::from_slice::<Service>(json).map(Self::from),
            Kind::Configuration => serde_json::from_slice::<Configuration>(json).map(Self::from),
            Kind::Revision => serde_json::from_slice::<Revision>(json).map(Self::from),
            Kind::Route => serde_json::from_slice::<Route>(json).map(Self::from),
            Kind::DomainMapping => serde_json::from_slice::<DomainMapping>(json).map(Self::from),
            _ => return Self::from_text(json),
        };
        // The slow way says where it is wrong, and is not as strict.
        read.or_else(|_| Self::from_text(json))
    }

    fn from_text(json: &[u8]) -> Result<Self, DecodeError> {
        let value = serde_json::from_slice(json).map_err(|error| DecodeError::Field {
            path: "JSON".to_owned(),
            problem: error.to_string(),
        })?;
        Self::from_value(value)
    }
}

/// Removes the members of objects that are null, at any depth, as Go's JSON reads them.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn kind_of(value: &Value) -> Result<Kind, DecodeError> {
    let members = value.as_object().ok_or(DecodeError::NotAnObject)?;
    let text = |field: &'static str| {
        let text = members.get(field).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
            .ok_or(DecodeError::Missing { field })
    };
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    Kind::find(api_version, kind).ok_or_else(|| DecodeError::UnknownKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    })
}

fn dynamic(kind: Kind, value: Value) -> Result<Object, DecodeError> {
    let Value::Object(mut body) = value else {
        return Err(DecodeError::NotAnObject);
    };
    body.remove("apiVersion");
    body.remove("kind");
    let metadata = body.remove("metadata").unwrap_or_default();
    let metadata = if metadata.is_null() {
        ObjectMeta::default()
    } else {
        decode(metadata).map_err(|error| beneath("metadata", error))?
    };
    Ok(Object::from(Dynamic {
        kind,
        metadata,
        body,
    }))
}

/// The same error, seen from the object that has the value as its member `field`.
fn beneath(field: &str, error: DecodeError) -> DecodeError {
    match error {
        DecodeError::Field { path, problem } if path.is_empty() => DecodeError::Field {
            path: field.to_owned(),
            problem,
        },
        DecodeError::Field { path, problem } => DecodeError::Field {
            path: format!("{field}.{path}"),
            problem,
        },
        other => other,
    }
}

fn decode<T: DeserializeOwned>(value: Value) -> Result<T, DecodeError> {
    T::deserialize(&value).map_err(|error| DecodeError::Field {
        path: locate::<T>(value),
        problem: error.to_string(),
    })
}

/// One step on the way to a value.
enum Step {
    Member(String),
    Item(usize),
}

/// Where the first value is that keeps `value` from being a `T`.
///
/// serde says what is wrong but not where. Members are read in order, so the one at fault is the
/// last of the shortest beginning that cannot be read: a binary search on each level finds it.
fn locate<T: DeserializeOwned>(mut value: Value) -> String {
    let mut steps = Vec::new();
    while let Some(children) = take_children(&mut value, &steps) {
        let mut is_good_with = |count: usize| {
            put_children(&mut value, &steps, children.first(count));
            T::deserialize(&value).is_ok()
        };
        if !is_good_with(0) {
            break;
        }
        let (mut good, mut bad) = (0, children.len());
        while bad - good > 1 {
            let middle = usize::midpoint(good, bad);
            if is_good_with(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        put_children(&mut value, &steps, children.first(bad));
        let Some(step) = children.step(good) else {
            break;
        };
        steps.push(step);
    }
    shown(&steps)
}

fn shown(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Member(name) if path.is_empty() => path.push_str(name),
            Step::Member(name) => {
                path.push('.');
                path.push_str(name);
            }
            Step::Item(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// The members or items of one value.
enum Children {
    Members(Vec<(String, Value)>),
    Items(Vec<Value>),
}

impl Children {
    fn len(&self) -> usize {
        match self {
            Self::Members(members) => members.len(),
            Self::Items(items) => items.len(),
        }
    }

    fn step(&self, index: usize) -> Option<Step> {
        match self {
            Self::Members(members) => {
                let (name, _) = members.get(index)?;
                Some(Step::Member(name.clone()))
            }
            Self::Items(items) => (index < items.len()).then_some(Step::Item(index)),
        }
    }

    /// A value with the first `count` of them.
    fn first(&self, count: usize) -> Value {
        match self {
            Self::Members(members) => {
                let first = members.iter().take(count).cloned();
                Value::Object(first.collect::<Map<String, Value>>())
            }
            Self::Items(items) => Value::Array(items.iter().take(count).cloned().collect()),
        }
    }
}

fn at<'a>(value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Member(name) => value.get_mut(name),
        Step::Item(index) => value.get_mut(index),
    })
}

fn take_children(value: &mut Value, steps: &[Step]) -> Option<Children> {
    match at(value, steps)?.take() {
        Value::Object(members) => Some(Children::Members(members.into_iter().collect())),
        Value::Array(items) => Some(Children::Items(items)),
        scalar => {
            *at(value, steps)? = scalar;
            None
        }
    }
}

fn put_children(value: &mut Value, steps: &[Step], children: Value) {
    if let Some(place) = at(value, steps) {
        *place = children;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(value: Value, want: &str) {
        let error = Object::from_value(value).expect_err(want);
        assert_eq!(error.to_string(), want);
    }

    fn service(spec: Value) -> Value {
        json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "spec": spec})
    }

    #[test]
    fn the_member_at_fault_is_named() {
        refused(
            service(json!({"template": {"spec": {"containers": [
                {"image": "img", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": 1}]},
                {"image": 7},
            ]}}})),
            "spec.template.spec.containers[0].env[1].value: invalid type: integer `1`, expected a string",
        );
        refused(
            service(json!({"template": {"spec": {"containers": {}}}})),
            "spec.template.spec.containers: invalid type: map, expected a sequence",
        );
        refused(
            service(json!({"template": {"metadata": {"annotations": {"a": true}}}})),
            "spec.template.metadata.annotations.a: invalid type: boolean `true`, expected a string",
        );
        refused(
            service(json!({"template": {"spec": {"containers": [
                {"resources": {"limits": {"memory": 0.5}}}
            ]}}})),
            "spec.template.spec.containers[0].resources.limits.memory: invalid type: floating \
             point `0.5`, expected a string or an integer",
        );
        refused(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": 1}}),
            "metadata.name: invalid type: integer `1`, expected a string",
        );
    }

    #[test]
    fn the_kind_must_be_known() {
        refused(json!([]), "an object is expected, with apiVersion and kind");
        refused(json!({"kind": "Service"}), "apiVersion: Required value");
        refused(json!({"apiVersion": "v1"}), "kind: Required value");
        refused(
            json!({"apiVersion": "v1", "kind": "Widget"}),
            "no matches for kind \"Widget\" in version \"v1\"",
        );
    }

    #[test]
    fn nulls_count_as_absent() {
        let object = Object::from_value(json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "status": {},
            "metadata": {"name": "h1", "creationTimestamp": null},
            "spec": {"template": {"metadata": {"creationTimestamp": null}, "spec": {"containers": [
                {"name": "", "image": "img", "resources": {}, "readinessProbe": null}
            ]}}, "traffic": null},
        }))
        .expect("an object");
        assert_eq!(object.metadata().name, "h1");
        let want = json!({"metadata": {"name": "h1"}, "apiVersion": "serving.knative.dev/v1",
            "kind": "Service", "status": {},
            "spec": {"template": {"spec": {"containers": [{"image": "img", "resources": {}}]}}}});
        assert_eq!(object.to_value(), want);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {"name": "c", "namespace": "d"}});
        let object = Object::from_value(value.clone()).expect("an object");
        assert_eq!(object.kind(), Kind::ConfigMap);
        assert_eq!(object.to_value(), value);
    }

    #[test]
    fn what_was_written_is_read_without_a_detour() {
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {"name": "c", "namespace": "d", "labels": {"l": "m"}}});
        let service = service(json!({"template": {"spec": {"containers": [{"image": "img"}]}}}));
        for value in [config, service] {
            let object = Object::from_value(value).expect("an object");
            let json = serde_json::to_vec(&object).expect("it is written");
            assert_eq!(
                Object::from_slice(object.kind(), &json).as_ref(),
                Ok(&object)
            );
        }
        let error = Object::from_slice(Kind::Route, b"{\"kind\": 1}").expect_err("no kind");
        assert_eq!(error.to_string(), "apiVersion: Required value");
        let error = Object::from_slice(Kind::Route, b"{").expect_err("no JSON");
        assert!(error.to_string().starts_with("JSON: EOF"), "{error}");
    }

    #[test]
    fn many_members_are_searched_quickly() {
        let mut env: Vec<Value> = (0..20_000)
            .map(|n| json!({"name": n.to_string()}))
            .collect();
        env.push(json!({"name": 1}));
        refused(
            service(json!({"template": {"spec": {"containers": [{"env": env}]}}})),
            "spec.template.spec.containers[0].env[20000].name: invalid type: integer `1`, \
             expected a string",
        );
    }
}
