//! Says when files may have changed.
//!
//! Editors replace files, links are swapped, folders come and go: so folders are watched and never
//! files, and an event means no more than "look again". Whoever looks compares contents. However
//! many events come, one look follows them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long nothing must happen before a look: an editor's save is several events.
const QUIET: Duration = Duration::from_millis(50);
/// How long a look waits at most while events go on.
const PATIENCE: Duration = Duration::from_millis(500);

/// Watches the folders of a set of files.
pub struct Watch {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    events: Arc<Notify>,
}

/// The system does not let us watch.
#[derive(Debug, thiserror::Error)]
#[error("watching files: {0}")]
pub struct Error(#[from] notify::Error);

impl Watch {
    /// A watch of nothing.
    ///
    /// # Errors
    /// When the system has no place for one more watcher.
    pub fn new() -> Result<Self, Error> {
        let events = Arc::new(Notify::new());
        let sender = events.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too, and looking reads files. An error, such as events
            // that were dropped, is a reason to look.
            let is_reading = event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_)));
            if !is_reading {
                sender.notify_one();
            }
        })?;
        Ok(Self {
            watcher,
            folders: BTreeSet::new(),
            events,
        })
    }

    /// Watches where these files and folders are, or will be, and no longer anything else.
    ///
    /// A folder that cannot be watched is said once, in the log.
    pub fn set<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>) {
        // Thousands of objects may name the same file, and each one costs a walk to the root.
        let paths: BTreeSet<&Path> = paths.into_iter().collect();
        let wanted: BTreeSet<PathBuf> = paths.into_iter().flat_map(folders).collect();
        for folder in self.folders.difference(&wanted) {
            // It fails for a folder that is gone, whose watch went with it.
            let _ = self.watcher.unwatch(folder);
        }
        let mut watched = BTreeSet::new();
        for folder in wanted {
            // One that is watched already may be a new one under its old name: watch it again.
            let _ = self.watcher.unwatch(&folder);
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(folder)),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "a folder is not watched");
                }
            }
        }
        self.folders = watched;
    }

    /// Resolves when something may have changed and is quiet again, or goes on for too long.
    ///
    /// # Cancel safety
    /// Changes seen before the future was dropped are told by the next call only if more follow.
    pub async fn changed(&self) {
        self.events.notified().await;
        let patience = Instant::now() + PATIENCE;
        loop {
            let quiet = (Instant::now() + QUIET).min(patience);
            if timeout_at(quiet, self.events.notified()).await.is_err() {
                return;
            }
            if Instant::now() >= patience {
                sleep_until(patience).await;
                return;
            }
        }
    }
}

/// The folders in which something happens when the file at `path` changes: its own, that of each
/// link on the way to it; for one that is not there, the nearest folder that is.
fn folders(path: &Path) -> Vec<PathBuf> {
    /// Links of links; a circle ends here too.
    const MAX_LINKS: usize = 16;
    let mut folders = Vec::new();
    let mut path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for _ in 0..MAX_LINKS {
        if path.is_dir() {
            folders.push(path.clone());
        }
        let nearest = path.ancestors().skip(1).find(|folder| folder.is_dir());
        folders.extend(nearest.map(Path::to_owned));
        // A link may be a folder above the file, as in volumes that are swapped as a whole.
        let link = path.ancestors().find_map(|part| {
            let target = std::fs::read_link(part).ok()?;
            let rest = path.strip_prefix(part).ok()?;
            folders.extend(part.parent().map(Path::to_owned));
            Some(part.parent()?.join(target).join(rest))
        });
        match link {
            Some(target) => path = target,
            None => break,
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Watches `file` in a new directory, does something, and expects to be told.
    async fn check(act: impl FnOnce(&Path)) {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("it is there");
        fs::write(root.join("file"), "old").expect("written");
        let mut watch = Watch::new().expect("a watcher");
        watch.set([root.join("file").as_path()]);
        act(&root);
        tokio::time::timeout(Duration::from_secs(60), watch.changed())
            .await
            .expect("told");
    }

    #[tokio::test]
    async fn a_write_is_told() {
        check(|root| fs::write(root.join("file"), "new").expect("written")).await;
    }

    #[tokio::test]
    async fn a_file_renamed_over_is_told() {
        check(|root| {
            fs::write(root.join("file~"), "new").expect("written");
            fs::rename(root.join("file~"), root.join("file")).expect("renamed");
        })
        .await;
    }

    #[tokio::test]
    async fn a_removed_file_is_told() {
        check(|root| fs::remove_file(root.join("file")).expect("removed")).await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_swapped_link_above_the_file_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("it is there");
        for version in ["v1", "v2"] {
            fs::create_dir(root.join(version)).expect("made");
            fs::write(root.join(version).join("file"), version).expect("written");
        }
        std::os::unix::fs::symlink("v1", root.join("current")).expect("linked");
        let mut watch = Watch::new().expect("a watcher");
        watch.set([root.join("current/file").as_path()]);
        std::os::unix::fs::symlink("v2", root.join("next")).expect("linked");
        fs::rename(root.join("next"), root.join("current")).expect("renamed");
        tokio::time::timeout(Duration::from_secs(60), watch.changed())
            .await
            .expect("told");
    }

    #[tokio::test]
    async fn a_folder_that_comes_later_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("it is there");
        let mut watch = Watch::new().expect("a watcher");
        watch.set([root.join("later/file").as_path()]);
        fs::create_dir(root.join("later")).expect("made");
        tokio::time::timeout(Duration::from_secs(60), watch.changed())
            .await
            .expect("told");
        watch.set([root.join("later/file").as_path()]);
        fs::write(root.join("later/file"), "new").expect("written");
        tokio::time::timeout(Duration::from_secs(60), watch.changed())
            .await
            .expect("told");
    }
}
