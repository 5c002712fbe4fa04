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

struct Case {
    name: &'static str,
    given: fn(&mut World),
    url: &'static str,
    tag_url: &'static str,
    public: &'static [&'static str],
}

#[track_caller]
fn check(case: &Case) {
    let mut world = World::new(&json!([
        {"configurationName": "c", "latestRevision": true, "percent": 100},
        {"revisionName": "c-1", "latestRevision": false, "percent": 0, "tag": "t"},
    ]));
    (case.given)(&mut world);
    world.settle(NOW);
    let status = &world.route.status;
    assert_eq!(status.url.as_deref(), Some(case.url), "{}", case.name);
    assert_eq!(
        status.traffic[1].url.as_deref(),
        Some(case.tag_url),
        "{}",
        case.name
    );
    assert_eq!(status.traffic[0].url, None, "{}", case.name);
    let (public, local): (Vec<_>, Vec<_>) = world
        .hosts()
        .into_iter()
        .partition(|host| host.contains("example.com"));
    assert_eq!(public, case.public, "{}", case.name);
    assert_eq!(
        local,
        [
            "r.ns.svc.cluster.local c-2=100",
            "r.ns.svc c-2=100",
            "r.ns c-2=100",
            "t-r.ns.svc.cluster.local c-1=100",
            "t-r.ns.svc c-1=100",
            "t-r.ns c-1=100",
        ],
        "{}",
        case.name
    );
}

#[test]
fn visibility_is_of_the_route_of_a_tag_or_of_the_domain() {
    let local = "http://r.ns.svc.cluster.local";
    let local_tag = "http://t-r.ns.svc.cluster.local";
    for case in [
        Case {
            name: "public",
            given: |_| {},
            url: "http://r.ns.example.com",
            tag_url: "http://t-r.ns.example.com",
            public: &["r.ns.example.com c-2=100", "t-r.ns.example.com c-1=100"],
        },
        Case {
            name: "a local route",
            given: |w| {
                let label = keys::VISIBILITY_LABEL.to_owned();
                let value = keys::CLUSTER_LOCAL_VISIBILITY.to_owned();
                w.route.metadata.labels.insert(label, value);
            },
            url: local,
            tag_url: local_tag,
            public: &[],
        },
        Case {
            name: "a local domain",
            given: |w| w.local_domain = true,
            url: local,
            tag_url: local_tag,
            public: &[],
        },
        Case {
            name: "a local tag",
            given: |w| w.label("t-r", keys::CLUSTER_LOCAL_VISIBILITY),
            url: "http://r.ns.example.com",
            tag_url: local_tag,
            public: &["r.ns.example.com c-2=100"],
        },
        Case {
            name: "a local main host",
            given: |w| w.label("r", keys::CLUSTER_LOCAL_VISIBILITY),
            url: local,
            tag_url: "http://t-r.ns.example.com",
            public: &["t-r.ns.example.com c-1=100"],
        },
        Case {
            name: "another value of the label",
            given: |w| w.label("t-r", "public"),
            url: "http://r.ns.example.com",
            tag_url: "http://t-r.ns.example.com",
            public: &["r.ns.example.com c-2=100", "t-r.ns.example.com c-1=100"],
        },
    ] {
        check(&case);
    }
}

#[test]
fn revisions_are_active_while_a_route_names_them() {
    let mut world = World::new(&follow_latest());
    let now = NOW.to_string();
    world.step(NOW);
    assert_eq!(world.state_of("c-2"), format!("active r {now}"));
    assert_eq!(world.state_of("c-1"), "pending  then");
    let noted = world.configurations[0]
        .metadata
        .annotation(keys::ROUTES_ANNOTATION);
    assert_eq!(noted, Some("r"));
    world.settle(NOW);

    // Requests may still come to the old one until the data plane uses the new rules.
    let later = NOW + Duration::from_mins(1);
    world.route.metadata.generation = 2;
    world.route.spec.traffic = parse(only("c-1"));
    world.step(later);
    assert_eq!(world.state_of("c-1"), format!("active r {later}"));
    assert_eq!(world.state_of("c-2"), format!("active r {now}"));
    world.settle(later);
    assert_eq!(world.state_of("c-2"), format!("reserve  {later}"));
}

#[test]
fn the_newest_revision_is_active_before_it_is_ready() {
    let mut world = World::new(&follow_latest());
    world.settle(NOW);
    world.configurations[0].status.latest_created_revision_name = "c-3".to_owned();
    let mut newest = revision("c-3", "pending", "");
    newest.status.conditions.clear();
    world.revisions.push(newest);
    world.step(NOW);
    assert_eq!(world.state_of("c-3"), format!("active r {NOW}"));
}

