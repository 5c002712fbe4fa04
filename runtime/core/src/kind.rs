//! The kinds of object this program knows, with the names clients use for them.

/// A kind of API object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Service,
    Configuration,
    Revision,
    Route,
    DomainMapping,
    ClusterDomainClaim,
    /// `v1` `Service`: the name of a Route or tag within the cluster.
    KubernetesService,
    ConfigMap,
    Secret,
    Namespace,
    ServiceAccount,
    Event,
    Pod,
    Deployment,
    ReplicaSet,
    PodAutoscaler,
}

/// How a kind appears in manifests and URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    /// The groups of kinds that `kubectl get` knows by one word, such as `all`.
    pub categories: &'static [&'static str],
    pub namespaced: bool,
}

const SERVING: &str = "serving.knative.dev";
const NETWORKING: &str = "networking.internal.knative.dev";

const fn serving(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> Names {
    Names {
        group: SERVING,
        version: "v1",
        kind,
        plural,
        singular,
        short_names,
        categories: &["all", "knative", "serving"],
        namespaced: true,
    }
}

const fn core(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> Names {
    Names {
        group: "",
        version: "v1",
        kind,
        plural,
        singular,
        short_names,
        categories: &[],
        namespaced: true,
    }
}

const fn apps(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> Names {
    Names {
        group: "apps",
        categories: &["all"],
        ..core(kind, plural, singular, short_names)
    }
}

impl Kind {
    pub const ALL: [Self; 16] = [
        Self::Service,
        Self::Configuration,
        Self::Revision,
        Self::Route,
        Self::DomainMapping,
        Self::ClusterDomainClaim,
        Self::KubernetesService,
        Self::ConfigMap,
        Self::Secret,
        Self::Namespace,
        Self::ServiceAccount,
        Self::Event,
        Self::Pod,
        Self::Deployment,
        Self::ReplicaSet,
        Self::PodAutoscaler,
    ];

    #[must_use]
    pub const fn names(self) -> Names {
        match self {
            Self::Service => serving("Service", "services", "service", &["kservice", "ksvc"]),
            Self::Configuration => serving(
                "Configuration",
                "configurations",
                "configuration",
                &["config", "cfg"],
            ),
            Self::Revision => serving("Revision", "revisions", "revision", &["rev"]),
            Self::Route => serving("Route", "routes", "route", &["rt"]),
            Self::DomainMapping => Names {
                version: "v1beta1",
                ..serving("DomainMapping", "domainmappings", "domainmapping", &["dm"])
            },
            Self::ClusterDomainClaim => Names {
                group: NETWORKING,
                version: "v1alpha1",
                categories: &["knative-internal", "networking"],
                namespaced: false,
                ..serving(
                    "ClusterDomainClaim",
                    "clusterdomainclaims",
                    "clusterdomainclaim",
                    &["cdc"],
                )
            },
            Self::KubernetesService => Names {
                categories: &["all"],
                ..core("Service", "services", "service", &["svc"])
            },
            Self::ConfigMap => core("ConfigMap", "configmaps", "configmap", &["cm"]),
            Self::Secret => core("Secret", "secrets", "secret", &[]),
            Self::Namespace => Names {
                namespaced: false,
                ..core("Namespace", "namespaces", "namespace", &["ns"])
            },
            Self::ServiceAccount => core(
                "ServiceAccount",
                "serviceaccounts",
                "serviceaccount",
                &["sa"],
            ),
            Self::Event => core("Event", "events", "event", &["ev"]),
            Self::Pod => Names {
                categories: &["all"],
                ..core("Pod", "pods", "pod", &["po"])
            },
            Self::Deployment => apps("Deployment", "deployments", "deployment", &["deploy"]),
            Self::ReplicaSet => apps("ReplicaSet", "replicasets", "replicaset", &["rs"]),
            Self::PodAutoscaler => Names {
                group: "autoscaling.internal.knative.dev",
                version: "v1alpha1",
                kind: "PodAutoscaler",
                plural: "podautoscalers",
                singular: "podautoscaler",
                short_names: &["kpa", "pa"],
                categories: &["knative-internal", "autoscaling"],
                namespaced: true,
            },
        }
    }

    /// Whether objects of this kind show what runs: they are made from what has been observed of a
    /// Revision, and nobody else writes them.
    #[must_use]
    pub const fn is_derived(self) -> bool {
        matches!(
            self,
            Self::Pod | Self::Deployment | Self::ReplicaSet | Self::PodAutoscaler
        )
    }

    /// Whether objects of this kind end with the process that made them.
    #[must_use]
    pub const fn is_volatile(self) -> bool {
        self.is_derived() || matches!(self, Self::Event)
    }

    /// Whether this is one of Kubernetes' own kinds and not a custom resource.
    #[must_use]
    pub const fn is_built_in(self) -> bool {
        matches!(self.names().group.as_bytes(), b"" | b"apps")
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
