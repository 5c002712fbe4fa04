//! Turns what a toolchain wrote (WAT, a core module, a component) into component bytes.
//!
//! A core module that exports the `handle` function of `wasi:http/incoming-handler@0.2.x` or
//! `wasi:http/handler@0.3.x` by its canonical name gets the component around it here, so that no
//! user needs `wasm-tools` or a WIT file. Imports of `wasi_snapshot_preview1` are adapted with the
//! reactor adapter of our wasmtime. Everything else is refused with a message that says what it is.

use std::borrow::Cow;
use std::fmt::Write as _;

use thiserror::Error as ThisError;
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, UnresolvedPackageGroup};

/// Name of the custom section that says how instances of a component may be used.
pub const ISOLATION_SECTION: &str = "serve:isolation";
/// Content of that section: an instance may serve one request after the other.
pub const ISOLATION_REVISION: &[u8] = b"revision";

const PREVIEW1: &str =
    wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
const P2_WIT: &str = include_str!("wit/p2.wit");
const P2_VERSION: &str = "0.2.12";
const P3_WIT: &str = include_str!("wit/p3.wit");
const P3_VERSION: &str = "0.3.0";

/// Why bytes are not a guest that this host can run.
#[derive(Debug, ThisError)]
pub enum Error {
    /// Not WebAssembly at all; the text says what it looks like and what to do.
    #[error("{0}")]
    NotWasm(String),
    /// The text format does not parse; line and column are in the message.
    #[error("invalid WebAssembly text")]
    Text(#[source] wat::Error),
    /// Truncated or malformed binary.
    #[error("invalid WebAssembly")]
    Invalid(#[source] wasmparser::BinaryReaderError),
    /// Valid, but nothing in it handles HTTP requests.
    #[error("{0}")]
    NoHandler(String),
    /// A core module whose imports or exports do not fit the component that its names promise.
    #[error("this core module cannot become a component: {0}")]
    Encode(String),
}

/// What the caller knows about the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The guest was made to serve many requests in one instance: a build with one of our SDKs.
    pub reuse: bool,
}

/// Component bytes for `bytes`, which are WAT, a core module or a component.
///
/// A component passes unchanged.
///
/// # Errors
/// See [`Error`]: each tells what the bytes are and what would work.
pub fn componentize(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    componentize_with(bytes, Options::default())
}

/// [`componentize`] with what the caller knows about the bytes.
///
/// # Errors
/// As [`componentize`].
pub fn componentize_with(bytes: &[u8], options: Options) -> Result<Vec<u8>, Error> {
    let binary = to_binary(bytes)?;
    let (mut component, marked) = if Parser::is_component(&binary) {
        check_component(&binary)?;
        (binary.into_owned(), false)
    } else {
        let module = Module::read(&binary)?;
        (module.encode(&binary)?, module.reuse)
    };
    if options.reuse || marked {
        append_custom_section(&mut component, ISOLATION_SECTION, ISOLATION_REVISION);
    }
    Ok(component)
}

/// The binary form of `bytes`, or what they are instead.
fn to_binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    if bytes.starts_with(b"\0asm") {
        return Ok(Cow::Borrowed(bytes));
    }
    if let Some(what) = foreign_format(bytes) {
        return Err(Error::NotWasm(format!(
            "this is {what}, not WebAssembly; build the program for wasm32-wasip2, or with GOOS=wasip1 GOARCH=wasm \
             -buildmode=c-shared and the serve SDK"
        )));
    }
    let text = bytes.trim_ascii_start();
    if !(text.starts_with(b"(") || text.starts_with(b";;")) {
        return Err(Error::NotWasm(
            "this is neither WebAssembly nor its text format: it starts with neither \"\\0asm\" nor \"(\"".into(),
        ));
    }
    wat::parse_bytes(bytes).map_err(Error::Text)
}

/// A name for file formats that people point an image at by mistake.
fn foreign_format(bytes: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    let macho: [&[u8]; 4] = [
        b"\xcf\xfa\xed\xfe",
        b"\xce\xfa\xed\xfe",
        b"\xfe\xed\xfa\xcf",
        b"\xca\xfe\xba\xbe",
    ];
    Some(if bytes.is_empty() {
        "an empty file"
    } else if starts(b"\x7fELF") {
        "a native Linux program or a compiled .cwasm file (ELF)"
    } else if macho.iter().any(|magic| starts(magic)) {
        "a native macOS program (Mach-O)"
    } else if starts(b"MZ") {
        "a native Windows program"
    } else if starts(b"\x1f\x8b") {
        "a gzip archive, as the layers of a Linux container image are"
    } else if starts(b"\x28\xb5\x2f\xfd") {
        "a zstd archive, as the layers of a Linux container image are"
    } else if bytes.get(257..262) == Some(b"ustar") {
        "a tar archive, as a saved Linux container image is"
    } else if starts(b"PK\x03\x04") {
        "a zip archive"
    } else if starts(b"#!") {
        "a script"
    } else {
        return None;
    })
}

