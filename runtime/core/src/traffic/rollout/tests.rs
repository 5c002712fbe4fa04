use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000 + second)
}

/// A rollout of configuration `c` on the main host, from oldest to newest.
fn rollout(revisions: &[(&str, u8)]) -> ConfigurationRollout {
    ConfigurationRollout {
        percent: revisions.iter().map(|(_, percent)| percent).sum(),
        revisions: revisions
            .iter()
            .map(|(name, percent)| RevisionRollout {
                revision_name: (*name).to_owned(),
                percent: *percent,
            })
            .collect(),
        ..ConfigurationRollout::goal("", "c", 0, "")
    }
}

fn with_step(mut rollout: ConfigurationRollout, step_size_percent: u8) -> ConfigurationRollout {
    rollout.step_params = StepParams {
        start_time_nanos: at(-20).unix_nanos(),
        next_step_time_nanos: at(0).unix_nanos(),
        step_duration_nanos: 10_000_000_000,
        step_size_percent,
    };
    rollout
}

fn goal(percent: u8, revision: &str) -> Rollout {
    Rollout::from_goals([ConfigurationRollout::goal("", "c", percent, revision)])
}

fn step(goal: Rollout, previous: ConfigurationRollout, now: Timestamp) -> Stepped {
    goal.step(Some(Rollout::from_goals([previous])), now)
}

#[track_caller]
fn check_revisions(name: &str, rollout: &Rollout, want: &[(&str, u8)]) {
    let got: Vec<_> = rollout
        .by_tag("")
        .flat_map(|configuration| &configuration.revisions)
        .map(|revision| (revision.revision_name.as_str(), revision.percent))
        .collect();
    assert_eq!(got, want, "{name}");
    assert!(rollout.adds_up(), "{name}: {rollout:?}");
}

#[test]
fn a_new_revision_begins_with_one_percent() {
    struct Case {
        name: &'static str,
        before: ConfigurationRollout,
        want: &'static [(&'static str, u8)],
    }
    let cases = [
        Case {
            name: "from the only one",
            before: rollout(&[("a", 100)]),
            want: &[("a", 99), ("new", 1)],
        },
        Case {
            name: "from the newest",
            before: rollout(&[("a", 60), ("b", 40)]),
            want: &[("a", 60), ("b", 39), ("new", 1)],
        },
        Case {
            name: "the newest had only one percent",
            before: rollout(&[("a", 99), ("b", 1)]),
            want: &[("a", 99), ("new", 1)],
        },
        Case {
            name: "revisions without requests are dropped",
            before: rollout(&[("a", 0), ("b", 100), ("c", 0)]),
            want: &[("b", 99), ("new", 1)],
        },
        Case {
            name: "while a rollout goes on",
            before: with_step(rollout(&[("a", 60), ("b", 40)]), 10),
            want: &[("a", 60), ("b", 39), ("new", 1)],
        },
    ];
    for case in cases {
        let got = step(goal(100, "new"), case.before, at(7));
        check_revisions(case.name, &got.rollout, case.want);
        assert_eq!(got.next, None, "{}", case.name);
        let want = StepParams {
            start_time_nanos: at(7).unix_nanos(),
            ..StepParams::default()
        };
        let params = got.rollout.configurations.first().map(|c| c.step_params);
        assert_eq!(params, Some(want), "{}", case.name);
        assert!(!got.rollout.is_done());
    }
}

#[test]
fn without_a_previous_revision_nothing_is_rolled_out() {
    let got = goal(100, "a").step(None, at(0));
    assert_eq!((&got.rollout, got.next), (&goal(100, "a"), None));
    let got = step(goal(100, "a"), rollout(&[]), at(0));
    assert_eq!(got.rollout, goal(100, "a"), "no revision was ready");
    let got = step(goal(100, "a"), rollout(&[("a", 100)]), at(0));
    assert_eq!(got.rollout, goal(100, "a"), "the same revision");
    assert!(got.rollout.is_done());
}

#[test]
fn one_percent_moves_at_once() {
    let got = step(goal(1, "b"), rollout(&[("a", 1)]), at(0));
    assert_eq!(got.rollout, goal(1, "b"));
    let got = step(goal(1, "b"), rollout(&[("a", 40), ("b", 10)]), at(0));
    assert_eq!(got.rollout, goal(1, "b"));
}

