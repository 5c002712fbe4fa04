//! Gradual rollouts: their steps, their duration, and a restart in between.

use super::*;

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
