//! The part of a pod that a Revision carries.
//!
//! Each field of Kubernetes' PodSpec and Container is known here, so that one that is not
//! supported is refused by its name and never lost. What only has to be kept or refused is JSON.
//!
//! An admitted one is in canonical form: members that Go would leave out are absent, quantities
//! have the spelling that Kubernetes writes back, and defaults are in place.

mod canonical;
mod container;
mod defaults;
mod dry_run;
mod probe;
mod security;
mod validation;
mod volume;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use canonical::canonicalize;
pub use container::{
    Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, KeySelector, Quantity,
    ResourceRequirements, SourceRef,
};
pub(super) use defaults::apply_defaults;
pub(super) use dry_run::dry_run;
pub use probe::{GrpcAction, HttpGetAction, HttpHeader, IntOrString, Probe, TcpSocketAction};
pub use security::{Capabilities, SecurityContext};
pub(super) use validation::validate;
pub use volume::{
    ClaimVolume, ConfigMapVolume, DownwardFile, DownwardProjection, EmptyDirVolume, KeyToPath,
    NamedProjection, ProjectedVolume, Projection, SecretVolume, TokenProjection, Volume,
    VolumeMount,
};

/// `spec` of a Revision and of its template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    // Knative's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_concurrency: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_start_timeout_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<i64>,

    // Always allowed.
    pub containers: Vec<Container>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_service_links: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automount_service_account_token: Option<bool>,

    // Behind a feature flag.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_spread_constraints: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_aliases: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_process_namespace: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_policy: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<Box<Value>>,
    #[serde(rename = "hostIPC", skip_serializing_if = "Option::is_none")]
    pub host_ipc: Option<Box<Value>>,
    #[serde(rename = "hostPID", skip_serializing_if = "Option::is_none")]
    pub host_pid: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_network: Option<Box<Value>>,

    // Never allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ephemeral_containers: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_users: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption_policy: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_gates: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_claims: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduling_gates: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Box<Value>>,
    #[serde(rename = "setHostnameAsFQDN", skip_serializing_if = "Option::is_none")]
    pub set_hostname_as_fqdn: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<Box<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<Box<Value>>,
}

impl PodSpec {
    /// The container that serves: the only one, or the one with ports.
    #[must_use]
    pub fn serving_container(&self) -> Option<&Container> {
        match self.containers.as_slice() {
            [only] => Some(only),
            many => many.iter().find(|container| !container.ports.is_empty()),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LocalObjectReference {
    pub name: String,
}
