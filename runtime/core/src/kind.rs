//! The kinds of object this program knows, with the names clients use for them.

/// A kind of API object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Service,
    Configuration,
    Revision,
    Route,
    DomainMapping,
    ConfigMap,
    Secret,
    Namespace,
}

/// How a kind appears in manifests and URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
}

const SERVING: &str = "serving.knative.dev";

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Service,
        Self::Configuration,
        Self::Revision,
        Self::Route,
        Self::DomainMapping,
        Self::ConfigMap,
        Self::Secret,
        Self::Namespace,
    ];

    #[must_use]
    pub const fn names(self) -> Names {
        let (group, version, kind, plural, namespaced) = match self {
            Self::Service => (SERVING, "v1", "Service", "services", true),
            Self::Configuration => (SERVING, "v1", "Configuration", "configurations", true),
            Self::Revision => (SERVING, "v1", "Revision", "revisions", true),
            Self::Route => (SERVING, "v1", "Route", "routes", true),
            Self::DomainMapping => (SERVING, "v1beta1", "DomainMapping", "domainmappings", true),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps", true),
            Self::Secret => ("", "v1", "Secret", "secrets", true),
            Self::Namespace => ("", "v1", "Namespace", "namespaces", false),
        };
        Names {
            group,
            version,
            kind,
            plural,
            namespaced,
        }
    }

    /// `group/version`, or the version alone in the core group.
    #[must_use]
    pub fn api_version(self) -> String {
        let names = self.names();
        if names.group.is_empty() {
            names.version.to_owned()
        } else {
            format!("{}/{}", names.group, names.version)
        }
    }

    /// The kind that a manifest's `apiVersion` and `kind` name, if it is one of ours.
    #[must_use]
    pub fn find(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|k| k.names().kind == kind && k.api_version() == api_version)
    }
}
