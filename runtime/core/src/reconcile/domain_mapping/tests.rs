use serde_json::{Value, json};

use super::*;
use crate::conditions::READY;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000);
const DOMAIN: &str = "shop.example.com";

/// A mapping of `shop.example.com` in `ns`, with what is around it.
struct World {
    mapping: DomainMapping,
    claim: Option<Dynamic>,
    target: Option<Object>,
    served: Option<Mapping>,
    makes_claims: bool,
}

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

fn service(namespace: &str, url: Option<&str>) -> Object {
    object(json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "h1", "namespace": namespace},
        "status": {"address": url.map(|url| json!({"url": url}))},
    }))
}

fn claim(namespace: &str) -> Dynamic {
    Dynamic {
        body: json!({"spec": {"namespace": namespace}})
            .as_object()
            .expect("an object")
            .clone(),
        ..make_claim(&ObjectMeta {
            name: DOMAIN.to_owned(),
            ..ObjectMeta::default()
        })
    }
}

impl World {
    /// The domain is claimed, the Service is there.
    fn new() -> Self {
        let mapping = json!({
            "metadata": {"name": DOMAIN, "namespace": "ns", "generation": 1,
                         "finalizers": ["domainmappings.serving.knative.dev"]},
            "spec": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service",
                             "name": "h1", "namespace": "ns"}},
        });
        Self {
            mapping: serde_json::from_value(mapping).expect("a DomainMapping"),
            claim: Some(claim("ns")),
            target: Some(service("ns", Some("http://h1.ns.svc.cluster.local"))),
            served: None,
            makes_claims: false,
        }
    }

    fn view<T>(&self, with: impl FnOnce(&View<'_>) -> T) -> T {
        with(&View {
            mapping: &self.mapping,
            claim: self.claim.as_ref(),
            target: self.target.as_ref(),
            served: self.served.as_ref(),
            makes_claims: self.makes_claims,
            url_port: Some(8080),
        })
    }

    /// Plans and carries it out.
    fn step(&mut self) -> Plan<DomainMappingStatus> {
        let (plan, wanted) = self.view(|view| domain_mapping(view, NOW));
        for write in &plan.writes {
            match write {
                Write::Create(Object::Dynamic(new)) => self.claim = Some(Dynamic::clone(new)),
                other => panic!("a DomainMapping does not want {other:?}"),
            }
        }
        if let Some(status) = plan.status.clone() {
            self.mapping.status = status;
        }
        self.served = wanted;
        plan
    }

    /// `type status reason message`, without those that are Unknown for no reason.
    fn shown(&self) -> Vec<String> {
        let conditions = self.mapping.status.conditions.iter();
        let said = conditions
            .filter(|c| c.status != ConditionStatus::Unknown || !c.reason.is_empty())
            .map(|c| {
                let text = format!("{} {:?} {} {}", c.kind, c.status, c.reason, c.message);
                text.trim_end().to_owned()
            });
        said.collect()
    }
}

#[test]
fn a_claimed_domain_is_served_and_then_ready() {
    let mut world = World::new();
    let plan = world.step();
    let event = format!("Created Ingress \"{DOMAIN}\"");
    assert_eq!(plan.events, [Event::normal("Created", event)]);
    let waiting = "Unknown IngressNotConfigured Ingress has not yet been reconciled.";
    let tls = "CertificateProvisioned True TLSNotEnabled external-domain-tls is not enabled";
    assert_eq!(
        world.shown(),
        [
            tls.to_owned(),
            "DomainClaimed True".to_owned(),
            format!("IngressReady {waiting}"),
            format!("Ready {waiting}"),
            "ReferenceResolved True".to_owned(),
        ]
    );
    let host = world.served.as_ref().map(|served| served.host.as_str());
    assert_eq!(host, Some("h1.ns.svc.cluster.local"));
    world.step();
    assert_eq!(
        world.shown(),
        [
            tls,
            "DomainClaimed True",
            "IngressReady True",
            "Ready True",
            "ReferenceResolved True"
        ]
    );
    let status = &world.mapping.status;
    let url = Some("http://shop.example.com:8080");
    assert_eq!(status.url.as_deref(), url);
    let address = status.address.as_ref().and_then(|a| a.url.as_deref());
    assert_eq!(address, url);
    assert_eq!(status.observed_generation, Some(1));
    assert!(world.step().is_empty(), "nothing is left to do");
}

