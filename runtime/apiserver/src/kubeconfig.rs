//! The file that tells `kubectl` and `kn` where this server is, and editing the user's own.
//!
//! A user's file belongs to the user: it is changed as text, so that everything but the entries
//! called `serve` keeps its bytes, and the result is read again to see that nothing else changed.
//! A file in a form that is not understood is refused.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use serve_runtime::base64;
use serve_runtime::private;
use serve_runtime::source::manifest;

/// The name of our cluster, user and context.
pub const NAME: &str = "serve";
/// How often a lock that somebody has is tried again, and how long between.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Why a file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading or writing \"{}\"", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "\"{}\" is locked by another program; if none runs, remove \"{}\"", .path.display(),
        .lock.display()
    )]
    Locked { path: PathBuf, lock: PathBuf },
    #[error("\"{}\": {problem}; nothing was changed", .path.display())]
    Form { path: PathBuf, problem: String },
}

/// What clients need to know.
#[derive(Clone, Debug)]
pub struct Entry {
    pub server: String,
    /// Certificate of the CA, as PEM.
    pub ca: String,
    pub token: String,
}

/// Where clients of this machine find a listener.
#[must_use]
pub fn server(address: SocketAddr) -> String {
    let port = address.port();
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("https://127.0.0.1:{port}"),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("https://[::1]:{port}"),
        other => format!("https://{other}"),
    }
}

impl Entry {
    /// A whole file with this entry only.
    #[must_use]
    pub fn file(&self) -> String {
        let [cluster, context, user] = self.items();
        format!(
            "apiVersion: v1\nclusters:\n{cluster}contexts:\n{context}current-context: {NAME}\n\
             kind: Config\npreferences: {{}}\nusers:\n{user}"
        )
    }

    /// The entries of `clusters`, `contexts` and `users`.
    fn items(&self) -> [String; 3] {
        let ca = base64::encode(self.ca.as_bytes());
        [
            format!(
                "- cluster:\n    certificate-authority-data: {ca}\n    server: {}\n  name: {NAME}\n",
                self.server
            ),
            format!(
                "- context:\n    cluster: {NAME}\n    namespace: default\n    user: {NAME}\n  \
                 name: {NAME}\n"
            ),
            format!("- name: {NAME}\n  user:\n    token: {}\n", self.token),
        ]
    }

    /// Reads the entry of a file that [`Entry::file`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = manifest::value(text).ok()?;
        let named = |section: &str| {
            let entries = value[section].as_array()?;
            entries.iter().find(|entry| entry["name"] == NAME).cloned()
        };
        let (cluster, user) = (named("clusters")?, named("users")?);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let ca = base64::decode(cluster["cluster"]["certificate-authority-data"].as_str()?)?;
        Some(Self {
            server: text(&cluster["cluster"]["server"])?,
            ca: String::from_utf8(ca).ok()?,
            token: text(&user["user"]["token"])?,
        })
    }
}

/// Adds, or replaces, our context in a user's file. The current context is set when there is none.
///
/// # Errors
/// As [`Error`] says.
pub fn merge(path: &Path, entry: &Entry) -> Result<(), Error> {
    edit(path, |text| merged(text, entry))
}

/// Takes our context out of a user's file.
///
/// # Errors
/// As [`Error`] says.
pub fn remove(path: &Path) -> Result<(), Error> {
    if path.exists() {
        edit(path, removed)
    } else {
        Ok(())
    }
}

/// Changes a file under the lock that client-go takes too.
fn edit(path: &Path, change: impl Fn(&str) -> Result<String, String>) -> Result<(), Error> {
    let failed = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    // A link keeps being one: its target is what is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let _lock = Lock::take(path)?;
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let changed = change(&text).map_err(|problem| Error::Form {
        path: path.to_owned(),
        problem,
    })?;
    if changed == text {
        return Ok(());
    }
    private::write(path, changed.as_bytes()).map_err(failed)
}

