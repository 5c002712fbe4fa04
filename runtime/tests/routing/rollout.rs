//! A new revision takes over step by step.

use serve_runtime::control::snapshot::Snapshot;

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

/// A runtime that keeps its objects and components in a directory.
fn kept(directory: &Path, start: Timestamp) -> World {
    let snapshot = Snapshot::open(directory.join("runs/state.json")).unwrap();
    let builder = Runtime::builder()
        .clock(Clock::tokio(start))
        .cache_directory(directory.join("cache"))
        .state(snapshot);
    World {
        runtime: builder.build().unwrap(),
    }
}

fn percent(route: &Value, revision: &str) -> u64 {
    let traffic = route["status"]["traffic"].as_array().into_iter().flatten();
    let of = traffic.filter(|target| target["revisionName"] == revision);
    of.filter_map(|target| target["percent"].as_u64()).sum()
}

#[tokio::test]
async fn a_rollout_goes_on_where_it_was_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start = Timestamp::from_unix_seconds(1_800_000_000);
    let first = kept(directory.path(), start);
    first.apply(service("h1", "hello", "one")).await;
    first.ready("h1", "h1-00001").await;
    let mut second = service("h1", "hello", "two");
    second["metadata"]["annotations"]["serving.knative.dev/rollout-duration"] = json!("40s");
    first.apply(second).await;
    tokio::time::pause();
    let is_half = |route: Option<&Value>| route.is_some_and(|r| percent(r, "h1-00002") >= 50);
    let route = first.wait(Kind::Route, "h1", is_half).await;
    let before = percent(&route, "h1-00002");
    assert!(before < 60, "{before}");
    first.runtime.shutdown(Duration::from_mins(1)).await;
    drop(first);

    // An hour later: all of it would be over by the clock.
    let again = kept(directory.path(), start + Duration::from_secs(3600));
    again.runtime.restored().await.unwrap();
    let begin = tokio::time::Instant::now();
    let read = again.runtime.store().revision();
    let is_over = |route: Option<&Value>| {
        route.is_some_and(|route| is_ready(route) && percent(route, "h1-00002") == 100)
    };
    again.wait(Kind::Route, "h1", is_over).await;
    let took = begin.elapsed().as_secs();
    let events = again.runtime.store().events_after(read).unwrap();
    let routes = events.iter().map(|event| event.object.to_value());
    let mut steps = vec![before];
    for route in routes.filter(|object| object["kind"] == "Route") {
        let step = percent(&route, "h1-00002");
        if steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    // In the steps that were planned before, of three percent and a second each.
    let want: Vec<u64> = (before..100).step_by(3).chain([100]).collect();
    assert_eq!(steps, want);
    let left = (100 - before).div_ceil(3);
    assert!(
        (left - 2..=left + 1).contains(&took),
        "it took {took} s of {left}"
    );
    assert_eq!(again.ask("h1.default", &[]).await.1, "Hello two!\n");
    assert!(again.get(Kind::Route, "h1").unwrap()["status"]["annotations"].is_null());
}
