use super::*;

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    entries.iter().map(owned).collect()
}

fn config(entries: &[(&str, &str)]) -> Config {
    Config::from_map(&map(entries)).expect("a valid ConfigMap")
}

#[test]
fn an_absent_key_has_the_default_of_knative() {
    assert_eq!(config(&[]), Config::default());
    assert_eq!(
        config(&[("_example", "stable-window: x"), ("no-such-key", "x")]),
        Config::default()
    );
}

#[test]
fn every_key_is_read() {
    let got = config(&[
        ("pod-autoscaler-class", "own.example.com"),
        ("enable-scale-to-zero", "false"),
        ("allow-zero-initial-scale", "T"),
        ("container-concurrency-target-percentage", "55"),
        ("container-concurrency-target-default", "10.5"),
        ("requests-per-second-target-default", "150"),
        ("target-burst-capacity", "-1"),
        ("stable-window", "2m"),
        ("panic-window-percentage", "5"),
        ("panic-threshold-percentage", "150"),
        ("max-scale-up-rate", "10"),
        ("max-scale-down-rate", "1.5"),
        ("scale-down-delay", "15m"),
        ("scale-to-zero-grace-period", "45s"),
        ("scale-to-zero-pod-retention-period", "1m1s"),
        ("activator-capacity", "150"),
        ("initial-scale", "0"),
        ("min-scale", "2"),
        ("max-scale", "5"),
        ("max-scale-limit", "6"),
    ]);
    let want = Config {
        pod_autoscaler_class: "own.example.com".to_owned(),
        enable_scale_to_zero: false,
        allow_zero_initial_scale: true,
        container_concurrency_target_fraction: 0.55,
        container_concurrency_target_default: 10.5,
        requests_per_second_target_default: 150.0,
        target_burst_capacity: BurstCapacity::Unlimited,
        stable_window: Duration::from_secs(120),
        panic_window_percentage: 5.0,
        panic_threshold_percentage: 150.0,
        max_scale_up_rate: 10.0,
        max_scale_down_rate: 1.5,
        scale_down_delay: Duration::from_secs(900),
        scale_to_zero_grace_period: Duration::from_secs(45),
        scale_to_zero_pod_retention_period: Duration::from_secs(61),
        activator_capacity: 150.0,
        initial_scale: 0,
        min_scale: 2,
        max_scale: 5,
        max_scale_limit: 6,
    };
    assert_eq!(got, want);
}

#[test]
fn a_target_percentage_up_to_one_is_a_fraction() {
    for (value, want) in [("0.5", 0.5), ("1", 1.0), ("1.5", 0.015), ("100", 1.0)] {
        let got = config(&[("container-concurrency-target-percentage", value)]);
        assert_eq!(
            got.container_concurrency_target_fraction, want,
            "value {value}"
        );
    }
}

#[test]
fn a_bad_value_is_refused_by_name() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "enable-scale-to-zero",
            "yes",
            "\"yes\" is not true or false",
        ),
        ("max-scale-up-rate", "fast", "\"fast\" is not a number"),
        ("max-scale-up-rate", "NaN", "\"NaN\" is not a number"),
        ("activator-capacity", "inf", "\"inf\" is not a number"),
        ("activator-capacity", "", "\"\" is not a number"),
        ("stable-window", "60", "is not a duration"),
        ("scale-down-delay", "-1s", "is not a duration"),
        (
            "scale-to-zero-pod-retention-period",
            "-1s",
            "is not a duration",
        ),
        ("initial-scale", "-1", "is not an integer from 0"),
        ("max-scale", "2147483648", "is not an integer from 0"),
        ("min-scale", "1.5", "is not an integer from 0"),
        (
            "target-burst-capacity",
            "-2",
            "is not a non-negative number or -1",
        ),
        (
            "scale-to-zero-grace-period",
            "0s",
            "must be positive, was: 0s",
        ),
        ("stable-window", "5s", "= 5s, must be in [6s; 1h0m0s] range"),
        (
            "stable-window",
            "1h1s",
            "= 1h0m1s, must be in [6s; 1h0m0s] range",
        ),
        ("stable-window", "6500ms", "at most second precision"),
        (
            "scale-down-delay",
            "1.5s",
            "= 1.5s, must be specified with at most",
        ),
        (
            "container-concurrency-target-percentage",
            "0",
            "valid range of (0, 100]",
        ),
        (
            "container-concurrency-target-percentage",
            "101",
            "valid range of (0, 100]",
        ),
        (
            "container-concurrency-target-default",
            "0.01",
            "can't be less than 0.01",
        ),
        (
            "requests-per-second-target-default",
            "0.001",
            "at least 0.01, was: 0.001",
        ),
        ("activator-capacity", "0.5", "= 0.5, must be at least 1"),
        ("max-scale-up-rate", "1", "= 1, must be greater than 1.0"),
        ("max-scale-down-rate", "1", "= 1, must be greater than 1.0"),
        (
            "panic-window-percentage",
            "0.5",
            "must be in [1, 100] interval",
        ),
        (
            "panic-window-percentage",
            "101",
            "must be in [1, 100] interval",
        ),
        ("initial-scale", "0", "allow-zero-initial-scale is false"),
    ];
    for (key, value, want) in cases {
        check_refused(&[(key, value)], key, want);
    }
}

