//! The file of a snapshot: all objects, in an order and with an index that let each one be read
//! alone, so that a host with many of them answers before it has read them all.
//!
//! ```text
//! serve-objects 2                                       what this is
//! services.serving.knative.dev {…}                      a kind and an object, a line each
//! …
//! {"revision":7,"families":[["default","h1",16,9000]]}   where each family is
//! @00000000000000009016                                 where the index is
//! ```
//! A family is what has one name, with all that it controls: a Service, its Configuration, its
//! Revisions, its Route. What is of no Service, such as settings, is the first family, and has
//! no name.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;

const HEADER: &[u8] = b"serve-objects 2\n";
/// `@`, an offset, a line break.
const FOOTER_BYTES: u64 = 22;
/// How much is read at once when all of it is read. Few Services: what somebody waits for is behind
/// them.
const CHUNK_BYTES: u64 = 64 << 10;

/// Where everything is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    /// No version that the run gave is newer.
    revision: u64,
    /// By namespace and name; then offset and length.
    families: Vec<(String, String, u64, u64)>,
}

/// A file that can be read in parts.
#[derive(Debug)]
pub struct Reader {
    file: File,
    index: Index,
}

impl Reader {
    /// Reads the index of a file; `None` when it is a file of another form.
    ///
    /// # Errors
    /// Those of reading, and [`io::ErrorKind::InvalidData`].
    pub fn open(file: File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let mut header = [0; HEADER.len()];
        if length < HEADER.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        if header != *HEADER {
            return Ok(None);
        }
        let footer_at = length.saturating_sub(FOOTER_BYTES);
        let footer = read(&file, footer_at, length - footer_at)?;
        let offset = std::str::from_utf8(&footer).ok();
        let offset = offset.and_then(|text| text.strip_prefix('@')?.trim_end().parse().ok());
        let offset: u64 = offset.ok_or_else(|| invalid("its end is missing"))?;
        let length = footer_at
            .checked_sub(offset)
            .ok_or_else(|| invalid("its index is not where it should be"))?;
        let index = serde_json::from_slice(&read(&file, offset, length)?)?;
        Ok(Some(Self { file, index }))
    }

    /// The newest version that the earlier run can have given.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.index.revision
    }

    /// How many families there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.families.len()
    }

    /// The number of the family with this name.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<usize> {
        let wanted = (namespace, name);
        let families = &self.index.families;
        let found = families.binary_search_by(|(namespace, name, ..)| {
            (namespace.as_str(), name.as_str()).cmp(&wanted)
        });
        found.ok()
    }

    /// The families from `number` on that are read together with it, as far as they are `wanted`:
    /// their numbers and their objects.
    ///
    /// # Errors
    /// Those of reading, and [`io::ErrorKind::InvalidData`].
    pub fn read(
        &self,
        number: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> io::Result<(Vec<usize>, Vec<Object>)> {
        let (mut numbers, mut bytes) = (Vec::new(), 0);
        let families = self.index.families.iter().enumerate().skip(number);
        for (number, (.., length)) in families {
            if !wanted(number) || bytes >= CHUNK_BYTES {
                break;
            }
            numbers.push(number);
            bytes += length;
        }
        let Some((.., offset, _)) = self.index.families.get(number).filter(|_| bytes > 0) else {
            return Ok((numbers, Vec::new()));
        };
        let text = read(&self.file, *offset, bytes)?;
        Ok((numbers, objects(&text)?))
    }
}

fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let end = offset.checked_add(length);
    if end.is_none_or(|end| file.metadata().is_ok_and(|found| found.len() < end)) {
        return Err(invalid("a part of it is missing"));
    }
    let length = usize::try_from(length).map_err(|_| invalid("it is too large"))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn objects(text: &[u8]) -> io::Result<Vec<Object>> {
    let kinds: HashMap<_, _> = Kind::ALL
        .iter()
        .map(|kind| (kind_name(*kind), *kind))
        .collect();
    let lines = text.split(|byte| *byte == b'\n');
    let object = |line: &[u8]| {
        let space = line.iter().position(|byte| *byte == b' ');
        let (kind, json) = line.split_at(space.ok_or_else(|| invalid("a line without a kind"))?);
        let kind = std::str::from_utf8(kind)
            .ok()
            .and_then(|kind| kinds.get(kind));
        let kind = kind.ok_or_else(|| invalid("a line of an unknown kind"))?;
        let object = Object::from_slice(*kind, json);
        object.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    };
    lines.filter(|line| !line.is_empty()).map(object).collect()
}

