//! The objects of a foreground run in a file, so that the next run of the same manifests knows the
//! revisions that they name.
//!
//! The file is written aside, synced and renamed, a moment after something changed and at the end.
//! A lock beside it keeps a second process away.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serve_core::object::{DecodeError, Object};
use tokio::time::Instant;

use super::store::Store;
use crate::tasks::Stop;

/// Changes come in flocks: one write follows them all.
const DELAY: Duration = Duration::from_millis(200);
/// The next write comes at the earliest after so many times what the last one took: all objects are
/// written each time, and with ten thousand of them that would leave no time for anything else.
const PACE: u32 = 20;

/// Versions that may be given after a write of the file. One write follows many changes, and a
/// crash must not let the next run give a version again that a client has seen.
const RESERVED: u64 = 10_000;

/// Why there is no snapshot to go on from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("state \"{}\" is in use by another process", .0.display())]
    Taken(PathBuf),
    #[error("state \"{}\": {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("state \"{}\" cannot be read: {problem}; remove it, or start with --fresh", .path.display())]
    Content { path: PathBuf, problem: String },
}

/// What a run leaves to the next.
#[derive(Debug, Default, PartialEq)]
pub struct State {
    pub objects: Vec<Object>,
    /// No version that the run gave is newer.
    pub revision: u64,
}

/// The text of the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    State {
        objects: Vec<Value>,
        revision: u64,
    },
    /// As it was before versions were kept.
    Objects(Vec<Value>),
}

/// The file of one run, held by this process.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    /// Locked until it is dropped.
    _lock: File,
}

impl Snapshot {
    /// Takes the file at `path`, whose folder is made with mode 0700 when it is not there.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::File`].
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let failed = |source| Error::File {
            path: path.clone(),
            source,
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        crate::image::store::private_dir(folder).map_err(failed)?;
        let lock = File::create(path.with_extension("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Taken(path)),
            Err(TryLockError::Error(source)) => Err(Error::File { path, source }),
        }
    }

    /// Forgets what is in the file.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn clear(&self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// What is in the file; nothing when there is no file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn read(&self) -> Result<State, Error> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(self.failed(error)),
        };
        let content = |problem: String| Error::Content {
            path: self.path.clone(),
            problem,
        };
        let written: Written =
            serde_json::from_slice(&text).map_err(|error| content(error.to_string()))?;
        let (values, revision) = match written {
            Written::Objects(objects) => (objects, 0),
            Written::State { objects, revision } => (objects, revision),
        };
        let objects = values.into_iter().map(Object::from_value);
        let objects = objects
            .collect::<Result<_, DecodeError>>()
            .map_err(|error| content(error.to_string()))?;
        Ok(State { objects, revision })
    }

    /// Writes the file whenever objects change, until the stop signal.
    pub async fn keep(self, store: Store, mut stop: Stop) {
        let (snapshot, mut head, mut pause) = (Arc::new(self), store.head(), DELAY);
        loop {
            let stopped = tokio::select! {
                () = stop.stopped() => true,
                changed = head.changed() => changed.is_err(),
            };
            if !stopped {
                tokio::select! {
                    () = stop.stopped() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            head.borrow_and_update();
            let (start, writer, objects) = (Instant::now(), snapshot.clone(), store.clone());
            // Away from the threads that serve and reconcile: a disk takes its time.
            let written = tokio::task::spawn_blocking(move || writer.write(&objects)).await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the state is not kept"),
                Err(error) => tracing::warn!(%error, "the state is not kept"),
            }
            if stopped {
                return;
            }
            pause = DELAY.max(start.elapsed() * PACE);
        }
    }

    fn write(&self, store: &Store) -> Result<(), Error> {
        let objects = store.all();
        // What shows a run ends with it.
        let kept = objects.iter().filter(|object| !object.kind().is_volatile());
        let values: Vec<Value> = kept.map(|object| object.to_value()).collect();
        let state = Written::State {
            objects: values,
            revision: store.revision().saturating_add(RESERVED),
        };
        let text =
            serde_json::to_vec(&state).map_err(|error| self.failed(io::Error::other(error)))?;
        let aside = self.path.with_extension("new");
        let write = || {
            let mut file = private_file(&aside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&aside, &self.path)
        };
        write().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::File {
            path: self.path.clone(),
            source,
        }
    }
}

/// A new, empty file that only its owner can read: it may have Secrets in it.
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use serve_core::api::Service;
    use serve_core::kind::Kind;

    use super::*;
    use crate::clock::Clock;
    use crate::tasks::Tasks;

    fn service(name: &str) -> Object {
        let mut service = Service::default();
        service.metadata.name = name.into();
        service.metadata.namespace = "default".into();
        service.into()
    }

    #[tokio::test]
    async fn objects_are_found_by_the_next_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("runs/state.json");
        let store = Store::in_memory(Clock::default());
        let snapshot = Snapshot::open(path.clone()).expect("free");
        assert_eq!(snapshot.read().expect("no file"), State::default());
        assert!(matches!(Snapshot::open(path.clone()), Err(Error::Taken(_))));
        let tasks = Tasks::default();
        tasks.spawn(snapshot.keep(store.clone(), tasks.stop_signal()));
        let created = store.create(service("h1")).expect("created");
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default"}});
        let pod = Object::from_value(pod).expect("a Pod");
        store.create(pod).expect("created");
        assert_eq!(tasks.shutdown(Duration::from_secs(60)).await, 0);

        let snapshot = Snapshot::open(path.clone()).expect("free again");
        let state = snapshot.read().expect("written");
        assert_eq!(state.objects, [Object::clone(&created)]);
        assert!(state.revision > store.revision());
        let next = Store::in_memory(Clock::default());
        next.restore(state.objects, state.revision);
        assert!(next.revision() > state.revision, "versions rise");
        let restored = next.get(Kind::Service, &created.key()).expect("there");
        assert_eq!(restored.metadata().uid, created.metadata().uid);
        assert_eq!(restored.metadata().generation, 1);
        snapshot.clear().expect("removed");
        assert_eq!(snapshot.read().expect("no file"), State::default());
        let before = serde_json::json!([created.to_value()]).to_string();
        fs::write(&path, before).expect("written");
        assert_eq!(snapshot.read().expect("an older file").objects.len(), 1);
    }

    #[test]
    fn a_file_that_is_no_state_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("runs/state.json");
        let snapshot = Snapshot::open(path.clone()).expect("free");
        for text in ["{", "[1]", "[{\"apiVersion\": \"v1\", \"kind\": \"Node\"}]"] {
            fs::write(&path, text).expect("written");
            assert!(
                matches!(snapshot.read(), Err(Error::Content { .. })),
                "{text}"
            );
        }
    }
}
