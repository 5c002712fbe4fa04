//! Takes objects from files and from the embedding program, checks them, and removes them.
//!
//! Input: an object, and where the files are that its images name. Output: the admitted object in
//! the store, which the controller follows; or why it was not taken.
//!
//! - An object is applied as a whole or not at all, over what is there then: a write that somebody
//!   else overtook begins anew.
//! - The objects of an earlier run are there before anything is applied over them.
//! - What the controller and admission wrote into an object is not lost when it is applied again:
//!   its finalizer, who made it and who changed it last, its template where both mean the same.

use std::path::PathBuf;
use std::sync::Arc;

use serve_core::api::admit;
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;

use super::{Error, Runtime};
use crate::control::settings::Live;
use crate::control::store;
use crate::revision::launch;
use crate::source::resolve::{self, Origin};

/// The user that objects from files and from the embedding program are written as.
const USER: &str = "kubernetes-admin";

/// Why an object was not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The bytes of an image are not there.
    #[error(transparent)]
    Image(#[from] resolve::FieldError),
    /// It is not a valid object.
    #[error(transparent)]
    Rejected(#[from] admit::Rejection),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The objects of an earlier run cannot be read.
    #[error(transparent)]
    Restore(#[from] Error),
    /// Its component cannot run here. Only a check finds this; what is applied says so in its
    /// status.
    #[error(transparent)]
    Launch(#[from] launch::Error),
}

impl Runtime {
    /// Creates an object, or makes an existing one like it. Images that are files are read,
    /// relative to the origin's directory. A ConfigMap of settings holds for all that is applied
    /// after it.
    ///
    /// # Errors
    /// As [`ApplyError`] says.
    ///
    /// # Cancel safety
    /// The object is applied as a whole or not at all.
    pub async fn apply(
        &self,
        mut object: Object,
        origin: Origin<'_>,
    ) -> Result<Arc<Object>, ApplyError> {
        self.resolve(&mut object, origin).await?;
        self.restored().await?;
        loop {
            let old = self.store.get(object.kind(), &object.key());
            if let Some(old) = &old
                && is_being_finalized(old)
            {
                let uid = &old.metadata().uid;
                let is_gone =
                    |now: Option<&Object>| now.is_none_or(|now| now.metadata().uid != *uid);
                self.store.wait_for(old.kind(), &old.key(), is_gone).await;
                continue;
            }
            match self.write(old.as_deref(), object.clone()) {
                // Somebody else wrote between the read and the write: look again.
                Err(ApplyError::Store(
                    store::Error::Conflict(_) | store::Error::AlreadyExists(_),
                )) => {}
                result => {
                    let written = result?;
                    self.settings_follow(&written).await;
                    return Ok(written);
                }
            }
        }
    }

    /// Waits, if an object is one of the settings, until these are as it says.
    async fn settings_follow(&self, written: &Object) {
        if !Live::concerns(&(written.kind(), written.key())) {
            return;
        }
        let version = written.metadata().resource_version.parse().unwrap_or(0);
        let mut known = self.settings_version.clone();
        // An error says that the host ends: nothing follows any more.
        let _ = known.wait_for(|known| *known >= version).await;
    }

    /// Gives an object the default namespace if it has none, and names its images by digest, as
    /// [`Runtime::apply`] does first.
    ///
    /// # Errors
    /// [`ApplyError::Image`].
    pub async fn resolve(&self, object: &mut Object, origin: Origin<'_>) -> Result<(), ApplyError> {
        self.resolve_known(object, origin, &mut resolve::Known::default())
            .await
    }

    /// As [`Runtime::resolve`], without reading files again that are known.
    ///
    /// # Errors
    /// [`ApplyError::Image`].
    pub async fn resolve_known(
        &self,
        object: &mut Object,
        origin: Origin<'_>,
        known: &mut resolve::Known,
    ) -> Result<(), ApplyError> {
        if object.metadata().namespace.is_empty() && object.kind().names().namespaced {
            "default".clone_into(&mut object.metadata_mut().namespace);
        }
        let resolved = self.resolver.resolve_known(object, origin, known);
        Ok(resolved.await?)
    }

    /// The files and folders whose change means other bytes for the images of an object.
    pub async fn watched(&self, object: &Object, origin: Origin<'_>) -> Vec<PathBuf> {
        self.resolver.watched(object, origin).await
    }

    /// Whether an object could be applied, without applying it: its images are found, defaults and
    /// validation are done, and its component is compiled and linked. Returns warnings.
    ///
    /// # Errors
    /// As [`ApplyError`] says.
    pub async fn check(
        &self,
        mut object: Object,
        origin: Origin<'_>,
    ) -> Result<Vec<String>, ApplyError> {
        self.resolve(&mut object, origin).await?;
        let settings = self.settings.borrow().clone();
        let request = admit::Request {
            user: USER,
            settings: &settings,
            dry_run: true,
        };
        let admitted = admit::admit(&request, None, object)?;
        self.launcher.check(&admitted.object).await?;
        Ok(admitted.warnings)
    }

    /// Deletes an object and all that it controls, or begins to when finalizers hold it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn delete(&self, kind: Kind, key: &ObjectKey) -> Result<(), store::Error> {
        self.store.remove(kind, key, None).map(drop)
    }

    fn write(&self, old: Option<&Object>, mut new: Object) -> Result<Arc<Object>, ApplyError> {
        if let Some(old) = old {
            let meta = new.metadata_mut();
            meta.resource_version
                .clone_from(&old.metadata().resource_version);
            // What the controller holds it for is not for a manifest to say.
            let own = keys::DOMAIN_MAPPING_FINALIZER.to_owned();
            if old.metadata().finalizers.contains(&own) && !meta.finalizers.contains(&own) {
                meta.finalizers.push(own);
            }
            // Who made and last changed it is not for the one who applies to say.
            for key in [keys::CREATOR_ANNOTATION, keys::LAST_MODIFIER_ANNOTATION] {
                if let Some(value) = old.metadata().annotation(key) {
                    meta.annotations
                        .entry(key.to_owned())
                        .or_insert_with(|| value.to_owned());
                }
            }
        }
        let settings = self.settings.borrow().clone();
        let request = admit::Request {
            user: USER,
            settings: &settings,
            dry_run: false,
        };
        if let Some(old) = old {
            keep_template(&request, old, &mut new);
        }
        let admitted = admit::admit(&request, old, new)?;
        for warning in &admitted.warnings {
            tracing::debug!(warning, "an object is admitted with a warning");
        }
        Ok(match old {
            Some(_) => self.store.update(admitted.object)?,
            None => self.store.create(admitted.object)?,
        })
    }
}

/// Gives an object the template of the stored one when both mean the same.
///
/// Knative gives some defaults to new objects only, and a template that names its revision none
/// later: without them it would differ from the stored one, and make a new revision or be refused
/// as a change without a new name. `kubectl apply` keeps what its file did not say, too.
fn keep_template(request: &admit::Request<'_>, old: &Object, new: &mut Object) {
    if !matches!(old, Object::Service(_) | Object::Configuration(_)) {
        return;
    }
    let Ok(with_defaults) = admit::admit(request, None, new.clone()) else {
        return;
    };
    let templates = |object: &mut Object| match object {
        Object::Service(service) => Some(std::mem::take(&mut service.spec.template)),
        Object::Configuration(configuration) => {
            Some(std::mem::take(&mut configuration.spec.template))
        }
        _ => None,
    };
    let stored = templates(&mut old.clone());
    let is_same = stored.is_some() && stored == templates(&mut with_defaults.object.clone());
    if !is_same {
        return;
    }
    match (new, stored) {
        (Object::Service(service), Some(template)) => service.spec.template = template,
        (Object::Configuration(configuration), Some(template)) => {
            configuration.spec.template = template;
        }
        _ => {}
    }
}

/// Whether the controller is about to remove an object that was deleted, and nobody else holds it.
fn is_being_finalized(object: &Object) -> bool {
    let meta = object.metadata();
    meta.deletion_timestamp.is_some() && meta.finalizers == [keys::DOMAIN_MAPPING_FINALIZER]
}
