use serde_json::{Value, json};

use super::*;

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

fn configuration(name: &str, latest_ready: &str, ready: &str) -> Configuration {
    parse(json!({
        "metadata": {"name": name, "namespace": "ns", "generation": 1},
        "status": {
            "observedGeneration": 1,
            "latestReadyRevisionName": latest_ready,
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }))
}

fn revision(name: &str, configuration: &str, ready: &str) -> Revision {
    parse(json!({
        "metadata": {
            "name": name, "namespace": "ns", "generation": 1,
            "labels": {
                "serving.knative.dev/configuration": configuration,
                "serving.knative.dev/service": configuration,
            },
        },
        "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": ready}]},
    }))
}

/// Builds with Configuration `c` at `c-2`, whose Revisions `c-1` and `c-2` are ready, `c-3` is
/// pending and `c-4` has failed; `new` without any ready Revision, and `bad`, which has failed.
fn built(service: &str, traffic: &Value) -> Result<Assignment, TargetError> {
    let route: Route = parse(json!({
        "metadata": {
            "name": "r", "namespace": "ns",
            "labels": {"serving.knative.dev/service": service},
        },
        "spec": {"traffic": traffic},
    }));
    let configurations = [
        configuration("c", "c-2", "True"),
        configuration("new", "", "Unknown"),
        configuration("bad", "", "False"),
        configuration("dangling", "gone", "True"),
    ];
    let mut stale = revision("stale", "c", "True");
    stale.metadata.generation = 2;
    let mut orphan = revision("orphan", "c", "True");
    orphan.metadata.labels.clear();
    let revisions = [
        revision("c-1", "c", "True"),
        revision("c-2", "c", "True"),
        revision("c-3", "c", "Unknown"),
        revision("c-4", "c", "False"),
        revision("lost-1", "lost", "True"),
        stale,
        orphan,
    ];
    let candidates = Candidates {
        configurations: &configurations.iter().collect::<Vec<_>>(),
        revisions: &revisions.iter().collect::<Vec<_>>(),
    };
    build(&route, candidates)
}

fn line(target: &Assigned) -> String {
    let latest = if target.latest { " latest" } else { "" };
    let (name, of) = (&target.revision_name, &target.configuration_name);
    format!("{}:{name} of {of} {}%{latest}", target.tag, target.percent)
}

fn latest(percent: i64) -> Value {
    json!({"configurationName": "c", "latestRevision": true, "percent": percent})
}

fn named(name: &str, percent: i64) -> Value {
    json!({"revisionName": name, "latestRevision": false, "percent": percent})
}

fn tagged(mut target: Value, tag: &str) -> Value {
    target["tag"] = tag.into();
    target
}

struct Case {
    name: &'static str,
    given: Value,
    flat: &'static [&'static str],
    by_tag: &'static [(&'static str, &'static [&'static str])],
}

#[track_caller]
fn check(case: &Case) {
    let built = built("", &case.given).expect(case.name);
    let flat: Vec<_> = built.flat.iter().map(line).collect();
    assert_eq!(flat, case.flat, "{}", case.name);
    let by_tag: Vec<_> = built
        .by_tag
        .iter()
        .map(|(tag, targets)| (tag.as_str(), targets.iter().map(line).collect::<Vec<_>>()))
        .collect();
    let want: Vec<_> = case
        .by_tag
        .iter()
        .map(|(tag, lines)| (*tag, lines.iter().map(|line| (*line).to_owned()).collect()))
        .collect();
    assert_eq!(by_tag, want, "{}", case.name);
}

#[test]
fn targets_are_flattened_and_grouped() {
    for case in [
        Case {
            name: "the latest",
            given: json!([latest(100)]),
            flat: &[":c-2 of c 100% latest"],
            by_tag: &[("", &[":c-2 of c 100% latest"])],
        },
        Case {
            name: "a split",
            given: json!([named("c-1", 20), latest(80)]),
            flat: &[":c-1 of c 20%", ":c-2 of c 80% latest"],
            by_tag: &[("", &[":c-1 of c 20%", ":c-2 of c 80% latest"])],
        },
        Case {
            name: "the same revision by name and as the latest",
            given: json!([named("c-2", 30), latest(70)]),
            flat: &[":c-2 of c 30%", ":c-2 of c 70% latest"],
            by_tag: &[("", &[":c-2 of c 100%"])],
        },
        Case {
            name: "the same target twice",
            given: json!([named("c-1", 30), latest(20), named("c-1", 50)]),
            flat: &[":c-1 of c 80%", ":c-2 of c 20% latest"],
            by_tag: &[("", &[":c-1 of c 80%", ":c-2 of c 20% latest"])],
        },
        Case {
            name: "a tag without a share",
            given: json!([latest(100), tagged(named("c-1", 0), "old")]),
            flat: &[":c-2 of c 100% latest", "old:c-1 of c 0%"],
            by_tag: &[
                ("", &[":c-2 of c 100% latest", "old:c-1 of c 0%"]),
                ("old", &["old:c-1 of c 100%"]),
            ],
        },
        Case {
            name: "two tags for one revision",
            given: json!([tagged(latest(50), "a"), tagged(latest(50), "b")]),
            flat: &["a:c-2 of c 50% latest", "b:c-2 of c 50% latest"],
            by_tag: &[
                ("", &["a:c-2 of c 100% latest"]),
                ("a", &["a:c-2 of c 100% latest"]),
                ("b", &["b:c-2 of c 100% latest"]),
            ],
        },
        Case {
            name: "a revision without a configuration",
            given: json!([named("orphan", 100)]),
            flat: &[":orphan of  100%"],
            by_tag: &[("", &[":orphan of  100%"])],
        },
        Case {
            name: "nothing",
            given: json!([]),
            flat: &[],
            by_tag: &[],
        },
    ] {
        check(&case);
    }
}

