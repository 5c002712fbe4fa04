//! The DomainMappings: what each looks at, and its reconciliation.

use std::collections::BTreeSet;

use serve_core::api::DomainMapping;
use serve_core::kind::Kind;
use serve_core::object::Object;
use serve_core::reconcile::domain_mapping::{self, View};

use super::controller::Controller;
use super::store::Status;

impl Controller {
    pub(super) fn reconcile_domain_mapping(&mut self, mapping: &DomainMapping) {
        let meta = &mapping.metadata;
        let key = meta.key();
        let named = domain_mapping::target(mapping);
        let claim = (Kind::ClusterDomainClaim, domain_mapping::claim_key(meta));
        let reads: BTreeSet<_> = named.iter().cloned().chain([claim]).collect();
        self.mapping_readers.set(&key, reads);
        let now = self.clock.now();
        let (plan, wanted) =
            self.with_mapping(mapping, |view| domain_mapping::domain_mapping(view, now));
        let is_served = self.publisher.mapping(&key) == wanted.as_ref();
        let id = (Kind::DomainMapping, key);
        if self.carry_out(id.clone(), meta, plan, Status::DomainMapping) && !is_served {
            self.publisher.map(&id.1, wanted);
            // Its status is to say so.
            self.queue.push(id);
        }
    }

    /// Ends what a deleted DomainMapping had.
    pub(super) fn forget_domain_mapping(&mut self, mapping: &DomainMapping) {
        let key = mapping.metadata.key();
        self.publisher.map(&key, None);
        self.mapping_readers.forget(&key);
        if mapping.metadata.deletion_timestamp.is_some() {
            // It was held until its claim was gone.
            return;
        }
        for write in self.with_mapping(mapping, domain_mapping::forget) {
            if let Err(error) = self.write(write) {
                tracing::debug!(%error, "a claim was gone before");
            }
        }
    }

    fn with_mapping<T>(&self, mapping: &DomainMapping, with: impl FnOnce(&View<'_>) -> T) -> T {
        let claim_key = domain_mapping::claim_key(&mapping.metadata);
        let claim = self.store.get(Kind::ClusterDomainClaim, &claim_key);
        let target =
            domain_mapping::target(mapping).and_then(|(kind, key)| self.store.get(kind, &key));
        let makes_claims = self
            .naming
            .settings
            .borrow()
            .network
            .autocreate_cluster_domain_claims;
        with(&View {
            mapping,
            claim: claim.as_deref().and_then(|claim| match claim {
                Object::Dynamic(claim) => Some(&**claim),
                _ => None,
            }),
            target: target.as_deref(),
            served: self.publisher.mapping(&mapping.metadata.key()),
            makes_claims,
            url_port: *self.naming.url_port.borrow(),
        })
    }
}
