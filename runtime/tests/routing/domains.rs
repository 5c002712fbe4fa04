//! Domains of DomainMappings, and who may have them.

use serve_runtime::control::snapshot::Snapshot;
use serve_runtime::control::store::Store;
use serve_runtime::tasks::Tasks;

use super::*;

fn mapping(namespace: &str, service: &str) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1beta1",
        "kind": "DomainMapping",
        "metadata": {"name": "shop.example", "namespace": namespace},
        "spec": {"ref": {"kind": "Service", "name": service,
                         "apiVersion": "serving.knative.dev/v1"}},
    })
}

fn claim(namespace: &str) -> Value {
    json!({
        "apiVersion": "networking.internal.knative.dev/v1alpha1",
        "kind": "ClusterDomainClaim",
        "metadata": {"name": "shop.example"},
        "spec": {"namespace": namespace},
    })
}

fn reason(object: Option<&Value>, kind: &str) -> Value {
    object.map_or(Value::Null, |object| {
        condition(object, kind)["reason"].clone()
    })
}

#[tokio::test]
async fn a_domain_needs_a_claim_and_a_target_and_leads_there() {
    let world = World::new();
    world.apply(mapping("default", "h1")).await;
    let is = |kind: &'static str, want: &'static str| {
        move |object: Option<&Value>| reason(object, kind) == want
    };
    let kind = Kind::DomainMapping;
    world
        .wait(kind, "shop.example", is("Ready", "DomainAlreadyClaimed"))
        .await;
    world.apply(claim("default")).await;
    world
        .wait(kind, "shop.example", is("Ready", "ResolveFailed"))
        .await;
    world.apply(service("h1", "request-head", "one")).await;
    let found = world
        .wait(kind, "shop.example", |found| found.is_some_and(is_ready))
        .await;
    assert_eq!(found["status"]["url"], "http://shop.example");

    let (status, head) = world
        .ask("Shop.example:8080", &[("K-Original-Host", "x")])
        .await;
    assert_eq!(status, 200);
    assert!(head.starts_with("Shop.example:8080 /\n"), "{head}");
    assert!(!head.contains("k-original-host"), "{head}");

    // A cluster-local Service is public by its domain.
    let mut local = service("h1", "request-head", "one");
    let labels = json!({"networking.knative.dev/visibility": "cluster-local"});
    local["metadata"]["labels"] = labels;
    world.apply(local).await;
    let url = json!("http://h1.default.svc.cluster.local");
    let is_local = |route: Option<&Value>| {
        route.is_some_and(|route| is_ready(route) && route["status"]["url"] == url)
    };
    world.wait(Kind::Route, "h1", is_local).await;
    assert_eq!(world.ask("shop.example", &[]).await.0, 200);

    // Another namespace gets the domain. It still leads to where it led until that one is served.
    world.apply(claim("other")).await;
    world
        .wait(kind, "shop.example", is("Ready", "DomainAlreadyClaimed"))
        .await;
    let (_, head) = world.ask("shop.example", &[]).await;
    assert!(head.starts_with("shop.example /\n"), "{head}");
    let mut two = service("h2", "hello", "two");
    two["metadata"]["namespace"] = json!("other");
    world.apply(two).await;
    world.apply(mapping("other", "h2")).await;
    let key = ObjectKey::new("other", "shop.example");
    let is_ready = |object: Option<&Object>| object.is_some_and(|one| is_ready(&one.to_value()));
    world.runtime.store().wait_for(kind, &key, is_ready).await;
    assert_eq!(world.ask("shop.example", &[]).await.1, "Hello two!\n");

    let key = ObjectKey::new("default", "shop.example");
    world.runtime.delete(kind, &key).unwrap();
    world.gone(kind, "shop.example").await;
    let key = ObjectKey::new("", "shop.example");
    let kept = world.runtime.store().get(Kind::ClusterDomainClaim, &key);
    assert_eq!(kept.unwrap().to_value()["spec"]["namespace"], "other");
    assert_eq!(world.ask("shop.example", &[]).await.1, "Hello two!\n");
}

