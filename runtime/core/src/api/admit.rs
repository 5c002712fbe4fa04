//! Admission: the one way in for an object, whoever brings it.
//!
//! ```text
//! new object ─► canonical form ─► defaults ─► who made or changed it ─► validation ─► dry run
//!                                    ▲                  ▲                  ▲
//! old object ─► canonical form ─┬─► defaults ───────────┘                  │
//!                               └──────────────────────────────────────────┘
//! ```
//!
//! Input: the object as a client or file has it, the one that is stored, and who asks. Output: the
//! object to store with warnings for the client, or why not. `generation`, `uid` and versions are
//! the store's; [`spec_changed`] tells it when the generation rises.
//!
//! # Source
//!
//! knative/pkg webhook/resourcesemantics and webhook/configmaps.

mod kinds;

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use super::metadata;
use super::podspec::{self, PodSpec};
use crate::field_error::{FieldError, FieldErrors, Level};
use crate::keys::{CREATOR_ANNOTATION, DRY_RUN_ANNOTATION, LAST_MODIFIER_ANNOTATION};
use crate::kind::Kind;
use crate::meta::ObjectMeta;
use crate::object::{Dynamic, Object};
use crate::settings::{self, Settings};

/// Who asks, and under which rules.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The user that is written down as creator and last modifier.
    pub user: &'a str,
    pub settings: &'a Settings,
    /// The object will not be stored; the client wants to know whether it could be.
    pub dry_run: bool,
}

/// An object that may be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    pub object: Object,
    /// Texts of `Warning` headers, one line each.
    pub warnings: Vec<String>,
}

/// Why an object may not be stored. `Display` is what follows the name of the webhook.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// The object cannot be read as what it should be.
    #[error("mutation failed: {0}")]
    Defaulting(String),
    /// The object breaks rules.
    #[error("validation failed: {0}")]
    Validation(FieldErrors),
    /// No pod could be made from the template.
    #[error("validation callback failed: {0}")]
    DryRun(FieldErrors),
    /// A ConfigMap with settings that cannot be used.
    #[error("validation failed: {0}")]
    Settings(settings::Error),
}

impl Rejection {
    /// The whole message that a client of Kubernetes sees.
    #[must_use]
    pub fn message(&self) -> String {
        let webhook = match self {
            Self::Defaulting(_) => "webhook.serving.knative.dev",
            Self::Validation(_) | Self::DryRun(_) => "validation.webhook.serving.knative.dev",
            Self::Settings(_) => "config.webhook.serving.knative.dev",
        };
        format!("admission webhook \"{webhook}\" denied the request: {self}")
    }
}

/// Whether the object is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
}

/// Decides about one object: a new one when `old` is `None`, else a change of `old`.
///
/// # Errors
///
/// [`Rejection`], for the first stage that has something to say, with all that it has to say.
pub fn admit(
    request: &Request<'_>,
    old: Option<&Object>,
    new: Object,
) -> Result<Admitted, Rejection> {
    if old.is_some() && new.metadata().deletion_timestamp.is_some() {
        // An object that is going needs no more than to lose its finalizers.
        return Ok(Admitted {
            object: new,
            warnings: Vec::new(),
        });
    }
    match new {
        Object::Service(new) => admit_kind(request, old, *new),
        Object::Configuration(new) => admit_kind(request, old, *new),
        Object::Revision(new) => admit_kind(request, old, *new),
        Object::Route(new) => admit_kind(request, old, *new),
        Object::DomainMapping(new) => admit_kind(request, old, *new),
        Object::Dynamic(new) => admit_dynamic(request, *new),
    }
}

/// Whether anything but metadata and status differs, so that the generation rises.
#[must_use]
pub fn spec_changed(old: &Object, new: &Object) -> bool {
    match (old, new) {
        (Object::Service(old), Object::Service(new)) => old.spec != new.spec,
        (Object::Configuration(old), Object::Configuration(new)) => old.spec != new.spec,
        (Object::Revision(old), Object::Revision(new)) => old.spec != new.spec,
        (Object::Route(old), Object::Route(new)) => old.spec != new.spec,
        (Object::DomainMapping(old), Object::DomainMapping(new)) => old.spec != new.spec,
        (Object::Dynamic(old), Object::Dynamic(new)) => {
            let rest = |object: &Dynamic| {
                let mut body = object.body.clone();
                body.remove("status");
                body
            };
            rest(old) != rest(new)
        }
        _ => true,
    }
}

/// What admission does differently for each kind.
///
/// Private to admission: it exists so that the stages are in one function, and in one order.
trait Kinded: Clone + Into<Object> {
    fn meta(&self) -> &ObjectMeta;
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// The spec of the pods, of kinds that have one.
    fn pod_spec_mut(&mut self) -> Option<&mut PodSpec>;
    fn spec_differs(&self, other: &Self) -> bool;
    fn apply_defaults(&mut self, old: Option<&Self>, operation: Operation, settings: &Settings);
    fn validate(&self, old: Option<&Self>, settings: &Settings) -> FieldErrors;
    /// Whether creator and last modifier are written down; the users of an owned object are those
    /// of its owner.
    fn has_users(&self) -> bool;
    /// The template that pods are made from, when it is the user's.
    fn own_template(&self) -> Option<&PodSpec>;
}

