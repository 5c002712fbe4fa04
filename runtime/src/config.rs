//! Every setting of the host, with its default. `config/serve.toml` shows the same to people.
//!
//! Knative's own settings are not here: they keep the names, the defaults and the place that they
//! have on a cluster, the ConfigMaps of namespace `knative-serving`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serve_core::duration;

/// All settings. The default of each is the one that is written here, nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    pub ingress: Ingress,
    pub api: Api,
    pub images: Images,
    pub network: Network,
    pub engine: Engine,
    pub build: Build,
    pub run: Run,
    pub shutdown: Shutdown,
}

/// The data plane's listeners.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ingress {
    /// Where public hosts are served; port 0 picks a free one.
    pub listen: Listen,
    /// Where cluster-local hosts are served too.
    pub local_listen: Listen,
    /// Threads that serve connections.
    pub workers: Workers,
    /// How long a client may take to send the header of a request.
    pub header_read_timeout: Span,
    /// How many bytes the header of a request may have.
    pub max_header_bytes: Size,
    /// How many bytes of it the URI may have.
    pub max_uri_bytes: Size,
    /// How long a connection without a request stays open.
    pub keep_alive_timeout: Span,
    /// How many connections are open at once, over all clients.
    pub max_connections: usize,
    /// How many of them one address may have.
    pub max_connections_per_address: usize,
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            listen: Listen::At(SocketAddr::from(([127, 0, 0, 1], 8080))),
            local_listen: Listen::At(SocketAddr::from(([127, 0, 0, 1], 8081))),
            workers: Workers::Auto,
            header_read_timeout: Span(Duration::from_secs(10)),
            max_header_bytes: Size(32 << 10),
            max_uri_bytes: Size(16 << 10),
            keep_alive_timeout: Span(Duration::from_secs(75)),
            max_connections: 10_000,
            max_connections_per_address: 1000,
        }
    }
}

/// The Kubernetes API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Api {
    /// Where `kubectl` and `kn` are served, over TLS; port 0 picks a free one.
    pub listen: Listen,
    /// How many bytes the body of a request may have.
    pub max_body_bytes: Size,
    /// How many connections are open at once.
    pub max_connections: usize,
    /// How many watches run at once.
    pub max_watches: usize,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: Listen::At(SocketAddr::from(([127, 0, 0, 1], 6443))),
            max_body_bytes: Size(3 << 20),
            max_connections: 1_000,
            max_watches: 1_000,
        }
    }
}

/// Where the bytes of images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Images {
    /// Folders whose files clients of the API may name as images.
    pub roots: Vec<PathBuf>,
    /// Name of an image, with or without a tag → the file that has its bytes.
    pub names: BTreeMap<String, PathBuf>,
}

/// Names of hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Network {
    /// The domain that public hosts end in, unless ConfigMap `config-domain` says another.
    pub domain: String,
    /// Whether `status.url` has the listener's port.
    pub url_port: UrlPort,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            domain: "localhost".to_owned(),
            url_port: UrlPort::Auto,
        }
    }
}

/// Whether `status.url` has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UrlPort {
    /// The public listener's port when it is not 80, so that the URL can be pasted.
    Auto,
    /// Never, as on a cluster.
    None,
}

/// How WebAssembly runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Engine {
    /// Where components and their compiled code are kept. Empty: `serve` below the user's cache
    /// directory.
    pub cache_dir: PathBuf,
    /// Linear memory of one instance, summed over its memories, where the manifest sets no limit.
    pub memory: Size,
    /// How many instances may exist at once, over all revisions.
    pub max_instances: u32,
    /// How many revisions have their code loaded at once; the others load it when they need it.
    pub max_loaded: usize,
    /// How many components are compiled at once. 0: one less than the machine's cores, at least 1.
    pub parallel_compiles: usize,
    /// Whether large components that are new run on code of the baseline compiler, which is there
    /// four times sooner and runs slower, until they are optimised.
    pub baseline: bool,
    /// How much of what guests write is kept for `kubectl logs`, for each revision.
    pub log_bytes: Size,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            cache_dir: PathBuf::new(),
            memory: Size(256 << 20),
            max_instances: 1000,
            max_loaded: 8192,
            parallel_compiles: 0,
            baseline: true,
            log_bytes: Size(256 << 10),
        }
    }
}

