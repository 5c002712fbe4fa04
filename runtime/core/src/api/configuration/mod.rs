//! Configuration: a template whose every change makes a Revision.

mod defaults;
mod validation;

use serde::{Deserialize, Serialize};

use super::RevisionTemplate;
use crate::conditions::Condition;
use crate::kind::Kind;
use crate::meta::ObjectMeta;

pub(super) use defaults::apply_defaults;
pub(super) use validation::validate;

/// A Knative Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    pub spec: ConfigurationSpec,
    pub status: ConfigurationStatus,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            api_version: Kind::Configuration.api_version(),
            kind: Kind::Configuration.names().kind.to_owned(),
            metadata: ObjectMeta::default(),
            spec: ConfigurationSpec::default(),
            status: ConfigurationStatus::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigurationSpec {
    pub template: RevisionTemplate,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigurationStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub latest_created_revision_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub latest_ready_revision_name: String,
}
