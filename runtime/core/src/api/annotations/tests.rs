use super::*;

fn map(pairs: &[(&str, &str)]) -> Annotations {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Keys and the message are without `autoscaling.knative.dev/`.
#[track_caller]
fn check_with(config: &Config, pairs: &[(&str, &str)], want: &str) {
    let keys = pairs.iter().map(|(key, value)| {
        let key = format!("autoscaling.knative.dev/{key}");
        (key, (*value).to_owned())
    });
    let found = autoscaling(&keys.collect(), config).to_string();
    assert_eq!(
        found.replace("autoscaling.knative.dev/", ""),
        want,
        "{pairs:?}"
    );
}

#[track_caller]
fn check(key: &str, value: &str, want: &str) {
    check_with(&Config::default(), &[(key, value)], want);
}

#[test]
fn what_is_within_bounds_is_accepted() {
    for (key, value) in [
        ("class", "kpa.autoscaling.knative.dev"),
        ("class", "hpa.autoscaling.knative.dev"),
        ("class", "mine.example.com"),
        ("metric", "rps"),
        ("min-scale", "0"),
        ("max-scale", "2147483647"),
        ("initial-scale", "3"),
        ("activation-scale", "2"),
        ("target", "0.01"),
        ("target-utilization-percentage", "1"),
        ("target-burst-capacity", "-1"),
        ("target-burst-capacity", "0"),
        ("window", "6s"),
        ("window", "1h"),
        ("panic-window-percentage", "1"),
        ("panic-threshold-percentage", "1000"),
        ("scale-down-delay", "0s"),
        ("scale-to-zero-pod-retention-period", "1.5s"),
        ("metric-aggregation-algorithm", "anything"),
        ("something-else", "x"),
    ] {
        check(key, value, "");
    }
}

#[test]
fn classes_and_metrics_of_knative_must_be_known() {
    check(
        "class",
        "x.knative.dev",
        "invalid value: x.knative.dev: class",
    );
    check("metric", "", "invalid value: : metric");
    let hpa = ("class", "hpa.autoscaling.knative.dev");
    check_with(&Config::default(), &[hpa, ("metric", "cpu")], "");
    check_with(
        &Config::default(),
        &[hpa, ("metric", "")],
        "invalid value: : metric",
    );
    check_with(
        &Config::default(),
        &[("class", "mine"), ("metric", "x")],
        "",
    );
    let kpa = ("class", "kpa.autoscaling.knative.dev");
    let key = "metric-aggregation-algorithm";
    check_with(&Config::default(), &[kpa, (key, "linear")], "");
    check_with(
        &Config::default(),
        &[kpa, (key, "zz")],
        "invalid value: zz: metric-aggregation-algorithm",
    );
}

#[test]
fn scales_are_checked_against_each_other() {
    check("min-scale", "x", "invalid value: x: min-scale");
    check("minScale", "-1", "expected 0 <= -1 <= 2147483647: minScale");
    let too_large = "expected 0 <= 2147483648 <= 2147483647: max-scale";
    check("max-scale", "2147483648", too_large);
    check(
        "activation-scale",
        "1",
        "activation-scale=1 must be greater than 1: activation-scale",
    );
    check(
        "activation-scale",
        "x",
        "invalid value: x: activation-scale",
    );
    let config = Config::default();
    check_with(
        &config,
        &[("min-scale", "3"), ("activation-scale", "2")],
        "min-scale=3 is greater than activation-scale=2: activation-scale",
    );
    check_with(
        &config,
        &[("max-scale", "3"), ("activation-scale", "4")],
        "max-scale=3 is less than activation-scale=4: activation-scale",
    );
    check(
        "initial-scale",
        "-1",
        "invalid value: -1: initial-scale must be greater than 0",
    );
    check("initial-scale", "x", "invalid value: x: initial-scale");
}

#[test]
fn the_cluster_has_a_say_in_scales() {
    let config = Config {
        allow_zero_initial_scale: true,
        max_scale_limit: 10,
        ..Config::default()
    };
    check_with(&config, &[("initial-scale", "0")], "");
    check_with(&config, &[("max-scale", "10")], "");
    check_with(
        &config,
        &[("max-scale", "11")],
        "expected 1 <= 11 <= 10: max-scale",
    );
    check_with(
        &config,
        &[("max-scale", "0")],
        "max-scale=0 (unlimited), must be less than 10: max-scale",
    );
}

#[test]
fn numbers_and_durations_have_bounds() {
    for (key, value, want) in [
        ("target", "x", "invalid value: x: target"),
        (
            "target",
            "0.001",
            "target 0.001 should be at least 0.01: target",
        ),
        ("target", "NaN", "invalid value: NaN: target"),
        (
            "target-burst-capacity",
            "-2",
            "invalid value: -2: target-burst-capacity",
        ),
        (
            "panic-window-percentage",
            "0.5",
            "expected 1 <= 0.5 <= 100: panic-window-percentage",
        ),
        ("window", "x", "invalid value: x: window"),
        ("window", "61m", "expected 6s <= 61m <= 1h0m0s: window"),
        (
            "scale-down-delay",
            "-1s",
            "expected 0s <= -1s <= 1h0m0s: scale-down-delay",
        ),
        (
            "scale-down-delay",
            "1.5s",
            "must be specified with at most second precision: scale-down-delay",
        ),
    ] {
        check(key, value, want);
    }
}

#[test]
fn whole_seconds_that_are_not_negative() {
    for (value, want) in [
        ("", ""),
        ("0s", ""),
        ("2m", ""),
        ("x", "invalid value: x: K"),
        (
            "1.5s",
            "rollout-duration=1.5s is not at second precision: K",
        ),
        ("-1s", "rollout-duration=-1s must be positive: K"),
    ] {
        for key in ["rollout-duration", "rolloutDuration"] {
            let key = format!("serving.knative.dev/{key}");
            let found = rollout_duration(&map(&[(&key, value)])).to_string();
            assert_eq!(found.replace(&key, "K"), want, "{value}");
        }
    }
    let key = "serving.knative.dev/progress-deadline";
    assert_eq!(
        progress_deadline(&map(&[(key, "-1s")])).to_string(),
        format!("progress-deadline=-1s must be positive: {key}")
    );
}

#[test]
fn sizes_of_the_queue_proxy_are_checked() {
    use crate::field_error::Level;

    let check = |key: &str, value: &str, want: &str| {
        let key = format!("queue.sidecar.serving.knative.dev/{key}");
        let errors = queue_sidecar(&map(&[(&key, value)]));
        assert_eq!(
            errors.only(Level::Error).to_string().replace(&key, "K"),
            want
        );
        errors.only(Level::Warning).to_string()
    };
    let warning = check("resource-percentage", "50", "");
    assert!(warning.contains("deprecated"), "{warning}");
    check("resourcePercentage", "0", "expected 0.1 <= 0 <= 100: [K]");
    check("resource-percentage", "x", "invalid value: x: [K]");
    assert_eq!(
        check("cpu-resource-limit", "1 core", "invalid value: 1 core: [K]"),
        ""
    );
    check("memory-resource-request", "64Mi", "");
}
