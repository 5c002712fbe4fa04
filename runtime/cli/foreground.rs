//! A run of manifests in the foreground: reads them, applies what changed, tells what became of it,
//! and does so again whenever a file changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use serve_core::api::admit::Rejection;
use serve_core::conditions::{CONFIGURATIONS_READY, ConditionStatus};
use serve_core::keys;
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use serve_runtime::config::Span;
use serve_runtime::image::Digest;
use serve_runtime::source::files::{self, Scan};
use serve_runtime::source::manifest::{Diagnostic, Document};
use serve_runtime::source::resolve::{Known, Origin};
use serve_runtime::source::watch::{self, Watch};
use serve_runtime::{ApplyError, Runtime};
use tokio::time::{Instant, timeout_at};

use crate::pending::{Pending, settled};
use crate::report::{self, Event, Reporter, Settled};
use crate::snippet;

type Id = (Kind, ObjectKey);

/// What the user asked to run.
pub struct Request {
    pub paths: Vec<PathBuf>,
    /// The name of a bare component's Service.
    pub name: Option<String>,
    /// Whether `ko://` images of manifests in folders are built too.
    pub allow_build: bool,
}

/// A run.
pub struct Foreground<'a> {
    runtime: &'a Runtime,
    request: Request,
    reporter: Reporter,
    public: Option<SocketAddr>,
    /// How long the Services of the start may take to become ready.
    patience: Span,
    /// Services whose state is to be told once it is decided.
    pending: Pending,
    /// What each file made when it was right the last time.
    made: BTreeMap<PathBuf, BTreeSet<Id>>,
    /// What was applied last for each object, as a digest: what is as it was is left alone, so that
    /// a change that somebody made otherwise holds until the file changes.
    applied: BTreeMap<Id, Digest>,
    /// What was said last to be wrong.
    told: Vec<Diagnostic>,
}