fn kind_name(kind: Kind) -> String {
    let names = kind.names();
    format!("{}.{}", names.plural, names.group)
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Writes the file.
///
/// # Errors
/// Those of writing.
pub fn write(objects: &[Arc<Object>], revision: u64, to: &mut impl Write) -> io::Result<()> {
    let mut index = Index {
        revision,
        families: Vec::new(),
    };
    let (mut offset, mut text) = (HEADER.len() as u64, Vec::new());
    to.write_all(HEADER)?;
    for (key, members) in families(objects) {
        text.clear();
        for object in members {
            text.extend(kind_name(object.kind()).as_bytes());
            text.push(b' ');
            serde_json::to_writer(&mut text, &**object)?;
            text.push(b'\n');
        }
        to.write_all(&text)?;
        let length = text.len() as u64;
        let ObjectKey { namespace, name } = key;
        index.families.push((namespace, name, offset, length));
        offset += length;
    }
    serde_json::to_writer(&mut *to, &index)?;
    // The line break belongs to the index: white space around JSON means nothing.
    write!(to, "\n@{offset:020}\n")
}

/// The objects by the name of what controls them in the end.
fn families(objects: &[Arc<Object>]) -> BTreeMap<ObjectKey, Vec<&Arc<Object>>> {
    let by_uid: HashMap<&str, &Arc<Object>> = objects
        .iter()
        .map(|object| (object.metadata().uid.as_str(), object))
        .collect();
    let mut families: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for object in objects {
        let mut root = object;
        // Deeper than any chain of ours; a circle ends here too.
        for _ in 0..8 {
            let owner = root.metadata().controller();
            match owner.and_then(|owner| by_uid.get(owner.uid.as_str())) {
                Some(owner) => root = owner,
                None => break,
            }
        }
        let is_served = matches!(
            root.kind(),
            Kind::Service | Kind::Configuration | Kind::Revision | Kind::Route
        );
        let key = if is_served {
            root.key()
        } else {
            ObjectKey::default()
        };
        families.entry(key).or_default().push(object);
    }
    families
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(api: &str, kind: &str, name: &str, owner: Option<(&str, &str)>) -> Arc<Object> {
        let prefix = if api == SERVING { "" } else { "core " };
        let uid = format!("{prefix}{kind} {name}");
        let owners: Vec<_> = owner
            .iter()
            .map(|(kind, name)| {
                json!({"apiVersion": "serving.knative.dev/v1", "kind": kind, "name": name,
                    "uid": format!("{kind} {name}"), "controller": true})
            })
            .collect();
        let value = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name,
            "namespace": "default", "uid": uid, "ownerReferences": owners}});
        Arc::new(Object::from_value(value).expect("an object"))
    }

    const SERVING: &str = "serving.knative.dev/v1";

    fn some() -> Vec<Arc<Object>> {
        vec![
            object(SERVING, "Service", "b", None),
            object(SERVING, "Service", "a", None),
            object(SERVING, "Route", "alone", None),
            object(SERVING, "Configuration", "a", Some(("Service", "a"))),
            object(SERVING, "Revision", "a-1", Some(("Configuration", "a"))),
            object("v1", "ConfigMap", "settings", None),
            object("v1", "Service", "a", Some(("Route", "gone"))),
        ]
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    fn written(objects: &[Arc<Object>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(objects, 7, &mut bytes).expect("written");
        bytes
    }

    fn names(objects: &[Object]) -> Vec<String> {
        let name = |object: &Object| format!("{:?} {}", object.kind(), object.metadata().name);
        objects.iter().map(name).collect()
    }

    #[test]
    fn each_family_can_be_read_alone() {
        let reader = Reader::open(file(&written(&some())))
            .expect("read")
            .expect("ours");
        assert_eq!((reader.revision(), reader.len()), (7, 4));
        let only = |number: usize| reader.read(number, |n| n == number).expect("read");
        let (numbers, first) = only(0);
        assert_eq!(numbers, [0]);
        assert_eq!(names(&first), ["ConfigMap settings", "KubernetesService a"]);
        let a = reader.find("default", "a").expect("there");
        let want = ["Service a", "Configuration a", "Revision a-1"];
        assert_eq!(names(&only(a).1), want);
        assert_eq!(reader.find("default", "c"), None);
        assert_eq!(reader.find("other", "a"), None);
    }

    #[test]
    fn all_that_was_written_is_read() {
        let given = some();
        let reader = Reader::open(file(&written(&given)))
            .expect("read")
            .expect("ours");
        let (numbers, mut objects) = reader.read(0, |_| true).expect("read");
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(reader.read(4, |_| true).expect("read").0, [0; 0]);
        let mut given: Vec<Object> = given.iter().map(|object| Object::clone(object)).collect();
        let order = |object: &Object| (object.kind(), object.key());
        given.sort_by_key(order);
        objects.sort_by_key(order);
        assert_eq!(objects, given);
        let nothing = Reader::open(file(&written(&[])))
            .expect("read")
            .expect("ours");
        assert_eq!(nothing.len(), 0);
        assert_eq!(nothing.read(0, |_| true).expect("read").1, []);
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_no_state() {
        let bytes = written(&some());
        for end in HEADER.len()..bytes.len() {
            let cut = Reader::open(file(&bytes[..end]));
            assert!(cut.is_err(), "{end} bytes of {}", bytes.len());
        }
        let other = Reader::open(file(b"[{\"apiVersion\": \"v1\"}]")).expect("read");
        assert!(other.is_none(), "a file of an earlier form");
        let text = String::from_utf8(bytes).expect("text");
        for (from, to) in [
            ("revisions.serving", "revisions-serving"),
            ("{\"api", "[\"api"),
        ] {
            let reader = Reader::open(file(text.replace(from, to).as_bytes()));
            let reader = reader.expect("read").expect("ours");
            assert!(reader.read(0, |_| true).is_err(), "{from}");
        }
    }
}
