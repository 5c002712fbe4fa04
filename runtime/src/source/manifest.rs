//! Manifests: YAML or JSON text to objects, with the line of everything that is wrong.
//!
//! Input: the text of one file. Output: its objects in order, each with the place of every field,
//! or all diagnostics at once. Unknown fields are errors: a file is a person's, and a misspelt
//! field must not be lost.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Budget, Location, Options, Spanned};
use serve_core::object::{DecodeError, Object};

use super::decode::decode;

/// Larger files are refused before they are parsed.
pub const MAX_BYTES: usize = 3 << 20;
/// Manifests are written by people: these bounds are far above what they write, and low enough
/// that a file made to hurt is refused in milliseconds.
const MAX_NODES: usize = 20_000;
const MAX_ALIASES: usize = 100;
const MAX_DEPTH: usize = 64;
const MAX_DOCUMENTS: usize = 256;

/// One object of a file, and where its fields stand.
#[derive(Clone, Debug)]
pub struct Document {
    pub object: Object,
    source: Source,
    root: Node,
}

/// Where a text is from, and the text, which what is wrong with it shows.
#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    text: Arc<str>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub path: PathBuf,
    /// From 1; 0 when the whole file is meant.
    pub line: u64,
    /// From 1, in characters; 0 when the whole line is meant.
    pub column: u64,
    /// As Knative writes it, `spec.template.spec.containers[0].image`; empty when the place is no
    /// field.
    pub field: String,
    pub message: String,
    /// The text of the file as it was read; empty when there is none to show.
    pub text: Arc<str>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        write!(f, ": {}", self.message)
    }
}

impl Document {
    /// A document for an object that no manifest describes; `path` is what it was made from.
    #[must_use]
    pub fn made_up(object: Object, path: &Path) -> Self {
        let root = Node {
            raw: Raw::Null,
            location: Location::UNKNOWN,
        };
        Self {
            object,
            source: Source {
                path: path.to_owned(),
                text: "".into(),
            },
            root,
        }
    }

    /// Where paths in the file start.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self.source.path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("."),
        }
    }

    /// A diagnostic at the place of a field, or of the nearest part of it that is there.
    ///
    /// `field` is written as Knative writes it: `spec.template.spec.containers[0].image`.
    #[must_use]
    pub fn diagnostic(&self, field: &str, message: impl Into<String>) -> Diagnostic {
        self.source.wrong_field(&self.root, field, message)
    }
}

/// Reads all objects of a file.
///
/// # Errors
/// Everything that is wrong with the text, at least one entry.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Document>, Vec<Diagnostic>> {
    let whole_file = |message: String| vec![Diagnostic::of_file(path, message)];
    if text.len() > MAX_BYTES {
        return Err(whole_file(format!(
            "the file has {} bytes; at most {MAX_BYTES} are read",
            text.len()
        )));
    }
    let source = Source {
        path: path.to_owned(),
        text: text.into(),
    };
    let nodes: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|error| vec![source.syntax(&error)])?;
    let mut documents = Vec::new();
    let mut diagnostics = Vec::new();
    for root in nodes {
        read(&source, root, &mut documents, &mut diagnostics);
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    if documents.is_empty() {
        return Err(whole_file("the file has no objects".into()));
    }
    Ok(documents)
}

/// Reads the one document of a text as JSON, whatever it is.
///
/// # Errors
/// What is wrong with the text.
pub fn value(text: &str) -> Result<Value, Diagnostic> {
    let source = Source {
        path: PathBuf::new(),
        text: "".into(),
    };
    let wrong = |location, message: &str| source.wrong(location, message);
    if text.len() > MAX_BYTES {
        return Err(wrong(Location::UNKNOWN, "the text is too long"));
    }
    let nodes: Vec<Node> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|error| source.syntax(&error))?;
    match nodes.as_slice() {
        [] => Ok(Value::Null),
        [node] => node
            .value()
            .map_err(|location| wrong(location, "a number that JSON cannot carry")),
        _ => Err(wrong(Location::UNKNOWN, "the text has several documents")),
    }
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_nodes = MAX_NODES;
    budget.max_events = 4 * MAX_NODES;
    budget.max_aliases = MAX_ALIASES;
    budget.max_anchors = MAX_ALIASES;
    budget.max_depth = MAX_DEPTH;
    budget.max_documents = MAX_DOCUMENTS;
    budget.max_total_scalar_bytes = MAX_BYTES;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.with_snippet = false;
    // Kubernetes' reader is a YAML 1.1 one, and modes such as 0644 are written so.
    options.legacy_octal_numbers = true;
    options
}

fn read(
    source: &Source,
    root: Node,
    documents: &mut Vec<Document>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    // An empty document is what a separator at the start or the end of a file leaves.
    if matches!(root.raw, Raw::Null) {
        return;
    }
    if let Raw::Map(_) = root.raw
        && root.text("kind") == Some("List")
        && root.text("apiVersion") == Some("v1")
    {
        match root.get("items").map(|items| &items.raw) {
            Some(Raw::Seq(items)) => {
                for item in items {
                    read(source, item.clone(), documents, diagnostics);
                }
            }
            _ => diagnostics.push(source.wrong(root.location, "a List needs items")),
        }
        return;
    }
    match object(source, &root) {
        Ok(object) => documents.push(Document {
            object,
            source: source.clone(),
            root,
        }),
        Err(errors) => diagnostics.extend(errors),
    }
}