#[test]
fn scales_are_bounded_by_each_other() {
    let limit = ("max-scale-limit", "5");
    check_refused(
        &[limit],
        "max-scale",
        "= 0, must be in [1, max-scale-limit(5)]",
    );
    check_refused(&[limit, ("max-scale", "6")], "max-scale", "= 6, must be in");
    check_refused(
        &[("min-scale", "3"), ("max-scale", "2")],
        "min-scale",
        "= 3, must be in [0, max-scale(2)] range",
    );
    config(&[limit, ("max-scale", "5"), ("min-scale", "5")]);
}

#[track_caller]
fn check_refused(entries: &[(&str, &str)], key: &str, want: &str) {
    let error = Config::from_map(&map(entries)).expect_err(want);
    let message = error.to_string();
    assert_eq!(error.key(), key, "{message}");
    assert!(message.contains(key), "{message}");
    assert!(message.contains(want), "{message}: {want}");
}

fn spec(entries: &[(&str, &str)], container_concurrency: u32) -> Spec {
    spec_with(&Config::default(), entries, container_concurrency, true)
}

fn spec_with(config: &Config, entries: &[(&str, &str)], limit: u32, reachable: bool) -> Spec {
    let annotations = entries
        .iter()
        .map(|(key, value)| match key.contains('/') {
            true => ((*key).to_owned(), (*value).to_owned()),
            false => (
                format!("autoscaling.knative.dev/{key}"),
                (*value).to_owned(),
            ),
        })
        .collect();
    let template = Template {
        annotations: &annotations,
        container_concurrency: limit,
        progress_deadline: Duration::from_secs(600),
        reachable,
    };
    Spec::new(config, template)
}

#[test]
fn a_revision_without_annotations_has_the_settings_for_all() {
    let got = spec(&[], 0);
    let want = Spec {
        class: Class::Kpa,
        metric: Metric::Concurrency,
        aggregation: Aggregation::Linear,
        target: 70.0,
        total: 100.0,
        utilization: 0.7,
        min_scale: 0,
        max_scale: None,
        initial_scale: 1,
        activation_scale: None,
        stable_window: Duration::from_secs(60),
        panic_window: Duration::from_secs(6),
        panic_threshold: 2.0,
        target_burst_capacity: BurstCapacity::Requests(211.0),
        max_scale_up_rate: 1000.0,
        max_scale_down_rate: 2.0,
        scale_down_delay: Duration::ZERO,
        enable_scale_to_zero: true,
        scale_to_zero_grace_period: Duration::from_secs(30),
        scale_to_zero_pod_retention_period: Duration::ZERO,
        progress_deadline: Duration::from_secs(600),
        reachable: true,
    };
    assert_eq!(got, want);
}

#[test]
fn both_spellings_of_an_annotation_count_and_the_newer_one_wins() {
    let old: &[(&str, &str)] = &[
        ("minScale", "2"),
        ("maxScale", "9"),
        ("initialScale", "3"),
        ("targetUtilizationPercentage", "50"),
        ("targetBurstCapacity", "0"),
        ("panicWindowPercentage", "50"),
        ("panicThresholdPercentage", "150"),
        ("scaleDownDelay", "4s"),
        ("scaleToZeroPodRetentionPeriod", "5s"),
        ("metricAggregationAlgorithm", "weightedExponential"),
    ];
    let new: &[(&str, &str)] = &[
        ("min-scale", "2"),
        ("max-scale", "9"),
        ("initial-scale", "3"),
        ("target-utilization-percentage", "50"),
        ("target-burst-capacity", "0"),
        ("panic-window-percentage", "50"),
        ("panic-threshold-percentage", "150"),
        ("scale-down-delay", "4s"),
        ("scale-to-zero-pod-retention-period", "5s"),
        ("metric-aggregation-algorithm", "weighted-exponential"),
    ];
    let got = spec(old, 0);
    assert_eq!(got, spec(new, 0));
    assert_eq!((got.min_scale, got.max_scale), (2, Some(9)));
    assert_eq!((got.initial_scale, got.first_scale()), (3, 3));
    assert_eq!((got.total, got.target), (100.0, 50.0));
    assert_eq!(got.target_burst_capacity, BurstCapacity::None);
    assert_eq!(got.panic_window, Duration::from_secs(30));
    assert_eq!(got.panic_threshold, 1.5);
    assert_eq!(got.scale_down_delay, Duration::from_secs(4));
    assert_eq!(
        got.scale_to_zero_pod_retention_period,
        Duration::from_secs(5)
    );
    assert_eq!(got.aggregation, Aggregation::WeightedExponential);
    assert_eq!(
        spec(&[("minScale", "1"), ("min-scale", "2")], 0).min_scale,
        2
    );
}

