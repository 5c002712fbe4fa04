//! Files and directories of this user alone: what compiled code, state, keys and tokens are kept in.
//!
//! A directory has mode 0700 and a file mode 0600. A file is written beside its place, synced and
//! renamed, so that its name is never there without its bytes.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the names of files begin with that are being written.
const ASIDE: &str = ".new-";

/// Whether a mode lets nobody but the owner in.
#[must_use]
pub fn is_private(found: &fs::Metadata) -> bool {
    const OTHERS: u32 = 0o077;
    found.mode() & OTHERS == 0
}

/// Makes `path` with mode 0700 and refuses a directory in which other users could have put files.
///
/// # Errors
/// When it cannot be made, or others can use it.
pub fn directory(path: &Path) -> io::Result<()> {
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
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    if !is_ours && found.uid() != owner_of_new_files(path)? {
        return denied("belongs to another user");
    }
    Ok(())
}

/// File systems may map users, and root can write everywhere, so neither our number nor being able
/// to write is proof: who owns what this process makes?
fn owner_of_new_files(path: &Path) -> io::Result<u32> {
    let (probe, file) = new_file(path)?;
    let owner = file.metadata().map(|made| made.uid());
    fs::remove_file(&probe)?;
    owner
}

/// Writes a file of mode 0600 so that `path` has all of `bytes` or is what it was.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Writes a file of mode 0600 so that `path` has all that `bytes` writes or is what it was.
///
/// # Errors
/// When it cannot be written, and those of `bytes`.
pub fn write_with(
    path: &Path,
    bytes: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let root = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (aside, mut file) = new_file(root)?;
    let written = bytes(&mut file)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
        return written;
    }
    // The name is part of the promise: without this a power loss can take it back.
    match fs::File::open(root)?.sync_all() {
        // Not every file system can do that to a directory.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// A file of mode 0600 in `root` that nobody else writes to.
fn new_file(root: &Path) -> io::Result<(PathBuf, fs::File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{ASIDE}{}-{number}", std::process::id()));
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match made {
            // Of a process that had our number and ended early, or that has it in another container
            // and is at work on it. In a container the number may be the same each time.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (path, file)),
        }
    }
}

/// Removes what processes that ended early left half-written. Another process may be writing to the
/// same directory right now, so only files are removed that nobody can still be at work on.
///
/// # Errors
/// When the directory cannot be read.
pub fn remove_abandoned(root: &Path) -> io::Result<()> {
    const ABANDONED: Duration = Duration::from_secs(3600);
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(ASIDE) {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root).expect("a directory");
        let name = |entry: io::Result<fs::DirEntry>| {
            let name = entry.expect("an entry").file_name();
            name.to_string_lossy().into_owned()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn a_directory_is_made_private_and_one_that_is_open_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("a/b");
        directory(&path).expect("made");
        assert_eq!((mode(&root.path().join("a")), mode(&path)), (0o700, 0o700));
        directory(&path).expect("it is there");
        assert!(names(&path).is_empty(), "nothing is left in it");
        for open in [0o750, 0o705, 0o701] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).expect("set");
            let error = directory(&path).expect_err("open").to_string();
            assert!(error.contains("open to other users"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("set");
        let link = root.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("made");
        assert!(directory(&link).is_err(), "somebody else may turn a link");
    }

    #[test]
    fn a_file_is_written_whole_and_private() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("file");
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        write(&path, b"new").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"new");
        assert_eq!(mode(&path), 0o600);
        // A directory cannot be replaced by a file.
        let folder = root.path().join("folder");
        fs::create_dir(&folder).expect("made");
        assert!(write(&folder, b"new").is_err());
        assert_eq!(names(root.path()), ["file", "folder"], "nothing is left");
    }

    /// The first process of a container has the same number each time.
    #[test]
    fn what_a_process_of_our_number_left_is_in_nobodys_way() {
        let root = tempfile::tempdir().expect("a directory");
        let left = |n: u64| {
            root.path()
                .join(format!("{ASIDE}{}-{n}", std::process::id()))
        };
        for n in 0..1000 {
            fs::write(left(n), "half").expect("written");
        }
        let path = root.path().join("file");
        write(&path, b"whole").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"whole");
        assert_eq!(fs::read(left(0)).expect("there"), b"half");
    }

    #[test]
    fn only_what_is_old_is_abandoned() {
        let root = tempfile::tempdir().expect("a directory");
        let make = |name: &str, age: Duration| {
            let file = fs::File::create(root.path().join(name)).expect("made");
            let now = file.metadata().expect("there").modified();
            file.set_modified(now.expect("a time") - age).expect("set");
        };
        make(".new-1-0", Duration::from_secs(7200));
        make(".new-1-1", Duration::ZERO);
        make("kept", Duration::from_secs(7200));
        remove_abandoned(root.path()).expect("read");
        assert_eq!(names(root.path()), [".new-1-1", "kept"]);
    }
}