fn object(source: &Source, root: &Node) -> Result<Object, Vec<Diagnostic>> {
    let Raw::Map(_) = root.raw else {
        let message = "expected an object with apiVersion and kind";
        return Err(vec![source.wrong(root.location, message)]);
    };
    let value = root
        .value()
        .map_err(|location| vec![source.wrong(location, "a number that JSON cannot carry")])?;
    let decoded = decode(value).map_err(|error| {
        let field = match &error {
            DecodeError::Field { path, .. } => path,
            DecodeError::Missing { field } => *field,
            DecodeError::UnknownKind { .. } => "kind",
            DecodeError::NotAnObject => "",
        };
        vec![source.wrong_field(root, field, error.to_string())]
    })?;
    if decoded.unknown.is_empty() {
        return Ok(decoded.object);
    }
    let unknown = decoded.unknown.iter();
    let mut diagnostics: Vec<_> = unknown
        .map(|field| source.wrong_field(root, field, format!("unknown field \"{field}\"")))
        .collect();
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    Err(diagnostics)
}

impl Diagnostic {
    /// What is wrong with a file as a whole.
    #[must_use]
    pub fn of_file(path: &Path, message: impl Into<String>) -> Self {
        let source = Source {
            path: path.to_owned(),
            text: "".into(),
        };
        source.wrong(Location::UNKNOWN, message)
    }
}

impl Source {
    fn wrong(&self, location: Location, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            path: self.path.clone(),
            line: location.line(),
            column: location.column(),
            field: String::new(),
            message: message.into(),
            text: self.text.clone(),
        }
    }

    fn wrong_field(&self, root: &Node, field: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            field: field.to_owned(),
            ..self.wrong(root.place(field), message)
        }
    }

    fn syntax(&self, error: &serde_saphyr::Error) -> Diagnostic {
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let text = error.to_string();
        // The parser ends its message with the place, which a diagnostic has of its own.
        let message = text.split(" at line ").next().unwrap_or(&text);
        match limit(message) {
            Some(limit) => self.wrong(location, limit),
            None => self.wrong(location, format!("not valid YAML: {message}")),
        }
    }
}

/// Which limit of [`options`] a text goes beyond, as its author can act on it.
fn limit(message: &str) -> Option<String> {
    let breach = message.strip_prefix("budget breached: ")?;
    let what = match breach.split(' ').next()? {
        "Documents" => format!("more than {MAX_DOCUMENTS} documents; divide the file"),
        "Depth" => format!("nested deeper than {MAX_DEPTH} levels"),
        "Aliases" | "Anchors" => format!("more than {MAX_ALIASES} aliases"),
        "Nodes" | "Events" => format!("more than {MAX_NODES} values; divide the file"),
        _ => return None,
    };
    Some(what)
}

/// A YAML value and where it stands.
#[derive(Clone, Debug)]
struct Node {
    raw: Raw,
    location: Location,
}

#[derive(Clone, Debug)]
enum Raw {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    String(String),
    Seq(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    fn entry(&self, key: &str) -> Option<&(Spanned<String>, Self)> {
        let Raw::Map(entries) = &self.raw else {
            return None;
        };
        entries.iter().find(|(name, _)| name.value == key)
    }

    fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.raw {
            Raw::String(text) => Some(text),
            _ => None,
        }
    }

    /// The JSON value, or the place of a number that JSON does not have.
    fn value(&self) -> Result<Value, Location> {
        Ok(match &self.raw {
            Raw::Null => Value::Null,
            Raw::Bool(value) => (*value).into(),
            Raw::Integer(value) => (*value).into(),
            Raw::Unsigned(value) => (*value).into(),
            Raw::Float(value) => Number::from_f64(*value).ok_or(self.location)?.into(),
            Raw::String(value) => value.clone().into(),
            Raw::Seq(nodes) => {
                Value::Array(nodes.iter().map(Self::value).collect::<Result<_, _>>()?)
            }
            Raw::Map(entries) => {
                let mut map = Map::new();
                for (key, node) in entries {
                    map.insert(key.value.clone(), node.value()?);
                }
                Value::Object(map)
            }
        })
    }

    /// Where a field stands: its key when it is there, else the nearest parent that is.
    fn place(&self, field: &str) -> Location {
        let (mut node, mut place) = (self, self.location);
        for step in steps(field) {
            let next = match step {
                Step::Key(key) => node.entry(key).map(|(name, node)| (node, name.referenced)),
                Step::Index(index) => match &node.raw {
                    Raw::Seq(nodes) => nodes.get(index).map(|node| (node, node.location)),
                    _ => None,
                },
            };
            let Some((found, location)) = next else { break };
            (node, place) = (found, location);
        }
        place
    }
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of `spec.traffic[0].tag` or `metadata.annotations[a.b/c]`.
fn steps(field: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some((key, after)) = inner.split_once(']') else {
                break;
            };
            steps.push(key.parse().map_or(Step::Key(key), Step::Index));
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            steps.push(Step::Key(key));
            rest = after;
        }
    }
    steps
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Raw>::deserialize(deserializer)?;
        Ok(Self {
            raw: spanned.value,
            location: spanned.referenced,
        })
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(Raw::Unsigned(value), Raw::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::String(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::Seq(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests;
