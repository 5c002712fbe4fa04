use std::time::Duration;

use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_000_000);

fn configuration() -> Configuration {
    let value = json!({"metadata": {"name": "c"}, "status": {"latestReadyRevisionName": "latest"}});
    serde_json::from_value(value).expect("a valid Configuration")
}

/// A Revision in reserve, made and put there so many seconds ago.
fn idle(name: &str, made: i64, reserved: i64) -> Revision {
    let at = |ago: i64| Timestamp::from_unix_seconds(1_000_000 - ago);
    let value = json!({"metadata": {
        "name": name,
        "creationTimestamp": at(made),
        "labels": {"serving.knative.dev/routingState": "reserve"},
        "annotations": {"serving.knative.dev/routingStateModified": at(reserved).to_string()},
    }});
    serde_json::from_value(value).expect("a valid Revision")
}

/// `retain` for both times, in seconds.
fn settings(retain: Option<u64>, min: u32, max: Option<u32>) -> Gc {
    Gc {
        retain_since_create_time: retain.map(Duration::from_secs),
        retain_since_last_active_time: retain.map(Duration::from_secs),
        min_non_active_revisions: min,
        max_non_active_revisions: max,
    }
}

struct Case {
    name: &'static str,
    /// Name, and the seconds since it was made and put in reserve.
    given: &'static [(&'static str, i64, i64)],
    settings: Gc,
    want: &'static [&'static str],
}

#[track_caller]
fn check(case: &Case) {
    let revisions: Vec<_> = case
        .given
        .iter()
        .map(|(name, made, reserved)| idle(name, *made, *reserved))
        .collect();
    let revisions: Vec<_> = revisions.iter().collect();
    let got = collect(&configuration(), &revisions, &case.settings, NOW);
    assert_eq!(got, case.want, "{}", case.name);
}

#[test]
fn stale_revisions_go_down_to_the_minimum_and_others_down_to_the_maximum() {
    let four: &[_] = &[("b", 90, 80), ("a", 99, 90), ("d", 20, 5), ("c", 70, 50)];
    for case in [
        Case {
            name: "all stale, oldest first",
            given: four,
            settings: settings(Some(1), 0, None),
            want: &["a", "b", "c", "d"],
        },
        Case {
            name: "all stale but a minimum",
            given: four,
            settings: settings(Some(1), 3, None),
            want: &["a"],
        },
        Case {
            name: "no more than the minimum",
            given: four,
            settings: settings(Some(1), 4, Some(4)),
            want: &[],
        },
        Case {
            name: "recently active",
            given: &[("a", 99, 10), ("b", 99, 90)],
            settings: settings(Some(50), 0, None),
            want: &["b"],
        },
        Case {
            name: "recently made",
            given: &[("a", 10, 99), ("b", 99, 90)],
            settings: settings(Some(50), 0, None),
            want: &["b"],
        },
        Case {
            name: "exactly as old as they may be",
            given: &[("a", 50, 50)],
            settings: settings(Some(50), 0, None),
            want: &["a"],
        },
        Case {
            name: "times disabled, more than the maximum",
            given: four,
            settings: settings(None, 0, Some(2)),
            want: &["a", "b"],
        },
        Case {
            name: "all disabled",
            given: four,
            settings: settings(None, 0, None),
            want: &[],
        },
        Case {
            name: "stale ones, then those above the maximum",
            given: four,
            settings: settings(Some(60), 1, Some(1)),
            want: &["a", "b", "c"],
        },
        Case {
            name: "as the test suite sets it",
            given: four,
            settings: settings(None, 0, Some(0)),
            want: &["a", "b", "c", "d"],
        },
        Case {
            name: "by default",
            given: four,
            settings: Gc::default(),
            want: &[],
        },
    ] {
        check(&case);
    }
}

#[test]
fn one_disabled_time_does_not_count() {
    let only_create = Gc {
        retain_since_last_active_time: None,
        ..settings(Some(50), 0, None)
    };
    let only_active = Gc {
        retain_since_create_time: None,
        ..settings(Some(50), 0, None)
    };
    let revisions = [idle("old", 99, 10), idle("young", 10, 99)];
    let revisions: Vec<_> = revisions.iter().collect();
    assert_eq!(
        collect(&configuration(), &revisions, &only_create, NOW),
        ["old"]
    );
    assert_eq!(
        collect(&configuration(), &revisions, &only_active, NOW),
        ["young"]
    );
}

#[test]
fn active_revisions_stay() {
    let mut revisions = vec![idle("latest", 99, 99)];
    for (state, no_gc) in [
        ("active", ""),
        ("pending", ""),
        ("", ""),
        ("reserve", "True"),
    ] {
        let mut revision = idle("stays", 99, 99);
        let (labels, annotations) = (
            &mut revision.metadata.labels,
            &mut revision.metadata.annotations,
        );
        labels.insert(keys::ROUTING_STATE_LABEL.to_owned(), state.to_owned());
        annotations.insert(keys::NO_GC_ANNOTATION.to_owned(), no_gc.to_owned());
        revisions.push(revision);
    }
    revisions.push(idle("goes", 99, 99));
    let revisions: Vec<_> = revisions.iter().collect();
    let got = collect(
        &configuration(),
        &revisions,
        &settings(Some(1), 0, Some(0)),
        NOW,
    );
    assert_eq!(got, ["goes"]);
}

#[test]
fn without_a_state_change_the_creation_counts() {
    let mut revision = idle("a", 99, 1);
    revision.metadata.annotations.clear();
    let got = collect(
        &configuration(),
        &[&revision],
        &settings(Some(50), 0, None),
        NOW,
    );
    assert_eq!(got, ["a"]);
}

#[test]
fn the_next_look_is_when_the_next_revision_becomes_stale() {
    let given = [idle("a", 90, 40), idle("b", 30, 5), idle("c", 500, 500)];
    let revisions: Vec<_> = given.iter().collect();
    let seconds = |settings: &Gc| {
        let next = next(&configuration(), &revisions, settings, NOW);
        next.map(|next| next.as_secs())
    };
    for (name, settings, want) in [
        ("both_times", settings(Some(100), 0, None), Some(60)),
        ("as_many_as_may_stay", settings(Some(100), 3, None), None),
        (
            "one_more_than_may_stay",
            settings(Some(100), 2, None),
            Some(60),
        ),
        ("disabled", settings(None, 0, None), None),
        (
            "by_creation",
            Gc {
                retain_since_last_active_time: None,
                ..settings(Some(100), 0, None)
            },
            Some(10),
        ),
        ("all_are_stale", settings(Some(5), 0, None), None),
    ] {
        assert_eq!(seconds(&settings), want, "{name}");
    }
    let active = Revision::default();
    assert_eq!(
        next(
            &configuration(),
            &[&active],
            &settings(Some(1), 0, None),
            NOW
        ),
        None
    );
}