/// The program ended after a DomainMapping was deleted and before its claim was.
#[tokio::test]
async fn the_claim_of_a_deleted_mapping_goes_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("runs/state.json");
    let store = Store::in_memory(Clock::default());
    let mut deleted = mapping("default", "h1");
    deleted["metadata"]["finalizers"] = json!(["domainmappings.serving.knative.dev"]);
    let mut other = claim("default");
    other["metadata"]["name"] = json!("other.example");
    let settings = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-network", "namespace": "knative-serving"},
        "data": {"autocreate-cluster-domain-claims": "true"},
    });
    for object in [settings, claim("default"), other, deleted] {
        store.create(Object::from_value(object).unwrap()).unwrap();
    }
    let key = ObjectKey::new("default", "shop.example");
    let kind = Kind::DomainMapping;
    let held = store.remove(kind, &key, None).unwrap();
    assert!(held.is_some(), "it is held");
    let tasks = Tasks::default();
    let snapshot = Snapshot::open(path.clone()).unwrap();
    tasks.spawn(snapshot.keep(store, 0, tasks.stop_signal()));
    assert_eq!(tasks.shutdown(Duration::from_mins(1)).await, 0);

    let snapshot = Snapshot::open(path).unwrap();
    let runtime = Runtime::builder().state(snapshot).build().unwrap();
    let world = World { runtime };
    // Before that nothing is there yet, and what is not there seems to be gone.
    world.runtime.restored().await.unwrap();
    world.gone(kind, "shop.example").await;
    world.gone(Kind::ClusterDomainClaim, "shop.example").await;
    let key = ObjectKey::new("", "other.example");
    let kept = world.runtime.store().get(Kind::ClusterDomainClaim, &key);
    assert!(kept.is_some(), "nobody made that for a mapping");
}

#[tokio::test]
async fn a_mapping_that_is_made_again_at_once_is_a_new_one() {
    let world = World::new();
    let data = json!({"autocreate-cluster-domain-claims": "true"});
    world.set("config-network", data).await;
    world.apply(service("h1", "request-head", "one")).await;
    let key = ObjectKey::new("default", "shop.example");
    let kind = Kind::DomainMapping;
    let mut uids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        world.apply(mapping("default", "h1")).await;
        let found = world
            .wait(kind, "shop.example", |found| found.is_some_and(is_ready))
            .await;
        uids.insert(found["metadata"]["uid"].to_string());
        assert_eq!(world.ask("shop.example", &[]).await.0, 200);
        world.runtime.delete(kind, &key).unwrap();
    }
    assert_eq!(uids.len(), 20);
    world.gone(kind, "shop.example").await;
    world.gone(Kind::ClusterDomainClaim, "shop.example").await;
    assert_eq!(world.ask("shop.example", &[]).await.0, 404);
}

#[tokio::test]
async fn who_waits_for_a_domain_gets_it_when_it_is_given_up() {
    let world = World::new();
    let data = json!({"autocreate-cluster-domain-claims": "true"});
    world.set("config-network", data).await;
    world.apply(service("h1", "request-head", "one")).await;
    let mut other = service("h2", "hello", "two");
    other["metadata"]["namespace"] = json!("other");
    world.apply(other).await;
    let store = world.runtime.store();
    let wait = async |namespace: &str, want: fn(&Value) -> bool| {
        let key = ObjectKey::new(namespace, "shop.example");
        let is_so = |object: Option<&Object>| object.is_some_and(|object| want(&object.to_value()));
        store.wait_for(Kind::DomainMapping, &key, is_so).await;
    };
    world.apply(mapping("default", "h1")).await;
    wait("default", is_ready).await;
    world.apply(mapping("other", "h2")).await;
    wait("other", |mapping| {
        condition(mapping, "DomainClaimed")["reason"] == "DomainAlreadyClaimed"
    })
    .await;
    assert!(
        world
            .ask("shop.example", &[])
            .await
            .1
            .starts_with("shop.example /")
    );

    let key = ObjectKey::new("default", "shop.example");
    world.runtime.delete(Kind::DomainMapping, &key).unwrap();
    wait("other", is_ready).await;
    assert_eq!(world.ask("shop.example", &[]).await.1, "Hello two!\n");
    let key = ObjectKey::new("other", "shop.example");
    world.runtime.delete(Kind::DomainMapping, &key).unwrap();
    world.gone(Kind::ClusterDomainClaim, "shop.example").await;
    assert_eq!(world.ask("shop.example", &[]).await.0, 404);
}
