//! The manifests that a user names: files, folders of files, bare components.
//!
//! Input: paths as given. Output: the documents of each file, or what is wrong with it, and the
//! paths whose change means that it has to be read again.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serve_core::api::Service;
use serve_core::api::podspec::Container;
use serve_core::object::Object;

use super::manifest::{self, Diagnostic, Document};

/// Folders in folders; a circle of links ends here too.
const MAX_DEPTH: usize = 16;

/// What one path stands for.
#[derive(Clone, Debug)]
pub struct File {
    /// The file, or the folder when it cannot be read.
    pub path: PathBuf,
    /// Whether the user named it, rather than a folder that it is in.
    pub is_named: bool,
    pub documents: Result<Vec<Document>, Vec<Diagnostic>>,
}

/// All that was found below the paths of a user.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    pub files: Vec<File>,
    /// Files and folders that were looked at.
    pub looked_at: Vec<PathBuf>,
    /// How each of them was before it was read.
    stamps: Vec<Stamp>,
}

/// What changes when a file does; none for one that is not there.
type Stamp = Option<(SystemTime, u64)>;

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Reads everything that `paths` name. `name` is for a bare component's Service.
#[must_use]
pub fn scan(paths: &[PathBuf], name: Option<&str>) -> Scan {
    find(paths).read(name)
}

/// Finds everything that `paths` name, and reads nothing yet.
#[must_use]
pub fn find(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in paths {
        if path.is_dir() {
            found.folder(path, 0);
        } else {
            let what = if is_component(path) {
                What::Component
            } else {
                What::Manifest { is_named: true }
            };
            found.add(path.clone(), what);
        }
    }
    found
}

/// Whether a path names a component or core module rather than a manifest.
#[must_use]
pub fn is_component(path: &Path) -> bool {
    matches!(
        path.extension().and_then(OsStr::to_str),
        Some("wasm" | "wat")
    )
}

fn is_manifest(path: &Path) -> bool {
    matches!(
        path.extension().and_then(OsStr::to_str),
        Some("yaml" | "yml" | "json")
    )
}

/// Files and folders, in the order in which they are read.
#[derive(Debug, Default)]
pub struct Found(Vec<Place>);

#[derive(Debug)]
struct Place {
    path: PathBuf,
    stamp: Stamp,
    what: What,
}

#[derive(Debug)]
enum What {
    Folder(io::Result<()>),
    Manifest {
        is_named: bool,
    },
    /// One that was named: others are named by manifests.
    Component,
}

impl Found {
    fn add(&mut self, path: PathBuf, what: What) {
        let stamp = stamp(&path);
        self.0.push(Place { path, stamp, what });
    }

