//! Host names, schemes and rollouts: ConfigMap `config-network`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::{Reader, invalid, out_of_bounds};
use super::{Error, Template, Values};

/// What the public listener does with plain HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpProtocol {
    #[default]
    Enabled,
    Redirected,
    Disabled,
}

/// The settings of the network.
///
/// # Source
///
/// knative/networking pkg/config/config.go, older spellings of keys included. Differs: classes of
/// ingress and certificate controllers, TLS inside of the cluster and mesh modes are accepted and
/// not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `domain-template`, the host of a Route.
    pub domain_template: Template,
    /// `tag-template`, the name in that host for a tag.
    pub tag_template: Template,
    /// `external-domain-tls`.
    pub external_domain_tls: bool,
    /// `http-protocol`.
    pub http_protocol: HttpProtocol,
    /// `default-external-scheme`: `http` or `https`.
    pub default_external_scheme: String,
    /// `rollout-duration` of Routes without the annotation; zero is at once.
    pub rollout_duration: Duration,
    /// `autocreate-cluster-domain-claims`.
    pub autocreate_cluster_domain_claims: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            domain_template: Template::default_domain(),
            tag_template: Template::default_tag(),
            external_domain_tls: false,
            http_protocol: HttpProtocol::Enabled,
            default_external_scheme: "http".to_owned(),
            rollout_duration: Duration::ZERO,
            autocreate_cluster_domain_claims: false,
        }
    }
}

impl Network {
    /// Reads the `data` of the ConfigMap.
    ///
    /// # Errors
    ///
    /// The first key at fault.
    pub fn from_map(data: &BTreeMap<String, String>) -> Result<Self, Error> {
        let default = Self::default();
        let read = Reader::new(data);
        let network = Self {
            domain_template: template(
                read,
                &["domain-template", "domainTemplate"],
                default.domain_template,
            )?,
            tag_template: template(read, &["tag-template", "tagTemplate"], default.tag_template)?,
            external_domain_tls: read
                .first(&["external-domain-tls", "auto-tls", "autoTLS"])
                .is_some_and(|(_, text)| text.eq_ignore_ascii_case("enabled")),
            http_protocol: http_protocol(read)?,
            default_external_scheme: scheme(read, default.default_external_scheme)?,
            rollout_duration: rollout_duration(read)?,
            autocreate_cluster_domain_claims: read.boolean(
                present(
                    read,
                    &[
                        "autocreate-cluster-domain-claims",
                        "autocreateClusterDomainClaims",
                    ],
                ),
                default.autocreate_cluster_domain_claims,
            )?,
        };
        network.check()
    }

    /// A template that does not make host names is refused now, not with the first Route.
    fn check(self) -> Result<Self, Error> {
        let none = BTreeMap::new();
        let values = Values {
            name: "foo",
            namespace: "bar",
            domain: "baz.com",
            tag: "v2",
            annotations: &none,
            labels: &none,
        };
        for (key, template) in [
            ("domain-template", &self.domain_template),
            ("tag-template", &self.tag_template),
        ] {
            let host = template.render(&values);
            if host.is_empty() || host.contains(['/', '?', '#', '@', ':']) {
                let rule = format!("does not make a host name: \"{template}\" gives \"{host}\"");
                return Err(out_of_bounds(key, &rule));
            }
        }
        Ok(self)
    }
}

/// The spelling of a key that the map has; the first when it has none.
fn present(read: Reader<'_>, keys: &[&'static str]) -> &'static str {
    let first = keys.first().copied().unwrap_or_default();
    read.first(keys).map_or(first, |(key, _)| key)
}

fn template(read: Reader<'_>, keys: &[&'static str], default: Template) -> Result<Template, Error> {
    read.template(present(read, keys), default)
}

fn http_protocol(read: Reader<'_>) -> Result<HttpProtocol, Error> {
    let key = present(read, &["http-protocol", "httpProtocol"]);
    let expected = "Enabled, Redirected or Disabled";
    read.value(key, HttpProtocol::Enabled, expected, |text| {
        match text.to_ascii_lowercase().as_str() {
            "" | "enabled" => Some(HttpProtocol::Enabled),
            "redirected" => Some(HttpProtocol::Redirected),
            "disabled" => Some(HttpProtocol::Disabled),
            _ => None,
        }
    })
}

fn scheme(read: Reader<'_>, default: String) -> Result<String, Error> {
    match read.first(&["default-external-scheme", "defaultExternalScheme"]) {
        None | Some((_, "")) => Ok(default),
        Some((_, text @ ("http" | "https"))) => Ok(text.to_owned()),
        Some((key, text)) => Err(invalid(key, text, "http or https")),
    }
}

fn rollout_duration(read: Reader<'_>) -> Result<Duration, Error> {
    let key = present(read, &["rollout-duration", "rolloutDuration"]);
    let seconds = read.integer(key, 0)?;
    u64::try_from(seconds)
        .map(Duration::from_secs)
        .map_err(|_| {
            let rule = format!("must be a positive integer, but was {seconds}");
            out_of_bounds("rollout-duration", &rule)
        })
}
