//! Files of any accepted form in, digests of components out.
//!
//! Making a component of a core module takes up to a second, so what it gave is remembered by the
//! digest of what it was made from. And reading and hashing a large file takes longer than the start of
//! its code, so it is noted which file was read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::componentize::{Options, componentize_with};
use super::store::{Digest, Store};
use crate::inode::Inode;
use crate::private;

/// Remembered results are of this componentizer; a new one must not believe an older.
const MEMO: &str = concat!("made-by-", env!("CARGO_PKG_VERSION"));

/// Files that were read and made components of, likewise.
const SEEN: &str = concat!("seen-by-", env!("CARGO_PKG_VERSION"));

/// A smaller file is read sooner than a note is found.
const NOTED_BYTES: u64 = 1 << 20;

/// Which file was read last under a path, and what was made of it.
#[derive(Serialize, Deserialize)]
struct Note {
    path: PathBuf,
    file: Inode,
    made: Digest,
}

/// Why a file did not become a component.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Componentize(#[from] super::Error),
    #[error("keeping the component: {0}")]
    Store(#[from] io::Error),
}

/// The components of this host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Images {
    store: Store,
    memo: Arc<Memo>,
}

/// The digest of a file, and whether its instances are to be reused.
type Source = (Digest, bool);

#[derive(Debug)]
enum Memo {
    Memory(RwLock<HashMap<Source, Digest>>),
    Directory { made: PathBuf, seen: PathBuf },
}

impl Images {
    /// Components that live and end with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            store: Store::in_memory(),
            memo: Arc::new(Memo::Memory(RwLock::default())),
        }
    }

    /// Components in directories below `root`, which are made when they are missing.
    ///
    /// # Errors
    /// When a directory cannot be made, or is not ours alone.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let store = Store::open(root.join("components"))?;
        let (made, seen) = (root.join(MEMO), root.join(SEEN));
        private::directory(&made)?;
        private::directory(&seen)?;
        Ok(Self {
            store,
            memo: Arc::new(Memo::Directory { made, seen }),
        })
    }

    /// Makes a component of `bytes` (a component, a core module or WAT) and keeps it.
    ///
    /// # Errors
    /// The bytes are none of these, or cannot be kept.
    pub async fn add(&self, bytes: Vec<u8>, options: Options) -> Result<Digest, Error> {
        let images = self.clone();
        let added = tokio::task::spawn_blocking(move || images.add_blocking(&bytes, options));
        added.await.unwrap_or_else(|_| {
            Err(io::Error::other("the componentizer ended without a result").into())
        })
    }

    fn add_blocking(&self, bytes: &[u8], options: Options) -> Result<Digest, Error> {
        let source = (Digest::of(bytes), options.reuse);
        if let Some(made) = self.remembered(&source)
            && self.store.contains(&made)
        {
            return Ok(made);
        }
        let made = self.store.put(componentize_with(bytes, options)?)?;
        self.remember(source, made)?;
        Ok(made)
    }

    /// The bytes of a component.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub fn get(&self, digest: &Digest) -> io::Result<Bytes> {
        self.store.get(digest)
    }

    /// Where the components are.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn remembered(&self, source: &Source) -> Option<Digest> {
        match &*self.memo {
            Memo::Memory(map) => map
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(source)
                .copied(),
            Memo::Directory { made, .. } => fs::read_to_string(made.join(file_name(source)))
                .ok()?
                .trim()
                .parse()
                .ok(),
        }
    }

    fn remember(&self, source: Source, made: Digest) -> io::Result<()> {
        match &*self.memo {
            Memo::Memory(map) => {
                map.write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(source, made);
                Ok(())
            }
            // A torn file is no digest and so is as good as none.
            Memo::Directory { made: root, .. } => {
                fs::write(root.join(file_name(&source)), made.to_string())
            }
        }
    }

    /// The component that [`Images::add`] with [`Options::default`] made of a file, if it is noted that
    /// the file was read and it is still that one.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn seen(&self, path: &Path) -> Option<Digest> {
        let (images, path) = (self.clone(), path.to_owned());
        let seen = tokio::task::spawn_blocking(move || images.seen_blocking(&path));
        seen.await.ok()?
    }

    fn seen_blocking(&self, path: &Path) -> Option<Digest> {
        let file = Inode::of(&fs::metadata(path).ok()?);
        if file.bytes() < NOTED_BYTES {
            return None;
        }
        let (path, place) = self.note_of(path)?;
        let mut noted = File::open(place).ok()?;
        let mut text = String::new();
        noted.read_to_string(&mut text).ok()?;
        let note: Note = serde_json::from_str(&text).ok()?;
        let is_same = note.path == path && note.file == file;
        let holds = is_same && file.is_settled(&noted.metadata().ok()?);
        (holds && self.store.contains(&note.made)).then_some(note.made)
    }

    /// Notes what was made of a file, so that the next process need not read it.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the note from being written.
    pub async fn note(&self, path: &Path, file: Option<Inode>, made: Digest) {
        let Some(file) = file.filter(|file| file.bytes() >= NOTED_BYTES) else {
            return;
        };
        let Some((path, place)) = self.note_of(path) else {
            return;
        };
        let write = move || {
            let note = Note { path, file, made };
            private::write(&place, &serde_json::to_vec(&note)?)
        };
        // Without it the file is read again.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::debug!(%error, "it is not noted that a file was read");
        }
    }

    /// A path as notes have it, and where the note about it is.
    fn note_of(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let Memo::Directory { seen, .. } = &*self.memo else {
            return None;
        };
        let path = std::path::absolute(path).ok()?;
        let name = Digest::of(path.as_os_str().as_encoded_bytes()).hex();
        Some((path, seen.join(name)))
    }
}

