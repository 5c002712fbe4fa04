//! Compiled code on disk, so that a component is compiled once per machine and not once per start.
//!
//! An entry is two files in a directory of mode 0700, named by a digest of the component and of
//! everything in the engine that changes the code: `<key>.cwasm`, which is mapped, and
//! `<key>.json`, which says what the component is and what digest the code has. Both are written
//! aside, synced and renamed, never changed in place. Code is hashed once per file, not per load: the
//! second file says which file the first one is, as git's index does, and a file that is not that one
//! (a copy, one that was written to) is hashed, and then noted. Damage by the disk itself, which leaves
//! the time of the last change alone, is found only where there is no such note.
//!
//! An entry that is damaged, of another owner or of other settings is as good as none: it is logged
//! where that is news, and written anew.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use super::{Engine, Facts};
use crate::image::Digest;
use crate::inode::Inode;
use crate::private::{self, is_private};

pub(super) struct Cache {
    root: PathBuf,
    /// Digest of everything in the settings that code depends on.
    engine: [u8; 32],
    /// Entries whose code was compared with its digest, by component.
    verified: Mutex<HashMap<Digest, Verified>>,
}

/// An entry whose code was read: as long as the file is the same, it need not be read again.
#[derive(Clone)]
struct Verified {
    path: Arc<Path>,
    inode: Inode,
    facts: Arc<Facts>,
}

#[derive(Serialize, Deserialize)]
struct Sidecar {
    code: Digest,
    facts: Facts,
    /// The file that had this digest when it was last hashed.
    #[serde(default)]
    file: Option<Inode>,
}

impl Cache {
    pub(super) fn open(root: &Path, engine: &wasmtime::Engine) -> io::Result<Cache> {
        private::directory(root)?;
        private::remove_abandoned(root)?;
        let mut hasher = Sha(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Cache {
            root: root.to_owned(),
            engine: hasher.0.finalize().into(),
            verified: Mutex::default(),
        })
    }

