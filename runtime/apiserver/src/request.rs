//! What a request asks for: its method, path and query, read into one value.
//!
//! Pure. Whether the thing asked for exists is for those who answer.

use std::borrow::Cow;

use ::http::Method;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;

use crate::resources::{self, GroupVersion};
use crate::review::Review;
use crate::status::Status;

/// What to do with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/livez`, `/readyz` or `/healthz`, and what is below them.
    Health(&'static str),
    Version,
    /// `/`: the paths there are.
    Paths,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(&'static str),
    /// `/api/v1` and `/apis/<group>/<version>`.
    Resources(GroupVersion),
    /// `/openapi/v3`.
    OpenApi,
    /// `/openapi/v3/<path of the group and version>`.
    OpenApiOf(GroupVersion),
    Objects(Objects),
    /// What a replica wrote.
    Log(ObjectKey),
    /// How many replicas a Deployment or ReplicaSet has; `true` to change that.
    Scale(Kind, ObjectKey, bool),
    /// A question of a client about itself.
    Review(Review),
}

/// A collection of objects, or one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects {
    pub verb: Verb,
    pub kind: Kind,
    /// None over all namespaces, and for kinds without.
    pub namespace: Option<String>,
    pub name: Option<String>,
    /// Only the status of the object is meant.
    pub is_status: bool,
}

/// The parameters of a request that this server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub watch: bool,
    pub label_selector: String,
    pub field_selector: String,
    pub resource_version: String,
    pub resource_version_match: String,
    pub limit: Option<usize>,
    pub continue_token: String,
    pub timeout_seconds: Option<u64>,
    pub allow_watch_bookmarks: bool,
    pub send_initial_events: bool,
    pub dry_run: Vec<String>,
    pub field_validation: String,
    pub field_manager: String,
    pub propagation_policy: String,
    pub orphan_dependents: Option<bool>,
    pub include_object: String,
}

/// Reads a query string.
///
/// # Errors
/// A number that is none.
pub fn query(text: &str) -> Result<Query, Status> {
    let mut query = Query::default();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key), decoded(value).into_owned());
        match &*key {
            "watch" => query.watch = is_true(&value),
            "labelSelector" => query.label_selector = value,
            "fieldSelector" => query.field_selector = value,
            "resourceVersion" => query.resource_version = value,
            "resourceVersionMatch" => query.resource_version_match = value,
            "limit" => query.limit = number(&key, &value)?.filter(|n| *n != 0),
            "continue" => query.continue_token = value,
            "timeoutSeconds" => query.timeout_seconds = number(&key, &value)?,
            "allowWatchBookmarks" => query.allow_watch_bookmarks = is_true(&value),
            "sendInitialEvents" => query.send_initial_events = is_true(&value),
            "dryRun" => query.dry_run.push(value),
            "fieldValidation" => query.field_validation = value,
            "fieldManager" => query.field_manager = value,
            "propagationPolicy" => query.propagation_policy = value,
            "orphanDependents" => query.orphan_dependents = Some(is_true(&value)),
            "includeObject" => query.include_object = value,
            _ => {}
        }
    }
    Ok(query)
}

/// Reads a flag.
pub fn is_true(text: &str) -> bool {
    // As Kubernetes reads flags: what is there and not false is true.
    !matches!(text, "false" | "0")
}

/// Reads a number; none for an empty text.
///
/// # Errors
/// 400.
pub fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<Option<T>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = text.parse().map(Some);
    read.map_err(|_| Status::bad_request(format!("{key}: \"{text}\" is not a whole number")))
}

