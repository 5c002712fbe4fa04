use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(200);

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

/// A Service `s` with its children, all settled and ready at Revision `s-00001`.
struct World {
    service: Service,
    configuration: Option<Configuration>,
    route: Option<Route>,
    revisions: Vec<Revision>,
}

impl World {
    fn new() -> Self {
        let service: Service = parse(json!({
            "metadata": {"name": "s", "namespace": "ns", "uid": "s-uid", "generation": 1},
            "spec": {
                "template": {"spec": {"containers": [{"image": "x"}]}},
                "traffic": [{"latestRevision": true, "percent": 100}],
            },
        }));
        let mut configuration = resources::make_configuration(&service, None);
        configuration.metadata.uid = "c-uid".to_owned();
        configuration.metadata.generation = 1;
        configuration.status = parse(json!({
            "observedGeneration": 1,
            "latestCreatedRevisionName": "s-00001",
            "latestReadyRevisionName": "s-00001",
            "conditions": [{"type": "Ready", "status": "True"}],
        }));
        let mut route = resources::make_route(&service);
        route.metadata.generation = 1;
        route.status = parse(json!({
            "observedGeneration": 1,
            "url": "http://s",
            "traffic": [{"revisionName": "s-00001", "latestRevision": true, "percent": 100}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }));
        let mut world = Self {
            service,
            configuration: Some(configuration),
            route: Some(route),
            revisions: Vec::new(),
        };
        world.service.status = world.plan().status.expect("a first status");
        world
    }

    fn configuration(&mut self) -> &mut Configuration {
        self.configuration.as_mut().expect("there is one")
    }

    fn route(&mut self) -> &mut Route {
        self.route.as_mut().expect("there is one")
    }

    fn plan(&self) -> Plan<ServiceStatus> {
        let revisions: Vec<_> = self.revisions.iter().collect();
        let view = View {
            service: &self.service,
            configuration: self.configuration.as_ref(),
            route: self.route.as_ref(),
            revisions: &revisions,
        };
        super::service(&view, NOW)
    }

    /// `configurations, routes => ready` by reason, `+` for True, and the writes.
    fn outcome(&self) -> String {
        let plan = self.plan();
        let status = plan.status.as_ref().unwrap_or(&self.service.status);
        let text = |kind| {
            let condition = conditions::find(&status.conditions, kind).expect("all are there");
            match condition.status {
                ConditionStatus::True => "+".to_owned(),
                ConditionStatus::False => format!("-{}", condition.reason),
                ConditionStatus::Unknown => format!("?{}", condition.reason),
            }
        };
        let writes: String = plan.writes.iter().map(written).collect();
        let (configurations, routes) = (text(CONFIGURATIONS_READY), text(ROUTES_READY));
        format!("{configurations}, {routes} => {}{writes}", text(READY))
    }
}

fn written(write: &Write) -> String {
    let (verb, object): (_, &Object) = match write {
        Write::Create(object) => ("create", object),
        Write::Update(object) => ("update", object),
        Write::Delete(..) => panic!("a Service deletes nothing"),
    };
    format!("; {verb} {}", object.kind().names().kind)
}

struct Case {
    name: &'static str,
    given: fn(&mut World),
    want: &'static str,
}

#[track_caller]
fn check(case: &Case) {
    let mut world = World::new();
    (case.given)(&mut world);
    assert_eq!(world.outcome(), case.want, "{}", case.name);
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn the_status_follows_the_children() {
    for case in [
        Case {
            name: "settled",
            given: |_| {},
            want: "+, + => +",
        },
        Case {
            name: "new",
            given: |w| {
                w.service.status = ServiceStatus::default();
                (w.configuration, w.route) = (None, None);
            },
            want: "?OutOfDate, ?OutOfDate => ?OutOfDate; create Configuration; create Route",
        },
        Case {
            name: "a changed template",
            given: |w| w.service.spec.template.spec.containers[0].image = "y".to_owned(),
            want: "?OutOfDate, + => ?OutOfDate; update Configuration",
        },
        Case {
            name: "changed traffic",
            given: |w| w.service.spec.traffic[0].tag = "t".to_owned(),
            want: "+, ?OutOfDate => ?OutOfDate; update Route",
        },
        Case {
            name: "changed labels",
            given: |w| {
                w.service
                    .metadata
                    .labels
                    .insert("a".to_owned(), "b".to_owned());
            },
            want: "+, + => +; update Configuration; update Route",
        },
        Case {
            name: "children changed by someone else",
            given: |w| {
                w.route().spec.traffic[0].percent = Some(1);
                w.configuration().metadata.annotations.clear();
            },
            want: "+, ?OutOfDate => ?OutOfDate; update Configuration; update Route",
        },
        Case {
            name: "a route noted on the configuration",
            given: |w| {
                let routes = crate::keys::ROUTES_ANNOTATION.to_owned();
                w.configuration()
                    .metadata
                    .annotations
                    .insert(routes, "other,s".to_owned());
            },
            want: "+, + => +",
        },
        Case {
            name: "a configuration that is behind",
            given: |w| w.configuration().metadata.generation = 2,
            want: "?OutOfDate, + => ?OutOfDate",
        },
        Case {
            name: "a configuration that failed",
            given: |w| w.configuration().status.conditions = failed("RevisionFailed"),
            want: "-RevisionFailed, + => -RevisionFailed",
        },
        Case {
            name: "a route that failed",
            given: |w| w.route().status.conditions = failed("RevisionMissing"),
            want: "+, -RevisionMissing => -RevisionMissing",
        },
        Case {
            name: "a route that has not seen the new revision",
            given: |w| w.configuration().status.latest_ready_revision_name = "s-00002".to_owned(),
            want: "+, ?TrafficNotMigrated => ?TrafficNotMigrated",
        },
        Case {
            name: "a route in the middle of its traffic",
            given: |w| w.route().status.traffic.clear(),
            want: "+, ?TrafficNotMigrated => ?TrafficNotMigrated",
        },
        Case {
            name: "a target that is there twice",
            given: |w| {
                let target = |percent| {
                    parse(
                        json!({"revisionName": "s-00001", "latestRevision": false, "percent": percent}),
                    )
                };
                w.service.spec.traffic = vec![target(40), target(60)];
                w.route().spec.traffic = w.service.spec.traffic.clone();
                w.route().status.traffic = vec![target(100)];
            },
            want: "+, + => +",
        },
        Case {
            name: "another's configuration",
            given: |w| w.configuration().metadata.owner_references.clear(),
            want: "-NotOwned, + => -NotOwned",
        },
        Case {
            name: "another's route",
            given: |w| w.route().metadata.owner_references[0].uid = "x".to_owned(),
            want: "+, -NotOwned => -NotOwned",
        },
        Case {
            name: "a template with a name, which the configuration has not seen",
            given: |w| w.service.spec.template.metadata.name = "s-mine".to_owned(),
            want: "?OutOfDate, + => ?OutOfDate; update Configuration",
        },
        Case {
            name: "the same with new traffic, which waits",
            given: |w| {
                w.service.spec.template.metadata.name = "s-mine".to_owned();
                w.service.spec.traffic[0].tag = "t".to_owned();
            },
            want: "?OutOfDate, + => ?OutOfDate; update Configuration",
        },
        Case {
            name: "a template with another's name",
            given: |w| {
                w.service.spec.template.metadata.name = "s-mine".to_owned();
                w.service.spec.traffic[0].tag = "t".to_owned();
                let template = w.service.spec.template.clone();
                w.configuration().spec.template = template;
                let taken = json!({"metadata": {"name": "s-mine"}});
                w.revisions.push(parse(taken));
            },
            want: "+, -RevisionNameTaken => -RevisionNameTaken",
        },
        Case {
            name: "one that is being deleted",
            given: |w| {
                w.service.metadata.deletion_timestamp = Some(NOW);
                w.route = None;
            },
            want: "+, + => +",
        },
    ] {
        check(&case);
    }
}

fn failed(reason: &str) -> Vec<conditions::Condition> {
    parse(json!([{"type": "Ready", "status": "False", "reason": reason, "message": "m"}]))
}

#[track_caller]
fn says(change: fn(&mut World), kind: &str, message: &str) {
    let mut world = World::new();
    change(&mut world);
    let status = world.plan().status.expect("a change");
    let condition = conditions::find(&status.conditions, kind).expect("all are there");
    assert_eq!(condition.message, message);
}

#[test]
fn messages_are_knatives() {
    says(
        |w| w.configuration().metadata.owner_references.clear(),
        CONFIGURATIONS_READY,
        "There is an existing Configuration \"s\" that we do not own.",
    );
    says(
        |w| w.route().metadata.owner_references.clear(),
        ROUTES_READY,
        "There is an existing Route \"s\" that we do not own.",
    );
    says(
        |w| w.route().status.traffic.clear(),
        ROUTES_READY,
        "Traffic is not yet migrated to the latest revision.",
    );
    says(
        |w| w.configuration().metadata.generation = 2,
        CONFIGURATIONS_READY,
        "The Configuration is still working to reflect the latest desired specification.",
    );
    says(
        |w| w.route().metadata.generation = 2,
        ROUTES_READY,
        "The Route is still working to reflect the latest desired specification.",
    );
    says(|w| w.route().status.conditions = failed("R"), READY, "m");
}

#[test]
fn a_child_that_is_behind_leaves_its_fields_as_they_were() {
    let mut world = World::new();
    world.configuration().metadata.generation = 2;
    world.configuration().status.latest_ready_revision_name = "s-00002".to_owned();
    world.route().metadata.generation = 2;
    world.route().status.url = Some("http://other".to_owned());
    let status = world.plan().status.expect("both are behind");
    assert_eq!(status.latest_ready_revision_name, "s-00001");
    assert_eq!(status.url.as_deref(), Some("http://s"));
}

#[test]
fn an_update_keeps_what_the_store_added() {
    let mut world = World::new();
    world.service.spec.template.spec.containers[0].image = "y".to_owned();
    world.configuration().metadata.resource_version = "7".to_owned();
    let plan = world.plan();
    let [Write::Update(Object::Configuration(updated))] = plan.writes.as_slice() else {
        panic!("one update: {:?}", plan.writes);
    };
    assert_eq!(updated.metadata.resource_version, "7");
    assert_eq!(updated.metadata.uid, "c-uid");
    assert_eq!(updated.status, world.configuration().status);
    assert_eq!(updated.spec.template, world.service.spec.template);
}

#[test]
fn a_conflict_is_told_once() {
    let mut world = World::new();
    world.configuration().metadata.owner_references.clear();
    let plan = world.plan();
    let message = "service: \"s\" does not own configuration: \"s\"";
    assert_eq!(plan.events, [Event::warning("InternalError", message)]);
    world.service.status = plan.status.expect("a conflict");
    assert!(world.plan().is_empty());
}