fn file_name((digest, reuse): &Source) -> String {
    let suffix = if *reuse { "-reuse" } else { "" };
    format!("{}{suffix}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inode;

    const GUEST: &[u8] = include_bytes!("../../../tests/guests/hello.wat");

    async fn check(images: &Images) {
        let plain = images
            .add(GUEST.to_vec(), Options::default())
            .await
            .expect("a component");
        let reused = images
            .add(GUEST.to_vec(), Options { reuse: true })
            .await
            .expect("a component");
        assert_ne!(plain, reused, "the option is part of the component");
        let again = images
            .add(GUEST.to_vec(), Options::default())
            .await
            .expect("a component");
        assert_eq!(plain, again);
        let component = images.get(&plain).expect("kept");
        assert_eq!(Digest::of(&component), plain);
        let same = images
            .add(component.to_vec(), Options::default())
            .await
            .expect("a component");
        assert_eq!(same, plain, "a component stays as it is");
    }

    #[tokio::test]
    async fn files_become_components_once() {
        check(&Images::in_memory()).await;
        let directory = tempfile::tempdir().expect("a directory");
        check(&Images::open(directory.path()).expect("opened")).await;
        // Another process finds what the first made.
        check(&Images::open(directory.path()).expect("opened")).await;
    }

    #[tokio::test]
    async fn a_large_file_is_read_once_while_it_stays_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let (root, path) = (
            directory.path().join("images"),
            directory.path().join("guest"),
        );
        let mut guest = GUEST.to_vec();
        let read = async |guest: &[u8]| {
            std::fs::write(&path, guest).expect("written");
            let images = Images::open(&root).expect("opened");
            let (bytes, file) = inode::read(&path).expect("read");
            let made = images.add(bytes, Options::default()).await;
            let made = made.expect("a component");
            images.note(&path, file, made).await;
            made
        };
        // What another process finds.
        let seen = async || {
            let images = Images::open(&root).expect("opened");
            images.seen(&path).await
        };
        let notes = || {
            let notes = std::fs::read_dir(root.join(SEEN)).expect("listed");
            notes.map(|note| note.expect("an entry").path())
        };
        // The clock of the file system has gone on by so much since it was changed.
        let passed = |seconds| {
            for note in notes() {
                let note = File::options().write(true).open(note).expect("opened");
                let time = std::fs::metadata(&path).expect("found").modified();
                let later = time.expect("a time") + std::time::Duration::from_secs(seconds);
                note.set_modified(later).expect("set");
            }
        };
        read(&guest).await;
        passed(10);
        assert_eq!((seen().await, notes().count()), (None, 0), "it is small");

        guest.extend(std::iter::repeat_n(b' ', 1 << 20));
        let made = read(&guest).await;
        assert_eq!(
            seen().await,
            None,
            "it could have changed without a new time"
        );
        passed(10);
        assert_eq!(seen().await, Some(made));

        std::fs::write(&path, &guest).expect("written");
        passed(10);
        assert_eq!(seen().await, None, "it was written again");

        read(&guest).await;
        passed(10);
        assert_eq!(seen().await, Some(made));
        std::fs::remove_dir_all(root.join("components")).expect("removed");
        assert_eq!(seen().await, None, "its component is gone");
    }

    #[tokio::test]
    async fn what_was_remembered_and_is_gone_is_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let images = Images::open(directory.path()).expect("opened");
        let made = images
            .add(GUEST.to_vec(), Options::default())
            .await
            .expect("a component");
        std::fs::remove_dir_all(directory.path().join("components")).expect("removed");
        let images = Images::open(directory.path()).expect("opened");
        let again = images
            .add(GUEST.to_vec(), Options::default())
            .await
            .expect("a component");
        assert_eq!(made, again);
        assert!(images.get(&again).is_ok());
    }
}
