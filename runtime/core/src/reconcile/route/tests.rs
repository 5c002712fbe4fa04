mod placeholders;
mod rollout;
mod routing_state;
mod visibility;

use serde_json::{Value, json};

use super::*;
use crate::conditions::{ConditionStatus, READY};
use crate::kind::Kind;
use crate::object::Object;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000);

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

/// A standalone Route `r` to Configuration `c`, whose Revisions `c-1` and `c-2` are ready.
struct World {
    route: Route,
    configurations: Vec<Configuration>,
    revisions: Vec<Revision>,
    ingress: Option<Ingress>,
    state: IngressState,
    services: Vec<Dynamic>,
    domain: &'static str,
    local_domain: bool,
    duration: Duration,
}

fn revision(name: &str, state: &str, routes: &str) -> Revision {
    let mut revision: Revision = parse(json!({
        "metadata": {
            "name": name, "namespace": "ns", "generation": 1,
            "labels": {
                "serving.knative.dev/configuration": "c",
                "serving.knative.dev/routingState": state,
            },
            "annotations": {"serving.knative.dev/routingStateModified": "then"},
            "ownerReferences": [{"apiVersion": "serving.knative.dev/v1", "kind": "Configuration",
                                 "name": "c", "uid": "c-uid", "controller": true}],
        },
        "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]},
    }));
    note(&mut revision.metadata, routes);
    revision
}

fn note(metadata: &mut crate::meta::ObjectMeta, routes: &str) {
    if !routes.is_empty() {
        let key = keys::ROUTES_ANNOTATION.to_owned();
        metadata.annotations.insert(key, routes.to_owned());
    }
}

fn latest(ready: &str, created: &str) -> Configuration {
    parse(json!({
        "metadata": {"name": "c", "namespace": "ns", "generation": 1, "uid": "c-uid"},
        "status": {
            "observedGeneration": 1,
            "latestReadyRevisionName": ready,
            "latestCreatedRevisionName": created,
        },
    }))
}

impl World {
    fn new(traffic: &Value) -> Self {
        Self {
            route: parse(json!({
                "metadata": {"name": "r", "namespace": "ns", "uid": "r-uid", "generation": 1,
                             "creationTimestamp": "2020-01-01T00:00:00Z"},
                "spec": {"traffic": traffic},
            })),
            configurations: vec![latest("c-2", "c-2")],
            revisions: vec![
                revision("c-1", "pending", ""),
                revision("c-2", "pending", ""),
            ],
            ingress: None,
            state: IngressState::NotConfigured,
            services: Vec::new(),
            domain: "example.com",
            local_domain: false,
            duration: Duration::ZERO,
        }
    }

    fn plan(&self, now: Timestamp) -> (Plan<RouteStatus>, Option<Ingress>) {
        let configurations: Vec<_> = self.configurations.iter().collect();
        let revisions: Vec<_> = self.revisions.iter().collect();
        let services: Vec<_> = self.services.iter().collect();
        let tag_name = |name: &str, tag: &str| Ok(format!("{tag}-{name}"));
        let public_host = |name: &str| Ok(format!("{name}.ns.{}", self.domain));
        let view = View {
            route: &self.route,
            configurations: &configurations,
            revisions: &revisions,
            ingress: self.ingress.as_ref(),
            ingress_state: self.state,
            services: &services,
            naming: Naming {
                tag_name: &tag_name,
                public_host: &public_host,
                local_domain: self.local_domain,
                scheme: "http",
                url_port: None,
            },
            rollout_duration: self.duration,
        };
        super::route(&view, now)
    }

    /// Sets the visibility on the placeholder of this name, as a user does.
    fn label(&mut self, name: &str, visibility: &str) {
        let mut service = crate::resources::make_placeholder(&self.route, name, name, None);
        let labels = &mut service.metadata.labels;
        labels.insert(keys::VISIBILITY_LABEL.to_owned(), visibility.to_owned());
        self.services.push(service);
    }

    /// The placeholders: name, host, labels and annotations.
    fn placeholders(&self) -> Vec<String> {
        let line = |service: &Dynamic| {
            let (meta, host) = (&service.metadata, &service.body["spec"]["externalName"]);
            let pairs = meta.labels.iter().chain(&meta.annotations);
            let pairs: Vec<_> = pairs.map(|(k, v)| format!(" {k}={v}")).collect();
            format!(
                "{} {}{}",
                meta.name,
                host.as_str().expect("a host"),
                pairs.concat()
            )
        };
        self.services.iter().map(line).collect()
    }

