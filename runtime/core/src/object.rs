//! One object of any kind, as the store keeps it.

mod decode;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::api::{Configuration, DomainMapping, Revision, Route, Service};
use crate::conditions::{self, ConditionStatus};
use crate::kind::Kind;
use crate::meta::{ObjectKey, ObjectMeta};

pub use decode::{DecodeError, drop_nulls};

/// An object of a kind that has decisions of its own, or a [`Dynamic`] one.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Service(Box<Service>),
    Configuration(Box<Configuration>),
    Revision(Box<Revision>),
    Route(Box<Route>),
    DomainMapping(Box<DomainMapping>),
    Dynamic(Box<Dynamic>),
}

/// An object that is kept as it was given; `body` is everything but `metadata`, `apiVersion` and
/// `kind`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dynamic {
    pub kind: Kind,
    pub metadata: ObjectMeta,
    pub body: Map<String, Value>,
}

impl Object {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Configuration(_) => Kind::Configuration,
            Self::Revision(_) => Kind::Revision,
            Self::Route(_) => Kind::Route,
            Self::DomainMapping(_) => Kind::DomainMapping,
            Self::Dynamic(object) => object.kind,
        }
    }

    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Service(object) => &object.metadata,
            Self::Configuration(object) => &object.metadata,
            Self::Revision(object) => &object.metadata,
            Self::Route(object) => &object.metadata,
            Self::DomainMapping(object) => &object.metadata,
            Self::Dynamic(object) => &object.metadata,
        }
    }

    /// The object, if it is one that is kept as it was given.
    #[must_use]
    pub fn dynamic(&self) -> Option<&Dynamic> {
        match self {
            Self::Dynamic(object) => Some(object),
            _ => None,
        }
    }

    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Service(object) => &mut object.metadata,
            Self::Configuration(object) => &mut object.metadata,
            Self::Revision(object) => &mut object.metadata,
            Self::Route(object) => &mut object.metadata,
            Self::DomainMapping(object) => &mut object.metadata,
            Self::Dynamic(object) => &mut object.metadata,
        }
    }

    #[must_use]
    pub fn key(&self) -> ObjectKey {
        self.metadata().key()
    }

    /// Whether the status says that the object is ready as its spec is now. Kinds that are kept as
    /// they were given never are.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let (observed, conditions) = match self {
            Self::Service(object) => (object.status.observed_generation, &object.status.conditions),
            Self::Configuration(object) => {
                (object.status.observed_generation, &object.status.conditions)
            }
            Self::Revision(object) => {
                (object.status.observed_generation, &object.status.conditions)
            }
            Self::Route(object) => (object.status.observed_generation, &object.status.conditions),
            Self::DomainMapping(object) => {
                (object.status.observed_generation, &object.status.conditions)
            }
            Self::Dynamic(_) => return false,
        };
        conditions::settled(self.metadata(), observed, conditions) == Some(ConditionStatus::True)
    }

    /// The object as JSON, keys sorted, with `apiVersion` and `kind`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Service(object) => encode(object),
            Self::Configuration(object) => encode(object),
            Self::Revision(object) => encode(object),
            Self::Route(object) => encode(object),
            Self::DomainMapping(object) => encode(object),
            Self::Dynamic(object) => {
                let mut body = object.body.clone();
                body.insert("apiVersion".into(), object.kind.api_version().into());
                body.insert("kind".into(), object.kind.names().kind.into());
                body.insert("metadata".into(), encode(&object.metadata));
                Value::Object(body)
            }
        }
    }
}

impl Serialize for Object {
    /// As [`Object::to_value`], in another order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Service(object) => object.serialize(serializer),
            Self::Configuration(object) => object.serialize(serializer),
            Self::Revision(object) => object.serialize(serializer),
            Self::Route(object) => object.serialize(serializer),
            Self::DomainMapping(object) => object.serialize(serializer),
            Self::Dynamic(object) => {
                let mut map = serializer.serialize_map(Some(object.body.len() + 3))?;
                map.serialize_entry("apiVersion", &object.kind.api_version())?;
                map.serialize_entry("kind", object.kind.names().kind)?;
                map.serialize_entry("metadata", &object.metadata)?;
                for (name, member) in &object.body {
                    map.serialize_entry(name, member)?;
                }
                map.end()
            }
        }
    }
}

fn encode<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).expect("API types have string keys and no failing serializer")
}

macro_rules! typed {
    ($kind:ident) => {
        impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(Box::new(object))
            }
        }

        impl<'a> TryFrom<&'a Object> for &'a $kind {
            type Error = Kind;

            /// Fails with the kind that the object has instead.
            fn try_from(object: &'a Object) -> Result<Self, Kind> {
                match object {
                    Object::$kind(object) => Ok(object),
                    other => Err(other.kind()),
                }
            }
        }
    };
}

typed!(Service);
typed!(Configuration);
typed!(Revision);
typed!(Route);
typed!(DomainMapping);

impl From<Dynamic> for Object {
    fn from(object: Dynamic) -> Self {
        Self::Dynamic(Box::new(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_is_what_the_status_says_of_the_current_spec() {
        for (name, generation, status, want) in [
            ("ready", 1, json!({"type": "Ready", "status": "True"}), true),
            (
                "of an older spec",
                2,
                json!({"type": "Ready", "status": "True"}),
                false,
            ),
            (
                "failed",
                1,
                json!({"type": "Ready", "status": "False"}),
                false,
            ),
            (
                "something else is",
                1,
                json!({"type": "Active", "status": "True"}),
                false,
            ),
        ] {
            for kind in [
                "Service",
                "Configuration",
                "Revision",
                "Route",
                "DomainMapping",
            ] {
                let version = if kind == "DomainMapping" {
                    "v1beta1"
                } else {
                    "v1"
                };
                let value = json!({
                    "apiVersion": format!("serving.knative.dev/{version}"),
                    "kind": kind,
                    "metadata": {"name": "o", "namespace": "ns", "generation": generation},
                    "status": {"observedGeneration": 1, "conditions": [status]},
                });
                let object = Object::from_value(value).expect("a valid object");
                assert_eq!(object.is_ready(), want, "{kind}: {name}");
            }
        }
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
        assert!(!Object::from_value(map).expect("a ConfigMap").is_ready());
    }
}