struct Case {
    name: &'static str,
    given: fn(&mut World),
    /// The condition that is not True, as `type status reason message`.
    want: &'static str,
    served: bool,
}

#[track_caller]
fn check(case: &Case) {
    let mut world = World::new();
    world.step();
    world.step();
    (case.given)(&mut world);
    world.step();
    world.step();
    let shown = world.shown();
    assert!(
        shown.iter().any(|line| line == case.want),
        "{}: {shown:#?}",
        case.name
    );
    assert_eq!(world.served.is_some(), case.served, "{}", case.name);
    let ready = conditions::status_of(&world.mapping.status.conditions, READY);
    let is_ready = case.want.starts_with("Ready True");
    assert_eq!(ready == ConditionStatus::True, is_ready, "{}", case.name);
}

#[test]
fn what_is_wrong_is_told() {
    for case in [
        Case {
            name: "no claim any more, and none are made",
            given: |w| w.claim = None,
            want: "DomainClaimed False DomainAlreadyClaimed The domain name is already in use by another DomainMapping",
            served: true,
        },
        Case {
            name: "no claim, and they are made",
            given: |w| (w.claim, w.makes_claims) = (None, true),
            want: "Ready True",
            served: true,
        },
        Case {
            name: "another namespace's claim, although they are made",
            given: |w| (w.claim, w.makes_claims) = (Some(claim("other")), true),
            want: "DomainClaimed False DomainAlreadyClaimed The domain name is already in use by another DomainMapping",
            served: true,
        },
        Case {
            name: "the Service is gone",
            given: |w| w.target = None,
            want: "ReferenceResolved False ResolveFailed failed to get object ns/h1: services.serving.knative.dev \"h1\" not found",
            served: true,
        },
        Case {
            name: "the Service has no address yet",
            given: |w| w.target = Some(service("ns", None)),
            want: "ReferenceResolved False ResolveFailed address not set for Kind = Service, Namespace = ns, Name = h1, APIVersion = serving.knative.dev/v1, Group = , Address =",
            served: true,
        },
        Case {
            name: "an address with a path",
            given: |w| w.target = Some(service("ns", Some("http://h1.ns.svc.cluster.local/a"))),
            want: "ReferenceResolved False ResolveFailed resolved URI \"http://h1.ns.svc.cluster.local/a\" contains a path",
            served: true,
        },
        Case {
            name: "an address with a slash",
            given: |w| w.target = Some(service("ns", Some("http://h1.ns.svc.cluster.local/"))),
            want: "Ready True",
            served: true,
        },
        Case {
            name: "an address of another namespace",
            given: |w| w.target = Some(service("ns", Some("http://h1.other.svc.cluster.local"))),
            want: "ReferenceResolved False ResolveFailed resolved URI \"http://h1.other.svc.cluster.local\" must be in same namespace as DomainMapping",
            served: true,
        },
        Case {
            name: "an address elsewhere",
            given: |w| w.target = Some(service("ns", Some("http://example.com"))),
            want: "ReferenceResolved False ResolveFailed resolved URI \"http://example.com\" must be of the form {name}.{namespace}.svc.cluster.local",
            served: true,
        },
        Case {
            name: "a kind that is not known",
            given: |w| w.mapping.spec.reference.kind = "Broker".to_owned(),
            want: "ReferenceResolved False ResolveFailed failed to get lister for serving.knative.dev/v1, Resource=brokers: no matches for kind \"Broker\"",
            served: true,
        },
    ] {
        check(&case);
    }
}

#[test]
fn a_certificate_from_elsewhere_makes_it_https() {
    let mut world = World::new();
    world.mapping.spec.tls = Some(crate::api::SecretTls::default());
    world.step();
    let want = "CertificateProvisioned True CertificateExternallyProvided TLS certificate was \
                provided externally";
    assert_eq!(world.shown()[0], want);
    let url = world.mapping.status.url.as_deref();
    assert_eq!(url, Some("https://shop.example.com"));
}