/// `<file>.lock`, as client-go makes it: whoever creates the file has the lock.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, Error> {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        for _ in 0..LOCK_TRIES {
            let made = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&lock);
            match made {
                Ok(_) => return Ok(Self(lock)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(source) => return Err(Error::File { path: lock, source }),
            }
        }
        Err(Error::Locked {
            path: path.to_owned(),
            lock,
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const SECTIONS: [&str; 3] = ["clusters", "contexts", "users"];

fn merged(text: &str, entry: &Entry) -> Result<String, String> {
    let mut changed = removed_entries(text)?;
    if changed.trim().is_empty() {
        return Ok(entry.file());
    }
    for (section, item) in SECTIONS.into_iter().zip(entry.items()) {
        changed = with_item(&changed, section, &item);
    }
    let had = read(text)?;
    let has_current = had["current-context"]
        .as_str()
        .is_some_and(|name| !name.is_empty());
    if !has_current {
        changed = with_current(&changed, NAME);
    }
    check(&had, &read(&changed)?, true)?;
    Ok(changed)
}

fn removed(text: &str) -> Result<String, String> {
    let had = read(text)?;
    let mut changed = removed_entries(text)?;
    if had["current-context"] == NAME {
        changed = with_current(&changed, "\"\"");
    }
    check(&had, &read(&changed)?, false)?;
    Ok(changed)
}

fn removed_entries(text: &str) -> Result<String, String> {
    let mut changed = text.to_owned();
    for section in SECTIONS {
        changed = without_item(&changed, section)?;
    }
    Ok(changed)
}

fn read(text: &str) -> Result<Value, String> {
    match manifest::value(text) {
        Ok(Value::Null) => Ok(json!({})),
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it is not a kubeconfig file".to_owned()),
        Err(problem) => Err(format!("line {}: {}", problem.line, problem.message)),
    }
}

/// Whether nothing but our entries changed.
fn check(before: &Value, after: &Value, is_there: bool) -> Result<(), String> {
    let rest = |value: &Value| {
        let mut value = value.clone();
        for section in SECTIONS {
            let entries = value[section].as_array().cloned().unwrap_or_default();
            let others = entries.into_iter().filter(|entry| entry["name"] != NAME);
            value[section] = others.collect::<Vec<_>>().into();
        }
        let current = value["current-context"].as_str().unwrap_or_default();
        if matches!(current, "" | NAME) {
            value["current-context"] = "".into();
        }
        value
    };
    let ours = SECTIONS.into_iter().all(|section| {
        let entries = after[section]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        entries.iter().filter(|entry| entry["name"] == NAME).count() == usize::from(is_there)
    });
    if ours && rest(before) == rest(after) {
        Ok(())
    } else {
        Err("it is written in a form that this program cannot edit; use --print".to_owned())
    }
}

/// The lines of a section: its key's line, and those of its entries, as a range of lines.
fn section_lines(lines: &[&str], section: &str) -> Option<(usize, usize)> {
    let key = format!("{section}:");
    let start = lines.iter().position(|line| {
        line.strip_prefix(&key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    })?;
    let is_inside =
        |line: &&str| line.starts_with([' ', '\t', '-', '#', '\n', '\r']) || line.is_empty();
    let length = lines[start + 1..]
        .iter()
        .take_while(|line| is_inside(line))
        .count();
    Some((start, start + 1 + length))
}

fn without_item(text: &str, section: &str) -> Result<String, String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some((start, end)) = section_lines(&lines, section) else {
        return Ok(text.to_owned());
    };
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let Some(first) = lines[start + 1..end]
        .iter()
        .find(|line| line.trim_start().starts_with("- "))
    else {
        return Ok(text.to_owned());
    };
    let depth = indent(first);
    let is_item = |line: &str| indent(line) == depth && line.trim_start().starts_with("- ");
    let mut kept: Vec<&str> = lines[..=start].to_vec();
    let mut at = start + 1;
    let mut left = 0;
    while at < end {
        let next = (at + 1..end).find(|n| is_item(lines[*n])).unwrap_or(end);
        let item = &lines[at..next];
        let value = is_item(lines[at])
            .then(|| read(&format!("items:\n{}", item.concat())))
            .transpose()?;
        if value.is_some_and(|value| value["items"][0]["name"] == NAME) {
            at = next;
            continue;
        }
        left += usize::from(is_item(lines[at]));
        kept.extend(item);
        at = next;
    }
    if left == 0 && kept.len() < lines.len() {
        // A key without entries would be null: it is written as client-go writes it.
        let key = format!("{section}: []\n");
        let before = kept[..start].concat();
        let after = lines[end..].concat();
        return Ok(format!("{before}{key}{after}"));
    }
    kept.extend(&lines[end..]);
    Ok(kept.concat())
}

fn with_item(text: &str, section: &str, item: &str) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some((start, end)) = section_lines(&lines, section) else {
        let gap = if text.ends_with('\n') { "" } else { "\n" };
        return format!("{text}{gap}{section}:\n{item}");
    };
    let first = lines[start + 1..end]
        .iter()
        .find(|line| line.trim_start().starts_with("- "));
    let depth = first.map_or(0, |line| line.len() - line.trim_start_matches(' ').len());
    let indent = " ".repeat(depth);
    let shifted: String = item
        .split_inclusive('\n')
        .flat_map(|line| [indent.as_str(), line])
        .collect();
    let key = format!("{section}:\n");
    if first.is_none() {
        lines[start] = &key;
    }
    let (before, after) = lines.split_at(end);
    let before = before.concat();
    let gap = if before.ends_with('\n') { "" } else { "\n" };
    format!("{before}{gap}{shifted}{}", after.concat())
}

fn with_current(text: &str, name: &str) -> String {
    const KEY: &str = "current-context:";
    let line = format!("{KEY} {name}\n");
    if !text.split_inclusive('\n').any(|line| line.starts_with(KEY)) {
        let gap = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        return format!("{text}{gap}{line}");
    }
    text.split_inclusive('\n')
        .map(|old| if old.starts_with(KEY) { &line } else { old })
        .collect()
}

#[cfg(test)]
mod tests;
