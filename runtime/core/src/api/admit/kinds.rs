//! The stages of admission for each kind.

use super::{Kinded, Operation};
use crate::api::podspec::PodSpec;
use crate::api::{Configuration, DomainMapping, Revision, Route, Service};
use crate::api::{configuration, domain_mapping, revision, route, service};
use crate::field_error::FieldErrors;
use crate::meta::ObjectMeta;
use crate::settings::Settings;

/// The members that all kinds have alike.
macro_rules! common {
    () => {
        fn meta(&self) -> &ObjectMeta {
            &self.metadata
        }

        fn meta_mut(&mut self) -> &mut ObjectMeta {
            &mut self.metadata
        }

        fn spec_differs(&self, other: &Self) -> bool {
            self.spec != other.spec
        }
    };
}

impl Kinded for Service {
    common!();

    fn pod_spec_mut(&mut self) -> Option<&mut PodSpec> {
        Some(&mut self.spec.template.spec)
    }

    fn apply_defaults(&mut self, old: Option<&Self>, operation: Operation, settings: &Settings) {
        service::apply_defaults(self, old, operation, settings);
    }

    fn validate(&self, old: Option<&Self>, settings: &Settings) -> FieldErrors {
        service::validate(self, old, settings)
    }

    fn has_users(&self) -> bool {
        true
    }

    fn own_template(&self) -> Option<&PodSpec> {
        Some(&self.spec.template.spec)
    }
}

impl Kinded for Configuration {
    common!();

    fn pod_spec_mut(&mut self) -> Option<&mut PodSpec> {
        Some(&mut self.spec.template.spec)
    }

    fn apply_defaults(&mut self, old: Option<&Self>, operation: Operation, settings: &Settings) {
        configuration::apply_defaults(self, old, operation, settings);
    }

    fn validate(&self, old: Option<&Self>, settings: &Settings) -> FieldErrors {
        configuration::validate(self, old, settings)
    }

    fn has_users(&self) -> bool {
        self.metadata.owner_references.is_empty()
    }

    fn own_template(&self) -> Option<&PodSpec> {
        let is_owned = !self.metadata.owner_references.is_empty();
        (!is_owned).then_some(&self.spec.template.spec)
    }
}

impl Kinded for Revision {
    common!();

    fn pod_spec_mut(&mut self) -> Option<&mut PodSpec> {
        Some(&mut self.spec)
    }

    fn apply_defaults(&mut self, _old: Option<&Self>, operation: Operation, settings: &Settings) {
        revision::apply_defaults(self, operation, settings);
    }

    fn validate(&self, old: Option<&Self>, settings: &Settings) -> FieldErrors {
        revision::validate(self, old, settings)
    }

    fn has_users(&self) -> bool {
        false
    }

    fn own_template(&self) -> Option<&PodSpec> {
        None
    }
}

impl Kinded for Route {
    common!();

    fn pod_spec_mut(&mut self) -> Option<&mut PodSpec> {
        None
    }

    fn apply_defaults(&mut self, _old: Option<&Self>, _operation: Operation, _: &Settings) {
        route::apply_defaults(&mut self.spec.traffic);
    }

    fn validate(&self, old: Option<&Self>, _settings: &Settings) -> FieldErrors {
        route::validate(self, old)
    }

    fn has_users(&self) -> bool {
        self.metadata.owner_references.is_empty()
    }

    fn own_template(&self) -> Option<&PodSpec> {
        None
    }
}

impl Kinded for DomainMapping {
    common!();

    fn pod_spec_mut(&mut self) -> Option<&mut PodSpec> {
        None
    }

    fn apply_defaults(&mut self, _old: Option<&Self>, _operation: Operation, _: &Settings) {
        domain_mapping::apply_defaults(self);
    }

    fn validate(&self, old: Option<&Self>, _settings: &Settings) -> FieldErrors {
        domain_mapping::validate(self, old)
    }

    fn has_users(&self) -> bool {
        true
    }

    fn own_template(&self) -> Option<&PodSpec> {
        None
    }
}