#[test]
fn several_routes_share_a_revision() {
    let mut world = World::new(&follow_latest());
    world.revisions = vec![
        revision("c-1", "active", "other,r"),
        revision("c-2", "active", "other"),
    ];
    note(&mut world.configurations[0].metadata, "other");
    world.settle(NOW);
    assert_eq!(world.state_of("c-2"), "active other,r then");
    assert_eq!(world.state_of("c-1"), "active other then");
    let noted = world.configurations[0]
        .metadata
        .annotation(keys::ROUTES_ANNOTATION);
    assert_eq!(noted, Some("other,r"));

    world.route.metadata.deletion_timestamp = Some(NOW);
    world.step(NOW);
    assert_eq!(world.state_of("c-2"), "active other then");
    let noted = world.configurations[0]
        .metadata
        .annotation(keys::ROUTES_ANNOTATION);
    assert_eq!(noted, Some("other"));
    assert!(world.plan(NOW).0.is_empty());

    let configurations: Vec<_> = world.configurations.iter().collect();
    let revisions: Vec<_> = world.revisions.iter().collect();
    let other = ObjectKey::new("ns", "other");
    assert_eq!(
        super::forget(&other, &configurations, &revisions, NOW).len(),
        3
    );
}

/// 100 % to `c-1`, then `c-2` becomes the latest, with ten seconds for the rollout.
#[test]
fn a_rollout_goes_in_steps_that_the_status_shows() {
    let mut world = World::new(&follow_latest());
    world.duration = Duration::from_secs(10);
    world.configurations[0] = latest("c-1", "c-1");
    world.settle(NOW);
    assert_eq!(world.condition(READY), "True  ");

    world.configurations[0] = latest("c-2", "c-2");
    let mut now = NOW + Duration::from_secs(100);
    world.step(now);
    let in_progress =
        "Unknown RolloutInProgress A gradual rollout of the latest revision(s) is in progress.";
    assert_eq!(world.condition(READY), in_progress);
    assert_eq!(world.traffic(), ["c-1=99", "c-2=1"]);
    assert_eq!(world.hosts()[3], "r.ns.example.com c-1=99 c-2=1");
    assert_eq!(world.state_of("c-1"), format!("active r {NOW}"));

    now = now + Duration::from_secs(1);
    world.state = IngressState::Ready;
    let plan = world.step(now);
    assert_eq!(world.traffic(), ["c-1=99", "c-2=1"]);
    let wait = plan.requeue_after.expect("a next step");

    let mut steps = 0;
    while world.route.status.traffic.len() > 1 {
        now = now + wait;
        world.state = IngressState::Ready;
        world.step(now);
        let sum: i64 = world
            .route
            .status
            .traffic
            .iter()
            .filter_map(|t| t.percent)
            .sum();
        assert_eq!(sum, 100);
        steps += 1;
        assert!(steps < 100, "never ends: {:?}", world.traffic());
    }
    assert_eq!(steps, 9);
    assert!(now.since(NOW + Duration::from_secs(100)) <= Duration::from_secs(11));
    assert_eq!(world.traffic(), ["c-2=100"]);
    world.settle(now);
    assert_eq!(world.condition(READY), "True  ");
    assert_eq!(world.state_of("c-1"), format!("reserve  {now}"));
    assert_eq!(world.plan(now).0.requeue_after, None);
}

