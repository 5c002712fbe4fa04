//! Files of any accepted form in, digests of components out.
//!
//! Making a component of a core module takes up to a second, so what it gave is remembered by the
//! digest of what it was made from.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::componentize::{Options, componentize_with};
use super::store::{Digest, Store};
use crate::private;

/// Remembered results are of this componentizer; a new one must not believe an older.
const MEMO: &str = concat!("made-by-", env!("CARGO_PKG_VERSION"));

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
    Directory(PathBuf),
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
        let memo = root.join(MEMO);
        private::directory(&memo)?;
        Ok(Self {
            store,
            memo: Arc::new(Memo::Directory(memo)),
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
            Memo::Directory(root) => std::fs::read_to_string(root.join(file_name(source)))
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
            Memo::Directory(root) => {
                std::fs::write(root.join(file_name(&source)), made.to_string())
            }
        }
    }
}

fn file_name((digest, reuse): &Source) -> String {
    let suffix = if *reuse { "-reuse" } else { "" };
    format!("{}{suffix}", digest.hex())
}

#[cfg(test)]
mod tests {
    use super::*;

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
