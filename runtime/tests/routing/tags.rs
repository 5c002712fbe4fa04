//! Tags by header, and the visibility of one tag.

use super::*;

/// The lines of the head that the guest saw which speak of tags.
fn told(body: &str) -> Vec<String> {
    let lines = body.lines().filter(|line| line.starts_with("knative-"));
    lines.map(str::to_owned).collect()
}

/// Two revisions: the first one with tag `old`, the second one with all requests.
async fn two_revisions(world: &World) {
    world.apply(service("h1", "hello", "one")).await;
    world.ready("h1", "h1-00001").await;
    let mut second = service("h1", "request-head", "two");
    second["spec"]["traffic"] = json!([
        {"latestRevision": true, "percent": 100, "tag": "new"},
        {"revisionName": "h1-00001", "tag": "old"},
    ]);
    world.apply(second).await;
    world.ready("h1", "h1-00002").await;
}

#[tokio::test]
async fn a_tag_is_chosen_by_header_while_the_feature_is_on() {
    const TAG: &str = "Knative-Serving-Tag";
    let world = World::new();
    two_revisions(&world).await;
    for is_on in [false, true, false] {
        let state = if is_on { "Enabled" } else { "Disabled" };
        let data = json!({"tag-header-based-routing": state});
        world.set("config-features", data).await;
        // Settings and requests have no order between them but that of the controller's queue.
        let mut settings = world.runtime.settings().clone();
        let flag = |s: &Arc<serve_core::settings::Settings>| {
            s.features.tag_header_based_routing.is_enabled() == is_on
        };
        settings.wait_for(flag).await.unwrap();
        tokio::task::yield_now().await;

        let (status, body) = world.ask("h1.default", &[(TAG, "old")]).await;
        assert_eq!(status, 200);
        assert_eq!(body == "Hello one!\n", is_on, "{body}");
        let (_, body) = world.ask("old-h1.default", &[(TAG, "new")]).await;
        assert_eq!(
            body, "Hello one!\n",
            "the header counts on the main host alone"
        );

        let told_of = async |host, headers: &[_]| told(&world.ask(host, headers).await.1);
        let default = "knative-serving-default-route: true".to_owned();
        let tag = |tag: &str| format!("knative-serving-tag: {tag}");
        let (none, forged) = (Vec::<String>::new(), ("Knative-Serving-Default-Route", "x"));
        for (host, headers, want) in [
            ("h1.default", &[][..], vec![default.clone()]),
            ("h1.default", &[forged], vec![default.clone()]),
            ("h1.default", &[(TAG, "x")], vec![default.clone(), tag("x")]),
            ("h1.default", &[(TAG, "new")], vec![tag("new")]),
            ("new-h1.default", &[forged], vec![tag("new")]),
        ] {
            let mut got = told_of(host, headers).await;
            got.sort_unstable();
            let want = if is_on { want } else { none.clone() };
            assert_eq!(got, want, "{host} {headers:?} {state}");
        }
    }
}

#[tokio::test]
async fn a_label_on_the_placeholder_of_a_tag_makes_it_local() {
    let world = World::new();
    two_revisions(&world).await;
    let urls = |route: &Value| -> Vec<Value> {
        let traffic = route["status"]["traffic"].as_array().unwrap();
        let urls = traffic.iter().map(|target| target["url"].clone());
        [route["status"]["url"].clone()]
            .into_iter()
            .chain(urls)
            .collect()
    };
    let before = urls(&world.get(Kind::Route, "h1").unwrap());
    let mut placeholder = world.get(Kind::KubernetesService, "old-h1").unwrap();
    assert_eq!(
        placeholder["spec"]["externalName"],
        "old-h1.default.localhost"
    );
    let owner = &placeholder["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&json!("Route"), &json!("h1"))
    );

    let local = json!("cluster-local");
    placeholder["metadata"]["labels"]["networking.knative.dev/visibility"] = local;
    world.apply(placeholder).await;
    let is_local = |route: Option<&Value>| {
        let url = "http://old-h1.default.svc.cluster.local";
        route.is_some_and(|route| is_ready(route) && urls(route)[2] == url)
    };
    let route = world.wait(Kind::Route, "h1", is_local).await;
    assert_eq!(urls(&route)[..2], before[..2], "the others stay public");
    assert_eq!(world.ask("old-h1.default.localhost", &[]).await.0, 404);
    assert_eq!(world.ask("old-h1.default", &[]).await.0, 200);
    assert_eq!(world.ask("new-h1.default.localhost", &[]).await.0, 200);

    // What is gone comes back; what is not wanted any more goes.
    let key = ObjectKey::new("default", "h1");
    world.runtime.delete(Kind::KubernetesService, &key).unwrap();
    world
        .wait(Kind::KubernetesService, "h1", |found| found.is_some())
        .await;
    let mut second = service("h1", "request-head", "two");
    second["spec"]["traffic"] = json!([{"latestRevision": true, "percent": 100}]);
    world.apply(second).await;
    world.gone(Kind::KubernetesService, "old-h1").await;
    world.runtime.delete(Kind::Service, &key).unwrap();
    assert_eq!(world.get(Kind::KubernetesService, "h1"), None);
}