/// Undoes percent-encoding; what is not valid stays as it is.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (*first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (byte, _) => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a path.
///
/// # Errors
/// 404 for a path that is none of the API's, 405 for a method that it does not have.
pub fn target(method: &Method, path: &str, query: &Query) -> Result<Target, Status> {
    let decoded: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| self::decoded(&part.replace('+', "%2B")).into_owned())
        .collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let fixed = match parts.as_slice() {
        [] => Target::Paths,
        ["livez", ..] => Target::Health("livez"),
        ["readyz", ..] => Target::Health("readyz"),
        ["healthz", ..] => Target::Health("healthz"),
        ["version"] => Target::Version,
        ["api"] => Target::CoreVersions,
        ["apis"] => Target::Groups,
        ["openapi", "v3"] => Target::OpenApi,
        ["openapi", "v3", "api", version] => Target::OpenApiOf(group_version("", version)?),
        ["openapi", "v3", "apis", group, version] => {
            Target::OpenApiOf(group_version(group, version)?)
        }
        ["apis", group, version, resource] if Review::find(group, version, resource).is_some() => {
            let review = Review::find(group, version, resource).map(Target::Review);
            return match *method {
                Method::POST => review.ok_or_else(Status::no_such_path),
                _ => Err(Status::method_not_allowed()),
            };
        }
        ["apis", group] => Target::Group(named_group(group)?),
        ["api", version] => Target::Resources(group_version("", version)?),
        ["apis", group, version] => Target::Resources(group_version(group, version)?),
        ["api", version, rest @ ..] => {
            return objects(method, group_version("", version)?, rest, query);
        }
        ["apis", group, version, rest @ ..] => {
            return objects(method, group_version(group, version)?, rest, query);
        }
        _ => return Err(Status::no_such_path()),
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        Ok(fixed)
    } else {
        Err(Status::method_not_allowed())
    }
}

fn group_version(group: &str, version: &str) -> Result<GroupVersion, Status> {
    GroupVersion::find(group, version).ok_or_else(Status::no_such_path)
}

fn named_group(group: &str) -> Result<&'static str, Status> {
    resources::GROUP_VERSIONS
        .into_iter()
        .map(|gv| gv.group)
        .find(|name| !name.is_empty() && *name == group)
        .ok_or_else(Status::no_such_path)
}

