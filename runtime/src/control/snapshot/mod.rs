//! The objects of a foreground run in a file, so that the next run of the same manifests knows the
//! revisions that they name.
//!
//! Input: the store, whenever it changes. Output: for the next run, first what was asked for, then all
//! the rest, in batches ([`Load`]).
//!
//! The file is written whole, a moment after something changed and at the end.
//! A lock beside it keeps a second process away.

mod file;
mod load;

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::load::{Batch, Load};
use super::store::Store;
use crate::private;
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
        private::directory(folder).map_err(failed)?;
        private::remove_abandoned(folder).map_err(failed)?;
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

    /// What is in the file, to be read; nothing when there is no file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn load(&self) -> Result<Option<Load>, Error> {
        match File::open(&self.path) {
            Ok(file) => Load::open(file, &self.path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Writes the file whenever objects change, until the stop signal. `known` is the version of the
    /// store that the file shows already.
    pub async fn keep(self, store: Store, known: u64, mut stop: Stop) {
        let (snapshot, mut head, mut pause) = (Arc::new(self), store.head(), DELAY);
        if store.revision() != known {
            head.mark_changed();
        }
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
        let kept: Vec<_> = kept.cloned().collect();
        let revision = store.revision().saturating_add(RESERVED);
        let written = private::write_with(&self.path, |to| {
            let mut to = BufWriter::new(to);
            file::write(&kept, revision, &mut to)?;
            to.flush()
        });
        written.map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::File {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
