//! What is switched on: ConfigMap `config-features`.

use std::collections::BTreeMap;

use super::Error;
use super::reader::Reader;

/// State of a feature, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    Enabled,
    /// Off, but what asks for it is not refused by the field masks.
    Allowed,
    Disabled,
}

impl Flag {
    #[must_use]
    pub fn is_enabled(self) -> bool {
        self == Self::Enabled
    }

    #[must_use]
    pub fn is_disabled(self) -> bool {
        self == Self::Disabled
    }

    fn parse(text: &str) -> Option<Self> {
        [
            ("enabled", Self::Enabled),
            ("allowed", Self::Allowed),
            ("disabled", Self::Disabled),
        ]
        .into_iter()
        .find_map(|(name, flag)| text.eq_ignore_ascii_case(name).then_some(flag))
    }
}

/// How much safer than Kubernetes' the defaults of a security context are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurePodDefaults {
    /// The restricted profile, as root or not.
    AllowRootBounded,
    /// The restricted profile.
    Enabled,
    #[default]
    Disabled,
}

macro_rules! features {
    ($($field:ident, $key:literal, $default:ident;)*) => {
        /// The features of config-features.
        ///
        /// # Source
        ///
        /// knative/serving pkg/apis/config/features.go. Differs: a word that is no state of a
        /// feature is an error, not ignored.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Features {
            $(#[doc = concat!("`", $key, "`.")] pub $field: Flag,)*
            /// `secure-pod-defaults`.
            pub secure_pod_defaults: SecurePodDefaults,
        }

        impl Default for Features {
            fn default() -> Self {
                Self {
                    $($field: Flag::$default,)*
                    secure_pod_defaults: SecurePodDefaults::Disabled,
                }
            }
        }

        impl Features {
            /// Reads the `data` of the ConfigMap.
            ///
            /// # Errors
            ///
            /// The first key at fault.
            pub fn from_map(data: &BTreeMap<String, String>) -> Result<Self, Error> {
                let read = Reader::new(data);
                let expected = "Enabled, Allowed or Disabled";
                Ok(Self {
                    $($field: read.value($key, Flag::$default, expected, Flag::parse)?,)*
                    secure_pod_defaults: secure_pod_defaults(read)?,
                })
            }
        }
    };
}

features! {
    autodetect_http2, "autodetect-http2", Disabled;
    multi_container, "multi-container", Enabled;
    multi_container_probing, "multi-container-probing", Disabled;
    add_capabilities, "kubernetes.containerspec-addcapabilities", Disabled;
    affinity, "kubernetes.podspec-affinity", Disabled;
    dns_config, "kubernetes.podspec-dnsconfig", Disabled;
    dns_policy, "kubernetes.podspec-dnspolicy", Disabled;
    dry_run, "kubernetes.podspec-dryrun", Allowed;
    field_ref, "kubernetes.podspec-fieldref", Disabled;
    host_aliases, "kubernetes.podspec-hostaliases", Disabled;
    host_ipc, "kubernetes.podspec-hostipc", Disabled;
    host_network, "kubernetes.podspec-hostnetwork", Disabled;
    host_pid, "kubernetes.podspec-hostpid", Disabled;
    init_containers, "kubernetes.podspec-init-containers", Disabled;
    node_selector, "kubernetes.podspec-nodeselector", Disabled;
    persistent_volume_claim, "kubernetes.podspec-persistent-volume-claim", Disabled;
    persistent_volume_write, "kubernetes.podspec-persistent-volume-write", Disabled;
    priority_class_name, "kubernetes.podspec-priorityclassname", Disabled;
    runtime_class_name, "kubernetes.podspec-runtimeclassname", Disabled;
    scheduler_name, "kubernetes.podspec-schedulername", Disabled;
    security_context, "kubernetes.podspec-securitycontext", Disabled;
    share_process_namespace, "kubernetes.podspec-shareprocessnamespace", Disabled;
    tolerations, "kubernetes.podspec-tolerations", Disabled;
    topology_spread_constraints, "kubernetes.podspec-topologyspreadconstraints", Disabled;
    volumes_csi, "kubernetes.podspec-volumes-csi", Disabled;
    volumes_empty_dir, "kubernetes.podspec-volumes-emptydir", Enabled;
    volumes_ephemeral, "kubernetes.podspec-volumes-ephemeral", Disabled;
    volumes_host_path, "kubernetes.podspec-volumes-hostpath", Disabled;
    volumes_image, "kubernetes.podspec-volumes-image", Disabled;
    volumes_mount_propagation, "kubernetes.podspec-volumes-mount-propagation", Disabled;
    mount_podinfo, "queueproxy.mount-podinfo", Disabled;
    queueproxy_resource_defaults, "queueproxy.resource-defaults", Disabled;
    tag_header_based_routing, "tag-header-based-routing", Disabled;
}

fn secure_pod_defaults(read: Reader<'_>) -> Result<SecurePodDefaults, Error> {
    let expected = "Enabled, AllowRootBounded or Disabled";
    let default = SecurePodDefaults::Disabled;
    read.value("secure-pod-defaults", default, expected, |text| match text
        .to_ascii_lowercase()
        .as_str()
    {
        "enabled" => Some(SecurePodDefaults::Enabled),
        "allowrootbounded" | "root-allowed" => Some(SecurePodDefaults::AllowRootBounded),
        "disabled" | "allowed" => Some(SecurePodDefaults::Disabled),
        _ => None,
    })
}
