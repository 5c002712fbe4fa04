//! What a manifest's `image` names.

use std::path::{Path, PathBuf};

/// An image as a manifest writes it, by where its bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A file: `./app.wasm`, `app.wat`, `/opt/app.wasm`, `file:///opt/app.wasm`. Relative to the
    /// manifest.
    File(PathBuf),
    /// A Go package to build: `ko://./cmd/hello`, `ko://example.com/hello`.
    Ko(String),
    /// Bytes in the content store: `serve.local/hello@sha256:…`, or any other name with a digest.
    /// The digest is 64 hex digits.
    Content { digest: String },
    /// Anything else: an image in a registry.
    Registry(String),
}

/// The registry name of what is in the content store.
pub const CONTENT_REGISTRY: &str = "serve.local/";

impl Reference {
    #[must_use]
    pub fn parse(image: &str) -> Self {
        if let Some(package) = image.strip_prefix("ko://") {
            return Self::Ko(package.to_owned());
        }
        let is_path = |text: &str| ["./", "../", "/"].iter().any(|it| text.starts_with(it));
        if let Some(path) = image.strip_prefix("file://") {
            return Self::File(path.into());
        }
        // The short form of such a URL; `file:1.0` is an image and its tag.
        if let Some(path) = image.strip_prefix("file:").filter(|path| is_path(path)) {
            return Self::File(path.into());
        }
        if let Some((_, digest)) = image.split_once("@sha256:")
            && digest.len() == 64
            && digest
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Self::Content {
                digest: digest.to_owned(),
            };
        }
        let extension = Path::new(image)
            .extension()
            .and_then(|extension| extension.to_str());
        if is_path(image)
            || matches!(extension, Some("wasm" | "wat")) && !image.contains([':', '@'])
        {
            return Self::File(image.into());
        }
        Self::Registry(image.to_owned())
    }
}

/// The reference to bytes in the content store: `name` is what people see.
#[must_use]
pub fn content(name: &str, digest: &str) -> String {
    format!("{CONTENT_REGISTRY}{}@sha256:{digest}", repository(name))
}

/// A name made fit for a repository: lower case letters, digits, single separators, two characters
/// at least.
fn repository(name: &str) -> String {
    let mut made = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            made.push(c);
        } else if !made.is_empty() && !made.ends_with('-') {
            made.push('-');
        }
    }
    let made = made.trim_end_matches('-');
    match made.len() {
        0 => "component".to_owned(),
        1 => format!("{made}-component"),
        _ => made.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_apart() {
        let digest = "0123456789abcdef".repeat(4);
        let cases = [
            ("./app.wasm", Reference::File("./app.wasm".into())),
            ("../x/app", Reference::File("../x/app".into())),
            ("app.wat", Reference::File("app.wat".into())),
            (
                "file:///opt/app.wasm",
                Reference::File("/opt/app.wasm".into()),
            ),
            ("file:/opt/app", Reference::File("/opt/app".into())),
            ("file:./app", Reference::File("./app".into())),
            ("file:v1", Reference::Registry("file:v1".into())),
            ("ko://./cmd/hello", Reference::Ko("./cmd/hello".into())),
            (
                &format!("serve.local/hi@sha256:{digest}"),
                Reference::Content {
                    digest: digest.clone(),
                },
            ),
            (
                &format!("ghcr.io/a/b:v1@sha256:{digest}"),
                Reference::Content { digest },
            ),
            (
                "serve.local/hi@sha256:12",
                Reference::Registry("serve.local/hi@sha256:12".into()),
            ),
            (
                "serve.local/hi:v1",
                Reference::Registry("serve.local/hi:v1".into()),
            ),
            (
                "ghcr.io/a/b:1.wasm",
                Reference::Registry("ghcr.io/a/b:1.wasm".into()),
            ),
            ("nginx", Reference::Registry("nginx".into())),
        ];
        for (image, want) in cases {
            assert_eq!(Reference::parse(image), want, "{image}");
        }
    }

    #[test]
    fn repositories_are_made_valid() {
        for (name, want) in [
            ("hello", "hello"),
            ("My App_2", "my-app-2"),
            ("x", "x-component"),
            ("__", "component"),
        ] {
            assert_eq!(repository(name), want);
        }
    }
}