#[track_caller]
fn fails(traffic: &Value, reason: &str, message: &str, is_failure: bool) {
    let error = built("", traffic).expect_err(message);
    assert_eq!(error.to_string(), message);
    assert_eq!(
        (error.reason(), error.is_failure()),
        (reason, is_failure),
        "{message}"
    );
}

#[test]
fn bad_targets_say_what_is_wrong() {
    let configuration = |name: &str| json!({"configurationName": name, "percent": 100});
    fails(
        &json!([named("foobar", 100)]),
        "RevisionMissing",
        "Revision \"foobar\" referenced in traffic not found.",
        true,
    );
    fails(
        &json!([configuration("nope")]),
        "ConfigurationMissing",
        "Configuration \"nope\" referenced in traffic not found.",
        true,
    );
    fails(
        &json!([configuration("new")]),
        "RevisionMissing",
        "Configuration \"new\" is waiting for a Revision to become ready.",
        false,
    );
    fails(
        &json!([configuration("bad")]),
        "RevisionMissing",
        "Configuration \"bad\" does not have any ready Revision.",
        true,
    );
    fails(
        &json!([configuration("dangling")]),
        "RevisionMissing",
        "Revision \"gone\" referenced in traffic not found.",
        true,
    );
    fails(
        &json!([named("c-3", 100)]),
        "RevisionMissing",
        "Revision \"c-3\" is not yet ready.",
        false,
    );
    fails(
        &json!([named("stale", 100)]),
        "RevisionMissing",
        "Revision \"stale\" is not yet ready.",
        false,
    );
    fails(
        &json!([named("c-4", 100)]),
        "RevisionMissing",
        "Revision \"c-4\" failed to become ready.",
        true,
    );
    fails(
        &json!([named("lost-1", 100)]),
        "ConfigurationMissing",
        "Configuration \"lost\" referenced in traffic not found.",
        true,
    );
}

#[test]
fn the_last_failure_wins_and_else_the_first_to_wait_for() {
    let message = |traffic: Value| built("", &traffic).expect_err("a bad target").to_string();
    let new = json!({"configurationName": "new", "percent": 1});
    assert!(message(json!([named("c-3", 1), new, latest(1)])).contains("c-3"));
    assert!(message(json!([named("c-4", 1), named("c-3", 1)])).contains("c-4"));
    assert!(message(json!([named("c-3", 1), named("c-4", 1), named("x", 1)])).contains("\"x\""));
}

#[test]
fn a_services_route_may_name_only_its_own_revisions() {
    let refused = |name: &str| {
        let error = built("s", &json!([named(name, 100)])).expect_err("another's");
        (error.reason(), error.is_failure(), error.to_string())
    };
    assert_eq!(
        refused("c-4"),
        (
            "RevisionNotOwned",
            true,
            "Revision \"c-4\" belongs to Service \"c\", not Service \"s\".".to_owned()
        )
    );
    assert_eq!(
        refused("orphan").2,
        "Revision \"orphan\" does not belong to Service \"s\"."
    );
    assert!(built("c", &json!([named("c-1", 100)])).is_ok());
}

#[test]
fn shares_follow_a_rollout_in_progress() {
    let assignment = built("", &json!([named("c-1", 20), tagged(latest(80), "t")])).expect("good");
    let shares = |tag: &str, rollout: &Rollout| -> Vec<String> {
        let shares = assignment.shares("ns", tag, rollout);
        shares
            .iter()
            .map(|s| format!("{} {}", s.revision, s.percent))
            .collect()
    };
    let goal = assignment.goal();
    assert_eq!(
        goal.to_annotation(),
        concat!(
            r#"{"configurations":[{"configurationName":"c","percent":80,"#,
            r#""revisions":[{"revisionName":"c-2","percent":80}],"stepParams":{}},"#,
            r#"{"configurationName":"c","tag":"t","percent":100,"#,
            r#""revisions":[{"revisionName":"c-2","percent":100}],"stepParams":{}}]}"#
        )
    );
    assert_eq!(shares("", &goal), ["ns/c-1 20", "ns/c-2 80"]);
    assert_eq!(shares("t", &goal), ["ns/c-2 100"]);
    assert_eq!(shares("x", &goal), [""; 0]);

    let mut rollout = goal;
    for configuration in &mut rollout.configurations {
        let older = crate::traffic::rollout::RevisionRollout {
            revision_name: "c-1".to_owned(),
            percent: configuration.percent - 1,
        };
        configuration.revisions[0].percent = 1;
        configuration.revisions.insert(0, older);
    }
    assert_eq!(shares("", &rollout), ["ns/c-1 99", "ns/c-2 1"]);
    assert_eq!(shares("t", &rollout), ["ns/c-1 99", "ns/c-2 1"]);
}