#[test]
fn references_to_routes_and_kubernetes_services_resolve() {
    for (api_version, group, kind, target, want) in [
        (
            "serving.knative.dev/v1",
            "",
            "Route",
            json!({"apiVersion": "serving.knative.dev/v1", "kind": "Route",
                "metadata": {"name": "h1", "namespace": "ns"},
                "status": {"address": {"url": "http://h1.ns.svc.cluster.local"}}}),
            "Route",
        ),
        (
            "",
            "serving.knative.dev",
            "Service",
            service("ns", Some("http://h1.ns.svc.cluster.local")).to_value(),
            "Service",
        ),
        (
            "v1",
            "",
            "Service",
            json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "h1", "namespace": "ns"}}),
            "KubernetesService",
        ),
    ] {
        let mut world = World::new();
        let reference = &mut world.mapping.spec.reference;
        api_version.clone_into(&mut reference.api_version);
        group.clone_into(&mut reference.group);
        kind.clone_into(&mut reference.kind);
        world.target = Some(object(target));
        let named = target_of(&world);
        assert_eq!(named, format!("{want} ns/h1"));
        world.step();
        let host = world.served.as_ref().map(|served| served.host.as_str());
        assert_eq!(host, Some("h1.ns.svc.cluster.local"), "{want}");
    }
}

fn target_of(world: &World) -> String {
    let (kind, key) = target(&world.mapping).expect("known");
    format!("{kind:?} {key}")
}

#[test]
fn a_claim_is_removed_where_it_was_made_and_only_by_its_own() {
    for (makes_claims, namespace, removes) in [
        (true, Some("ns"), true),
        (false, Some("ns"), false),
        (true, Some("other"), false),
        (true, None, false),
    ] {
        let mut world = World::new();
        world.makes_claims = makes_claims;
        world.claim = namespace.map(claim);
        let key = ObjectKey::new("", DOMAIN);
        let want = removes.then_some(Write::Delete(Kind::ClusterDomainClaim, key));
        let got = world.view(forget);
        assert_eq!(got, want.into_iter().collect::<Vec<_>>(), "{namespace:?}");
    }
}

#[test]
fn a_domain_without_a_claim_is_served_only_if_it_was() {
    let mut world = World::new();
    world.claim = None;
    world.step();
    world.step();
    assert_eq!(world.served, None, "it never had a claim");
    world.claim = Some(claim("ns"));
    world.step();
    world.step();
    let before = world.served.clone().expect("served");
    assert!(!before.has_lost_claim);
    world.claim = Some(claim("other"));
    world.step();
    let lost = Mapping {
        has_lost_claim: true,
        ..before.clone()
    };
    assert_eq!(world.served, Some(lost.clone()));
    // The program starts again.
    world.served = None;
    world.step();
    assert_eq!(world.served, Some(lost));
    world.claim = Some(claim("ns"));
    world.step();
    assert_eq!(world.served, Some(before));
}

#[test]
fn a_mapping_is_held_before_it_has_anything() {
    let mut world = World::new();
    world.mapping.metadata.finalizers = vec!["a/b".to_owned()];
    world.claim = None;
    world.makes_claims = true;
    let (plan, wanted) = world.view(|view| domain_mapping(view, NOW));
    let [Write::Update(Object::DomainMapping(held))] = plan.writes.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(
        held.metadata.finalizers,
        ["a/b", "domainmappings.serving.knative.dev"]
    );
    assert_eq!((plan.status, wanted), (None, None));
    let message = format!("Updated \"{DOMAIN}\" finalizers");
    assert_eq!(plan.events, [Event::normal("FinalizerUpdate", message)]);
}

#[test]
fn a_mapping_goes_after_its_claim() {
    let delete = |kind, namespace: &str| Write::Delete(kind, ObjectKey::new(namespace, DOMAIN));
    let mut world = World::new();
    world.makes_claims = true;
    world.step();
    world.step();
    world.mapping.metadata.deletion_timestamp = Some(NOW);
    let both = [
        delete(Kind::ClusterDomainClaim, ""),
        delete(Kind::DomainMapping, "ns"),
    ];
    let (plan, wanted) = world.view(|view| domain_mapping(view, NOW));
    assert_eq!((plan.writes.as_slice(), wanted), (both.as_slice(), None));
    // The program ended after the first of these.
    world.claim = None;
    let (plan, _) = world.view(|view| domain_mapping(view, NOW));
    assert_eq!(plan.writes, both[1..]);
    // Somebody else holds it, too.
    let finalizers = &mut world.mapping.metadata.finalizers;
    finalizers.push("a/b".to_owned());
    let (plan, _) = world.view(|view| domain_mapping(view, NOW));
    let [Write::Update(Object::DomainMapping(freed))] = plan.writes.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(freed.metadata.finalizers, ["a/b"]);
    world.mapping.metadata.finalizers = vec!["a/b".to_owned()];
    let (plan, _) = world.view(|view| domain_mapping(view, NOW));
    assert!(plan.is_empty());
}