/// Refuses a component that has no handler, with the reason.
fn check_component(bytes: &[u8]) -> Result<(), Error> {
    let mut exports = Vec::new();
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(Error::Invalid)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export.map_err(Error::Invalid)?.name.name);
                }
            }
            _ => {}
        }
    }
    if exports.iter().any(|name| handler_version(name).is_some()) {
        return Ok(());
    }
    if let Some(run) = exports
        .iter()
        .find(|name| name.starts_with("wasi:cli/run@"))
    {
        return Err(Error::NoHandler(format!(
            "this is a command component (it exports \"{run}\"), which handles no requests; export \
             \"wasi:http/incoming-handler@0.2.x\" or \"wasi:http/handler@0.3.x\""
        )));
    }
    Err(Error::NoHandler(format!(
        "this component exports neither \"wasi:http/incoming-handler@0.2.x\" nor \"wasi:http/handler@0.3.x\"; its \
         exports are {}",
        list(&exports)
    )))
}

/// Which of the two handler interfaces a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum World {
    /// `wasi:http/incoming-handler@0.2.x`: one request at a time in an instance.
    P2,
    /// `wasi:http/handler@0.3.x`: several requests at once in an instance.
    P3,
}

/// The world and the version of a handler interface named like `wasi:http/handler@0.3.0`.
pub(crate) fn handler_version(name: &str) -> Option<(World, &str)> {
    let parts = [
        ("wasi:http/incoming-handler@", "0.2.", World::P2),
        ("wasi:http/handler@", "0.3.", World::P3),
    ];
    parts.into_iter().find_map(|(prefix, track, world)| {
        let version = name.strip_prefix(prefix)?;
        let patch = version.strip_prefix(track)?;
        (!patch.is_empty() && patch.bytes().all(|c| c.is_ascii_digit())).then_some((world, version))
    })
}

/// What is read of a core module before it is wrapped.
struct Module<'a> {
    world: World,
    version: &'a str,
    preview1: bool,
    reuse: bool,
}

impl<'a> Module<'a> {
    fn read(bytes: &'a [u8]) -> Result<Module<'a>, Error> {
        let mut handler = None;
        let (mut preview1, mut reuse, mut command) = (false, false, false);
        let mut exports = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(Error::Invalid)? {
                Payload::Version {
                    encoding: Encoding::Component,
                    ..
                } => break,
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        preview1 |= import.map_err(Error::Invalid)?.module == PREVIEW1;
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let name = export.map_err(Error::Invalid)?.name;
                        handler = handler.or_else(|| core_handler(name));
                        command |= name == "_start";
                        exports.push(name);
                    }
                }
                Payload::CustomSection(section) => {
                    reuse |=
                        section.name() == ISOLATION_SECTION && section.data() == ISOLATION_REVISION;
                }
                _ => {}
            }
        }
        if let Some((world, version)) = handler {
            return Ok(Module {
                world,
                version,
                preview1,
                reuse,
            });
        }
        Err(Error::NoHandler(if command && preview1 {
            "this is a wasip1 command module (it exports \"_start\"), which handles no requests; for Go, import the \
             serve SDK and build with -buildmode=c-shared, for Rust and C build a wasi:http component"
                .into()
        } else {
            format!(
                "this core module exports no request handler, expected \
                 \"wasi:http/incoming-handler@0.2.0#handle\"; its exports are {}",
                list(&exports)
            )
        }))
    }

    /// The component around this module.
    fn encode(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        // The encoder matches imports of any 0.2.x, but exports only by their exact version.
        let (name, wit, known) = match self.world {
            World::P2 => ("p2.wit", P2_WIT, P2_VERSION),
            World::P3 => ("p3.wit", P3_WIT, P3_VERSION),
        };
        let wit = wit.replace(&format!("@{known}"), &format!("@{}", self.version));
        let mut resolve = Resolve::default();
        let group = UnresolvedPackageGroup::parse(name, &wit)
            .map_err(|(_, error)| Error::Encode(format!("{name}: {error}")))?;
        let package = resolve
            .push_group(group)
            .map_err(|error| Error::Encode(format!("{name}: {error}")))?;
        let world = resolve
            .select_world(&[package], Some("guest"))
            .map_err(chain)?;
        let mut module = bytes.to_vec();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .map_err(chain)?;
        let mut encoder = ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .map_err(chain)?;
        if self.preview1 {
            let adapter =
                wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
            encoder = encoder.adapter(PREVIEW1, adapter).map_err(chain)?;
        }
        encoder.encode().map_err(chain)
    }
}

/// The encoder's errors are chains of contexts; the reporter of ours prints one message.
fn chain(error: impl std::fmt::Display) -> Error {
    Error::Encode(format!("{error:#}"))
}

/// The handler interface whose `handle` function a core export is, by the canonical names.
fn core_handler(export: &str) -> Option<(World, &str)> {
    let name = export.strip_prefix("[async-lift]").unwrap_or(export);
    let name = name.strip_prefix("[async-lift-stackful]").unwrap_or(name);
    let (interface, function) = name.split_once('#')?;
    let handle = function.strip_prefix("[async]").unwrap_or(function) == "handle";
    handle.then(|| handler_version(interface)).flatten()
}

