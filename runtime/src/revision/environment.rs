//! The environment and the arguments of a guest, as a pod's container gets them.
//!
//! # Source
//! Kubernetes, "Define Environment Variables for a Container" and "Define Dependent Environment
//! Variables": `envFrom` before `env`, later names win, `$(NAME)` stands for a variable before it.
//! Knative adds its four at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serve_core::api;
use serve_core::api::podspec::{Container, EnvFromSource, EnvVar};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;

use crate::base64;

/// `$PORT` where the manifest names none.
const DEFAULT_PORT: i64 = 8080;
/// The name of a port that speaks HTTP/2 without TLS.
const H2C: &str = "h2c";

/// Finds ConfigMaps and Secrets.
pub type Lookup = Arc<dyn Fn(Kind, &ObjectKey) -> Option<Arc<Object>> + Send + Sync>;

/// Why an environment cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{} \"{name}\" not found", .kind.names().plural.trim_end_matches('s'))]
    NoObject { kind: Kind, name: String },
    #[error("couldn't find key {key} in {} {namespace}/{name}", .kind.names().kind)]
    NoKey {
        kind: Kind,
        namespace: String,
        name: String,
        key: String,
    },
    #[error("environment variable \"{name}\": {problem}")]
    NotOffered { name: String, problem: &'static str },
}

/// What a guest is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Each name once.
    pub variables: Vec<(String, String)>,
    pub arguments: Vec<String>,
}

/// Makes the environment of the container that serves.
///
/// # Errors
/// The first reference to something that is not there and not optional.
pub fn environment(
    object: &api::Revision,
    container: &Container,
    lookup: &Lookup,
) -> Result<Environment, Error> {
    let reader = Reader {
        namespace: &object.metadata.namespace,
        lookup,
    };
    let mut variables = Variables::default();
    for source in &container.env_from {
        for (name, value) in reader.all(source)? {
            variables.set(&format!("{}{name}", source.prefix), value);
        }
    }
    for variable in &container.env {
        if let Some(value) = reader.value(variable)? {
            let value = variables.expand(&value);
            variables.set(&variable.name, value);
        }
    }
    for (name, value) in knatives(object, container) {
        variables.set(name, value);
    }
    let arguments = container.command.iter().chain(&container.args);
    let arguments = arguments
        .map(|argument| variables.expand(argument))
        .collect();
    Ok(Environment {
        variables: variables.0,
        arguments,
    })
}

/// The variables that Knative's runtime contract promises, and the SDK's hint of the protocol.
fn knatives(object: &api::Revision, container: &Container) -> Vec<(&'static str, String)> {
    let label = |key| object.metadata.label(key).unwrap_or_default().to_owned();
    let port = container.ports.first();
    let number = port
        .and_then(|port| port.container_port)
        .filter(|number| *number != 0);
    let mut variables = vec![
        ("PORT", number.unwrap_or(DEFAULT_PORT).to_string()),
        ("K_REVISION", object.metadata.name.clone()),
        ("K_CONFIGURATION", label(keys::CONFIGURATION_LABEL)),
        ("K_SERVICE", label(keys::SERVICE_LABEL)),
    ];
    if port.is_some_and(|port| port.name == H2C) {
        variables.push(("SERVE_HTTP_PROTO", H2C.to_owned()));
    }
    variables
}

/// Variables in order of their first appearance.
#[derive(Default)]
struct Variables(Vec<(String, String)>);

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Replaces `$(NAME)` by the value of a known variable; `$$` stands for one `$`.
    fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = rest
                .strip_prefix('(')
                .and_then(|inner| inner.split_once(')'))
            {
                match self.get(name) {
                    Some(value) => out.push_str(value),
                    // As in Kubernetes: a reference to nothing is left as it stands.
                    None => out.push_str(&format!("$({name})")),
                }
                rest = after;
            } else {
                out.push('$');
            }
        }
        out.push_str(rest);
        out
    }
}

struct Reader<'a> {
    namespace: &'a str,
    lookup: &'a Lookup,
}

