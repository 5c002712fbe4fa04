//! The DomainMapping reconciler: claims the domain, finds what it is to lead to, and makes the mapping
//! for the data plane.
//!
//! ```text
//!   finalizer ── not there ─────────────────► it is added; then again from the top
//!      │ there
//!      ▼
//!   claim ── another namespace's, or none ──► DomainClaimed False, what was served stays
//!      │ of this namespace, or made now
//!      ▼
//!   reference ── not there, no address ─────► ReferenceResolved False, what was served stays
//!      │ http://name.namespace.svc.cluster.local
//!      ▼
//!   mapping ── not served ──────────────────► IngressReady Unknown IngressNotConfigured
//!      │ served
//!      ▼
//!   Ready True
//! ```
//!
//! A mapping that is deleted is held by its finalizer until the claim that was made for it is gone,
//! also when the program ends between the two.
//!
//! # Source
//!
//! knative/serving pkg/reconciler/domainmapping/**, pkg/apis/serving/v1beta1/domainmapping_lifecycle.go,
//! knative/pkg resolver/addressable_resolver.go. Differs: a domain whose claim is lost goes to the one that
//! has it as soon as that one is served; certificates are not made.

use super::{Event, Plan, Write};
use crate::api::{Address, DomainMapping, DomainMappingStatus, Reference};
use crate::conditions::{
    self, CERTIFICATE_PROVISIONED, ConditionStatus, DOMAIN_CLAIMED, INGRESS_READY, Manager,
    REFERENCE_RESOLVED, Set,
};
use crate::keys;
use crate::kind::Kind;
use crate::meta::{ObjectKey, ObjectMeta};
use crate::object::{Dynamic, Object};
use crate::settings::CLUSTER_LOCAL_DOMAIN;
use crate::time::Timestamp;
use crate::traffic::{Mapping, hosts};

/// What the reconciler looks at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub mapping: &'a DomainMapping,
    /// The ClusterDomainClaim with the name of the domain.
    pub claim: Option<&'a Dynamic>,
    /// The object that [`target`] names.
    pub target: Option<&'a Object>,
    /// The mapping that the data plane has.
    pub served: Option<&'a Mapping>,
    /// `autocreate-cluster-domain-claims` of config-network.
    pub makes_claims: bool,
    /// The port in public URLs; `None` leaves it out.
    pub url_port: Option<u16>,
}

/// Plans for a DomainMapping, and makes what the data plane should have: `None` when the domain is
/// not to be served, or not any more.
#[must_use]
pub fn domain_mapping(
    view: &View<'_>,
    now: Timestamp,
) -> (Plan<DomainMappingStatus>, Option<Mapping>) {
    let mut plan = Plan::default();
    let metadata = &view.mapping.metadata;
    if metadata.deletion_timestamp.is_some() {
        plan.writes = finalize(view);
        return (plan, None);
    }
    if !has_finalizer(metadata) {
        plan.writes.push(Write::Update(hold(view.mapping)));
        let message = format!("Updated \"{}\" finalizers", metadata.name);
        plan.events.push(Event::normal("FinalizerUpdate", message));
        return (plan, view.served.cloned());
    }
    let before = &view.mapping.status;
    let new_generation = !conditions::is_observed(metadata, before.observed_generation);
    let mut status = before.clone();
    let mut conditions = Manager::begin(Set::DOMAIN_MAPPING, &before.conditions, new_generation);
    if new_generation {
        not_configured(&mut conditions);
    }
    let wanted = reconcile(view, &mut plan, &mut status, &mut conditions);
    status.conditions = conditions.finish(now);
    status.observed_generation = Some(metadata.generation);
    plan.set_status(before, status);
    (plan, wanted)
}

fn has_finalizer(metadata: &ObjectMeta) -> bool {
    let mut all = metadata.finalizers.iter();
    all.any(|finalizer| finalizer == keys::DOMAIN_MAPPING_FINALIZER)
}

/// The mapping with the finalizer.
fn hold(mapping: &DomainMapping) -> Object {
    let mut held = mapping.clone();
    let finalizers = &mut held.metadata.finalizers;
    finalizers.push(keys::DOMAIN_MAPPING_FINALIZER.to_owned());
    held.into()
}

/// Removes what a mapping that is to go has, then its finalizer; with the last one it goes.
fn finalize(view: &View<'_>) -> Vec<Write> {
    let metadata = &view.mapping.metadata;
    if !has_finalizer(metadata) {
        // Somebody else's hold it.
        return Vec::new();
    }
    let mut writes = forget(view);
    let mut freed = view.mapping.clone();
    let finalizers = &mut freed.metadata.finalizers;
    finalizers.retain(|finalizer| finalizer != keys::DOMAIN_MAPPING_FINALIZER);
    writes.push(if finalizers.is_empty() {
        Write::Delete(Kind::DomainMapping, metadata.key())
    } else {
        Write::Update(freed.into())
    });
    writes
}