fn append_custom_section(component: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut section = Vec::new();
    leb128(&mut section, name.len());
    section.extend(name.as_bytes());
    section.extend(content);
    component.push(0);
    leb128(component, section.len());
    component.extend(section);
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// At most eight names in double quotes.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return "none".into();
    }
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("{name:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const HANDLE: &str = "wasi:http/incoming-handler@0.2.0#handle";

    fn core(export: &str) -> Vec<u8> {
        wat::parse_str(format!(
            "(module (func (export {export:?}) (param i32 i32)))"
        ))
        .unwrap()
    }

    #[test]
    fn what_is_not_a_guest_is_named() {
        let command = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (func (export "_start")))"#;
        let run = r#"(component (instance $i) (export "wasi:cli/run@0.2.3" (instance $i)))"#;
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let mut cut = core(HANDLE);
        cut.truncate(cut.len() - 4);
        let cases: &[(&str, &[u8], &str)] = &[
            ("nothing", b"", "this is an empty file"),
            (
                "Linux program",
                b"\x7fELF\x02\x01",
                "this is a native Linux program",
            ),
            (
                "macOS program",
                b"\xcf\xfa\xed\xfe",
                "this is a native macOS program",
            ),
            (
                "Windows program",
                b"MZ\x90",
                "this is a native Windows program",
            ),
            (
                "image layer",
                b"\x1f\x8b\x08",
                "this is a gzip archive, as the layers of a Linux",
            ),
            (
                "saved image",
                &tar,
                "this is a tar archive, as a saved Linux container image",
            ),
            ("zip", b"PK\x03\x04", "this is a zip archive"),
            ("script", b"#!/bin/sh", "this is a script"),
            (
                "prose",
                b"hello",
                "this is neither WebAssembly nor its text format",
            ),
            ("bad text", b"(module", "invalid WebAssembly text"),
            ("truncated", &cut, "invalid WebAssembly"),
            (
                "command module",
                command.as_bytes(),
                "this is a wasip1 command module",
            ),
            (
                "library",
                &core("add"),
                "this core module exports no request handler, expected",
            ),
            ("its exports", &core("add"), "its exports are \"add\""),
            (
                "release candidate",
                &core("wasi:http/incoming-handler@0.2.0-rc-1#handle"),
                "no request",
            ),
            (
                "other version",
                &core("wasi:http/incoming-handler@0.1.0#handle"),
                "no request handler",
            ),
            (
                "command component",
                run.as_bytes(),
                "this is a command component (it exports",
            ),
            (
                "empty component",
                b"(component)",
                "this component exports neither",
            ),
            ("wrong type", b"(module)", "its exports are none"),
        ];
        for (name, bytes, want) in cases {
            let error = componentize(bytes).unwrap_err().to_string();
            assert!(error.contains(want), "{name}: {error}");
            assert!(!error.ends_with('.'), "{name}: {error}");
        }
    }

    #[test]
    fn handler_of_the_wrong_type_says_what_is_wrong() {
        let wat = format!("(module (memory (export \"memory\") 1) (func (export {HANDLE:?})))");
        let error = componentize(wat.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("this core module cannot become a component: "),
            "{error}"
        );
    }

    #[test]
    fn any_patch_version_is_taken() {
        for version in ["0.2.0", "0.2.3", "0.2.10", "0.2.12", "0.2.99"] {
            let name = format!("wasi:http/incoming-handler@{version}");
            let component = componentize(&core(&format!("{name}#handle"))).unwrap();
            let text = String::from_utf8_lossy(&component).into_owned();
            assert!(text.contains(&name), "{version}");
        }
    }

    #[test]
    fn component_passes_unchanged_and_is_marked_on_demand() {
        let component = componentize(&core(HANDLE)).unwrap();
        assert_eq!(componentize(&component).unwrap(), component);
        let marked = componentize_with(&component, Options { reuse: true }).unwrap();
        assert_eq!(marked.len(), component.len() + 26);
        wasmparser::validate(&marked).unwrap();
    }

    #[test]
    fn mark_of_a_core_module_is_kept() {
        let section = "(@custom \"serve:isolation\" \"revision\")";
        let wat = format!("(module {section} (func (export {HANDLE:?}) (param i32 i32)))");
        for (bytes, reuse) in [(wat.into_bytes(), true), (core(HANDLE), false)] {
            let component = componentize(&bytes).unwrap();
            let facts = crate::engine::Facts::read(&component).unwrap();
            assert_eq!((facts.reuse, facts.world), (reuse, World::P2));
        }
    }

    #[test]
    fn mutated_bytes_never_panic() {
        let good = [core(HANDLE), componentize(&core(HANDLE)).unwrap()];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut bytes = random.choice(&good).unwrap().clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            _ = componentize(&bytes);
        }
    }
}