/// What one look at the files led to.
#[derive(Default)]
struct Look {
    /// Everything that is wrong with the files.
    wrong: Vec<Diagnostic>,
    /// Services that were made or changed.
    changed: Vec<ObjectKey>,
    /// What to watch.
    watched: Vec<PathBuf>,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is wrong with the files as they are at the start; what it is was printed.
    #[error("{} of the manifests", count(*.0))]
    Manifests(usize),
    #[error("not ready: {}", .0.join(", "))]
    NotReady(Vec<String>),
    #[error("not ready within {0}: {1}")]
    TooLate(Span, String),
    #[error(transparent)]
    Watch(#[from] watch::Error),
}

impl<'a> Foreground<'a> {
    pub fn new(
        runtime: &'a Runtime,
        request: Request,
        reporter: Reporter,
        public: Option<SocketAddr>,
        patience: Span,
    ) -> Self {
        Self {
            runtime,
            request,
            reporter,
            public,
            patience,
            pending: Pending::default(),
            made: BTreeMap::new(),
            applied: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// Runs until something is wrong at the start; what is wrong later is told, and what was right
    /// before goes on.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what was applied.
    pub async fn run(mut self, scan: Scan) -> Error {
        let mut watch = match Watch::new() {
            Ok(watch) => watch,
            Err(error) => return error.into(),
        };
        if let Err(error) = self.start(scan, &mut watch).await {
            return error;
        }
        loop {
            tokio::select! {
                () = watch.changed() => {
                    let look = self.look(self.scan(), &mut watch).await;
                    self.tell(&look);
                }
                key = self.pending.next_settled(self.runtime.store()) => {
                    self.report(&key, report::reloaded);
                }
            }
        }
    }

    async fn start(&mut self, mut scan: Scan, watch: &mut Watch) -> Result<(), Error> {
        // What an earlier run made counts as made by files, so that it goes if they no longer
        // have it.
        let earlier = self.runtime.store().all();
        let ids = earlier
            .iter()
            .filter(|object| is_of_files(object))
            .map(|object| (object.kind(), object.key()));
        self.made.insert(PathBuf::new(), ids.collect());
        // From here on changes are told.
        watch.set(scan.looked_at.iter().map(PathBuf::as_path));
        if scan.is_stale() {
            scan = self.scan();
        }
        let look = self.look(scan, watch).await;
        if !look.wrong.is_empty() {
            snippet::print(&look.wrong);
            return Err(Error::Manifests(look.wrong.len()));
        }
        let end = Instant::now() + self.patience.0;
        let mut not_ready = Vec::new();
        while !self.pending.is_empty() {
            match timeout_at(end, self.pending.next_settled(self.runtime.store())).await {
                Ok(key) if self.report(&key, report::ready) => {}
                Ok(key) => not_ready.push(key.to_string()),
                Err(_) => {
                    return Err(Error::TooLate(self.patience, self.pending.to_string()));
                }
            }
        }
        if not_ready.is_empty() {
            Ok(())
        } else {
            Err(Error::NotReady(not_ready))
        }
    }

    /// Tells what is wrong with files that were right before.
    fn tell(&mut self, look: &Look) {
        // A log beside the files changes their folder: what was said last is not said again for it.
        if look.wrong == self.told {
            return;
        }
        self.told.clone_from(&look.wrong);
        snippet::print(&look.wrong);
        for wrong in &look.wrong {
            self.reporter.report(&Event::Invalid { diagnostic: wrong });
        }
    }

    fn scan(&self) -> Scan {
        files::scan(&self.request.paths, self.request.name.as_deref())
    }

    /// Takes what is in all files, applies what changed and deletes what is no longer there. A file
    /// with something wrong in it keeps what it made before.
    async fn look(&mut self, scan: Scan, watch: &mut Watch) -> Look {
        let mut known = Known::default();
        let mut look = Look {
            watched: scan.looked_at,
            ..Look::default()
        };
        let mut made = BTreeMap::new();
        for file in scan.files {
            let may_build = file.is_named || self.request.allow_build;
            let outcome = match file.documents {
                Ok(documents) => {
                    self.apply(documents, may_build, &mut known, &mut look)
                        .await
                }
                Err(wrong) => Err(wrong),
            };
            let ids = match outcome {
                Ok(ids) => ids,
                Err(wrong) => {
                    look.wrong.extend(wrong);
                    self.made.get(&file.path).cloned().unwrap_or_default()
                }
            };
            made.insert(file.path, ids);
        }
        self.delete_all_but(&made);
        self.made = made;
        self.pending.extend(&look.changed);
        watch.set(look.watched.iter().map(PathBuf::as_path));
        look
    }

    async fn apply(
        &mut self,
        mut documents: Vec<Document>,
        may_build: bool,
        known: &mut Known,
        look: &mut Look,
    ) -> Result<BTreeSet<Id>, Vec<Diagnostic>> {
        let mut ids = BTreeSet::new();
        let mut wrong = Vec::new();
        // What others read comes first, in whatever order the file has it.
        documents.sort_by_key(|document| !matches!(document.object, Object::Dynamic(_)));
        for document in documents {
            let origin = Origin {
                directory: document.directory(),
                may_build,
            };
            look.watched
                .extend(self.runtime.watched(&document.object, origin).await);
            match self.apply_one(&document, origin, known, look).await {
                Ok(id) => drop(ids.insert(id)),
                Err(error) => wrong.extend(diagnostics(&document, &error)),
            }
        }
        if wrong.is_empty() {
            Ok(ids)
        } else {
            Err(wrong)
        }
    }

    async fn apply_one(
        &mut self,
        document: &Document,
        origin: Origin<'_>,
        known: &mut Known,
        look: &mut Look,
    ) -> Result<Id, ApplyError> {
        let mut object = document.object.clone();
        self.runtime
            .resolve_known(&mut object, origin, known)
            .await?;
        let id = (object.kind(), object.key());
        let digest = digest(&object);
        if self.applied.get(&id) != Some(&digest) {
            self.runtime.apply(object, origin).await?;
            if id.0 == Kind::Service {
                look.changed.push(id.1.clone());
            }
            self.applied.insert(id.clone(), digest);
        }
        Ok(id)
    }

    fn delete_all_but(&mut self, made: &BTreeMap<PathBuf, BTreeSet<Id>>) {
        let kept: BTreeSet<&Id> = made.values().flatten().collect();
        let gone: Vec<Id> = self
            .made
            .values()
            .flatten()
            .filter(|id| !kept.contains(id))
            .cloned()
            .collect();
        for id in gone {
            self.applied.remove(&id);
            // It may have been deleted otherwise.
            if self.runtime.delete(id.0, &id.1).is_ok() {
                let kind = id.0.names().kind;
                self.reporter.report(&Event::Deleted {
                    kind,
                    namespace: &id.1.namespace,
                    name: &id.1.name,
                });
            }
        }
    }

    /// Tells what became of a Service, and returns whether it is ready.
    fn report(&mut self, key: &ObjectKey, good: fn(Settled<'_>) -> Event<'_>) -> bool {
        let Some(object) = self.runtime.store().get(Kind::Service, key) else {
            return true;
        };
        let Some((service, condition)) = settled(&object) else {
            return true;
        };
        let status = &service.status;
        // A Revision that fails makes the Route fail later, and the later one is what Ready shows.
        let cause = status
            .conditions
            .iter()
            .find(|c| c.kind == CONFIGURATIONS_READY && c.status == ConditionStatus::False);
        let cause = cause.unwrap_or(condition);
        let is_ready = condition.status == ConditionStatus::True;
        self.reporter.report(&if is_ready {
            good(Settled {
                namespace: &key.namespace,
                name: &key.name,
                revision: &status.latest_ready_revision_name,
                url: status.url.as_deref().unwrap_or_default(),
                address: self.public,
            })
        } else {
            Event::Failed {
                namespace: &key.namespace,
                name: &key.name,
                revision: &status.latest_created_revision_name,
                reason: &cause.reason,
                message: &cause.message,
            }
        });
        is_ready
    }
}

/// What tells an object from others.
fn digest(object: &Object) -> Digest {
    Digest::of(&serde_json::to_vec(object).unwrap_or_default())
}

fn count(mistakes: usize) -> String {
    match mistakes {
        1 => "1 mistake was found in one".to_owned(),
        more => format!("{more} mistakes were found in some"),
    }
}

/// What is wrong with an object that was not taken, at its places in the file.
pub fn diagnostics(document: &Document, error: &ApplyError) -> Vec<Diagnostic> {
    match error {
        ApplyError::Image(error) => vec![document.diagnostic(&error.field, error.to_string())],
        ApplyError::Rejected(Rejection::Validation(errors) | Rejection::DryRun(errors)) => errors
            .merged()
            .iter()
            .map(|error| {
                let field = error.paths.first().map_or("", String::as_str);
                document.diagnostic(field, error.to_string())
            })
            .collect(),
        ApplyError::Rejected(rejection) => {
            vec![document.diagnostic("", rejection.to_string())]
        }
        ApplyError::Store(error) => vec![document.diagnostic("", error.to_string())],
        ApplyError::Restore(error) => vec![document.diagnostic("", error.to_string())],
        ApplyError::Launch(error) => {
            let field = "spec.template.spec.containers[0].image";
            vec![document.diagnostic(field, error.to_string())]
        }
    }
}

/// Whether an object can only be there because a file had it: nobody made it of another, and it is no
/// account of a Namespace, which comes with it.
fn is_of_files(object: &Object) -> bool {
    let meta = object.metadata();
    meta.controller().is_none()
        && meta.annotation(keys::MADE_OF_ANNOTATION).is_none()
        && object.kind() != Kind::ServiceAccount
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_made_beside_files_does_not_go_with_them() {
        let object = |kind: &str, annotations: Value| {
            let value = json!({"apiVersion": "v1", "kind": kind,
                "metadata": {"name": "default", "annotations": annotations}});
            Object::from_value(value).expect("an object")
        };
        for (object, want) in [
            (object("ConfigMap", json!({})), true),
            (object("Namespace", json!({})), true),
            (
                object("ConfigMap", json!({keys::MADE_OF_ANNOTATION: ""})),
                false,
            ),
            (object("ServiceAccount", json!({})), false),
        ] {
            assert_eq!(is_of_files(&object), want, "{}", object.kind().names().kind);
        }
    }
}