    /// Plans and carries it out.
    fn step(&mut self, now: Timestamp) -> Plan<RouteStatus> {
        let (plan, ingress) = self.plan(now);
        for write in &plan.writes {
            match write {
                Write::Update(Object::Revision(new)) => {
                    let mut all = self.revisions.iter_mut();
                    let old = all.find(|r| r.metadata.name == new.metadata.name);
                    *old.expect("it exists") = Revision::clone(new);
                }
                Write::Update(Object::Configuration(new)) => {
                    self.configurations[0] = Configuration::clone(new);
                }
                Write::Create(Object::Dynamic(new)) => self.services.push(Dynamic::clone(new)),
                Write::Update(Object::Dynamic(new)) => {
                    let mut all = self.services.iter_mut();
                    let old = all.find(|s| s.metadata.name == new.metadata.name);
                    *old.expect("it exists") = Dynamic::clone(new);
                }
                Write::Delete(Kind::KubernetesService, key) => {
                    self.services.retain(|s| s.metadata.key() != *key);
                }
                other => panic!("a Route does not want {other:?}"),
            }
        }
        if let Some(status) = plan.status.clone() {
            self.route.status = status;
        }
        if let Some(ingress) = ingress.filter(|new| self.ingress.as_ref() != Some(new)) {
            self.ingress = Some(ingress);
            self.state = IngressState::NotConfigured;
        }
        plan
    }

    /// Goes on until the data plane uses the rules.
    fn settle(&mut self, now: Timestamp) {
        for state in [
            IngressState::NotConfigured,
            IngressState::Programming,
            IngressState::Ready,
        ] {
            self.state = state;
            self.step(now);
            self.state = state;
            self.step(now);
        }
        assert!(self.plan(now).0.is_empty(), "planned twice");
    }

    fn condition(&self, kind: &str) -> String {
        let condition = conditions::find(&self.route.status.conditions, kind);
        let condition = condition.expect("all are there");
        format!(
            "{:?} {} {}",
            condition.status, condition.reason, condition.message
        )
    }

    fn hosts(&self) -> Vec<String> {
        let ingress = self.ingress.as_ref().expect("rules were given out");
        let line = |host: &crate::traffic::Host| {
            let shares = host
                .targets
                .iter()
                .map(|t| format!(" {}={}", t.revision.name, t.percent));
            format!("{}{}", host.host, shares.collect::<String>())
        };
        ingress.hosts.iter().map(line).collect()
    }

    fn traffic(&self) -> Vec<String> {
        let all = self.route.status.traffic.iter();
        all.map(|t| format!("{}={}", t.revision_name, t.percent.unwrap_or(-1)))
            .collect()
    }

    fn state_of(&self, name: &str) -> String {
        let mut all = self.revisions.iter();
        let revision = all.find(|r| r.metadata.name == name).expect("it exists");
        let metadata = &revision.metadata;
        let state = metadata
            .label(keys::ROUTING_STATE_LABEL)
            .unwrap_or_default();
        let routes = metadata
            .annotation(keys::ROUTES_ANNOTATION)
            .unwrap_or_default();
        let modified = metadata.annotation(keys::ROUTING_STATE_MODIFIED_ANNOTATION);
        format!("{state} {routes} {}", modified.unwrap_or_default())
    }
}

fn follow_latest() -> Value {
    json!([{"configurationName": "c", "latestRevision": true, "percent": 100}])
}

fn only(name: &str) -> Value {
    json!([{"revisionName": name, "latestRevision": false, "percent": 100}])
}

#[test]
fn the_route_is_ready_when_the_data_plane_is() {
    let mut world = World::new(&follow_latest());
    world.step(NOW);
    assert_eq!(
        world.condition(READY),
        "Unknown IngressNotConfigured Ingress has not yet been reconciled."
    );
    assert_eq!(
        world.condition(CERTIFICATE_PROVISIONED),
        "True TLSNotEnabled external-domain-tls is not enabled"
    );
    world.state = IngressState::Programming;
    world.step(NOW);
    assert_eq!(
        world.condition(READY),
        "Unknown Uninitialized Waiting for load balancer to be ready"
    );
    world.state = IngressState::Ready;
    world.step(NOW);
    assert_eq!(world.condition(READY), "True  ");
    assert_eq!(
        world.route.status.url.as_deref(),
        Some("http://r.ns.example.com")
    );
    let address = world
        .route
        .status
        .address
        .clone()
        .and_then(|address| address.url);
    assert_eq!(address.as_deref(), Some("http://r.ns.svc.cluster.local"));
}

