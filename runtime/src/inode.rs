//! What tells a file from the one that was there before, so that what was found out about its bytes
//! need not be found out again. As git's index does.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// So much later, in seconds, a file that is changed has another time of its change, whatever clock
/// its file system takes times from.
const SETTLED: i64 = 3;

/// A file as it was when it was last changed: no program but those of the system's administrator can
/// set that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inode {
    device: u64,
    number: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// The bytes of a file, and which file it was, unless it was changed meanwhile.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> io::Result<(Vec<u8>, Option<Inode>)> {
    let mut file = File::open(path)?;
    let before = Inode::of(&file.metadata()?);
    // Asks for room for all of it at once, and fails when there is none: a file can have any length.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let is_same = Inode::of(&file.metadata()?) == before;
    Ok((bytes, is_same.then_some(before)))
}

impl Inode {
    #[must_use]
    pub fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            number: found.ino(),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Size of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a note about the file still holds while the file looks the same: the note, whose file
    /// is `note`, was written long enough after the last change. One that was written in the same tick
    /// of the clock would not show a later change.
    #[must_use]
    pub fn is_settled(&self, note: &Metadata) -> bool {
        note.mtime() >= self.changed.0 + SETTLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any address space; not every file system has such files.
    const ENDLESS: u64 = 1 << 50;

    #[test]
    fn a_file_that_no_memory_holds_is_an_error() {
        let shared = Path::new("/dev/shm");
        let place = if shared.is_dir() {
            shared.to_owned()
        } else {
            std::env::temp_dir()
        };
        let directory = tempfile::tempdir_in(place).expect("a directory");
        let path = directory.path().join("endless");
        let file = File::create(&path).expect("a file");
        if file.set_len(ENDLESS).is_ok() {
            let error = read(&path).expect_err("too large");
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        }
    }
}
