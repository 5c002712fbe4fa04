//! Old revisions are deleted as config-gc says.

use super::*;

/// As many revisions of `h1`, of which only the last one gets requests.
async fn revisions(world: &World, count: u32) {
    for number in 1..=count {
        world
            .apply(service("h1", "hello", &number.to_string()))
            .await;
        world.ready("h1", &format!("h1-0000{number}")).await;
    }
}

fn is_reserve(revision: Option<&Value>) -> bool {
    let labels = &revision.unwrap()["metadata"]["labels"];
    labels["serving.knative.dev/routingState"] == "reserve"
}

#[tokio::test]
async fn a_change_of_config_gc_deletes_old_revisions_but_those_that_ask_to_stay() {
    let world = World::new();
    revisions(&world, 3).await;
    let mut kept = world.wait(Kind::Revision, "h1-00002", is_reserve).await;
    kept["metadata"]["annotations"]["serving.knative.dev/no-gc"] = json!("true");
    world.apply(kept).await;
    world
        .set(
            "config-gc",
            json!({
                "min-non-active-revisions": "0",
                "max-non-active-revisions": "0",
                "retain-since-create-time": "disabled",
                "retain-since-last-active-time": "disabled",
            }),
        )
        .await;
    world.gone(Kind::Revision, "h1-00001").await;
    assert!(world.get(Kind::Revision, "h1-00002").is_some());
    assert!(world.get(Kind::Revision, "h1-00003").is_some());
    assert_eq!(world.ask("h1.default", &[]).await.1, "Hello 3!\n");

    // The next change of the Configuration finds the same rule.
    world.apply(service("h1", "hello", "4")).await;
    world.ready("h1", "h1-00004").await;
    world.gone(Kind::Revision, "h1-00003").await;
}

#[tokio::test]
async fn a_revision_that_becomes_old_is_deleted_without_anybody_asking() {
    let world = World::new();
    revisions(&world, 2).await;
    world
        .set(
            "config-gc",
            json!({
                "min-non-active-revisions": "0",
                "max-non-active-revisions": "disabled",
                "retain-since-create-time": "1h",
                "retain-since-last-active-time": "2h",
            }),
        )
        .await;
    world.wait(Kind::Revision, "h1-00001", is_reserve).await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let patience = Duration::from_hours(3);
    let is_gone = |revision: Option<&Value>| revision.is_none();
    world
        .wait_for(patience, Kind::Revision, "h1-00001", is_gone)
        .await;
    let took = start.elapsed().as_secs();
    // Times of objects are whole seconds, and it went out of use while time was still real.
    assert!((7_140..=7_201).contains(&took), "after {took} s");
    assert!(world.get(Kind::Revision, "h1-00002").is_some());
}