    fn folder(&mut self, folder: &Path, depth: usize) {
        let (entries, listed) = match entries(folder) {
            Ok(entries) => (entries, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        self.add(folder.to_owned(), What::Folder(listed));
        for path in entries {
            let is_hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if is_hidden {
                // Editors' and version control's own files.
            } else if path.is_dir() && depth < MAX_DEPTH {
                self.folder(&path, depth + 1);
            } else if is_manifest(&path) {
                self.add(path, What::Manifest { is_named: false });
            }
        }
    }

    /// Whether to read the manifests takes long enough to do something else meanwhile.
    #[must_use]
    pub fn is_large(&self) -> bool {
        /// Some hundred objects.
        const LARGE_BYTES: u64 = 256 << 10;
        let manifests = self
            .0
            .iter()
            .filter(|place| matches!(place.what, What::Manifest { .. }));
        let bytes = manifests.filter_map(|place| Some(place.stamp?.1));
        bytes.sum::<u64>() > LARGE_BYTES
    }

    /// Reads all of it. `name` is for a bare component's Service.
    #[must_use]
    pub fn read(self, name: Option<&str>) -> Scan {
        let mut scan = Scan::default();
        for Place { path, stamp, what } in self.0 {
            scan.looked_at.push(path.clone());
            scan.stamps.push(stamp);
            let (is_named, documents) = match what {
                What::Folder(Ok(())) => continue,
                What::Folder(Err(error)) => (false, Err(vec![unreadable(&path, &error)])),
                What::Manifest { is_named } => (is_named, read(&path)),
                What::Component => (true, bare(&path, name)),
            };
            scan.files.push(File {
                path,
                is_named,
                documents,
            });
        }
        scan
    }
}

impl Scan {
    /// Whether what was looked at is not as it was then.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let mut looks = self.looked_at.iter().zip(&self.stamps);
        looks.any(|(path, then)| stamp(path) != *then)
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    // The order of a folder is not the same everywhere; that of names is.
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<Document>, Vec<Diagnostic>> {
    let bytes = std::fs::read(path).map_err(|error| vec![unreadable(path, &error)])?;
    let text = String::from_utf8(bytes).map_err(|_| {
        vec![Diagnostic::of_file(
            path,
            "not valid YAML: the file is not UTF-8 text".to_owned(),
        )]
    })?;
    manifest::parse(path, &text)
}

/// The Service that is made up for a component without a manifest.
fn bare(path: &Path, name: Option<&str>) -> Result<Vec<Document>, Vec<Diagnostic>> {
    if let Err(error) = std::fs::metadata(path) {
        return Err(vec![unreadable(path, &error)]);
    }
    let file = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let mut service = Service::default();
    service.metadata.name = name.map_or_else(|| service_name(stem), str::to_owned);
    let image = format!("./{file}");
    service.spec.template.spec.containers = vec![Container {
        image,
        ..Container::default()
    }];
    Ok(vec![Document::made_up(Object::from(service), path)])
}

/// A name that a Service may have, made of a file's.
fn service_name(stem: &str) -> String {
    let mut name = String::new();
    for c in stem.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() && !name.is_empty() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name: String = name.chars().take(50).collect();
    match name.trim_end_matches('-') {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::of_file(
        path,
        format!("reading manifest \"{}\": {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SERVICE: &str = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: x}\n\
                           spec: {template: {spec: {containers: [{image: img}]}}}\n";

    fn names(scan: &Scan) -> Vec<String> {
        let documents = scan
            .files
            .iter()
            .filter_map(|file| file.documents.as_ref().ok());
        documents
            .flatten()
            .map(|document| document.object.key().to_string())
            .collect()
    }

    #[test]
    fn folders_are_read_as_kn_writes_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("default/ksvc");
        fs::create_dir_all(&folder).expect("made");
        fs::create_dir_all(directory.path().join(".git")).expect("made");
        for name in ["b.yaml", "a.yml", "c.json"] {
            let text = if name == "c.json" {
                serde_json::json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
                    "metadata": {"name": name}})
                .to_string()
            } else {
                SERVICE.replace("name: x", &format!("name: {name}"))
            };
            fs::write(folder.join(name), text).expect("written");
        }
        fs::write(folder.join("notes.txt"), "not a manifest").expect("written");
        fs::write(directory.path().join(".git/x.yaml"), "not: a manifest").expect("written");
        let scan = scan(&[directory.path().to_owned()], None);
        assert_eq!(names(&scan), ["a.yml", "b.yaml", "c.json"]);
        assert!(scan.files.iter().all(|file| !file.is_named));
        assert!(scan.looked_at.contains(&folder));
    }

    #[test]
    fn a_change_after_a_look_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, later) = (
            directory.path().join("a.yaml"),
            directory.path().join("b.yaml"),
        );
        fs::write(&file, SERVICE).expect("written");
        let look = || scan(&[file.clone(), later.clone()], None);
        let first = look();
        assert!(!first.is_stale());
        fs::write(&later, SERVICE).expect("written");
        assert!(first.is_stale(), "it came");
        let second = look();
        assert!(!second.is_stale());
        fs::write(&file, format!("{SERVICE}# more\n")).expect("written");
        assert!(second.is_stale(), "it changed");
    }

    #[test]
    fn only_manifests_are_large_also_those_in_folders() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("folder");
        fs::create_dir(&folder).expect("a folder");
        let component = folder.join("a.wasm");
        fs::write(&component, vec![0; 1 << 20]).expect("written");
        let is_large = || find(&[folder.clone(), component.clone()]).is_large();
        assert!(!is_large());
        fs::write(folder.join("a.yaml"), SERVICE.repeat(4000)).expect("written");
        assert!(is_large());
    }

    #[test]
    fn a_bare_component_gets_a_service() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("My App_2.wasm");
        fs::write(&path, "").expect("written");
        assert_eq!(
            names(&scan(std::slice::from_ref(&path), None)),
            ["my-app-2"]
        );
        let scan = scan(&[path], Some("hi"));
        assert_eq!(names(&scan), ["hi"]);
        let document = &scan.files[0].documents.as_ref().expect("read")[0];
        assert_eq!(document.directory(), directory.path());
    }

    #[test]
    fn what_cannot_be_read_is_told_and_the_rest_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let good = directory.path().join("good.yaml");
        fs::write(&good, SERVICE).expect("written");
        let missing = directory.path().join("missing.yaml");
        let scan = scan(&[missing.clone(), good], None);
        assert_eq!(names(&scan), ["x"]);
        let wrong = scan.files[0].documents.as_ref().expect_err("missing");
        assert!(wrong[0].to_string().contains("No such file"), "{wrong:?}");
        assert!(scan.looked_at.contains(&missing), "it may come");
    }

    #[test]
    fn names_of_services_are_valid() {
        for (stem, want) in [
            ("hello", "hello"),
            ("2nd", "nd"),
            ("Über App", "ber-app"),
            ("a_b.core", "a-b-core"),
            ("__", "app"),
            ("x-", "x"),
        ] {
            assert_eq!(service_name(stem), want);
        }
    }
}