#[test]
fn a_step_is_taken_when_it_is_time() {
    let before = with_step(rollout(&[("a", 70), ("b", 30)]), 10);
    let early = step(goal(100, "b"), before.clone(), at(-1));
    assert_eq!(early.rollout, Rollout::from_goals([before.clone()]));
    assert_eq!(early.next, Some(at(0)));

    let late = step(goal(100, "b"), before, at(3));
    check_revisions("late", &late.rollout, &[("a", 60), ("b", 40)]);
    assert_eq!(late.next, Some(at(13)), "counted from the step taken");
}

#[test]
fn before_the_ingress_is_ready_no_step_is_taken() {
    let mut before = with_step(rollout(&[("a", 99), ("b", 1)]), 0);
    before.step_params.next_step_time_nanos = 0;
    let got = step(goal(100, "b"), before.clone(), at(99));
    assert_eq!((got.rollout.configurations, got.next), (vec![before], None));
}

#[test]
fn a_step_comes_from_the_newest_revisions_before() {
    let check = |name, before: &[(&str, u8)], size, want| {
        let newest = before.last().expect("a revision").0;
        let before = with_step(rollout(before), size);
        let got = step(goal(before.percent, newest), before, at(0));
        check_revisions(name, &got.rollout, want);
        let next = got.rollout.is_done().then_some(None);
        assert_eq!(got.next, next.unwrap_or(Some(at(10))), "{name}");
    };
    let three = [("a", 50), ("b", 20), ("c", 30)];
    check("in part", &three, 10, &[("a", 50), ("b", 10), ("c", 40)]);
    check("one to its end", &three, 20, &[("a", 50), ("c", 50)]);
    check("one and the next", &three, 30, &[("a", 40), ("c", 60)]);
    check("the last step", &[("a", 10), ("b", 90)], 10, &[("b", 100)]);
    check(
        "more than is left",
        &[("a", 4), ("b", 96)],
        10,
        &[("b", 100)],
    );
    check("all", &three, 70, &[("c", 100)]);
}

#[test]
fn more_for_the_configuration_goes_to_the_newest() {
    let before = rollout(&[("a", 30), ("b", 20)]);
    let got = step(goal(80, "b"), before.clone(), at(0));
    check_revisions("grown", &got.rollout, &[("a", 30), ("b", 50)]);
    let got = step(goal(80, "c"), before, at(0));
    let want = [("a", 30), ("b", 49), ("c", 1)];
    check_revisions("grown, and a new revision", &got.rollout, &want);
}

#[test]
fn less_for_the_configuration_is_taken_from_the_oldest() {
    let check = |percent, newest: &str, want| {
        let before = rollout(&[("a", 30), ("b", 20), ("c", 50)]);
        let got = step(goal(percent, newest), before, at(0));
        check_revisions(&format!("{percent} to {newest}"), &got.rollout, want);
    };
    check(90, "c", &[("a", 20), ("b", 20), ("c", 50)]);
    check(70, "c", &[("b", 20), ("c", 50)]);
    check(60, "c", &[("b", 10), ("c", 50)]);
    check(50, "c", &[("c", 50)]);
    check(20, "c", &[("c", 20)]);
    check(20, "d", &[("c", 19), ("d", 1)]);
}

#[test]
fn a_step_larger_than_a_shrunken_configuration_ends_the_rollout() {
    let before = with_step(rollout(&[("a", 40), ("b", 10)]), 10);
    let got = step(goal(15, "b"), before, at(0));
    check_revisions("ended", &got.rollout, &[("b", 15)]);
    assert_eq!((got.next, got.rollout.is_done()), (None, true));
}

/// Percent, seconds until ready, duration in seconds; step in percent and milliseconds.
#[track_caller]
fn check_plan(percent: u8, ready_millis: u64, duration: u64, size: u8, step_millis: i64) {
    let begun = step(goal(percent, "b"), rollout(&[("a", percent)]), at(0));
    let mut rollout = begun.rollout;
    let now = at(0) + Duration::from_millis(ready_millis);
    rollout.observe_ready(now, Duration::from_secs(duration));
    let params = rollout.configurations[0].step_params;
    assert_eq!(params.step_size_percent, size);
    assert_eq!(params.step_duration_nanos / 1_000_000, step_millis);
    let next = params.next_step_time_nanos - now.unix_nanos();
    assert!((next - params.step_duration_nanos).abs() < 1_000);
    // A second observation changes nothing.
    let planned = rollout.clone();
    rollout.observe_ready(now + Duration::from_secs(9), Duration::from_secs(9));
    assert_eq!(rollout, planned);
}

