//! What goes wrong, as Kubernetes says it: the one place of this crate that knows HTTP statuses.
//!
//! # Source
//!
//! kubernetes/apimachinery pkg/api/errors: reasons, codes and texts.

use serde_json::{Value, json};
use serve_core::api::admit::Rejection;
use serve_core::kind::Kind;
use serve_core::object::DecodeError;
use serve_runtime::control::store;

/// A failure that a client is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    details: Option<Value>,
}

/// `services.serving.knative.dev`, or the plural alone in the core group.
#[must_use]
pub fn qualified(kind: Kind) -> String {
    let names = kind.names();
    if names.group.is_empty() {
        names.plural.to_owned()
    } else {
        format!("{}.{}", names.plural, names.group)
    }
}

/// `Service.serving.knative.dev`, or the kind alone in the core group.
fn qualified_kind(kind: Kind) -> String {
    let names = kind.names();
    if names.group.is_empty() {
        names.kind.to_owned()
    } else {
        format!("{}.{}", names.kind, names.group)
    }
}

fn details(kind: Kind, name: &str) -> Value {
    let names = kind.names();
    let mut details = json!({"name": name, "kind": names.plural});
    if !names.group.is_empty() {
        details["group"] = names.group.into();
    }
    details
}

impl Status {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// A path that only known users may ask for.
    #[must_use]
    pub fn forbidden_path(verb: &str, path: &str, because: &str) -> Self {
        Self::new(
            403,
            "Forbidden",
            format!(
                "forbidden: User \"system:anonymous\" cannot {verb} path \"{path}\": {because}"
            ),
        )
    }

    /// An object that may not be touched.
    #[must_use]
    pub fn forbidden(kind: Kind, name: &str, because: &str) -> Self {
        let kinds = qualified(kind);
        // All objects of a kind have no name.
        let message = match name {
            "" => format!("{kinds} is forbidden: {because}"),
            name => format!("{kinds} \"{name}\" is forbidden: {because}"),
        };
        Self {
            details: Some(details(kind, name)),
            ..Self::new(403, "Forbidden", message)
        }
    }

    /// A path that is none of the API's.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
        }
    }

    #[must_use]
    pub fn not_found(kind: Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(kind));
        Self {
            details: Some(details(kind, name)),
            ..Self::new(404, "NotFound", message)
        }
    }

    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self {
            details: Some(json!({})),
            ..Self::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            )
        }
    }

    #[must_use]
    pub fn not_acceptable(types: &str) -> Self {
        Self::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {types}"),
        )
    }

    #[must_use]
    pub fn already_exists(kind: Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(kind));
        Self {
            details: Some(details(kind, name)),
            ..Self::new(409, "AlreadyExists", message)
        }
    }

    /// The object changed since the client read it.
    #[must_use]
    pub fn conflict(kind: Kind, name: &str) -> Self {
        let because = "the object has been modified; please apply your changes to the latest \
                       version and try again";
        Self::conflict_because(kind, name, because)
    }

    #[must_use]
    pub fn conflict_because(kind: Kind, name: &str, because: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {because}",
            qualified(kind)
        );
        Self {
            details: Some(details(kind, name)),
            ..Self::new(409, "Conflict", message)
        }
    }

    /// A version whose events, or whose list, are no longer kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types \
                 include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// One field of an object is wrong. `problem` is the kind of error as Kubernetes words it and
    /// what follows: `Required value`.
    #[must_use]
    pub fn invalid(kind: Kind, name: &str, field: &str, problem: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is invalid: {field}: {problem}",
            qualified_kind(kind)
        );
        let reason = match problem.split(':').next().unwrap_or_default() {
            "Required value" => "FieldValueRequired",
            "Forbidden" => "FieldValueForbidden",
            "Not found" => "FieldValueNotFound",
            _ => "FieldValueInvalid",
        };
        let mut about = details(kind, name);
        about["kind"] = kind.names().kind.into();
        about["causes"] = json!([{"reason": reason, "message": problem, "field": field}]);
        Self {
            details: Some(about),
            ..Self::new(422, "Invalid", message)
        }
    }

    /// A patch that was read but cannot be applied.
    #[must_use]
    pub fn patch_failed(because: &str) -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self {
            details: Some(json!({"causes": [{"message": because}]})),
            ..Self::new(422, "Invalid", message)
        }
    }

    #[must_use]
    pub fn too_many_requests(message: &str, retry_after: u32) -> Self {
        Self {
            details: Some(json!({"retryAfterSeconds": retry_after})),
            ..Self::new(429, "TooManyRequests", message)
        }
    }

    /// Seconds after which the client should try again.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }

    /// The body.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        body
    }

    /// The answer to a deletion that is done.
    #[must_use]
    pub fn deleted(kind: Kind, name: &str, uid: &str) -> Value {
        let mut details = details(kind, name);
        details["uid"] = uid.into();
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        })
    }

    /// JSON that is no object of this kind.
    #[must_use]
    pub fn from_decode(kind: Kind, name: &str, error: &DecodeError) -> Self {
        match error {
            DecodeError::Field { path, problem } => {
                // Names of our types mean nothing to a client.
                let problem = match problem.split_once("expected struct ") {
                    Some((found, _)) => format!("{found}expected an object"),
                    None => problem.clone(),
                };
                Self::invalid(kind, name, path, &format!("Invalid value: {problem}"))
            }
            other => Self::bad_request(other.to_string()),
        }
    }
}

impl From<store::Error> for Status {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::AlreadyExists((kind, key)) => Self::already_exists(kind, &key.name),
            store::Error::NotFound((kind, key)) => Self::not_found(kind, &key.name),
            store::Error::Conflict((kind, key)) => Self::conflict(kind, &key.name),
            #[allow(unreachable_patterns, reason = "a store on disk has errors of its own")]
            _ => Self::new(
                500,
                "InternalError",
                "Internal error occurred: the store refused",
            ),
        }
    }
}

impl From<store::Gone> for Status {
    fn from(gone: store::Gone) -> Self {
        Self::expired(gone.to_string())
    }
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        Self::bad_request(rejection.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: &Status, code: u16, message: &str) {
        assert_eq!((status.code, status.message.as_str()), (code, message));
        assert_eq!(status.to_value()["code"], code);
    }

    #[test]
    fn texts_are_those_of_kubernetes() {
        check(
            &Status::not_found(Kind::Service, "h1"),
            404,
            "services.serving.knative.dev \"h1\" not found",
        );
        check(
            &Status::conflict(Kind::Service, "x"),
            409,
            "Operation cannot be fulfilled on services.serving.knative.dev \"x\": the object has \
             been modified; please apply your changes to the latest version and try again",
        );
        check(
            &Status::invalid(
                Kind::Service,
                "x",
                "spec.template.spec.containers",
                "Required value",
            ),
            422,
            "Service.serving.knative.dev \"x\" is invalid: spec.template.spec.containers: \
             Required value",
        );
        check(
            &Status::already_exists(Kind::ConfigMap, "a"),
            409,
            "configmaps \"a\" already exists",
        );
        check(
            &Status::unsupported_media_type(&["a/b", "c/d"]),
            415,
            "the body of the request was in an unknown format - accepted media types include: \
             a/b, c/d",
        );
    }
}
