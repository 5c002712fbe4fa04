//! Knative Service: one template and where its traffic goes.

mod defaults;
mod validation;

use serde::{Deserialize, Serialize};

use super::{Address, RevisionTemplate, TrafficTarget};
use crate::conditions::Condition;
use crate::kind::Kind;
use crate::meta::ObjectMeta;

pub(super) use defaults::apply_defaults;
pub(super) use validation::validate;

/// A Knative Service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    pub spec: ServiceSpec,
    pub status: ServiceStatus,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            api_version: Kind::Service.api_version(),
            kind: Kind::Service.names().kind.to_owned(),
            metadata: ObjectMeta::default(),
            spec: ServiceSpec::default(),
            status: ServiceStatus::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    pub template: RevisionTemplate,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficTarget>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficTarget>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub latest_created_revision_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub latest_ready_revision_name: String,
}
