use std::time::Duration;

use super::*;
use crate::quantity::Quantity;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[track_caller]
fn refused(name: &str, pairs: &[(&str, &str)], key: &str, message: &str) {
    let mut settings = Settings::default();
    let error = settings.set(name, &map(pairs)).expect_err(message);
    assert_eq!((error.key.as_str(), error.message.as_str()), (key, message));
    assert_eq!(settings, Settings::default());
}

#[track_caller]
fn accepted(name: &str, pairs: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    assert_eq!(settings.set(name, &map(pairs)), Ok(true));
    settings
}

#[test]
fn an_empty_map_gives_the_defaults() {
    for name in [
        "config-autoscaler",
        "config-defaults",
        "config-deployment",
        "config-domain",
        "config-features",
        "config-gc",
        "config-network",
    ] {
        let settings = accepted(name, &[("_example", "anything: [")]);
        assert_eq!(settings, Settings::default(), "{name}");
    }
    assert_eq!(Settings::default().set("other", &map(&[])), Ok(false));
}

#[test]
fn an_error_names_its_key_and_changes_nothing() {
    refused(
        "config-autoscaler",
        &[("stable-window", "1s")],
        "stable-window",
        "stable-window = 1s, must be in [6s; 1h0m0s] range",
    );
    refused(
        "config-defaults",
        &[("revision-timeout-seconds", "x")],
        "revision-timeout-seconds",
        "failed to parse \"revision-timeout-seconds\": \"x\" is not an integer",
    );
    refused(
        "config-defaults",
        &[("revision-timeout-seconds", "700")],
        "revision-timeout-seconds",
        "revision-timeout-seconds (700) cannot be greater than max-revision-timeout-seconds (600)",
    );
    refused(
        "config-defaults",
        &[("container-concurrency", "1001")],
        "container-concurrency",
        "expected 0 <= 1001 <= 1000: container-concurrency",
    );
    refused(
        "config-defaults",
        &[("revision-cpu-limit", "1 core")],
        "revision-cpu-limit",
        "failed to parse \"revision-cpu-limit\": \"1 core\" is not a quantity, such as \"100m\" or \"64Mi\"",
    );
    refused(
        "config-deployment",
        &[("progress-deadline", "1.5s")],
        "progress-deadline",
        "progress-deadline must be rounded to a whole second, was: 1.5s",
    );
    refused(
        "config-domain",
        &[("example.com", "selector: [1]")],
        "example.com",
        "failed to parse \"example.com\": \"selector: [1]\" is not a selector: {\"selector\": {\"label\": \"value\"}}",
    );
    refused(
        "config-features",
        &[("multi-container", "on")],
        "multi-container",
        "failed to parse \"multi-container\": \"on\" is not Enabled, Allowed or Disabled",
    );
    refused(
        "config-gc",
        &[("max-non-active-revisions", "5")],
        "min-non-active-revisions",
        "min-non-active-revisions = 20, must be at most max-non-active-revisions(5)",
    );
    refused(
        "config-network",
        &[("domain-template", "{{.Name}}/x")],
        "domain-template",
        "domain-template does not make a host name: \"{{.Name}}/x\" gives \"foo/x\"",
    );
    refused(
        "config-network",
        &[("rollout-duration", "-1")],
        "rollout-duration",
        "rollout-duration must be a positive integer, but was -1",
    );
}

#[test]
fn values_are_read() {
    let defaults = accepted(
        "config-defaults",
        &[
            ("revision-timeout-seconds", "120"),
            ("revision-memory-limit", "64Mi"),
            ("enable-service-links", "Default"),
        ],
    )
    .defaults;
    assert_eq!(defaults.revision_response_start_timeout_seconds, 120);
    assert_eq!(defaults.memory_limit.map(Quantity::units), Some(64 << 20));
    assert_eq!(defaults.enable_service_links, None);

    let features = accepted(
        "config-features",
        &[
            ("tag-header-based-routing", "enabled"),
            ("kubernetes.podspec-fieldref", "ALLOWED"),
            ("secure-pod-defaults", "AllowRootBounded"),
        ],
    )
    .features;
    assert_eq!(features.tag_header_based_routing, Flag::Enabled);
    assert_eq!(features.field_ref, Flag::Allowed);
    assert_eq!(
        features.secure_pod_defaults,
        SecurePodDefaults::AllowRootBounded
    );

    let gc = accepted(
        "config-gc",
        &[
            ("retain-since-create-time", "disabled"),
            ("retain-since-last-active-time", "Disabled"),
            ("min-non-active-revisions", "0"),
            ("max-non-active-revisions", "0"),
        ],
    )
    .gc;
    assert_eq!(gc.retain_since_create_time, None);
    assert_eq!(gc.retain_since_last_active_time, None);
    assert_eq!(gc.max_non_active_revisions, Some(0));

    let network = accepted(
        "config-network",
        &[
            ("tagTemplate", "{{.Name}}-{{.Tag}}"),
            ("rollout-duration", "60"),
            ("http-protocol", "Redirected"),
            ("autocreate-cluster-domain-claims", "true"),
        ],
    )
    .network;
    assert_eq!(network.tag_template.source(), "{{.Name}}-{{.Tag}}");
    assert_eq!(network.rollout_duration, Duration::from_secs(60));
    assert_eq!(network.http_protocol, HttpProtocol::Redirected);
    assert!(network.autocreate_cluster_domain_claims);

    let deployment = accepted(
        "config-deployment",
        &[
            ("registries-skipping-tag-resolving", "a.local, b.local"),
            ("progressDeadline", "30s"),
            ("digestResolutionTimeout", "5s"),
            ("digest-resolution-timeout", "6s"),
            ("pod-is-always-schedulable", "true"),
        ],
    )
    .deployment;
    assert_eq!(deployment.progress_deadline, Duration::from_secs(30));
    assert_eq!(deployment.digest_resolution_timeout, Duration::from_secs(6));
    assert!(deployment.pod_is_always_schedulable);
    assert_eq!(
        Vec::from_iter(deployment.registries_skipping_tag_resolving),
        ["a.local", "b.local"]
    );
}

#[test]
fn the_domain_with_most_matching_labels_wins() {
    let domain = accepted(
        "config-domain",
        &[
            ("b.com", ""),
            ("a.com", "  \n"),
            ("org.net", "selector:\n  app: x\n"),
            (
                "json.net",
                "{\"selector\": {\"app\": \"x\", \"tier\": \"front\"}}",
            ),
            ("quoted.net", "selector:\n    \"app\": 'z'\n"),
        ],
    )
    .domain;
    let of = |labels: &[(&str, &str)]| domain.of(&map(labels)).to_owned();
    assert_eq!(of(&[]), "a.com");
    assert_eq!(of(&[("app", "y")]), "a.com");
    assert_eq!(of(&[("app", "x")]), "org.net");
    assert_eq!(of(&[("app", "z")]), "quoted.net");
    assert_eq!(of(&[("app", "x"), ("tier", "front")]), "json.net");
    assert_eq!(
        of(&[("networking.knative.dev/visibility", "cluster-local")]),
        "svc.cluster.local"
    );
}

#[test]
fn without_a_domain_for_all_the_rest_is_local() {
    let domain = accepted("config-domain", &[("a.com", "selector:\n  app: x\n")]).domain;
    assert_eq!(domain.of(&map(&[])), "svc.cluster.local");
    assert_eq!(domain.of(&map(&[("app", "x")])), "a.com");
    assert_eq!(Domain::default().of(&map(&[])), "svc.cluster.local");
}