impl Reader<'_> {
    fn all(&self, source: &EnvFromSource) -> Result<BTreeMap<String, String>, Error> {
        let mut all = BTreeMap::new();
        let references = [
            (Kind::ConfigMap, &source.config_map_ref),
            (Kind::Secret, &source.secret_ref),
        ];
        for (kind, reference) in references {
            let Some(reference) = reference else { continue };
            match self.data(kind, &reference.name) {
                Some(data) => all.extend(data),
                None if reference.optional == Some(true) => {}
                None => {
                    return Err(Error::NoObject {
                        kind,
                        name: reference.name.clone(),
                    });
                }
            }
        }
        Ok(all)
    }

    /// The value of a variable; none for an optional reference to nothing.
    fn value(&self, variable: &EnvVar) -> Result<Option<String>, Error> {
        let Some(from) = &variable.value_from else {
            return Ok(Some(variable.value.clone().unwrap_or_default()));
        };
        let (kind, selector) = match (&from.config_map_key_ref, &from.secret_key_ref) {
            (Some(selector), _) => (Kind::ConfigMap, selector),
            (None, Some(selector)) => (Kind::Secret, selector),
            (None, None) => {
                return Err(Error::NotOffered {
                    name: variable.name.clone(),
                    problem: "values are taken from ConfigMaps and Secrets only; give the value",
                });
            }
        };
        let optional = selector.optional == Some(true);
        let Some(mut data) = self.data(kind, &selector.name) else {
            let name = selector.name.clone();
            return if optional {
                Ok(None)
            } else {
                Err(Error::NoObject { kind, name })
            };
        };
        match data.remove(&selector.key) {
            None if !optional => Err(Error::NoKey {
                kind,
                namespace: self.namespace.to_owned(),
                name: selector.name.clone(),
                key: selector.key.clone(),
            }),
            value => Ok(value),
        }
    }

    /// The text entries of a ConfigMap or Secret.
    fn data(&self, kind: Kind, name: &str) -> Option<BTreeMap<String, String>> {
        let object = (self.lookup)(kind, &ObjectKey::new(self.namespace, name))?;
        let Object::Dynamic(object) = &*object else {
            return None;
        };
        let entries = |member: &str| {
            let entries = object.body.get(member).and_then(Value::as_object);
            entries
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?)))
        };
        let mut data = BTreeMap::new();
        for (key, value) in entries("data") {
            let text = if kind == Kind::Secret {
                // What is no text cannot be in an environment.
                base64::decode(value).and_then(|bytes| String::from_utf8(bytes).ok())
            } else {
                Some(value.to_owned())
            };
            data.extend(text.map(|text| (key, text)));
        }
        if kind == Kind::Secret {
            data.extend(entries("stringData").map(|(key, value)| (key, value.to_owned())));
        }
        Some(data)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lookup() -> Lookup {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "settings", "namespace": "ns"}, "data": {"color": "blue"}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "keys", "namespace": "ns"},
            "data": {"token": "czNjcmV0"}, "stringData": {"user": "me"}});
        let objects =
            [map, secret].map(|value| Arc::new(Object::from_value(value).expect("valid")));
        Arc::new(move |kind, key| {
            objects
                .iter()
                .find(|o| o.kind() == kind && o.key() == *key)
                .cloned()
        })
    }

    #[track_caller]
    fn make(container: Value) -> Result<Environment, Error> {
        let object = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Revision",
            "metadata": {"name": "h1-00001", "namespace": "ns", "labels": {
                "serving.knative.dev/configuration": "h1", "serving.knative.dev/service": "h1"}},
            "spec": {"containers": [container]}});
        let object = Object::from_value(object).expect("valid");
        let revision: &api::Revision = (&object).try_into().expect("a Revision");
        environment(revision, &revision.spec.containers[0], &lookup())
    }

    #[track_caller]
    fn check(container: Value, want: &[(&str, &str)]) {
        let made = make(container).expect("an environment").variables;
        let knative = ["PORT", "K_REVISION", "K_CONFIGURATION", "K_SERVICE"];
        let got: Vec<_> = made
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !knative.contains(name))
            .collect();
        assert_eq!(got, want);
    }

    #[test]
    fn the_contracts_variables_are_set() {
        let made = make(json!({"ports": [{"containerPort": 9000, "name": "h2c"}]}));
        let want = [
            ("PORT", "9000"),
            ("K_REVISION", "h1-00001"),
            ("K_CONFIGURATION", "h1"),
            ("K_SERVICE", "h1"),
            ("SERVE_HTTP_PROTO", "h2c"),
        ];
        let want = want.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(made.expect("an environment").variables, want);
    }

    #[test]
    fn values_come_from_maps_and_secrets() {
        check(
            json!({"envFrom": [{"prefix": "S_", "secretRef": {"name": "keys"}},
                               {"configMapRef": {"name": "none", "optional": true}}],
                   "env": [
                {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
                {"name": "GONE", "valueFrom":
                    {"secretKeyRef": {"name": "keys", "key": "gone", "optional": true}}}]}),
            &[("S_token", "s3cret"), ("S_user", "me"), ("COLOR", "blue")],
        );
    }

    #[test]
    fn references_stand_for_variables_before_them() {
        check(
            json!({"env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)-$$(A)-$(C)-$(A"},
                {"name": "A", "value": "2"}]}),
            &[("A", "2"), ("B", "1-$(A)-$(C)-$(A")],
        );
        let made = make(json!({"command": ["run"], "args": ["--port=$(PORT)"]}));
        assert_eq!(
            made.expect("an environment").arguments,
            ["run", "--port=8080"]
        );
    }

    #[test]
    fn what_is_not_there_is_named() {
        let wrong = |env| {
            make(json!({"env": [env]}))
                .expect_err("not there")
                .to_string()
        };
        assert_eq!(
            wrong(
                json!({"name": "X", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k"}}})
            ),
            "configmap \"no\" not found"
        );
        assert_eq!(
            wrong(
                json!({"name": "X", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}})
            ),
            "couldn't find key k in Secret ns/keys"
        );
        let from = json!({"envFrom": [{"secretRef": {"name": "no"}}]});
        assert_eq!(
            make(from).expect_err("not there").to_string(),
            "secret \"no\" not found"
        );
    }
}
