//! A new revision takes over step by step.

use super::*;

/// `revision=percent` of the targets, in the order in which they are shown.
fn shown(route: &Value) -> Vec<String> {
    let traffic = route["status"]["traffic"].as_array();
    let targets = traffic.into_iter().flatten();
    targets
        .map(|t| format!("{}={}", t["revisionName"].as_str().unwrap(), t["percent"]))
        .collect()
}

async fn check(world: &World, second: Value) {
    world.apply(service("h1", "hello", "one")).await;
    world.ready("h1", "h1-00001").await;
    let before = world.runtime.store().revision();
    world.apply(second).await;
    let began = |route: Option<&Value>| route.is_some_and(|route| shown(route).len() == 2);
    let route = world.wait(Kind::Route, "h1", began).await;
    assert_eq!(shown(&route), ["h1-00001=99", "h1-00002=1"]);
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    world.ready("h1", "h1-00002").await;
    let took = start.elapsed().as_secs();

    let events = world.runtime.store().events_after(before).unwrap();
    let routes = events.iter().map(|event| event.object.to_value());
    let mut steps: Vec<Vec<String>> = Vec::new();
    for route in routes.filter(|object| object["kind"] == "Route") {
        let step = shown(&route);
        let ready = condition(&route, "IngressReady");
        if step.len() == 2 {
            assert_eq!(ready["status"], "Unknown", "{step:?}");
            assert_eq!(ready["reason"], "RolloutInProgress", "{step:?}");
        }
        if step != ["h1-00001=100"] && steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    // The first percent takes a second to be there. 39 are left for 99 percent: a step of 3 each.
    let two = |new| vec![format!("h1-00001={}", 100 - new), format!("h1-00002={new}")];
    let mut want: Vec<_> = (1..100).step_by(3).map(two).collect();
    want.push(vec!["h1-00002=100".to_owned()]);
    assert_eq!(steps, want);
    assert!((32..=34).contains(&took), "it took {took} s");
    assert_eq!(world.ask("h1.default", &[]).await.1, "Hello two!\n");
}

#[tokio::test]
async fn the_annotation_of_a_service_gives_the_time() {
    let mut second = service("h1", "hello", "two");
    second["metadata"]["annotations"]["serving.knative.dev/rollout-duration"] = json!("40s");
    check(&World::new(), second).await;
}

#[tokio::test]
async fn config_network_gives_the_time_for_all() {
    let world = World::new();
    let data = json!({"rollout-duration": "40"});
    world.set("config-network", data).await;
    check(&world, service("h1", "hello", "two")).await;
}
