//! The Kubernetes Services that stand for the hosts.

use super::*;

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
