//! The serving API: types, defaults, validation and admission.

mod configuration;
pub mod podspec;
mod revision;
mod route;
mod service;

pub use configuration::{Configuration, ConfigurationSpec, ConfigurationStatus};
pub use revision::{
    ContainerStatus, Revision, RevisionSpec, RevisionStatus, RevisionTemplate, TemplateMeta,
};
pub use route::{Address, Route, RouteSpec, RouteStatus, TrafficTarget};
pub use service::{Service, ServiceSpec, ServiceStatus};
