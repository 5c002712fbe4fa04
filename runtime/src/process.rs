//! What one process shares with others, or has only so much of: directories and open files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Resource, getrlimit, setrlimit, test_kill_process};

use crate::private;

/// How many files this process may have open; none when there is no limit.
#[must_use]
pub fn open_files() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Lets this process open as many files as its user may: shells start programs with far fewer. Not
/// for a library to do by itself.
///
/// # Errors
/// When the system does not allow it; then nothing has changed.
pub fn raise_open_files() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// As many open files as 10 000 clients and the code of some thousand components take; the kernel's
/// table for them takes 8 bytes each.
const OPEN_FILES: u64 = 1 << 14;

/// Makes the kernel's table of open files large enough for a busy host, or as large as may be. It
/// grows by doubling otherwise, and while there are several threads that takes 10 to 20 ms each time,
/// for which a request waits: this belongs before they are started.
///
/// # Errors
/// When the system does not allow it; then it grows as it is needed.
pub fn reserve_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(OPEN_FILES);
    let last = limit.min(OPEN_FILES).saturating_sub(1);
    let file = fs::File::open("/dev/null")?;
    // The table is never made smaller.
    let highest = i32::try_from(last).unwrap_or(i32::MAX);
    drop(rustix::io::fcntl_dupfd_cloexec(&file, highest)?);
    Ok(())
}

/// A new directory below `root` that no other runtime uses, of this process or another. Those that
/// processes left behind which no longer run are removed.
///
/// # Errors
/// When a directory cannot be made, or `root` is not ours alone.
pub fn own_directory(root: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    private::directory(root)?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !is_in_use(&entry.file_name().to_string_lossy()) {
            // Two processes that start at once may both remove it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let own = root.join(format!("{}-{number}", std::process::id()));
    // An earlier process with the same number may have left one.
    match fs::remove_dir_all(&own) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    private::directory(&own)?;
    Ok(own)
}

/// Whether the process that a directory is named after runs. A name that is none of ours is left
/// alone.
fn is_in_use(name: &str) -> bool {
    let Some(pid) = name.split_once('-').and_then(|(pid, _)| pid.parse().ok()) else {
        return true;
    };
    let Some(pid) = Pid::from_raw(pid) else {
        return true;
    };
    test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_ones_own_and_go_with_their_process() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path().join("run");
        let first = own_directory(&root).expect("made");
        fs::write(first.join("file"), "kept").expect("written");
        // No process has the largest number that a process can have.
        let left = root.join(format!("{}-0", i32::MAX));
        let foreign = root.join("notes");
        fs::create_dir(&left).expect("made");
        fs::create_dir(&foreign).expect("made");
        let second = own_directory(&root).expect("made");
        assert_ne!(first, second);
        assert!(first.join("file").exists(), "another runtime's files stay");
        assert!(!left.exists(), "a dead process's do not");
        assert!(foreign.exists());
    }
}
