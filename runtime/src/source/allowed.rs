//! Which files images may name by setting `[images]`: those of `images.names`, and for clients of
//! the API those beneath `images.roots`.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serve_core::image_reference::ImageReference;

/// Larger files are no components that this host takes.
const MAX_BYTES: u64 = 64 << 20;

/// The file that an image's name stands for: an entry with the image's tag before one without.
///
/// Names are compared in full, so that `app`, `library/app` and `docker.io/library/app` are one.
#[must_use]
pub fn named<'a>(names: &'a BTreeMap<String, PathBuf>, image: &str) -> Option<&'a Path> {
    let image: ImageReference = image.parse().ok()?;
    let entries = names.iter().filter_map(|(name, path)| {
        let name: ImageReference = name.parse().ok()?;
        let fits = name.name() == image.name()
            && (name.tag.is_none() || name.tag == image.tag)
            && (name.digest.is_none() || name.digest == image.digest);
        let exactness = (name.digest.is_some(), name.tag.is_some());
        fits.then_some((exactness, path))
    });
    let best = entries.max_by_key(|(exactness, _)| *exactness);
    best.map(|(_, path)| path.as_path())
}

/// Reads a file that lies beneath one of the folders: a regular one, and where it lies after all
/// links are followed.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] for a file beneath none of them, others as the system has them.
pub fn read_beneath(roots: &[PathBuf], path: &Path) -> io::Result<Vec<u8>> {
    for root in roots {
        let Ok(root) = root.canonicalize() else {
            continue;
        };
        // An absolute path stays what it is.
        if let Some(bytes) = read_one(&root, &root.join(path))? {
            return Ok(bytes);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// The bytes; none when there is no such file, or not beneath `root`.
fn read_one(root: &Path, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Ok(canonical) = path.canonicalize() else {
        return Ok(None);
    };
    if !canonical.starts_with(root) {
        return Ok(None);
    }
    // Opening a pipe would wait for its other end.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&canonical)?;
    let found = opened.metadata()?;
    // Somebody may swap folders for links meanwhile: what was opened must be what is there.
    let is_same = same_file(&found, &canonical) && canonical.canonicalize()? == canonical;
    if !is_same || !found.is_file() {
        return Ok(None);
    }
    read_all(opened, &found).map(Some)
}

fn same_file(found: &Metadata, path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|other| (other.dev(), other.ino()) == (found.dev(), found.ino()))
}

fn read_all(file: File, found: &Metadata) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if found.len().max(bytes.len() as u64) > MAX_BYTES {
        let problem = format!("the file has more than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_found_whatever_their_spelling_and_the_exact_one_wins() {
        let names = BTreeMap::from(
            [
                ("xiexianbin/hello", "/any"),
                ("xiexianbin/hello:v1", "/one"),
                ("docker.io/library/app", "/app"),
                ("ghcr.io/a/b:x", "/b"),
            ]
            .map(|(name, path)| (name.to_owned(), PathBuf::from(path))),
        );
        for (image, want) in [
            ("xiexianbin/hello", Some("/any")),
            ("xiexianbin/hello:latest", Some("/any")),
            ("docker.io/xiexianbin/hello:v1", Some("/one")),
            ("app:v7", Some("/app")),
            ("ghcr.io/a/b", None),
            ("ghcr.io/a/b:x", Some("/b")),
            ("other/hello", None),
            ("not a name", None),
        ] {
            assert_eq!(named(&names, image), want.map(Path::new), "{image}");
        }
    }

    #[test]
    fn only_regular_files_beneath_a_root_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("in")).expect("made");
        fs::write(root.join("in/app.wasm"), "good").expect("written");
        fs::write(directory.path().join("secret"), "bad").expect("written");
        std::os::unix::fs::symlink("../secret", root.join("link")).expect("linked");
        std::os::unix::fs::symlink("in/app.wasm", root.join("inner")).expect("linked");
        std::os::unix::fs::symlink("..", root.join("up")).expect("linked");
        let roots = [directory.path().join("missing"), root.clone()];
        let absolute = root.join("in/app.wasm");
        for (path, want) in [
            (Path::new("in/app.wasm"), Some("good")),
            (Path::new("./in/../in/app.wasm"), Some("good")),
            (Path::new("inner"), Some("good")),
            (&absolute, Some("good")),
            (Path::new("link"), None),
            (Path::new("up/secret"), None),
            (Path::new("../secret"), None),
            (Path::new("in"), None),
            (Path::new("/etc/hostname"), None),
            (Path::new("missing"), None),
        ] {
            let read = read_beneath(&roots, path).ok();
            assert_eq!(
                read.as_deref(),
                want.map(str::as_bytes),
                "{}",
                path.display()
            );
        }
        assert!(read_beneath(&[], &absolute).is_err());
    }
}
