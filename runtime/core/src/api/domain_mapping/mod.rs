//! DomainMapping: a domain of its own for a Service.

mod defaults;
mod validation;

use serde::{Deserialize, Serialize};

use super::Address;
use crate::conditions::Condition;
use crate::kind::Kind;
use crate::meta::ObjectMeta;

pub(super) use defaults::apply_defaults;
pub(super) use validation::validate;

/// A Knative DomainMapping; its name is the domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DomainMapping {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    pub spec: DomainMappingSpec,
    pub status: DomainMappingStatus,
}

impl Default for DomainMapping {
    fn default() -> Self {
        Self {
            api_version: Kind::DomainMapping.api_version(),
            kind: Kind::DomainMapping.names().kind.to_owned(),
            metadata: ObjectMeta::default(),
            spec: DomainMappingSpec::default(),
            status: DomainMappingStatus::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DomainMappingSpec {
    #[serde(rename = "ref")]
    pub reference: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<SecretTls>,
}

/// What the domain leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Stands in for `api_version`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// The Secret with the certificate of the domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SecretTls {
    pub secret_name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DomainMappingStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
}
