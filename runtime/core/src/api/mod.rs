//! The serving API: types, defaults, validation and admission.

pub mod admit;
mod annotations;
mod configuration;
mod diff;
mod domain_mapping;
mod metadata;
pub mod podspec;
mod revision;
mod route;
mod service;
pub mod syntax;

pub use configuration::{Configuration, ConfigurationSpec, ConfigurationStatus};
pub use domain_mapping::{
    DomainMapping, DomainMappingSpec, DomainMappingStatus, Reference, SecretTls,
};
pub use revision::{
    ContainerStatus, Revision, RevisionSpec, RevisionStatus, RevisionTemplate, TemplateMeta,
};
pub use route::{Address, Route, RouteSpec, RouteStatus, TrafficTarget};
pub use service::{Service, ServiceSpec, ServiceStatus};
