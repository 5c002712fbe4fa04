//! The Go SDK's sources, as they are laid into a user's module.

/// The SDK's own module path.
pub const MODULE: &str = "github.com/serve-wasm/serve/guest-sdk/go";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../guest-sdk/go/", $name)))),*]
    };
}

/// Name within the SDK, and text, of each file that an unmodified program needs.
pub const FILES: &[(&str, &str)] = files![
    "internal/entry/doc.go",
    "internal/entry/entry_wasip1.go",
    "internal/httpd/context.go",
    "internal/httpd/doc.go",
    "internal/httpd/request.go",
    "internal/httpd/response.go",
    "internal/httpd/serve.go",
    "internal/names/names.go",
    "internal/relay/http2.go",
    "internal/relay/relay.go",
    "internal/wasihttp/abi_wasip1.go",
    "internal/wasihttp/doc.go",
    "internal/wasihttp/fields_wasip1.go",
    "internal/wasihttp/incoming_wasip1.go",
    "internal/wasihttp/memory_wasip1.go",
    "internal/wasihttp/outgoing_wasip1.go",
    "internal/wasihttp/poll_wasip1.go",
    "unmodified/dial_wasip1.go",
    "unmodified/doc.go",
    "unmodified/h2c/doc.go",
    "unmodified/h2c/h2c_wasip1.go",
    "unmodified/unmodified_wasip1.go",
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn all_files_of_the_packages_are_laid() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk/go");
        let mut found = Vec::new();
        let mut folders = vec!["internal".to_owned(), "unmodified".to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(sdk.join(&folder)).expect("the SDK's folder") {
                let entry = entry.expect("an entry");
                let name = entry.file_name().into_string().expect("UTF-8");
                let path = format!("{folder}/{name}");
                if entry.path().is_dir() {
                    // The guest of this repository's own tests.
                    folders.extend((name != "testguest").then_some(path));
                } else if !name.ends_with("_test.go") {
                    found.push(path);
                }
            }
        }
        found.sort();
        let laid: Vec<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(laid, found);
    }

    #[test]
    fn the_module_path_is_the_sdks() {
        let manifest = include_str!("../../../../guest-sdk/go/go.mod");
        assert!(
            manifest
                .lines()
                .any(|line| line == format!("module {MODULE}"))
        );
    }
}