/// The state is that of the rules given out before, so it says nothing of new ones.
#[test]
fn new_rules_are_not_configured_whatever_the_old_ones_were() {
    let mut world = World::new(&follow_latest());
    world.settle(NOW);
    world.configurations[0] = latest("c-1", "c-1");
    let (plan, ingress) = world.plan(NOW);
    let status = plan.status.expect("a change");
    assert_eq!(
        conditions::find(&status.conditions, INGRESS_READY).map(|c| c.reason.as_str()),
        Some("IngressNotConfigured")
    );
    let (old, new) = (
        world.ingress.expect("old rules"),
        ingress.expect("new rules"),
    );
    assert_eq!((old.generation, new.generation), (1, 2));
}

#[test]
fn a_new_spec_with_the_same_rules_is_ready_at_once() {
    let mut world = World::new(&follow_latest());
    world.settle(NOW);
    world.route.metadata.generation = 2;
    world.route.spec.traffic = parse(only("c-2"));
    let plan = world.step(NOW);
    assert_eq!(world.condition(READY), "True  ");
    assert_eq!(
        plan.status.and_then(|status| status.observed_generation),
        Some(2)
    );
    assert_eq!(world.route.status.traffic[0].latest_revision, Some(false));
}

#[test]
fn a_bad_target_leaves_rules_and_traffic() {
    let mut world = World::new(&follow_latest());
    world.settle(NOW);
    let before = (world.hosts(), world.route.status.traffic.clone());
    world.route.metadata.generation = 2;
    world.route.spec.traffic = parse(only("nope"));
    assert_eq!(world.plan(NOW).1, None);
    world.step(NOW);
    assert_eq!(
        world.condition(ALL_TRAFFIC_ASSIGNED),
        "False RevisionMissing Revision \"nope\" referenced in traffic not found."
    );
    assert_eq!(world.condition(INGRESS_READY), "True  ");
    assert_eq!((world.hosts(), world.route.status.traffic.clone()), before);
    assert!(world.plan(NOW).0.is_empty());
}

#[test]
fn a_host_that_is_none_is_an_error_of_configuration() {
    let mut world = World::new(&follow_latest());
    world.domain = "_";
    let (plan, ingress) = world.plan(NOW);
    assert_eq!(ingress, None);
    assert_eq!(plan.events.len(), 1);
    world.step(NOW);
    let condition = world.condition(READY);
    assert!(
        condition.starts_with("False ErrorConfig invalid domain name \"r.ns._\": url: "),
        "{condition}"
    );
    assert!(world.plan(NOW).0.is_empty());
    assert_eq!(world.route.status.url, None);
}

#[test]
fn events_tell_of_new_hosts_once() {
    let mut world = World::new(&follow_latest());
    let texts = |plan: Plan<RouteStatus>| -> Vec<String> {
        plan.events.into_iter().map(|event| event.message).collect()
    };
    assert_eq!(
        texts(world.step(NOW)),
        ["Created placeholder service \"r\"", "Created Ingress \"r\""]
    );
    world.settle(NOW);
    world.route.spec.traffic[0].tag = "t".to_owned();
    world.route.metadata.generation = 2;
    assert_eq!(
        texts(world.step(NOW)),
        ["Created placeholder service \"t-r\""]
    );
    assert_eq!(
        conditions::status_of(&world.route.status.conditions, READY),
        ConditionStatus::Unknown
    );
}

#[test]
fn after_a_restart_the_rules_are_made_again_and_nothing_is_written() {
    let mut world = World::new(&json!([{"configurationName": "c", "latestRevision": true,
        "percent": 100}]));
    world.revisions[1] = revision("c-2", "active", "r");
    world.settle(NOW);
    let given_out = world.ingress.take().expect("rules");
    world.state = IngressState::Restored;
    let (plan, rules) = world.plan(NOW);
    assert!(plan.is_empty(), "{plan:?}");
    assert!(rules.expect("rules").routes_like(&given_out));
}