/// The writes that remove the claim of a DomainMapping that is gone: only where claims are made, and
/// only its own.
#[must_use]
pub fn forget(view: &View<'_>) -> Vec<Write> {
    let is_ours = |claim: &&Dynamic| claimed_for(claim) == view.mapping.metadata.namespace;
    let claim = view.claim.filter(|_| view.makes_claims).filter(is_ours);
    let delete = claim.map(|claim| Write::Delete(claim.kind, claim.metadata.key()));
    delete.into_iter().collect()
}

/// The key of the claim for a domain.
#[must_use]
pub fn claim_key(mapping: &ObjectMeta) -> ObjectKey {
    ObjectKey::new("", &mapping.name)
}

/// The object that the reference names, if its kind is known.
#[must_use]
pub fn target(mapping: &DomainMapping) -> Option<(Kind, ObjectKey)> {
    let reference = &mapping.spec.reference;
    let kind = Kind::ALL.into_iter().find(|kind| {
        let names = kind.names();
        let same = if reference.api_version.is_empty() {
            names.group == reference.group
        } else {
            kind.api_version() == reference.api_version
        };
        same && names.kind == reference.kind && names.namespaced
    })?;
    let key = ObjectKey::new(namespace(mapping), &reference.name);
    Some((kind, key))
}

fn namespace(mapping: &DomainMapping) -> &str {
    let named = &mapping.spec.reference.namespace;
    if named.is_empty() {
        &mapping.metadata.namespace
    } else {
        named
    }
}

fn reconcile(
    view: &View<'_>,
    plan: &mut Plan<DomainMappingStatus>,
    status: &mut DomainMappingStatus,
    conditions: &mut Manager,
) -> Option<Mapping> {
    let metadata = &view.mapping.metadata;
    let domain = &metadata.name;
    let url = if view.mapping.spec.tls.is_some() {
        conditions.mark_true_because(
            CERTIFICATE_PROVISIONED,
            "CertificateExternallyProvided",
            "TLS certificate was provided externally",
        );
        format!("https://{domain}")
    } else {
        conditions.mark_true_because(
            CERTIFICATE_PROVISIONED,
            "TLSNotEnabled",
            "external-domain-tls is not enabled",
        );
        match view.url_port {
            Some(port) => format!("http://{domain}:{port}"),
            None => format!("http://{domain}"),
        }
    };
    status.url = Some(url.clone());
    status.address = Some(Address { url: Some(url) });

    let failed = |problem: String| Event::warning("InternalError", problem);
    if !claim(view, plan) {
        let message = "The domain name is already in use by another DomainMapping";
        conditions.mark_false(DOMAIN_CLAIMED, "DomainAlreadyClaimed", message);
        let namespace = &metadata.namespace;
        plan.events.push(failed(format!(
            "namespace \"{namespace}\" does not own ClusterDomainClaim for \"{domain}\""
        )));
        return without_claim(view);
    }
    conditions.mark_true(DOMAIN_CLAIMED);

    let host = match resolve(view) {
        Ok(host) => host,
        Err(problem) => {
            conditions.mark_false(REFERENCE_RESOLVED, "ResolveFailed", &problem);
            plan.events
                .push(failed(format!("resolving reference: {problem}")));
            return view.served.cloned();
        }
    };
    conditions.mark_true(REFERENCE_RESOLVED);

    let wanted = lead_to(view, host);
    if view.served == Some(&wanted) {
        conditions.mark_true(INGRESS_READY);
    } else {
        not_configured(conditions);
        if view.served.is_none() {
            let message = format!("Created Ingress \"{domain}\"");
            plan.events.push(Event::normal("Created", message));
        }
    }
    Some(wanted)
}

/// What is served for a mapping without the claim: what it was served with. Requests go on as long
/// as no mapping that has the claim takes them.
fn without_claim(view: &View<'_>) -> Option<Mapping> {
    let status = &view.mapping.status.conditions;
    // The program may have started anew since.
    let was_served = || conditions::status_of(status, INGRESS_READY) == ConditionStatus::True;
    let before = view.served.cloned().or_else(|| {
        let host = was_served().then(|| resolve(view).ok()).flatten()?;
        Some(lead_to(view, host))
    });
    before.map(|before| Mapping {
        has_lost_claim: true,
        ..before
    })
}