fn admit_kind<'a, T>(
    request: &Request<'_>,
    old: Option<&'a Object>,
    mut new: T,
) -> Result<Admitted, Rejection>
where
    T: Kinded + 'a,
    &'a T: TryFrom<&'a Object>,
{
    let settings = request.settings;
    let mut old = old.and_then(|old| <&T>::try_from(old).ok()).cloned();
    if let Some(old) = &mut old {
        canonicalize(old, "old")?;
    }
    canonicalize(&mut new, "new")?;
    complete(request, old.as_ref(), &mut new);
    let errors = new.validate(old.as_ref(), settings);
    let problems = errors.only(Level::Error);
    if !problems.is_empty() {
        return Err(Rejection::Validation(problems));
    }
    if let Some(spec) = new.own_template()
        && wants_dry_run(request, new.meta())
    {
        dry_run(spec)?;
    }
    Ok(Admitted {
        object: new.into(),
        warnings: one_line_each(&errors.only(Level::Warning)),
    })
}

/// Puts defaults and users in place.
fn complete<T: Kinded>(request: &Request<'_>, old: Option<&T>, new: &mut T) {
    let settings = request.settings;
    let Some(old) = old else {
        new.apply_defaults(None, Operation::Create, settings);
        if new.has_users() {
            let users = [CREATOR_ANNOTATION, LAST_MODIFIER_ANNOTATION];
            metadata::set_user(new.meta_mut(), request.user, &users);
        }
        return;
    };
    // Defaults that are new since it was stored are no change that the client made.
    let mut completed = old.clone();
    completed.apply_defaults(None, Operation::Update, settings);
    new.apply_defaults(Some(&completed), Operation::Update, settings);
    if new.has_users() && completed.spec_differs(new) {
        metadata::set_user(new.meta_mut(), request.user, &[LAST_MODIFIER_ANNOTATION]);
    }
}

fn canonicalize<T: Kinded>(object: &mut T, which: &str) -> Result<(), Rejection> {
    let Some(spec) = object.pod_spec_mut() else {
        return Ok(());
    };
    podspec::canonicalize(spec).map_err(|error| {
        Rejection::Defaulting(format!("cannot decode incoming {which} object: {error}"))
    })
}

/// A header has no line breaks.
fn one_line_each(warnings: &FieldErrors) -> Vec<String> {
    let lines = warnings.merged().into_iter();
    lines
        .map(|warning| warning.to_string().replace('\n', " "))
        .collect()
}

/// Whether the request or the object asks for it.
fn wants_dry_run(request: &Request<'_>, meta: &ObjectMeta) -> bool {
    let flag = request.settings.features.dry_run;
    let asked = matches!(
        meta.annotation(DRY_RUN_ANNOTATION),
        Some("enabled" | "strict")
    );
    !flag.is_disabled() && (request.dry_run || asked || flag.is_enabled())
}

fn dry_run(spec: &PodSpec) -> Result<(), Rejection> {
    let Some(answer) = podspec::dry_run(spec) else {
        return Ok(());
    };
    let error = FieldError::new(format!("dry run failed with {answer}"), ["spec.template"]);
    Err(Rejection::DryRun(error.into()))
}

/// Objects that are kept as they are given; those with settings must be usable.
fn admit_dynamic(request: &Request<'_>, object: Dynamic) -> Result<Admitted, Rejection> {
    if object.kind.is_volatile() {
        let problem = format!(
            "a {} shows what runs, only its host writes it",
            object.kind.names().kind
        );
        return Err(Rejection::Validation(
            FieldError::new(problem, ["kind"]).into(),
        ));
    }
    if object.kind == Kind::ConfigMap && object.metadata.namespace == settings::NAMESPACE {
        let mut data = BTreeMap::new();
        let members = object.body.get("data").and_then(Value::as_object);
        for (key, value) in members.into_iter().flatten() {
            let Some(text) = value.as_str() else {
                let problem = format!("data.{key}: expected a string");
                return Err(Rejection::Defaulting(problem));
            };
            data.insert(key.clone(), text.to_owned());
        }
        let mut settings = request.settings.clone();
        settings
            .set(&object.metadata.name, &data)
            .map_err(Rejection::Settings)?;
    }
    if object.kind == Kind::ClusterDomainClaim {
        let namespace = object
            .body
            .get("spec")
            .and_then(|spec| spec.get("namespace"));
        if namespace.and_then(Value::as_str).is_none_or(str::is_empty) {
            let error = FieldErrors::from(FieldError::missing("namespace"));
            return Err(Rejection::Validation(error.via_field("spec")));
        }
    }
    Ok(Admitted {
        object: object.into(),
        warnings: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
