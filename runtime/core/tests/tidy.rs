//! The rules of the repository that a program can check: which crate and which module may use
//! which. A new arrow is added to the list here, on purpose.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// A file without its comments and its tests.
fn code(path: &Path) -> String {
    let text = read(path);
    // Tests stand last in a file.
    let text = text
        .rsplit_once("\n#[cfg(test)]\n")
        .map_or(text.as_str(), |(code, _)| code);
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The dependencies that a manifest names in its `[dependencies]`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    read(&root().join(manifest))
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn core_has_no_clock_no_io_and_no_runtime() {
    let allowed = [
        "foldhash",
        "md-5",
        "schemars",
        "serde",
        "serde_json",
        "sha2",
        "thiserror",
    ];
    for name in dependencies("runtime/core/Cargo.toml") {
        assert!(
            allowed.contains(&name.as_str()),
            "serve-core must not depend on {name}"
        );
    }
    let banned = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::env",
        "::now()",
        "std::sync",
    ];
    for file in rust_files(&root().join("runtime/core/src")) {
        // Sharing what does not change is neither a lock nor a task.
        let text = read(&file).replace("std::sync::Arc", "");
        for word in banned {
            assert!(
                !text.contains(word),
                "{} must not use {word}",
                file.display()
            );
        }
    }
}

#[test]
fn crates_point_one_way() {
    let crates = [
        (
            "runtime/core/Cargo.toml",
            &["serve-runtime", "serve-apiserver", "clap", "anyhow"][..],
        ),
        (
            "runtime/Cargo.toml",
            &["serve-apiserver", "clap", "toml", "anyhow"][..],
        ),
        (
            "runtime/apiserver/Cargo.toml",
            &[
                "wasmtime",
                "wasmtime-wasi",
                "wasmtime-wasi-http",
                "clap",
                "toml",
                "anyhow",
            ][..],
        ),
    ];
    for (manifest, banned) in crates {
        for name in dependencies(manifest) {
            assert!(
                !banned.contains(&name.as_str()),
                "{manifest} must not depend on {name}"
            );
        }
    }
}

/// Which modules of the runtime each module may name as `crate::…`.
const ARROWS: &[(&str, &[&str])] = &[
    ("activator", &[]),
    (
        "autoscaler",
        &["activator", "clock", "node", "pool", "probe", "tasks"],
    ),
    ("base64", &[]),
    ("body", &[]),
    ("clock", &[]),
    ("config", &[]),
    (
        "control",
        &[
            "autoscaler",
            "clock",
            "image",
            "ingress",
            "logs",
            "node",
            "private",
            "revision",
            "tasks",
        ],
    ),
    (
        "engine",
        &["body", "image", "inode", "logs", "priority", "private"],
    ),
    ("image", &["inode", "private"]),
    ("inode", &[]),
    (
        "ingress",
        &[
            "activator",
            "body",
            "config",
            "control",
            "engine",
            "revision",
            "tasks",
        ],
    ),
    ("lib", &[]),
    ("logs", &["clock"]),
    ("node", &[]),
    ("pool", &["body", "engine", "image", "priority"]),
    ("priority", &[]),
    ("private", &[]),
    ("probe", &["body", "engine", "pool"]),
    ("process", &["private"]),
    ("progress", &[]),
    (
        "revision",
        &[
            "activator",
            "base64",
            "body",
            "config",
            "engine",
            "image",
            "ingress",
            "logs",
            "node",
            "pool",
            "progress",
        ],
    ),
    (
        "runtime",
        &[
            "body", "clock", "config", "control", "engine", "image", "ingress", "logs", "node",
            "pool", "process", "progress", "revision", "source", "tasks",
        ],
    ),
    ("source", &["config", "image", "inode", "progress"]),
    ("tasks", &[]),
];

#[test]
fn modules_of_the_runtime_point_where_the_list_says() {
    let src = root().join("runtime/src");
    // `tests.rs`, and what is in a folder `tests` beside it.
    let is_test = |file: &PathBuf| {
        let mut parts = file.strip_prefix(&src).unwrap_or(file).iter();
        parts.any(|part| part == "tests.rs" || part == "tests")
    };
    for file in rust_files(&src).into_iter().filter(|file| !is_test(file)) {
        let relative = file.strip_prefix(&src).expect("below src");
        let first = relative.components().next().expect("a file has a name");
        let module = first
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned();
        let allowed = ARROWS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("module {module} is not in the list"))
            .1;
        let text = code(&file);
        for used in text.split("crate::").skip(1) {
            let used: String = used
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let fine = used.is_empty() || used == module || allowed.contains(&used.as_str());
            assert!(fine, "{}: {module} must not use {used}", file.display());
        }
    }
}

#[test]
fn the_api_uses_of_the_runtime_only_what_objects_need() {
    let allowed = [
        "Runtime", "base64", "clock", "config", "control", "image", "logs", "private", "progress",
        "source", "tasks",
    ];
    for file in rust_files(&root().join("runtime/apiserver/src")) {
        for used in code(&file).split("serve_runtime::").skip(1) {
            let fine = allowed.iter().any(|name| used.starts_with(name));
            let used = used.lines().next().unwrap_or_default();
            assert!(fine, "{} must not use {used}", file.display());
        }
    }
}

#[test]
fn only_the_engine_names_wasmtime() {
    for folder in ["runtime/src", "runtime/apiserver/src", "runtime/cli"] {
        for file in rust_files(&root().join(folder)) {
            let inside = file.components().any(|part| part.as_os_str() == "engine");
            for line in code(&file).lines() {
                assert!(
                    inside || !(line.contains("wasmtime::") || line.contains("wasmtime_")),
                    "{} names wasmtime: {line}",
                    file.display()
                );
            }
        }
    }
}