#[test]
fn target_and_total_follow_metric_limit_and_annotations() {
    let rps = ("metric", "rps");
    type Case<'a> = (&'a [(&'a str, &'a str)], u32, f64, f64);
    let cases: &[Case<'_>] = &[
        // annotations, containerConcurrency, total, target
        (&[], 0, 100.0, 70.0),
        (&[], 10, 10.0, 7.0),
        (&[("target", "5")], 0, 5.0, 3.5),
        (&[("target", "500")], 0, 500.0, 350.0),
        (&[("target", "5")], 10, 5.0, 3.5),
        (&[("target", "50")], 10, 10.0, 7.0),
        (&[("target-utilization-percentage", "100")], 10, 10.0, 10.0),
        (&[("target", "0.01")], 0, 0.01, 0.01),
        (&[rps], 0, 200.0, 140.0),
        (&[rps], 10, 200.0, 140.0),
        (&[rps, ("target", "50")], 10, 50.0, 35.0),
        (
            &[rps, ("target-utilization-percentage", "50")],
            0,
            200.0,
            100.0,
        ),
        (&[("target", "NaN")], 0, 100.0, 70.0),
        (
            &[("metric", "concurrency"), ("target", "x")],
            0,
            100.0,
            70.0,
        ),
    ];
    for (annotations, limit, total, target) in cases {
        let got = spec(annotations, *limit);
        assert_eq!(got.total, *total, "total of {annotations:?}, {limit}");
        assert!(
            (got.target - target).abs() < 1e-9,
            "target of {annotations:?}, {limit}: {}",
            got.target
        );
    }
}

#[test]
fn other_annotations_replace_their_setting() {
    assert_eq!(spec(&[("class", HPA_CLASS)], 0).class, Class::Hpa);
    assert_eq!(
        spec(&[("class", "own.example.com")], 0).class,
        Class::Other("own.example.com".to_owned())
    );
    assert_eq!(
        spec(&[("activation-scale", "3")], 0).activation_scale,
        Some(3)
    );
    assert_eq!(spec(&[("activation-scale", "1")], 0).activation_scale, None);
    assert_eq!(
        spec(&[("serving.knative.dev/progress-deadline", "30s")], 0).progress_deadline,
        Duration::from_secs(30)
    );
    let got = spec(&[("window", "20s"), ("panic-window-percentage", "1")], 0);
    assert_eq!(got.stable_window, Duration::from_secs(20));
    assert_eq!(got.panic_window, Duration::from_secs(1));
    let got = spec(&[("window", "45s")], 0);
    assert_eq!(got.panic_window, Duration::from_secs(5), "4.5 s rounds up");
    let got = spec(&[("window", "9000h")], 0);
    assert_eq!(got.stable_window, Duration::from_secs(3600));
}

#[test]
fn what_cannot_be_read_is_as_if_absent() {
    let bad: &[(&str, &str)] = &[
        ("min-scale", "-1"),
        ("max-scale", "many"),
        ("initial-scale", "1.5"),
        ("window", "soon"),
        ("scale-down-delay", "-5s"),
        ("target-burst-capacity", "-7"),
        ("panic-threshold-percentage", "inf"),
    ];
    assert_eq!(spec(bad, 0), spec(&[], 0));
}

#[test]
fn an_unreachable_revision_has_no_minimum_and_no_retention() {
    let entries: &[(&str, &str)] = &[
        ("min-scale", "3"),
        ("scale-to-zero-pod-retention-period", "1m"),
    ];
    let got = spec_with(&Config::default(), entries, 0, false);
    assert_eq!(got.min_scale, 0);
    assert_eq!(got.scale_to_zero_pod_retention_period, Duration::ZERO);
    assert!(!got.reachable);
}

#[test]
fn an_initial_scale_of_zero_needs_permission() {
    let entries: &[(&str, &str)] = &[("initial-scale", "0")];
    assert_eq!(spec(entries, 0).initial_scale, 1);
    let allowed = config(&[("allow-zero-initial-scale", "true")]);
    let got = spec_with(&allowed, entries, 0, true);
    assert_eq!((got.initial_scale, got.first_scale()), (0, 0));
}

#[test]
fn settings_for_all_are_used_where_no_annotation_is() {
    let all = config(&[
        ("min-scale", "2"),
        ("max-scale", "4"),
        ("initial-scale", "3"),
    ]);
    let got = spec_with(&all, &[], 0, true);
    assert_eq!((got.min_scale, got.max_scale), (2, Some(4)));
    assert_eq!(got.first_scale(), 3);
    let got = spec_with(&all, &[("max-scale", "0")], 0, true);
    assert_eq!(got.max_scale, None);
}
