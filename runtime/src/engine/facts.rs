//! What the bytes of a component say without running it: its handler, its imports, how it wants its
//! instances used.

use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

use super::{Error, World, asynchronous};
use crate::image::Digest;
use crate::image::componentize::{ISOLATION_REVISION, ISOLATION_SECTION, handler_version};

/// What a component says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Digest of the component's bytes.
    pub digest: Digest,
    /// Which handler interface it exports.
    pub world: World,
    /// It was built to serve many requests in one instance (our SDKs, `ko://` builds).
    pub reuse: bool,
    /// It uses the asynchronous part of the component model, as all components of WASI 0.3 do.
    pub is_async: bool,
    /// Interfaces that it imports, as it names them.
    pub imports: Vec<String>,
    /// Size of the component in bytes.
    pub size_bytes: usize,
}

impl Facts {
    /// What `isolation: auto` means for this component: whether an instance serves more than one
    /// request.
    pub fn auto_reuse(&self) -> bool {
        self.reuse || self.world == World::P3
    }

    /// Reads the top level of a component.
    ///
    /// # Errors
    /// [`Error::Compile`] for bytes that are no component with a handler, [`Error::Import`] for an
    /// interface that the host does not have.
    pub fn read(bytes: &[u8]) -> Result<Facts, Error> {
        let invalid = |error: wasmparser::BinaryReaderError| Error::Compile(error.to_string());
        let (mut world, mut reuse, mut imports, mut depth) = (None, false, Vec::new(), 0usize);
        let mut is_async = false;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(invalid)? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        imports.push(import.map_err(invalid)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let found = handler_version(export.map_err(invalid)?.name.name)
                            .map(|(world, _)| world);
                        // Of both, the newer one: an instance of it takes several requests.
                        world = if found == Some(World::P3) {
                            found
                        } else {
                            world.or(found)
                        };
                    }
                }
                Payload::ComponentTypeSection(section) => {
                    for declared in section {
                        is_async |= asynchronous::is_type(&declared.map_err(invalid)?);
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        is_async |= asynchronous::is_function(&function.map_err(invalid)?);
                    }
                }
                Payload::CustomSection(section) if depth == 1 => {
                    reuse |=
                        section.name() == ISOLATION_SECTION && section.data() == ISOLATION_REVISION;
                }
                _ => {}
            }
        }
        if let Some(interface) = imports.iter().find(|name| !is_provided(name)) {
            return Err(Error::Import {
                interface: interface.clone(),
                hint: provider(interface),
            });
        }
        let world = world.ok_or_else(|| Error::Compile("it exports no request handler".into()))?;
        Ok(Facts {
            digest: Digest::of(bytes),
            world,
            reuse,
            is_async: is_async || world == World::P3 || imports.iter().any(|name| is_of_p3(name)),
            imports,
            size_bytes: bytes.len(),
        })
    }
}

/// Interfaces of WASI 0.2 that wasmtime-wasi and wasmtime-wasi-http implement.
const P2_INTERFACES: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "http/outgoing-handler",
    "http/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
];

/// The same for WASI 0.3.
const P3_INTERFACES: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/types",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "clocks/monotonic-clock",
    "clocks/system-clock",
    "clocks/types",
    "filesystem/preopens",
    "filesystem/types",
    "http/client",
    "http/types",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/ip-name-lookup",
    "sockets/types",
];

/// Whether an import is of WASI 0.3, whatever it uses of it.
fn is_of_p3(import: &str) -> bool {
    let version = import.split_once('@').map_or("", |(_, version)| version);
    import.starts_with("wasi:") && version.starts_with("0.3.")
}

fn is_provided(import: &str) -> bool {
    let Some((interface, version)) = import
        .strip_prefix("wasi:")
        .and_then(|name| name.split_once('@'))
    else {
        // Functions and types at the top level: linking tells.
        return !import.contains(':');
    };
    (version.starts_with("0.2.") && P2_INTERFACES.contains(&interface))
        || (version.starts_with("0.3.") && P3_INTERFACES.contains(&interface))
}

/// Who provides an interface that this host does not have.
fn provider(interface: &str) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        (
            "wasi:keyvalue/",
            "; hosts such as wasmCloud and Spin do, here a guest would call a store over HTTP",
        ),
        (
            "wasi:config/",
            "; settings reach a guest as environment variables here",
        ),
        (
            "wasi:logging/",
            "; what a guest writes to standard output is logged here",
        ),
        (
            "wasi:nn/",
            "; it needs a host with a machine learning backend",
        ),
        ("wasi:tls/", "; TLS ends at the host here"),
        (
            "wasi:messaging/",
            "; events reach a guest as HTTP requests here",
        ),
        ("wasi:blobstore/", "; hosts such as wasmCloud do"),
        (
            "wasi:http/",
            "; only WASI 0.2.x and 0.3.x do here, release candidates do not",
        ),
        (
            "fermyon:",
            "; it is Spin's, build the guest with the \"wasi-http\" template instead",
        ),
        (
            "spin:",
            "; it is Spin's, build the guest with the \"wasi-http\" template instead",
        ),
        ("wasmcloud:", "; it is wasmCloud's"),
        (
            "fastly:",
            "; it is Fastly's, build the guest for wasm32-wasip2 instead",
        ),
        (
            "wasi_snapshot_preview1",
            "; it is of a core module, deploy that module instead",
        ),
        (
            "wasi:",
            "; of WASI there are cli, clocks, filesystem, http, io, random and sockets, 0.2.x and 0.3.x",
        ),
    ];
    KNOWN
        .iter()
        .find(|(prefix, _)| interface.starts_with(prefix))
        .map_or(
            "; compose the component with one that exports it (\"wac plug\")",
            |(_, hint)| hint,
        )
}
