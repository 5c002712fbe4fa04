//! Which hosts are public, and which URLs the status shows for them.

use super::*;

struct Case {
    name: &'static str,
    given: fn(&mut World),
    url: &'static str,
    tag_url: &'static str,
    public: &'static [&'static str],
}

#[track_caller]
fn check(case: &Case) {
    let mut world = World::new(&json!([
        {"configurationName": "c", "latestRevision": true, "percent": 100},
        {"revisionName": "c-1", "latestRevision": false, "percent": 0, "tag": "t"},
    ]));
    (case.given)(&mut world);
    world.settle(NOW);
    let status = &world.route.status;
    assert_eq!(status.url.as_deref(), Some(case.url), "{}", case.name);
    assert_eq!(
        status.traffic[1].url.as_deref(),
        Some(case.tag_url),
        "{}",
        case.name
    );
    assert_eq!(status.traffic[0].url, None, "{}", case.name);
    let (public, local): (Vec<_>, Vec<_>) = world
        .hosts()
        .into_iter()
        .partition(|host| host.contains("example.com"));
    assert_eq!(public, case.public, "{}", case.name);
    assert_eq!(
        local,
        [
            "r.ns.svc.cluster.local c-2=100",
            "r.ns.svc c-2=100",
            "r.ns c-2=100",
            "t-r.ns.svc.cluster.local c-1=100",
            "t-r.ns.svc c-1=100",
            "t-r.ns c-1=100",
        ],
        "{}",
        case.name
    );
}

#[test]
fn visibility_is_of_the_route_of_a_tag_or_of_the_domain() {
    let local = "http://r.ns.svc.cluster.local";
    let local_tag = "http://t-r.ns.svc.cluster.local";
    for case in [
        Case {
            name: "public",
            given: |_| {},
            url: "http://r.ns.example.com",
            tag_url: "http://t-r.ns.example.com",
            public: &["r.ns.example.com c-2=100", "t-r.ns.example.com c-1=100"],
        },
        Case {
            name: "a local route",
            given: |w| {
                let label = keys::VISIBILITY_LABEL.to_owned();
                let value = keys::CLUSTER_LOCAL_VISIBILITY.to_owned();
                w.route.metadata.labels.insert(label, value);
            },
            url: local,
            tag_url: local_tag,
            public: &[],
        },
        Case {
            name: "a local domain",
            given: |w| w.local_domain = true,
            url: local,
            tag_url: local_tag,
            public: &[],
        },
        Case {
            name: "a local tag",
            given: |w| w.label("t-r", keys::CLUSTER_LOCAL_VISIBILITY),
            url: "http://r.ns.example.com",
            tag_url: local_tag,
            public: &["r.ns.example.com c-2=100"],
        },
        Case {
            name: "a local main host",
            given: |w| w.label("r", keys::CLUSTER_LOCAL_VISIBILITY),
            url: local,
            tag_url: "http://t-r.ns.example.com",
            public: &["t-r.ns.example.com c-1=100"],
        },
        Case {
            name: "another value of the label",
            given: |w| w.label("t-r", "public"),
            url: "http://r.ns.example.com",
            tag_url: "http://t-r.ns.example.com",
            public: &["r.ns.example.com c-2=100", "t-r.ns.example.com c-1=100"],
        },
    ] {
        check(&case);
    }
}
