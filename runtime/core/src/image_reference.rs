//! Names of images: `docker.io/library/app:v1`, `app`, `ghcr.io/a/b@sha256:…`.
//!
//! Input: `image` of a container and the keys of image settings. Output: the parts, with the
//! defaults of Docker Hub in place, so that two spellings of one name compare equal.
//!
//! # Source
//!
//! google/go-containerregistry pkg/name, `ParseReference` with `WeakValidation`, which is what
//! Knative uses. Differs: a digest must be `sha256:` and 64 hexadecimal digits in that order.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The registry of a name that has none.
pub const DEFAULT_REGISTRY: &str = "index.docker.io";

/// The tag of a name that has neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// The text is not the name of an image.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("could not parse reference: {text}")]
pub struct Error {
    pub text: String,
}

/// The name of an image, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// Host, perhaps with a port.
    pub registry: String,
    /// At least two characters; for Docker Hub always with its `library/`.
    pub repository: String,
    /// As written; `None` means [`DEFAULT_TAG`] unless there is a digest.
    pub tag: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: Option<String>,
}

impl ImageReference {
    /// Registry and repository: what all versions of an image have in common.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for ImageReference {
    /// The full name, with the tag unless a digest says more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.tag.as_deref().unwrap_or(DEFAULT_TAG)),
        }
    }
}

impl FromStr for ImageReference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).ok_or_else(|| Error {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<ImageReference> {
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    let (path, tag) = split_tag(named)?;
    let (registry, repository) = split_registry(path)?;
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return None;
    }
    Some(ImageReference {
        registry,
        repository,
        tag: tag.map(str::to_owned),
        digest: digest.map(str::to_owned),
    })
}

/// Takes the tag off; a colon before a slash belongs to a port instead.
fn split_tag(named: &str) -> Option<(&str, Option<&str>)> {
    let Some((path, tag)) = named.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) else {
        return Some((named, None));
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    ((1..=128).contains(&tag.len()) && tag.bytes().all(known)).then_some((path, Some(tag)))
}

/// Takes the registry off: a first segment with a dot or a colon in it.
fn split_registry(path: &str) -> Option<(String, String)> {
    let (registry, repository) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) => (first, rest),
        _ => ("", path),
    };
    if !is_repository(repository) || !is_authority(registry) {
        return None;
    }
    let registry = match registry {
        "" | "docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    let repository = if official {
        format!("library/{repository}")
    } else {
        repository.to_owned()
    };
    Some((registry.to_owned(), repository))
}

fn is_repository(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (2..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| known(byte) || b"_-./".contains(&byte))
}

/// Whether the text can be the host and port of a URL.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]".contains(&byte);
    host.bytes().all(known) && port.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_digest(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn check(text: &str, name: &str, tag: Option<&str>, digest: Option<&str>) {
        let reference: ImageReference = text.parse().expect(text);
        assert_eq!(reference.name(), name, "{text}");
        assert_eq!(reference.tag.as_deref(), tag, "{text}");
        assert_eq!(reference.digest.as_deref(), digest, "{text}");
        let again: ImageReference = reference.to_string().parse().expect(text);
        assert_eq!(again.name(), name, "{text}");
    }

    #[test]
    fn docker_hub_names_are_completed() {
        check("app", "index.docker.io/library/app", None, None);
        check("app:v1", "index.docker.io/library/app", Some("v1"), None);
        check("docker.io/app", "index.docker.io/library/app", None, None);
        check("me/app", "index.docker.io/me/app", None, None);
        check("docker.io/me/app", "index.docker.io/me/app", None, None);
    }

    #[test]
    fn a_first_segment_with_a_dot_or_a_port_is_the_registry() {
        check("ghcr.io/a/b", "ghcr.io/a/b", None, None);
        check("localhost:5000/app", "localhost:5000/app", None, None);
        check(
            "localhost:5000/app:v1",
            "localhost:5000/app",
            Some("v1"),
            None,
        );
        check("localhost/app", "index.docker.io/localhost/app", None, None);
        check("[::1]:5000/app", "[::1]:5000/app", None, None);
    }

    #[test]
    fn a_digest_may_follow_a_tag() {
        let text = format!("serve.local/app@{DIGEST}");
        check(&text, "serve.local/app", None, Some(DIGEST));
        let text = format!("app:v1@{DIGEST}");
        check(
            &text,
            "index.docker.io/library/app",
            Some("v1"),
            Some(DIGEST),
        );
        let reference: ImageReference = text.parse().expect("a name");
        assert_eq!(
            reference.to_string(),
            format!("index.docker.io/library/app@{DIGEST}")
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "a",
            "foo:bar:baz:::",
            "app:",
            "UPPER",
            "app@sha256:abc",
            "app@sha512:e3b0",
            "app v1",
            "./app.wasm:x y",
            "ex ample.com/app",
            "example.com:port/app",
            &"a".repeat(256),
            &format!("app:{}", "t".repeat(129)),
        ] {
            let error = text.parse::<ImageReference>().expect_err(text);
            assert_eq!(
                error.to_string(),
                format!("could not parse reference: {text}")
            );
        }
    }
}
