//! Component bytes by digest: what a Revision names is here, whatever became of its source.
//!
//! On disk a blob is a file named by its SHA-256 in a directory of mode 0700. It is written beside
//! its place, synced and renamed, so that a name is never there without its bytes. Embedders
//! without a directory keep blobs in memory.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

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
    Directory { root: PathBuf, next: AtomicU64 },
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
        private_dir(&root)?;
        remove_abandoned(&root)?;
        Ok(Store(Arc::new(Place::Directory {
            root,
            next: AtomicU64::new(0),
        })))
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
            Place::Directory { root, next } => {
                let path = root.join(digest.hex());
                if !fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64) {
                    write_aside(root, &path, &bytes, next.fetch_add(1, Ordering::Relaxed))?;
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
            Place::Directory { root, .. } => {
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
            Place::Directory { root, .. } => root.join(digest.hex()).is_file(),
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
            Place::Directory { root, .. } => {
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

/// Whether a mode lets nobody but the owner in.
pub(crate) fn is_private(found: &fs::Metadata) -> bool {
    const OTHERS: u32 = 0o077;
    found.mode() & OTHERS == 0
}

/// Makes `path` with mode 0700 and refuses a directory in which other users could have put files.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    let found = fs::symlink_metadata(path)?;
    let denied = |why: &str| {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{}: {why}", path.display()),
        ))
    };
    if !found.is_dir() {
        return denied("is not a directory");
    }
    if !is_private(&found) {
        return denied("is open to other users; set its mode to 0700");
    }
    // Root can write everywhere, so being able to is no proof: who owns what this process makes?
    // Several hosts of one process may ask at once.
    static PROBES: AtomicU64 = AtomicU64::new(0);
    let number = PROBES.fetch_add(1, Ordering::Relaxed);
    let probe = path.join(format!(".new-owner-{}-{number}", std::process::id()));
    let owner = fs::File::create(&probe)?.metadata()?.uid();
    fs::remove_file(&probe)?;
    if found.uid() != owner {
        return denied("belongs to another user");
    }
    Ok(())
}

/// Removes what processes that ended early left half-written. Another process may be writing to the
/// same directory right now, so only files are removed that nobody can still be at work on.
pub(crate) fn remove_abandoned(root: &Path) -> io::Result<()> {
    const ABANDONED: Duration = Duration::from_secs(3600);
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(".new-") {
            continue;
        }
        // It may be renamed to its place between these lines, which is as good.
        let age = entry
            .metadata()
            .and_then(|found| found.modified())
            .map(|time| time.elapsed());
        if matches!(age, Ok(Ok(age)) if age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Writes a file of mode 0600 so that `path` has all of `bytes` or is not there.
pub(crate) fn write_aside(root: &Path, path: &Path, bytes: &[u8], unique: u64) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let aside = root.join(format!(".new-{}-{unique}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        // The name is part of the promise: without this a power loss can take it back.
        fs::File::open(root)?.sync_all()
    })();
    if written.is_err() {
        _ = fs::remove_file(&aside);
    }
    written
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