/// What follows the group and version: `[watch/][namespaces/N/]plural[/name[/status]]`.
fn objects(
    method: &Method,
    gv: GroupVersion,
    parts: &[&str],
    query: &Query,
) -> Result<Target, Status> {
    let (old_watch, parts) = match parts {
        ["watch", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (namespace, parts) = match parts {
        ["namespaces", namespace, plural, rest @ ..]
            if !matches!(*plural, "status" | "finalize") =>
        {
            (Some((*namespace).to_owned()), [&[*plural], rest].concat())
        }
        rest => (None, rest.to_vec()),
    };
    let (plural, name, sub) = match parts.as_slice() {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some((*name).to_owned()), None),
        [plural, name, sub] => (plural, Some((*name).to_owned()), Some(*sub)),
        _ => return Err(Status::no_such_path()),
    };
    let kind = resources::find(gv, plural).ok_or_else(Status::no_such_path)?;
    let namespaced = kind.names().namespaced;
    if namespace.is_some() && !namespaced || name.is_some() && namespaced && namespace.is_none() {
        return Err(Status::no_such_path());
    }
    if let (Some(sub), Some(name)) = (sub, &name)
        && resources::subresource(kind).is_some_and(|known| known.name == sub)
    {
        let key = ObjectKey::new(namespace.unwrap_or_default(), name);
        return match (kind, method.as_str()) {
            (Kind::Pod, "GET") => Ok(Target::Log(key)),
            (Kind::Deployment | Kind::ReplicaSet, "GET") => Ok(Target::Scale(kind, key, false)),
            (Kind::Deployment | Kind::ReplicaSet, "PUT" | "PATCH") => {
                Ok(Target::Scale(kind, key, true))
            }
            _ => Err(Status::method_not_allowed()),
        };
    }
    let is_status = match sub {
        None => false,
        Some("status") if resources::has_status(kind) => true,
        Some(_) => return Err(Status::no_such_path()),
    };
    let verb = verb(method, name.is_some(), query.watch || old_watch)?;
    if is_status && !matches!(verb, Verb::Get | Verb::Update | Verb::Patch) {
        return Err(Status::method_not_allowed());
    }
    if verb == Verb::Create && namespaced && namespace.is_none() {
        return Err(Status::method_not_allowed());
    }
    Ok(Target::Objects(Objects {
        verb,
        kind,
        namespace,
        name,
        is_status,
    }))
}

fn verb(method: &Method, has_name: bool, watch: bool) -> Result<Verb, Status> {
    Ok(match (method.as_str(), has_name) {
        ("GET", _) if watch => Verb::Watch,
        ("GET" | "HEAD", true) => Verb::Get,
        ("GET" | "HEAD", false) => Verb::List,
        ("POST", false) => Verb::Create,
        ("PUT", true) => Verb::Update,
        ("PATCH", true) => Verb::Patch,
        ("DELETE", true) => Verb::Delete,
        ("DELETE", false) => Verb::DeleteCollection,
        _ => return Err(Status::method_not_allowed()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &Method, path: &str, text: &str) -> Result<Target, u16> {
        let query = query(text).map_err(|status| status.code)?;
        target(method, path, &query).map_err(|status| status.code)
    }

    #[track_caller]
    fn objects(method: &Method, path: &str, text: &str) -> Objects {
        match ask(method, path, text) {
            Ok(Target::Objects(objects)) => objects,
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    #[test]
    fn paths_of_objects() {
        let base = "/apis/serving.knative.dev/v1";
        let one = objects(
            &Method::GET,
            &format!("{base}/namespaces/n/services/h1"),
            "",
        );
        assert_eq!(
            one,
            Objects {
                verb: Verb::Get,
                kind: Kind::Service,
                namespace: Some("n".into()),
                name: Some("h1".into()),
                is_status: false,
            }
        );
        let all = objects(&Method::GET, &format!("{base}/services"), "watch=true");
        assert_eq!((all.verb, all.namespace), (Verb::Watch, None));
        let status = objects(
            &Method::PUT,
            &format!("{base}/namespaces/n/routes/r/status"),
            "",
        );
        assert!(status.is_status);
        let namespace = objects(&Method::DELETE, "/api/v1/namespaces/n", "");
        assert_eq!(
            (namespace.kind, namespace.namespace, namespace.name),
            (Kind::Namespace, None, Some("n".into()))
        );
        let maps = objects(&Method::GET, "/api/v1/namespaces/n/configmaps", "watch=0");
        assert_eq!((maps.kind, maps.verb), (Kind::ConfigMap, Verb::List));
    }

    #[test]
    fn what_is_not_there_is_404_and_what_cannot_be_done_is_405() {
        for (method, path, code) in [
            (Method::GET, "/apis/serving.knative.dev/v2/services", 404),
            (Method::GET, "/apis/serving.knative.dev/v1/service", 404),
            (Method::GET, "/apis/serving.knative.dev/v1/services/x", 404),
            (Method::GET, "/api/v1/namespaces/n/namespaces/x", 404),
            (Method::GET, "/api/v1/namespaces/n/secrets/s/log", 404),
            (Method::GET, "/nothing", 404),
            (Method::GET, "/openapi/v2", 404),
            (Method::POST, "/apis/serving.knative.dev/v1/services", 405),
            (Method::POST, "/version", 405),
            (Method::GET, "/api/v1/namespaces/n/pods/p/exec", 404),
            (Method::POST, "/api/v1/namespaces/n/pods/p/log", 405),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/n/deployments/d/scale",
                405,
            ),
            (Method::PUT, "/api/v1/namespaces/n/secrets", 405),
            (Method::OPTIONS, "/api/v1/namespaces", 405),
        ] {
            assert_eq!(ask(&method, path, ""), Err(code), "{method} {path}");
        }
    }

    #[test]
    fn logs_and_scales_belong_to_their_objects() {
        let key = |name: &str| ObjectKey::new("n", name);
        let log = ask(
            &Method::GET,
            "/api/v1/namespaces/n/pods/p/log",
            "follow=true",
        );
        assert_eq!(log, Ok(Target::Log(key("p"))));
        let path = "/apis/apps/v1/namespaces/n/deployments/d/scale";
        let kind = Kind::Deployment;
        assert_eq!(
            ask(&Method::GET, path, ""),
            Ok(Target::Scale(kind, key("d"), false))
        );
        assert_eq!(
            ask(&Method::PATCH, path, ""),
            Ok(Target::Scale(kind, key("d"), true))
        );
    }

    #[test]
    fn queries_are_decoded() {
        let read =
            query("labelSelector=a%3Db%2Cc+in+(d)&limit=500&dryRun=All&x=%zz").expect("read");
        assert_eq!(read.label_selector, "a=b,c in (d)");
        assert_eq!(read.limit, Some(500));
        assert_eq!(read.dry_run, ["All"]);
        let odd = query("labelSelector=%+f%e%C3%A9%").expect("read");
        assert_eq!(odd.label_selector, "% f%eé%");
        assert_eq!(query("limit=x").expect_err("no number").code, 400);
        assert_eq!(query("limit=-1").expect_err("no count").code, 400);
    }
}
