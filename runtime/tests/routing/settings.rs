//! A change of a ConfigMap acts without a restart.

use super::*;

/// Keys of a ConfigMap, and where their effect shows.
struct Case {
    map: &'static str,
    data: &'static [(&'static str, &'static str)],
    want: Want,
}

enum Want {
    /// This URL of the Route `h1`, or of its tag `t`.
    Url(&'static str),
    TagUrl(&'static str),
    /// This value at a pointer into the next revision of `h2`.
    Revision(&'static str, Value),
    /// A Service with this beside its containers is taken, and was not before.
    Takes(&'static str, Value),
    /// A Service with this annotation on its template is refused, and was taken before.
    Refuses(&'static str, &'static str),
}

fn plain(target: usize) -> Value {
    service("h2", "hello", &target.to_string())
}

async fn check(world: &World, number: usize, case: &Case) {
    let Case { map, data, .. } = case;
    let name = format!("{map} {data:?}");
    let mut probe = service("probe", "hello", "x");
    match &case.want {
        Want::Takes(field, value) => probe["spec"]["template"]["spec"][*field] = value.clone(),
        Want::Refuses(key, value) => {
            probe["spec"]["template"]["metadata"]["annotations"][*key] = json!(value);
        }
        _ => {}
    }
    let is_taken = async || {
        world
            .runtime
            .check(Object::from_value(probe.clone()).unwrap(), origin())
            .await
            .is_ok()
    };
    if let Want::Takes(..) | Want::Refuses(..) = case.want {
        let takes = matches!(case.want, Want::Takes(..));
        assert_eq!(is_taken().await, !takes, "{name} before");
    }
    let old = world.runtime.settings().borrow().clone();
    let members = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)));
    world.set(map, members.collect()).await;
    let mut settings = world.runtime.settings().clone();
    settings.wait_for(|new| **new != *old).await.unwrap();
    match &case.want {
        Want::Url(want) => {
            let is = |route: Option<&Value>| {
                route.is_some_and(|route| is_ready(route) && route["status"]["url"] == *want)
            };
            world.wait(Kind::Route, "h1", is).await;
        }
        Want::TagUrl(want) => {
            let is = |route: Option<&Value>| {
                let url = route.map(|route| &route["status"]["traffic"][0]["url"]);
                url.is_some_and(|url| url == *want)
            };
            world.wait(Kind::Route, "h1", is).await;
        }
        Want::Revision(pointer, want) => {
            world.apply(plain(number)).await;
            let created = |service: Option<&Value>| {
                let service = service.unwrap();
                service["status"]["observedGeneration"] == service["metadata"]["generation"]
                    && is_ready(service)
            };
            let service = world.wait(Kind::Service, "h2", created).await;
            let latest = &service["status"]["latestCreatedRevisionName"];
            let revision = world.get(Kind::Revision, latest.as_str().unwrap());
            let got = revision.unwrap().pointer(pointer).cloned();
            assert_eq!(got.as_ref(), Some(want), "{name}");
        }
        Want::Takes(..) => assert!(is_taken().await, "{name}"),
        Want::Refuses(..) => assert!(!is_taken().await, "{name}"),
    }
    let old = world.runtime.settings().borrow().clone();
    world.set(map, json!({})).await;
    settings.wait_for(|new| **new != *old).await.unwrap();
}

fn origin() -> Origin<'static> {
    Origin {
        directory: Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests")),
        may_build: false,
    }
}

#[tokio::test]
async fn each_key_acts_at_once() {
    let world = World::new();
    let mut tagged = service("h1", "hello", "one");
    tagged["spec"]["traffic"] = json!([{"latestRevision": true, "percent": 100, "tag": "t"}]);
    world.apply(tagged).await;
    world.ready("h1", "h1-00001").await;
    world.apply(plain(100)).await;
    world.ready("h2", "h2-00001").await;
    let cases = [
        Case {
            map: "config-network",
            data: &[("domain-template", "{{.Name}}-{{.Namespace}}.{{.Domain}}")],
            want: Want::Url("http://h1-default.localhost"),
        },
        Case {
            map: "config-network",
            data: &[("tag-template", "{{.Name}}-x-{{.Tag}}")],
            want: Want::TagUrl("http://h1-x-t.default.localhost"),
        },
        Case {
            map: "config-network",
            data: &[("default-external-scheme", "https")],
            want: Want::Url("https://h1.default.localhost"),
        },
        Case {
            map: "config-domain",
            data: &[("example.com", "")],
            want: Want::Url("http://h1.default.example.com"),
        },
        Case {
            map: "config-defaults",
            data: &[("container-concurrency", "7")],
            want: Want::Revision("/spec/containerConcurrency", json!(7)),
        },
        Case {
            map: "config-defaults",
            data: &[("revision-timeout-seconds", "77")],
            want: Want::Revision("/spec/timeoutSeconds", json!(77)),
        },
        Case {
            map: "config-defaults",
            data: &[("container-name-template", "main")],
            want: Want::Revision("/spec/containers/0/name", json!("main")),
        },
        Case {
            map: "config-features",
            data: &[("kubernetes.podspec-nodeselector", "enabled")],
            want: Want::Takes("nodeSelector", json!({"a": "b"})),
        },
        Case {
            map: "config-autoscaler",
            data: &[("max-scale-limit", "5"), ("max-scale", "5")],
            want: Want::Refuses("autoscaling.knative.dev/max-scale", "6"),
        },
    ];
    for (number, case) in cases.iter().enumerate() {
        check(&world, number, case).await;
    }
}

#[tokio::test]
async fn a_setting_holds_for_what_is_applied_after_it() {
    let world = World::new();
    for round in 0..20 {
        let is_allowed = round % 2 == 0;
        let data = json!({"allow-zero-initial-scale": is_allowed.to_string()});
        world.set("config-autoscaler", data).await;
        let mut object = service(&format!("s{round}"), "hello", "x");
        object["spec"]["template"]["metadata"]["annotations"] =
            json!({"autoscaling.knative.dev/initial-scale": "0"});
        let applied = world.try_apply(object).await;
        assert_eq!(applied.is_ok(), is_allowed, "round {round}: {applied:?}");
    }
    world.runtime.shutdown(MINUTE).await;
}
