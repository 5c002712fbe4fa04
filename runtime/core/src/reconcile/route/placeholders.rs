//! The Kubernetes Services that a Route keeps: one with its name, one with the name of each tag.
//!
//! They are what a user sets the visibility of one target on.

use super::{Unassigned, View};
use crate::keys;
use crate::object::Dynamic;
use crate::reconcile::Write;
use crate::resources;
use crate::traffic::build::Assignment;
use crate::traffic::{Visibility, hosts};

impl<'a> View<'a> {
    /// The Kubernetes Service with this name, whoever owns it.
    fn service(&self, name: &str) -> Option<&'a Dynamic> {
        let mut all = self.services.iter().copied();
        all.find(|service| service.metadata.name == name)
    }

    fn owns(&self, service: &Dynamic) -> bool {
        service.metadata.is_controlled_by(&self.route.metadata.uid)
    }

    /// What the label on the placeholder with this name says.
    pub(super) fn placeholder_visibility(&self, name: &str) -> Visibility {
        let placeholder = self.service(name).filter(|service| self.owns(service));
        let label = placeholder.and_then(|service| service.metadata.label(keys::VISIBILITY_LABEL));
        Visibility::of_label(label)
    }
}

/// The writes after which the placeholders are as they should be.
pub(super) fn sync(view: &View<'_>, assignment: &Assignment) -> Result<Vec<Write>, Unassigned> {
    let route = &view.route.metadata;
    let mut writes = Vec::new();
    let mut names = Vec::new();
    for tag in assignment.by_tag.keys() {
        let name = view.naming.name(route, tag)?;
        let host = match view.visibility(tag)? {
            Visibility::Public => view.naming.public(&name)?,
            Visibility::ClusterLocal => hosts::local(&route.namespace, &name)?,
        };
        let existing = view.service(&name);
        if existing.is_some_and(|existing| !view.owns(existing)) {
            return Err(Unassigned::Service(name));
        }
        let wanted = resources::make_placeholder(view.route, &name, &host, existing);
        match existing {
            None => writes.push(Write::Create(wanted.into())),
            Some(existing) if *existing != wanted => writes.push(Write::Update(wanted.into())),
            Some(_) => {}
        }
        names.push(name);
    }
    let orphans = view
        .services
        .iter()
        .filter(|service| view.owns(service) && !names.contains(&service.metadata.name));
    writes.extend(orphans.map(|orphan| Write::Delete(orphan.kind, orphan.metadata.key())));
    Ok(writes)
}
