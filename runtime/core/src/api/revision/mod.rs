//! Revision: one immutable version of the code and its settings; and the template that makes it.

mod defaults;
mod validation;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::podspec::{Container, PodSpec};
use crate::conditions::Condition;
use crate::kind::Kind;
use crate::meta::ObjectMeta;

pub(super) use defaults::{apply_defaults, apply_template_defaults};
pub(super) use validation::{name_change, validate, validate_template};

/// A Knative Revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Revision {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    pub spec: RevisionSpec,
    pub status: RevisionStatus,
}

impl Default for Revision {
    fn default() -> Self {
        Self {
            api_version: Kind::Revision.api_version(),
            kind: Kind::Revision.names().kind.to_owned(),
            metadata: ObjectMeta::default(),
            spec: RevisionSpec::default(),
            status: RevisionStatus::default(),
        }
    }
}

/// `spec` of a Revision: Knative's own four settings beside the fields of a pod.
///
/// One type serves both, because they are one JSON object.
pub type RevisionSpec = PodSpec;

impl Revision {
    /// The container that serves: the only one, or the one with ports.
    #[must_use]
    pub fn serving_container(&self) -> Option<&Container> {
        self.spec.serving_container()
    }
}

/// `spec.template` of a Service or Configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionTemplate {
    #[serde(skip_serializing_if = "TemplateMeta::is_empty")]
    pub metadata: TemplateMeta,
    pub spec: RevisionSpec,
}

/// `metadata` of a template. Unknown members are kept, as the CRD's schema says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateMeta {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl TemplateMeta {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log_url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual_replicas: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
}

/// Which image a container really runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_digest: String,
}