/// What building one `ko://` package may cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Build {
    /// How long it may take.
    pub time: Span,
    /// How much address space each of the toolchain's processes may use.
    pub memory: Size,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            time: Span(Duration::from_secs(600)),
            memory: Size(8 << 30),
        }
    }
}

/// A run of manifests in the foreground.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Run {
    /// How long the Services may take to become ready at the start.
    pub ready_timeout: Span,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            ready_timeout: Span(Duration::from_secs(600)),
        }
    }
}

/// How the host ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Shutdown {
    /// How long running requests may take to end after the signal to stop.
    pub grace: Span,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Span(Duration::from_secs(30)),
        }
    }
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    At(SocketAddr),
    Off,
}

/// How many threads serve connections, each with a runtime of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One for each core.
    Auto,
    /// This many; 0 serves connections on the runtime that the host was built on.
    Count(usize),
}

impl Workers {
    /// The number of threads on this machine.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Self::Count(count) => count,
        }
    }
}

/// A duration that is written as Go and Knative write it: `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes that is written with a unit: `64Mi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A setting's text is not what the setting takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is not {expected}")]
pub struct ParseError {
    found: String,
    expected: &'static str,
}

impl FromStr for Listen {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| ParseError {
            found: text.to_owned(),
            expected: "an address; expected IP:port such as 127.0.0.1:8080, or off",
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

impl FromStr for Workers {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let count = text.parse().ok().filter(|count| *count <= MAX_WORKERS);
        count.map(Self::Count).ok_or_else(|| ParseError {
            found: text.to_owned(),
            expected: "a number of threads; expected auto, or a whole number up to 1024",
        })
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Count(count) => count.fmt(f),
        }
    }
}

impl FromStr for Span {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        duration::parse(text)
            .ok()
            .map(Self)
            .ok_or_else(|| ParseError {
                found: text.to_owned(),
                expected: "a duration; expected a number and a unit such as 30s, 1m30s or 500ms",
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration::format(self.0))
    }
}

/// More threads than any machine has cores for.
const MAX_WORKERS: usize = 1024;

const UNITS: [(&str, u64); 4] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)];

impl FromStr for Size {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parse = || {
            let (number, unit) = UNITS
                .iter()
                .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, *unit)))?;
            number.parse::<u64>().ok()?.checked_mul(unit)
        };
        parse().map(Self).ok_or_else(|| ParseError {
            found: text.to_owned(),
            expected: "a size; expected a whole number and a unit: Ki, Mi, Gi, or none for bytes",
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, unit): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*unit);
        let (name, unit) = UNITS.iter().find(whole).unwrap_or(&("", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(Listen, Workers, Span, Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_addresses_read_what_they_write() {
        for text in ["0", "1", "64Mi", "1Gi", "1536Ki", "1000"] {
            assert_eq!(text.parse::<Size>().expect(text).to_string(), text);
        }
        for text in ["off", "127.0.0.1:8080", "[::1]:0"] {
            assert_eq!(text.parse::<Listen>().expect(text).to_string(), text);
        }
        for text in ["auto", "0", "4"] {
            assert_eq!(text.parse::<Workers>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_a_setting_does_not_take_is_named() {
        let error = "80".parse::<Listen>().expect_err("no host");
        assert_eq!(
            error.to_string(),
            "\"80\" is not an address; expected IP:port such as 127.0.0.1:8080, or off"
        );
        assert!("4000".parse::<Workers>().is_err());
        assert!("64MB".parse::<Size>().is_err());
        assert!("99999999999Gi".parse::<Size>().is_err());
        assert!("10".parse::<Span>().is_err());
    }
}
