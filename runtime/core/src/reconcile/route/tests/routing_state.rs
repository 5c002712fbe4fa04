//! What the Revisions and Configurations say about the Routes that use them.

use super::*;

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
