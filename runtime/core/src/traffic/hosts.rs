//! The hosts and URLs of a Route and its tags.
//!
//! Input: the Route's name and the network settings, as rendered by the caller. Output: names.
//! A name that is not a domain name is an [`Error`], which a Route shows as `ErrorConfig`.

use std::fmt;

use crate::meta::ObjectMeta;

/// How the hosts of one Route are named.
#[derive(Clone, Copy)]
pub struct Naming<'a> {
    /// Makes the name of a tag, of the Route's name and the tag: `tag-template`.
    pub tag_name: &'a dyn Fn(&str, &str) -> Result<String, String>,
    /// Makes the public host, of the Route's name or the name of its tag: `domain-template` with
    /// the domain that config-domain has for the Route.
    pub public_host: &'a dyn Fn(&str) -> Result<String, String>,
    /// The domain for the Route is the cluster's own, so that nothing of it is public.
    pub local_domain: bool,
    /// `http` or `https`, of public URLs: `default-external-scheme`.
    pub scheme: &'a str,
    /// The port in public URLs; `None` leaves it out.
    pub url_port: Option<u16>,
}

impl fmt::Debug for Naming<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Naming")
            .field("local_domain", &self.local_domain)
            .field("scheme", &self.scheme)
            .field("url_port", &self.url_port)
            .finish_non_exhaustive()
    }
}

/// No host can be made for a Route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("error executing the TagTemplate: {0}")]
    Tag(String),
    #[error("error executing the DomainTemplate: {0}")]
    Domain(String),
    #[error("invalid domain name \"{name}\": url: Invalid value: \"{value}\": {detail}")]
    Name {
        name: String,
        /// The part of the name that is wrong.
        value: String,
        detail: &'static str,
    },
}

const TOO_FEW_SEGMENTS: &str = "should be a domain with at least two segments separated by dots";
const LABEL_TOO_LONG: &str = "must be no more than 63 characters";
const NAME_TOO_LONG: &str = "must be no more than 253 characters";
const NOT_A_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

impl Naming<'_> {
    /// The first part of the hosts of `tag`: for the empty tag the Route's name.
    ///
    /// # Errors
    ///
    /// [`Error::Tag`] when the template fails.
    pub fn name(&self, route: &ObjectMeta, tag: &str) -> Result<String, Error> {
        if tag.is_empty() {
            return Ok(route.name.clone());
        }
        (self.tag_name)(&route.name, tag).map_err(Error::Tag)
    }

    /// The public host of `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Domain`] when the template fails, [`Error::Name`] when what it made is no host.
    pub fn public(&self, name: &str) -> Result<String, Error> {
        let host = (self.public_host)(name).map_err(Error::Domain)?;
        check_host(&host)?;
        Ok(host)
    }

    /// The URL of a public host.
    #[must_use]
    pub fn public_url(&self, host: &str) -> String {
        match self.url_port {
            Some(port) => format!("{}://{host}:{port}", self.scheme),
            None => format!("{}://{host}", self.scheme),
        }
    }
}

/// The host of `name` that other names of the cluster follow from.
///
/// # Errors
///
/// [`Error::Name`] when it is no host.
pub fn local(namespace: &str, name: &str) -> Result<String, Error> {
    let host = format!("{name}.{namespace}.svc.cluster.local");
    check_host(&host)?;
    Ok(host)
}

/// All hosts that `name` answers to within the cluster, the longest first.
#[must_use]
pub fn local_names(namespace: &str, name: &str) -> [String; 3] {
    [
        format!("{name}.{namespace}.svc.cluster.local"),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}"),
    ]
}

/// The URL of a cluster-local host: never with a port.
#[must_use]
pub fn local_url(host: &str) -> String {
    format!("http://{host}")
}

/// # Source
///
/// k8s.io/apimachinery pkg/util/validation, `IsFullyQualifiedDomainName`.
fn check_host(name: &str) -> Result<(), Error> {
    let wrong = |value: &str, detail| {
        Err(Error::Name {
            name: name.to_owned(),
            value: value.to_owned(),
            detail,
        })
    };
    let host = name.strip_suffix('.').unwrap_or(name);
    if host.len() > 253 {
        return wrong(host, NAME_TOO_LONG);
    }
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !host.split('.').all(is_label) {
        return wrong(host, NOT_A_SUBDOMAIN);
    }
    if !host.contains('.') {
        return wrong(host, TOO_FEW_SEGMENTS);
    }
    match host.split('.').find(|label| label.len() > 63) {
        Some(label) => wrong(label, LABEL_TOO_LONG),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, want: Result<(), &str>) {
        let got = check_host(host).map_err(|error| error.to_string());
        assert_eq!(got, want.map_err(str::to_owned));
    }

    #[test]
    fn hosts_are_domain_names() {
        check("h1.default.example.com", Ok(()));
        check("a.b.", Ok(()));
        check(
            "localhost",
            Err(
                "invalid domain name \"localhost\": url: Invalid value: \"localhost\": should be a domain with at least two segments separated by dots",
            ),
        );
        let long = "a".repeat(64);
        check(
            &format!("{long}.b"),
            Err(&format!(
                "invalid domain name \"{long}.b\": url: Invalid value: \"{long}\": must be no more than 63 characters"
            )),
        );
        for wrong in ["", "a..b", "-a.b", "a-.b", "A.b", "a_b.c", "a b.c"] {
            let error = check_host(wrong).expect_err("no host");
            assert!(error.to_string().contains("RFC 1123"), "{error}");
        }
        let error = check_host(&"a.".repeat(200)).expect_err("too long");
        assert!(error.to_string().ends_with("253 characters"), "{error}");
    }

    #[test]
    fn urls_have_a_port_only_where_asked() {
        let tag_name = |_: &str, _: &str| Err("no".to_owned());
        let public_host = |name: &str| Ok(format!("{name}.ns.localhost"));
        let mut naming = Naming {
            tag_name: &tag_name,
            public_host: &public_host,
            local_domain: false,
            scheme: "http",
            url_port: Some(8080),
        };
        assert_eq!(
            naming.public_url("h1.ns.localhost"),
            "http://h1.ns.localhost:8080"
        );
        naming.url_port = None;
        naming.scheme = "https";
        assert_eq!(
            naming.public_url("h1.ns.localhost"),
            "https://h1.ns.localhost"
        );
        assert_eq!(local_url("h1.ns"), "http://h1.ns");

        let route = ObjectMeta {
            name: "h1".to_owned(),
            ..ObjectMeta::default()
        };
        assert_eq!(naming.name(&route, ""), Ok("h1".to_owned()));
        let error = naming.name(&route, "t").expect_err("a failing template");
        assert_eq!(error.to_string(), "error executing the TagTemplate: no");
        assert_eq!(naming.public("h1"), Ok("h1.ns.localhost".to_owned()));
    }
}