#[test]
fn the_annotation_of_a_route_sets_its_rollout_duration() {
    let first = |key: &str, value: &str, duration: u64| {
        let mut world = World::new(&follow_latest());
        world.duration = Duration::from_secs(duration);
        world
            .route
            .metadata
            .annotations
            .insert(key.to_owned(), value.to_owned());
        world.configurations[0] = latest("c-1", "c-1");
        world.settle(NOW);
        world.configurations[0] = latest("c-2", "c-2");
        world.step(NOW);
        world.traffic()
    };
    let (stepping, at_once) = (["c-1=99", "c-2=1"], ["c-2=100"]);
    assert_eq!(first(keys::ROLLOUT_DURATION_ANNOTATION, "10s", 0), stepping);
    assert_eq!(
        first(keys::ROLLOUT_DURATION_ALIAS_ANNOTATION, "1m", 0),
        stepping
    );
    assert_eq!(first(keys::ROLLOUT_DURATION_ANNOTATION, "0s", 10), stepping);
    assert_eq!(first(keys::ROLLOUT_DURATION_ANNOTATION, "0s", 0), at_once);
    assert_eq!(first(keys::ROLLOUT_DURATION_ANNOTATION, "x", 0), at_once);
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
fn placeholders_follow_the_tags_and_never_lose_what_they_have() {
    let mut world = World::new(&json!([
        {"configurationName": "c", "latestRevision": true, "percent": 100},
        {"revisionName": "c-1", "tag": "t", "percent": 0},
    ]));
    let metadata = &mut world.route.metadata;
    metadata.labels.insert("a".into(), "1".into());
    metadata.annotations.insert("b".into(), "2".into());
    metadata
        .labels
        .insert(keys::VISIBILITY_LABEL.into(), "any".into());
    world.step(NOW);
    let of_route = "a=1 serving.knative.dev/route=r b=2";
    assert_eq!(
        world.placeholders(),
        [
            format!("r r.ns.example.com {of_route}"),
            format!("t-r t-r.ns.example.com {of_route}"),
        ]
    );
    let made = &world.services[0];
    assert!(made.metadata.is_controlled_by("r-uid"));
    assert_eq!(made.body["spec"]["ports"][0]["name"], "http2");
    assert_eq!(made.body["spec"]["type"], "ExternalName");

    world.route.metadata.labels.clear();
    world.route.metadata.annotations = [("c".to_owned(), "3".to_owned())].into();
    world.route.spec.traffic.truncate(1);
    world.step(NOW);
    assert_eq!(
        world.placeholders(),
        ["r r.ns.example.com a=1 serving.knative.dev/route=r b=2 c=3"]
    );
    assert!(world.step(NOW).writes.is_empty(), "nothing is left to do");

    world.services[0]
        .metadata
        .labels
        .insert(keys::VISIBILITY_LABEL.into(), "cluster-local".into());
    world.step(NOW);
    let host = &world.services[0].body["spec"]["externalName"];
    assert_eq!(host, "r.ns.svc.cluster.local");
    let url = world.route.status.url.as_deref();
    assert_eq!(url, Some("http://r.ns.svc.cluster.local"));
}

#[test]
fn another_ones_service_keeps_a_route_from_being_ready() {
    let mut world = World::new(&follow_latest());
    world.label("r", "cluster-local");
    world.services[0].metadata.owner_references.clear();
    let plan = world.step(NOW);
    let conditions = &world.route.status.conditions;
    let ready = conditions::find(conditions, READY).expect("there");
    assert_eq!(
        (ready.status, ready.reason.as_str(), ready.message.as_str()),
        (
            ConditionStatus::False,
            "NotOwned",
            "There is an existing placeholder Service \"r\" that we do not own."
        )
    );
    let assigned = conditions::status_of(conditions, ALL_TRAFFIC_ASSIGNED);
    assert_eq!(assigned, ConditionStatus::True);
    assert!(world.ingress.is_none());
    let message = "route: \"r\" does not own Service: \"r\"";
    assert_eq!(plan.events, [Event::warning("InternalError", message)]);

    world.services.clear();
    world.step(NOW);
    assert!(world.ingress.is_some(), "the name is free");
}

/// A rollout over 100 seconds that a restart of the program interrupts after its second step: how
/// long it takes from there, in seconds, when the program was away for `away`.
fn rest_of_a_rollout(away: Duration, is_remembered: bool) -> u64 {
    let mut world = World::new(&follow_latest());
    world.duration = Duration::from_secs(100);
    world.configurations = vec![latest("c-1", "c-1")];
    world.step(NOW);
    world.state = IngressState::Ready;
    world.step(NOW);
    assert!(world.route.status.annotations.is_empty());
    world.configurations = vec![latest("c-2", "c-2")];
    world.step(NOW);
    assert_eq!(world.traffic(), ["c-1=99", "c-2=1"]);
    let mut now = NOW;
    for _ in 0..3 {
        world.state = IngressState::Ready;
        now = now + world.step(now).requeue_after.expect("a step");
    }
    let before = world.traffic();
    assert_eq!(before, ["c-1=97", "c-2=3"]);

    // The process starts again.
    world.ingress = None;
    world.state = IngressState::NotConfigured;
    if !is_remembered {
        world.route.status.annotations.clear();
    }
    let start = now + away;
    now = start;
    let mut last = 3;
    for _ in 0..200 {
        let next = world.step(now).requeue_after;
        let percent = world.route.status.traffic.last().and_then(|t| t.percent);
        let percent = percent.expect("always");
        let step = percent - last;
        assert!((0..=2).contains(&step), "from {last} to {percent}");
        last = percent;
        world.state = IngressState::Ready;
        match next {
            Some(next) => now = now + next,
            None if percent == 100 => break,
            // The first look finds out that it is served, the second plans its steps.
            None => {}
        }
    }
    assert_eq!(world.traffic(), ["c-2=100"]);
    assert!(world.route.status.annotations.is_empty());
    now.since(start).as_secs()
}

#[test]
fn a_rollout_goes_on_with_its_steps_after_a_restart() {
    // 97 steps are left, a second each. The one that is due comes at once.
    assert_eq!(rest_of_a_rollout(Duration::ZERO, true), 96);
    assert_eq!(rest_of_a_rollout(Duration::from_secs(3600), true), 96);
}

#[test]
fn a_rollout_whose_steps_are_not_known_plans_them_anew() {
    assert_eq!(rest_of_a_rollout(Duration::from_secs(50), false), 97);
}