    /// The code of `digest` and what is known of it, if the cache has it.
    pub(super) fn load(&self, engine: &Engine, digest: &Digest) -> Option<(Component, Arc<Facts>)> {
        match self.try_load(engine, digest) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%digest, %error, "compiled code cannot be used, compiling again");
                None
            }
        }
    }

    /// Keeps `code`; a later [`Cache::load`] maps it.
    pub(super) fn save(&self, facts: &Facts, code: &[u8]) -> io::Result<()> {
        let key = self.key(&facts.digest);
        let path = self.code_path(&key);
        private::write(&path, code)?;
        // Hashed when it is read for the first time: what is there now may be another process's.
        let sidecar = Sidecar {
            code: Digest::of(code),
            facts: facts.clone(),
            file: None,
        };
        self.write_sidecar(&key, &sidecar)
    }

    fn write_sidecar(&self, key: &str, sidecar: &Sidecar) -> io::Result<()> {
        private::write(&self.sidecar_path(key), &serde_json::to_vec(sidecar)?)
    }

    /// Removes the code of all components that are not in `keep`, and that of other settings.
    pub(super) fn retain(&self, keep: &HashSet<Digest>) -> io::Result<usize> {
        self.lock().retain(|digest, _| keep.contains(digest));
        let keys: HashSet<String> = keep.iter().map(|digest| self.key(digest)).collect();
        let mut removed = 0;
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let ours = path
                .extension()
                .is_some_and(|kind| kind == "cwasm" || kind == "json");
            let key = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            if ours && !keys.contains(key) {
                fs::remove_file(&path)?;
                removed += usize::from(path.extension().is_some_and(|kind| kind == "cwasm"));
            }
        }
        Ok(removed)
    }

    /// Whether there is an entry for `digest`; whether it is good is found when it is loaded.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        let key = self.key(digest);
        self.code_path(&key).is_file() && self.sidecar_path(&key).is_file()
    }

    fn key(&self, digest: &Digest) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.engine);
        hasher.update(digest.hex());
        Digest::from(<[u8; 32]>::from(hasher.finalize())).hex()
    }

    fn code_path(&self, key: &str) -> PathBuf {
        self.root.join(format!("{key}.cwasm"))
    }

    fn sidecar_path(&self, key: &str) -> PathBuf {
        self.root.join(format!("{key}.json"))
    }

    /// Facts of a component whose code can be mapped without reading it first.
    pub(super) fn verified(&self, digest: &Digest) -> Option<Arc<Facts>> {
        Some(self.lock().get(digest)?.facts.clone())
    }

    fn try_load(&self, engine: &Engine, digest: &Digest) -> io::Result<(Component, Arc<Facts>)> {
        let known = self.lock().get(digest).cloned();
        if let Some(Verified { path, inode, facts }) = known {
            let (file, found) = self.open_own(&path)?;
            if found == inode {
                return Ok((map(engine, &facts, &file, &path)?, facts));
            }
        }
        let entry = self.read(digest)?;
        let (file, inode) = self.open_own(&entry.path)?;
        if inode != entry.inode {
            return Err(invalid("it changed while it was read"));
        }
        let component = map(engine, &entry.facts, &file, &entry.path)?;
        let facts = entry.facts.clone();
        self.lock().insert(*digest, entry);
        Ok((component, facts))
    }

    /// Reads an entry and compares its code with its digest.
    fn read(&self, digest: &Digest) -> io::Result<Verified> {
        let key = self.key(digest);
        let mut sidecar = String::new();
        let (mut file, _) = self.open_own(&self.sidecar_path(&key))?;
        file.read_to_string(&mut sidecar)?;
        let note = file.metadata()?;
        let mut sidecar: Sidecar = serde_json::from_str(&sidecar)?;
        if sidecar.facts.digest != *digest {
            return Err(invalid("it is of another component"));
        }
        let path = self.code_path(&key);
        let (file, inode) = self.open_own(&path)?;
        let is_known = sidecar.file == Some(inode) && inode.is_settled(&note);
        if !is_known {
            let mut hasher = Sha(Sha256::new());
            io::copy(&mut &file, &mut hasher)?;
            if Digest::from(<[u8; 32]>::from(hasher.0.finalize())) != sidecar.code {
                return Err(invalid("its bytes were changed"));
            }
            if inode.bytes() >= NOTED_BYTES && self.open_own(&path)?.1 == inode {
                sidecar.file = Some(inode);
                // Without it the next process hashes again.
                _ = self.write_sidecar(&key, &sidecar);
            }
        }
        Ok(Verified {
            path: path.into(),
            inode,
            facts: Arc::new(sidecar.facts),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Verified>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file that nobody but this user can have written.
    fn open_own(&self, path: &Path) -> io::Result<(File, Inode)> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        let found = file.metadata()?;
        let directory = fs::symlink_metadata(&self.root)?;
        let private = found.is_file()
            && is_private(&found)
            && found.uid() == directory.uid()
            && directory.is_dir()
            && is_private(&directory);
        if !private {
            let why = "it or its directory is open to other users";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok((file, Inode::of(&found)))
    }
}

/// Code that is smaller is hashed sooner than a note is written.
const NOTED_BYTES: u64 = 1 << 20;

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn map(engine: &Engine, facts: &Facts, file: &File, path: &Path) -> io::Result<Component> {
    let place = engine.place(facts).map_err(io::Error::other)?;
    map_code(&place.wasmtime, file, path).map_err(|error| invalid(&format!("{error:#}")))
}

/// Maps the code in `file`, which was checked by [`Cache::try_load`].
#[allow(unsafe_code, reason = "running compiled code is what the cache is for")]
fn map_code(engine: &wasmtime::Engine, file: &File, path: &Path) -> wasmtime::Result<Component> {
    let path = path_of(file, path);
    // SAFETY: `deserialize_file` trusts the file in four ways, each of which was checked.
    // 1. It is what `Component::serialize` gave: `save` wrote its SHA-256 beside it, and `read`
    //    compared the two when it saw this inode for the first time, or a process of this user did
    //    and noted the inode beside the digest; it has not been changed since (`Inode`).
    // 2. Nobody else wrote either file: `open_own` looked at owner and mode of the open descriptor
    //    and of the directory, and did not follow a link.
    // 3. It was compiled for this engine: the key has a digest of all settings that change code,
    //    and wasmtime compares version, target and settings again.
    // 4. It does not change while it is mapped: files are made aside and renamed, never opened for
    //    writing again, and other users cannot open them (2).
    unsafe { Component::deserialize_file(engine, path) }
}

/// A path to the descriptor that was checked, whatever its name means by now.
#[cfg(target_os = "linux")]
fn path_of(file: &File, _path: &Path) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The name of the file: only this user can change its directory.
#[cfg(not(target_os = "linux"))]
fn path_of(_file: &File, path: &Path) -> PathBuf {
    path.to_owned()
}

/// SHA-256 as a [`Hasher`]: the standard one has 64 bits, too few for a name that is trusted.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl io::Write for Sha {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::Config;
    use super::*;

    struct Host {
        root: tempfile::TempDir,
    }

    impl Host {
        fn new() -> Host {
            Host {
                root: tempfile::tempdir().unwrap(),
            }
        }

        fn engine(&self) -> Engine {
            let cache = Some(self.root.path().join("code"));
            Engine::new(&Config {
                pooling: false,
                cache,
                ..Config::default()
            })
            .unwrap()
        }

        /// The files of the cache that end in `kind`.
        fn files(&self, kind: &str) -> Vec<PathBuf> {
            let entries = fs::read_dir(self.root.path().join("code")).unwrap();
            let paths = entries.map(|entry| entry.unwrap().path());
            paths
                .filter(|path| path.extension().is_some_and(|found| found == kind))
                .collect()
        }

        fn code(&self) -> PathBuf {
            self.files("cwasm").pop().unwrap()
        }
    }

    fn hello() -> Vec<u8> {
        let wat = include_bytes!("../../../tests/guests/hello.wat");
        crate::image::componentize(wat).unwrap()
    }

    fn cached(engine: &Engine) -> bool {
        engine
            .inner
            .cache
            .as_ref()
            .unwrap()
            .load(engine, &Digest::of(&hello()))
            .is_some()
    }

    #[tokio::test]
    async fn code_is_found_by_the_next_engine() {
        let host = Host::new();
        let component = host.engine().prepare(hello()).await.unwrap();
        assert_eq!(
            (host.files("cwasm").len(), host.files("json").len()),
            (1, 1)
        );
        let next = host.engine();
        assert!(cached(&next));
        let never = || panic!("the bytes are not needed");
        let again = next.load(Digest::of(&hello()), never).await.unwrap();
        assert_eq!(again.facts(), component.facts());
    }

    /// A guest whose code is large enough to be noted.
    fn large() -> Vec<u8> {
        let text = String::from_utf8(include_bytes!("../../../tests/guests/hello.wat").to_vec());
        let memory = r#"(memory (export "memory") 2)"#;
        let filled = format!(
            r#"(memory (export "memory") 64) (data (i32.const 131072) "{}")"#,
            "x".repeat(2 << 20)
        );
        let text = text.unwrap().replace(memory, &filled);
        crate::image::componentize(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn code_that_was_hashed_is_noted_and_not_hashed_again() {
        let host = Host::new();
        let digest = Digest::of(&large());
        let engine = host.engine();
        engine.prepare(large()).await.unwrap();
        engine.optimized().await;
        let (sidecar, code) = (host.files("json").pop().unwrap(), host.code());
        let note = || serde_json::from_slice::<Sidecar>(&fs::read(&sidecar).unwrap()).unwrap();
        let inode = || Inode::of(&fs::metadata(&code).unwrap());
        let cached = || {
            let engine = host.engine();
            let cache = engine.inner.cache.as_ref().unwrap();
            cache.load(&engine, &digest).is_some()
        };
        assert_eq!(note().file, Some(inode()), "it was loaded");
        // A wrong digest shows whether the code is hashed.
        let mut wrong = note();
        wrong.code = Digest::of(b"other code");
        private::write(&sidecar, &serde_json::to_vec(&wrong).unwrap()).unwrap();
        assert!(!cached(), "it could have changed since without a new time");
        let now = fs::metadata(&sidecar).unwrap().modified().unwrap();
        let later = |seconds| {
            let file = fs::OpenOptions::new().write(true).open(&sidecar).unwrap();
            let time = now + std::time::Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        };
        later(10);
        assert!(cached());
        // A copy is another file.
        let copy = host.root.path().join("copy");
        fs::copy(&code, &copy).unwrap();
        fs::rename(&copy, &code).unwrap();
        assert!(!cached());
    }

    #[tokio::test]
    async fn damaged_code_is_compiled_again() {
        for damage in [
            |path: &Path| fs::write(path, b"x"),
            |path: &Path| {
                let mut bytes = fs::read(path)?;
                bytes.truncate(bytes.len() / 2);
                fs::write(path, bytes)
            },
            |path: &Path| {
                let mut bytes = fs::read(path)?;
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(path, bytes)
            },
        ] {
            let host = Host::new();
            host.engine().prepare(hello()).await.unwrap();
            damage(&host.code()).unwrap();
            let next = host.engine();
            assert!(!cached(&next));
            next.prepare(hello()).await.unwrap();
            assert!(cached(&next));
        }
    }

    #[tokio::test]
    async fn links_and_open_modes_are_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let host = Host::new();
        host.engine().prepare(hello()).await.unwrap();
        let code = host.code();
        fs::set_permissions(&code, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(!cached(&host.engine()));
        fs::set_permissions(&code, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(cached(&host.engine()));
        let elsewhere = host.root.path().join("elsewhere");
        fs::rename(&code, &elsewhere).unwrap();
        symlink(&elsewhere, &code).unwrap();
        assert!(!cached(&host.engine()));
    }

    #[tokio::test]
    async fn open_directory_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let host = Host::new();
        let root = host.root.path().join("code");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let config = Config {
            pooling: false,
            cache: Some(root),
            ..Config::default()
        };
        let error = Engine::new(&config).err().unwrap().to_string();
        assert!(error.contains("open to other users"), "{error}");
    }

    #[tokio::test]
    async fn retain_removes_other_components() {
        let host = Host::new();
        let engine = host.engine();
        engine.prepare(hello()).await.unwrap();
        assert_eq!(
            engine
                .retain_code(&HashSet::from([Digest::of(&hello())]))
                .unwrap(),
            0
        );
        assert_eq!(engine.retain_code(&HashSet::new()).unwrap(), 1);
        assert!(host.files("json").is_empty());
    }
}