#[test]
fn steps_are_as_many_as_fit_and_no_smaller_than_a_percent() {
    check_plan(100, 2_000, 60, 3, 2_000);
    check_plan(100, 300, 60, 2, 1_000);
    check_plan(100, 5_000, 600, 1, 6_010);
    check_plan(50, 1_000, 30, 2, 1_000);
    check_plan(3, 1_000, 101, 1, 50_000);
    check_plan(2, 1_000, 101, 1, 100_000);
    check_plan(100, 20_000, 10, 99, 1_000);
    check_plan(100, 1_500, 2, 99, 1_000);
}

#[test]
fn what_does_not_go_on_is_not_planned() {
    let mut steady = goal(100, "a");
    steady.observe_ready(at(0), Duration::from_secs(60));
    assert_eq!(steady, goal(100, "a"));
}

#[test]
fn configurations_and_tags_are_told_apart() {
    let of = ConfigurationRollout::goal;
    let previous = Rollout::from_goals([
        of("", "c", 50, "c-1"),
        of("", "d", 50, "d-1"),
        of("", "gone", 0, "gone-1"),
        of("blue", "c", 100, "c-1"),
    ]);
    let asked = Rollout::from_goals([
        of("green", "d", 100, "d-2"),
        of("blue", "c", 100, "c-2"),
        of("", "new", 10, "new-1"),
        of("", "d", 40, "d-1"),
        of("", "c", 50, "c-2"),
        of("", "unused", 0, "unused-1"),
    ]);
    let got = asked.step(Some(previous), at(0)).rollout;
    let shape: Vec<_> = got
        .configurations
        .iter()
        .map(|c| {
            (
                c.tag.as_str(),
                c.configuration_name.as_str(),
                c.revisions.len(),
            )
        })
        .collect();
    let want = [
        ("", "c", 2),
        ("", "d", 1),
        ("", "new", 1),
        ("blue", "c", 2),
        ("green", "d", 1),
    ];
    assert_eq!(shape, want);
    assert!(got.adds_up());
    assert_eq!(got.by_tag("").count(), 3);
}

#[test]
fn the_earliest_step_comes_next() {
    let mut slow = with_step(rollout(&[("a", 40), ("b", 10)]), 10);
    slow.configuration_name = "d".to_owned();
    slow.step_params.next_step_time_nanos = at(99).unix_nanos();
    let before = Rollout::from_goals([with_step(rollout(&[("a", 40), ("b", 10)]), 10), slow]);
    let asked = Rollout::from_goals(["c", "d"].map(|name| {
        let of = ConfigurationRollout::goal;
        of("", name, 50, "b")
    }));
    assert_eq!(asked.step(Some(before), at(0)).next, Some(at(10)));
}

#[test]
fn the_annotation_is_that_of_knative() {
    let text = concat!(
        r#"{"configurations":[{"configurationName":"c","percent":100,"revisions":["#,
        r#"{"revisionName":"a","percent":70},{"revisionName":"b","percent":30}],"#,
        r#""stepParams":{"starttime":1699999980000000000,"nextStepTime":1700000000000000000,"#,
        r#""stepDuration":10000000000,"stepSize":10}}]}"#,
    );
    let rollout = Rollout::from_goals([with_step(rollout(&[("a", 70), ("b", 30)]), 10)]);
    assert_eq!(rollout.to_annotation(), text);
    assert_eq!(Rollout::from_annotation(text), Some(rollout));

    let tagged = Rollout::from_goals([ConfigurationRollout::goal("blue", "c", 100, "a")]);
    let text = concat!(
        r#"{"configurations":[{"configurationName":"c","tag":"blue","percent":100,"#,
        r#""revisions":[{"revisionName":"a","percent":100}],"stepParams":{}}]}"#,
    );
    assert_eq!(tagged.to_annotation(), text);
    assert_eq!(Rollout::from_annotation(text), Some(tagged));
    assert_eq!(Rollout::default().to_annotation(), "{}");
    assert_eq!(Rollout::from_annotation("{}"), Some(Rollout::default()));
}

#[test]
fn an_annotation_that_does_not_add_up_is_as_if_absent() {
    let configuration =
        |fields: &str| format!(r#"{{"configurations":[{{"configurationName":"c",{fields}}}]}}"#);
    let bad = [
        String::new(),
        "a rollout".to_owned(),
        configuration(r#""percent":101,"revisions":[{"revisionName":"a","percent":101}]"#),
        configuration(r#""percent":100,"revisions":[{"revisionName":"a","percent":99}]"#),
        configuration(r#""percent":-1"#),
        configuration(
            r#""percent":5,"revisions":[{"revisionName":"a","percent":5}],"stepParams":{"stepSize":6}"#,
        ),
    ];
    for text in bad {
        assert_eq!(Rollout::from_annotation(&text), None, "{text}");
    }
}
