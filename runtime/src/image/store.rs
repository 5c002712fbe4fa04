//! Component bytes by digest: what a Revision names is here, whatever became of its source.
//!
//! On disk a blob is a private file named by its SHA-256; its name is never there without its bytes.
//! Embedders without a directory keep blobs in memory.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::private;

/// SHA-256 of a component, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The 64 hex digits, lower case.
    pub fn hex(&self) -> String {
        self.0
            .iter()
            .fold(String::with_capacity(64), |mut hex, byte| {
                _ = write!(hex, "{byte:02x}");
                hex
            })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<[u8; 32]> for Digest {
    /// A SHA-256 that was computed elsewhere.
    fn from(hash: [u8; 32]) -> Digest {
        Digest(hash)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        text.parse()
    }
}

impl FromStr for Digest {
    type Err = String;

    /// Accepts `sha256:<hex>` and bare hex digits.
    fn from_str(text: &str) -> Result<Digest, String> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let mut bytes = [0; 32];
        let wrong = || format!("{text:?} is not a digest; expected \"sha256:\" and 64 hex digits");
        if hex.len() != 64 || !hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Digest(bytes))
    }
}

/// Blobs by digest; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Arc<Place>);

#[derive(Debug)]
enum Place {
    Memory(RwLock<HashMap<Digest, Bytes>>),
    Directory(PathBuf),
}

impl Store {
    /// A store that lives and ends with the process.
    pub fn in_memory() -> Store {
        Store(Arc::new(Place::Memory(RwLock::default())))
    }

    /// A store in `root`, which is made with mode 0700.
    ///
    /// # Errors
    /// When the directory cannot be made, or is not ours alone.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Store> {
        let root = root.into();
        private::directory(&root)?;
        private::remove_abandoned(&root)?;
        Ok(Store(Arc::new(Place::Directory(root))))
    }

    /// Keeps `bytes`; putting the same bytes twice writes them once.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is left under the digest then.
    pub fn put(&self, bytes: impl Into<Bytes>) -> io::Result<Digest> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        match &*self.0 {
            Place::Memory(blobs) => {
                blobs
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(digest)
                    .or_insert(bytes);
            }
            Place::Directory(root) => {
                let path = root.join(digest.hex());
                if !fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64) {
                    private::write(&path, &bytes)?;
                }
            }
        }
        Ok(digest)
    }

    /// The bytes of `digest`, checked against it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the store does not have it, [`io::ErrorKind::InvalidData`]
    /// when the file is not what it was.
    pub fn get(&self, digest: &Digest) -> io::Result<Bytes> {
        match &*self.0 {
            Place::Memory(blobs) => {
                let blobs = blobs.read().unwrap_or_else(PoisonError::into_inner);
                blobs
                    .get(digest)
                    .cloned()
                    .ok_or_else(|| io::ErrorKind::NotFound.into())
            }
            Place::Directory(root) => {
                let bytes = fs::read(root.join(digest.hex()))?;
                if Digest::of(&bytes) != *digest {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{digest} was changed on disk"),
                    ));
                }
                Ok(bytes.into())
            }
        }
    }

    /// Whether the store has `digest`, without reading it.
    pub fn contains(&self, digest: &Digest) -> bool {
        match &*self.0 {
            Place::Memory(blobs) => blobs
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(digest),
            Place::Directory(root) => root.join(digest.hex()).is_file(),
        }
    }

    /// Removes every blob that is not in `keep` and returns how many that were.
    ///
    /// # Errors
    /// The first failure of the file system; the blobs of `keep` are untouched.
    pub fn retain(&self, keep: &HashSet<Digest>) -> io::Result<usize> {
        let mut removed = 0;
        match &*self.0 {
            Place::Memory(blobs) => blobs
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|digest, _| {
                    let kept = keep.contains(digest);
                    removed += usize::from(!kept);
                    kept
                }),
            Place::Directory(root) => {
                for entry in fs::read_dir(root)? {
                    let entry = entry?;
                    let digest = entry
                        .file_name()
                        .to_str()
                        .and_then(|name| name.parse::<Digest>().ok());
                    if digest.is_some_and(|digest| !keep.contains(&digest)) {
                        fs::remove_file(entry.path())?;
                        removed += 1;
                    }
                }
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(store: &Store) {
        let a = store.put(&b"alpha"[..]).unwrap();
        let b = store.put(&b"beta"[..]).unwrap();
        assert_eq!(store.put(&b"alpha"[..]).unwrap(), a);
        assert_eq!(store.get(&a).unwrap(), &b"alpha"[..]);
        assert_eq!(store.retain(&HashSet::from([b])).unwrap(), 1);
        assert!(!store.contains(&a) && store.contains(&b));
        assert_eq!(store.get(&a).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn memory_keeps_what_is_retained() {
        check(&Store::in_memory());
    }

    #[test]
    fn directory_keeps_what_is_retained_and_survives_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("blobs");
        check(&Store::open(&root).unwrap());
        let store = Store::open(&root).unwrap();
        assert_eq!(store.get(&Digest::of(b"beta")).unwrap(), &b"beta"[..]);
    }

    #[test]
    fn changed_file_is_not_returned() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("blobs")).unwrap();
        let digest = store.put(&b"alpha"[..]).unwrap();
        fs::write(dir.path().join("blobs").join(digest.hex()), b"alphb").unwrap();
        assert_eq!(
            store.get(&digest).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn digest_reads_what_it_writes() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(digest.hex().parse::<Digest>().unwrap(), digest);
        for wrong in ["", "sha256:", "sha512:00", "sha256:zz", &"A".repeat(64)] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
