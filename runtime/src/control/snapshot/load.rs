//! Reads what an earlier run left: what is waited for first, then the rest.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use serve_core::object::{DecodeError, Object};
use tokio::sync::mpsc::Sender;

use super::Error;
use super::file::Reader;

/// Objects that belong together, or more of these.
#[derive(Debug)]
pub struct Batch {
    pub objects: Vec<Object>,
    /// Somebody waits for them.
    pub is_wanted: bool,
}

/// The state of an earlier run, not yet read.
#[derive(Debug)]
pub struct Load {
    path: PathBuf,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(Reader),
    /// A file of an earlier form, which can only be read as a whole.
    Old(File),
}

/// The text of a file of an earlier form.
#[derive(Deserialize)]
#[serde(untagged)]
enum Old {
    State {
        objects: Vec<Value>,
        revision: u64,
    },
    /// As it was before versions were kept.
    Objects(Vec<Value>),
}

impl Load {
    /// Begins to read a file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn open(file: File, path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let reader = file.try_clone().and_then(Reader::open);
        let source = match reader.map_err(|error| failed(&path, error))? {
            Some(reader) => Source::File(reader),
            None => Source::Old(file),
        };
        Ok(Self { path, source })
    }

    /// Reads everything, and gives it away in batches with the newest version that the earlier run
    /// can have given. `wanted` returns the hosts that somebody waits for since it was last asked.
    /// Ends early when nobody takes the batches.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Content`].
    pub fn run(
        self,
        wanted: impl Fn() -> Vec<String>,
        to: &Sender<(Batch, u64)>,
    ) -> Result<(), Error> {
        let path = &self.path;
        match self.source {
            Source::Old(file) => {
                let (objects, revision) = old(file).map_err(|error| failed(path, error))?;
                let batch = Batch {
                    objects,
                    is_wanted: true,
                };
                // Nobody takes it when the host ends.
                let _ = to.blocking_send((batch, revision));
                Ok(())
            }
            Source::File(reader) => {
                families(&reader, wanted, to).map_err(|error| failed(path, error))
            }
        }
    }
}

fn families(
    reader: &Reader,
    wanted: impl Fn() -> Vec<String>,
    to: &Sender<(Batch, u64)>,
) -> io::Result<()> {
    if reader.len() == 0 {
        let batch = Batch {
            objects: Vec::new(),
            is_wanted: false,
        };
        let _ = to.blocking_send((batch, reader.revision()));
    }
    let mut is_done = vec![false; reader.len()];
    let send = |number: usize, is_wanted: bool, is_done: &mut Vec<bool>| {
        let alone = |n: usize| !is_done[n] && (n == number || !is_wanted && number > 0);
        let (numbers, objects) = reader.read(number, alone)?;
        for number in numbers {
            is_done[number] = true;
        }
        let batch = Batch { objects, is_wanted };
        Ok::<_, io::Error>(to.blocking_send((batch, reader.revision())).is_ok())
    };
    // The settings, by which the others are understood: without them a Route that somebody waits for
    // would be served by another domain's name.
    if let Some(number) = reader.find("", "")
        && !send(number, false, &mut is_done)?
    {
        return Ok(());
    }
    for number in 0..reader.len() {
        let hosts = wanted();
        let found = hosts.iter().flat_map(|host| candidates(host));
        let found: Vec<_> = found
            .filter_map(|(namespace, name)| reader.find(namespace, name))
            .collect();
        let (known, new): (Vec<_>, Vec<_>) = found.into_iter().partition(|number| is_done[*number]);
        for number in &new {
            if !is_done[*number] && !send(*number, true, &mut is_done)? {
                return Ok(());
            }
        }
        // It was given away when nobody had asked for it.
        let batch = Batch {
            objects: Vec::new(),
            is_wanted: true,
        };
        if new.is_empty()
            && !known.is_empty()
            && to.blocking_send((batch, reader.revision())).is_err()
        {
            return Ok(());
        }
        if !is_done[number] && !send(number, false, &mut is_done)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The families that a host may be of, by namespace and name, as hosts are named where no setting
/// says otherwise: `[tag-]name.namespace.…`. No harm is done when it is none of them.
fn candidates(host: &str) -> impl Iterator<Item = (&str, &str)> {
    let host = host.split(':').next().unwrap_or_default();
    let mut labels = host.split('.');
    let (first, namespace) = (labels.next().unwrap_or_default(), labels.next());
    let names =
        std::iter::once(first).chain(first.match_indices('-').map(|(dash, _)| &first[dash + 1..]));
    let namespace = namespace.into_iter();
    namespace.flat_map(move |namespace| names.clone().map(move |name| (namespace, name)))
}

fn old(mut file: File) -> io::Result<(Vec<Object>, u64)> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let (values, revision) = match serde_json::from_slice(&text)? {
        Old::Objects(objects) => (objects, 0),
        Old::State { objects, revision } => (objects, revision),
    };
    let objects = values.into_iter().map(Object::from_value);
    let objects = objects.collect::<Result<_, DecodeError>>();
    let objects = objects.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((objects, revision))
}

fn failed(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    let is_content = matches!(
        source.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    );
    if is_content {
        let problem = source.to_string();
        Error::Content { path, problem }
    } else {
        Error::File { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_its_family() {
        for (host, want) in [
            ("h1.default.localhost", &["default/h1"][..]),
            ("h1.default", &["default/h1"]),
            ("h1.default:8080", &["default/h1"]),
            (
                "v1-my-app.prod.example.com",
                &["prod/v1-my-app", "prod/my-app", "prod/app"],
            ),
            ("localhost", &[]),
            ("", &[]),
        ] {
            let found = candidates(host).map(|(namespace, name)| format!("{namespace}/{name}"));
            assert_eq!(found.collect::<Vec<_>>(), want, "{host}");
        }
    }
}
