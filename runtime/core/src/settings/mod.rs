//! Knative's settings: the ConfigMaps of namespace `knative-serving`, read into types.
//!
//! Input: the `data` of each ConfigMap, from the configuration file or the API. Output:
//! [`Settings`], which admission, reconcilers and the data plane take as an argument. Names of
//! keys and defaults are Knative's. Unknown keys, such as `_example`, are ignored; a value that
//! cannot be read or is out of bounds is an error that names its key, and the settings stay.

mod defaults;
mod deployment;
mod domain;
mod features;
mod gc;
mod network;
mod reader;
mod template;

use std::collections::BTreeMap;

use thiserror::Error;

pub use defaults::Defaults;
pub use deployment::Deployment;
pub use domain::{CLUSTER_DOMAIN, CLUSTER_LOCAL_DOMAIN, Domain};
pub use features::{Features, Flag, SecurePodDefaults};
pub use gc::Gc;
pub use network::{HttpProtocol, Network};
pub use template::{Error as TemplateError, Template, Values};

use crate::autoscale;

/// The namespace whose ConfigMaps are settings.
pub const NAMESPACE: &str = "knative-serving";

/// A ConfigMap is refused: which key has which problem.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct Error {
    /// The key at fault.
    pub key: String,
    /// Names the key, the value found and what was expected.
    pub message: String,
}

/// All settings that Knative keeps in ConfigMaps. The default is Knative's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `config-autoscaler`.
    pub autoscaler: autoscale::Config,
    /// `config-defaults`.
    pub defaults: Defaults,
    /// `config-deployment`.
    pub deployment: Deployment,
    /// `config-domain`.
    pub domain: Domain,
    /// `config-features`.
    pub features: Features,
    /// `config-gc`.
    pub gc: Gc,
    /// `config-network`.
    pub network: Network,
}

impl Settings {
    /// Takes over the `data` of the ConfigMap called `name`; keys that it does not have get their
    /// defaults. Returns whether the name is one of a ConfigMap with settings.
    ///
    /// # Errors
    ///
    /// The first key at fault. The settings are as before then.
    pub fn set(&mut self, name: &str, data: &BTreeMap<String, String>) -> Result<bool, Error> {
        match name {
            "config-autoscaler" => self.autoscaler = autoscale::Config::from_map(data)?,
            "config-defaults" => self.defaults = Defaults::from_map(data)?,
            "config-deployment" => self.deployment = Deployment::from_map(data)?,
            "config-domain" => self.domain = Domain::from_map(data)?,
            "config-features" => self.features = Features::from_map(data)?,
            "config-gc" => self.gc = Gc::from_map(data)?,
            "config-network" => self.network = Network::from_map(data)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl From<autoscale::spec::Error> for Error {
    fn from(error: autoscale::spec::Error) -> Self {
        Self {
            key: error.key().to_owned(),
            message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