fn lead_to(view: &View<'_>, host: String) -> Mapping {
    let metadata = &view.mapping.metadata;
    Mapping {
        key: metadata.key(),
        created: metadata.creation_timestamp,
        has_lost_claim: false,
        domain: metadata.name.clone(),
        host,
    }
}

fn not_configured(conditions: &mut Manager) {
    conditions.mark_unknown(
        INGRESS_READY,
        "IngressNotConfigured",
        "Ingress has not yet been reconciled.",
    );
}

/// Whether the domain is this namespace's once the plan is carried out.
fn claim(view: &View<'_>, plan: &mut Plan<DomainMappingStatus>) -> bool {
    let metadata = &view.mapping.metadata;
    match view.claim {
        Some(claim) => claimed_for(claim) == metadata.namespace,
        None if view.makes_claims => {
            let claim = make_claim(metadata);
            plan.writes.push(Write::Create(claim.into()));
            true
        }
        None => false,
    }
}

/// The namespace that a claim is for.
fn claimed_for(claim: &Dynamic) -> &str {
    let spec = claim.body.get("spec");
    let namespace = spec.and_then(|spec| spec.get("namespace"));
    namespace.and_then(|text| text.as_str()).unwrap_or_default()
}

fn make_claim(mapping: &ObjectMeta) -> Dynamic {
    let spec = serde_json::json!({"namespace": mapping.namespace});
    let body = [("spec".to_owned(), spec)];
    Dynamic {
        kind: Kind::ClusterDomainClaim,
        metadata: ObjectMeta {
            name: mapping.name.clone(),
            // No manifest has it: a run of manifests does not miss it there.
            annotations: [(
                keys::MADE_OF_ANNOTATION.to_owned(),
                mapping.key().to_string(),
            )]
            .into(),
            ..ObjectMeta::default()
        },
        body: body.into_iter().collect(),
    }
}

/// The cluster-local host that the reference leads to, or why it leads nowhere.
fn resolve(view: &View<'_>) -> Result<String, String> {
    let url = url(view)?;
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.trim_end_matches('/').is_empty() {
        return Err(format!("resolved URI \"{url}\" contains a path"));
    }
    let name = host.strip_suffix(CLUSTER_LOCAL_DOMAIN);
    let parts = name.and_then(|name| name.strip_suffix('.')?.split_once('.'));
    match parts {
        Some((_, namespace)) if namespace == view.mapping.metadata.namespace => Ok(host.to_owned()),
        Some((_, namespace)) if !namespace.contains('.') => Err(format!(
            "resolved URI \"{url}\" must be in same namespace as DomainMapping"
        )),
        _ => Err(format!(
            "resolved URI \"{url}\" must be of the form {{name}}.{{namespace}}.{CLUSTER_LOCAL_DOMAIN}"
        )),
    }
}

/// The address of the object that the reference names.
fn url(view: &View<'_>) -> Result<String, String> {
    let reference = &view.mapping.spec.reference;
    let Some((kind, key)) = target(view.mapping) else {
        let (kind, version) = (&reference.kind, &reference.api_version);
        return Err(format!(
            "failed to get lister for {version}, Resource={}s: no matches for kind \"{kind}\"",
            kind.to_lowercase()
        ));
    };
    let Some(target) = view.target else {
        let names = kind.names();
        let group = if names.group.is_empty() {
            String::new()
        } else {
            format!(".{}", names.group)
        };
        return Err(format!(
            "failed to get object {key}: {}{group} \"{}\" not found",
            names.plural, key.name
        ));
    };
    let shown = || describe(reference, namespace(view.mapping));
    let address = match target {
        Object::Service(service) => service.status.address.as_ref(),
        Object::Route(route) => route.status.address.as_ref(),
        Object::Dynamic(service) if service.kind == Kind::KubernetesService => {
            let host = hosts::local(&key.namespace, &key.name).map_err(|e| e.to_string())?;
            return Ok(hosts::local_url(&host));
        }
        _ => return Err(format!("{} is not an AddressableType", shown())),
    };
    let address = address.ok_or_else(|| format!("address not set for {}", shown()))?;
    let url = address.url.clone().filter(|url| !url.is_empty());
    url.ok_or_else(|| format!("URL missing in address of {}", shown()))
}

fn describe(reference: &Reference, namespace: &str) -> String {
    let Reference {
        kind,
        name,
        api_version,
        group,
        address,
        ..
    } = reference;
    let address = address.as_deref().unwrap_or_default();
    format!(
        "Kind = {kind}, Namespace = {namespace}, Name = {name}, APIVersion = {api_version}, Group = {group}, Address = {address}"
    )
}

#[cfg(test)]
mod tests;
