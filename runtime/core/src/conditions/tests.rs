use super::ConditionStatus::{False, True, Unknown};
use super::*;

const THEN: Timestamp = Timestamp::from_unix_seconds(100);
const NOW: Timestamp = Timestamp::from_unix_seconds(200);

/// Conditions of a Service at `THEN`, the same reason and message for each.
fn service(configurations: ConditionStatus, routes: ConditionStatus) -> Vec<Condition> {
    let mut manager = Manager::begin(Set::SERVICE, &[], false);
    for (kind, status) in [
        (CONFIGURATIONS_READY, configurations),
        (ROUTES_READY, routes),
    ] {
        match status {
            True => manager.mark_true(kind),
            False => manager.mark_false(kind, kind, "old"),
            Unknown => manager.mark_unknown(kind, kind, "old"),
        }
    }
    manager.finish(THEN)
}

fn text(conditions: &[Condition]) -> Vec<String> {
    let line = |c: &Condition| {
        let at = c.last_transition_time.map_or(0, Timestamp::unix_seconds);
        format!("{}={:?} {} {} @{at}", c.kind, c.status, c.reason, c.message)
    };
    conditions.iter().map(line).collect()
}

#[track_caller]
fn check(got: &[Condition], want: &[&str]) {
    assert_eq!(text(got), want);
}

#[test]
fn a_new_object_is_unknown_in_all_and_sorted_by_type() {
    let conditions = Manager::begin(Set::ROUTE, &[], true).finish(NOW);
    check(
        &conditions,
        &[
            "AllTrafficAssigned=Unknown   @200",
            "CertificateProvisioned=Unknown   @200",
            "IngressReady=Unknown   @200",
            "Ready=Unknown   @200",
        ],
    );
}

#[test]
fn ready_has_the_mark_that_came_last() {
    let mut manager = Manager::begin(Set::SERVICE, &[], true);
    manager.mark_unknown(CONFIGURATIONS_READY, "A", "a");
    manager.mark_unknown(ROUTES_READY, "B", "b");
    check(
        &manager.finish(NOW),
        &[
            "ConfigurationsReady=Unknown A a @200",
            "Ready=Unknown B b @200",
            "RoutesReady=Unknown B b @200",
        ],
    );
}

/// The Configuration changed and the Route did not, yet the Route was marked last.
#[test]
fn a_mark_that_changes_nothing_still_speaks_for_ready() {
    let before = service(Unknown, Unknown);
    let mut manager = Manager::begin(Set::SERVICE, &before, false);
    manager.mark_unknown(CONFIGURATIONS_READY, "", "");
    manager.mark_unknown(ROUTES_READY, ROUTES_READY, "old");
    check(
        &manager.finish(NOW),
        &[
            "ConfigurationsReady=Unknown   @200",
            "Ready=Unknown RoutesReady old @100",
            "RoutesReady=Unknown RoutesReady old @100",
        ],
    );
}

#[test]
fn ready_is_true_only_when_all_dependents_are() {
    let before = service(True, Unknown);
    assert_eq!(status_of(&before, READY), Unknown);
    let mut manager = Manager::begin(Set::SERVICE, &before, false);
    manager.mark_true(ROUTES_READY);
    check(
        &manager.finish(NOW),
        &[
            "ConfigurationsReady=True   @100",
            "Ready=True   @200",
            "RoutesReady=True   @200",
        ],
    );
}

#[test]
fn false_wins_over_unknown() {
    let before = service(False, Unknown);
    check(
        &before,
        &[
            "ConfigurationsReady=False ConfigurationsReady old @100",
            "Ready=False ConfigurationsReady old @100",
            "RoutesReady=Unknown RoutesReady old @100",
        ],
    );
    let mut manager = Manager::begin(Set::SERVICE, &before, false);
    manager.mark_true(CONFIGURATIONS_READY);
    assert_eq!(manager.status(READY), Unknown);
    assert_eq!(
        manager.get(READY).map(|c| c.reason.as_str()),
        Some(ROUTES_READY)
    );
}

#[test]
fn of_two_false_ones_the_newer_speaks() {
    let mut manager = Manager::begin(Set::SERVICE, &service(False, True), false);
    manager.mark_false(ROUTES_READY, "Newer", "");
    manager.mark_true(CONFIGURATIONS_READY);
    manager.mark_false(CONFIGURATIONS_READY, "Newest", "");
    let both_false = manager.finish(NOW);
    assert_eq!(
        find(&both_false, READY).map(|c| c.reason.as_str()),
        Some("Newest")
    );

    let mut later = both_false;
    later[2].last_transition_time = Some(NOW + std::time::Duration::from_secs(1));
    let manager = Manager::begin(Set::SERVICE, &later, false);
    assert_eq!(
        manager.unhappy().map(|c| c.reason),
        Some("Newer".to_owned())
    );
}

#[test]
fn a_new_generation_is_never_ready_until_something_is_said() {
    let before = service(True, True);
    let untouched = Manager::begin(Set::SERVICE, &before, true).finish(NOW);
    assert_eq!(status_of(&untouched, READY), Unknown);

    let mut manager = Manager::begin(Set::SERVICE, &before, true);
    manager.mark_true(CONFIGURATIONS_READY);
    check(
        &manager.finish(NOW),
        &text(&before).iter().map(String::as_str).collect::<Vec<_>>(),
    );

    let failed = service(True, False);
    let mut manager = Manager::begin(Set::SERVICE, &failed, true);
    manager.mark_unknown(CONFIGURATIONS_READY, "OutOfDate", "");
    let conditions = manager.finish(NOW);
    assert_eq!(
        find(&conditions, READY).map(|c| c.reason.as_str()),
        Some(ROUTES_READY)
    );
}

#[test]
fn only_a_condition_that_ready_depends_on_has_error_severity() {
    let mut manager = Manager::begin(Set::REVISION, &[], true);
    manager.mark_true(RESOURCES_AVAILABLE);
    manager.mark_true(CONTAINER_HEALTHY);
    manager.mark_false(ACTIVE, "NoTraffic", "The target is not receiving traffic.");
    let conditions = manager.finish(NOW);
    assert_eq!(status_of(&conditions, READY), True);
    let severities: Vec<_> = conditions.iter().map(|c| c.severity.as_str()).collect();
    assert_eq!(severities, ["Info", "", "", ""]);
}

#[test]
fn missing_dependents_of_a_ready_object_are_true() {
    let ready = Condition {
        kind: READY.to_owned(),
        status: True,
        last_transition_time: Some(THEN),
        ..Condition::default()
    };
    let conditions = Manager::begin(Set::SERVICE, &[ready], false).finish(NOW);
    assert!(conditions.iter().all(|condition| condition.status == True));
}

#[test]
fn times_are_whole_seconds() {
    let now = Timestamp::from_unix_nanos(200_999_999_999);
    let conditions = Manager::begin(Set::CONFIGURATION, &[], true).finish(now);
    assert_eq!(conditions[0].last_transition_time, Some(NOW));
}

#[test]
fn an_older_generation_does_not_settle_anything() {
    let metadata = ObjectMeta {
        generation: 2,
        ..ObjectMeta::default()
    };
    let conditions = service(True, True);
    assert_eq!(settled(&metadata, Some(1), &conditions), None);
    assert_eq!(settled(&metadata, Some(2), &conditions), Some(True));
    assert_eq!(settled(&metadata, Some(2), &[]), Some(Unknown));
}
