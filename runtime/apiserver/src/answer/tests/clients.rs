//! The requests of `kubectl` and `kn`, command by command and in their order, as these clients were
//! seen to send them.

use super::*;

const KN: [(&str, &str); 1] = [("accept", "application/json, */*")];
const JSON: [(&str, &str); 1] = [("accept", "application/json")];
const JSON_PATCH: [(&str, &str); 1] = [("content-type", "application/json-patch+json")];
const MERGE_PATCH: [(&str, &str); 1] = [("content-type", MERGE)];
const AS_TABLE: [(&str, &str); 1] = [("accept", TABLE)];

fn with<'a>(
    method: &'a str,
    path: &'a str,
    fields: &'a [(&'a str, &'a str)],
    body: Value,
) -> Ask<'a> {
    Ask {
        method,
        path,
        fields,
        body,
    }
}

/// `h1` with one variable, as it is applied.
fn applied(target: &str) -> Value {
    let mut service = service("h1", &template("img"));
    service["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "TARGET", "value": target}]);
    service
}

#[tokio::test(start_paused = true)]
async fn kubectl_commands() {
    let one = format!("{SERVICES}/h1");
    let by = |manager: &str| format!("fieldManager={manager}&fieldValidation=Strict");
    let create = format!("{SERVICES}?{}", by("kubectl-client-side-apply"));
    let apply = format!("{one}?{}", by("kubectl-client-side-apply"));
    let patch = format!("{one}?fieldManager=kubectl-patch");
    let label = format!("{one}?fieldManager=kubectl-label");
    let replace = format!("{one}?{}", by("kubectl-replace"));
    let dry = format!("{apply}&dryRun=All");
    let list = format!("{SERVICES}?limit=500");
    let named = format!("{SERVICES}?fieldSelector=metadata.name%3Dh1&limit=500&resourceVersion=0");
    let watch = format!(
        "{SERVICES}?allowWatchBookmarks=true&fieldSelector=metadata.name%3Dh1&resourceVersion=14&\
         timeoutSeconds=1&watch=true"
    );
    let watch_table = format!("{SERVICES}?resourceVersion=14&timeoutSeconds=1&watch=true");
    let labelled = format!("{SERVICES}?labelSelector=a%3Db&limit=500");
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let mut replaced = applied("v3");
    // What was read before, with who made it and which version it was.
    replaced["metadata"]["resourceVersion"] = "17".into();
    replaced["metadata"]["annotations"] = json!({
        "serving.knative.dev/creator": "kubernetes-admin",
        "serving.knative.dev/lastModifier": "kubernetes-admin",
    });
    let mut stale = replaced.clone();
    stale["metadata"]["resourceVersion"] = "14".into();
    golden(
        "kubectl",
        &[
            // apply of a new object
            get(&one, &JSON),
            ask("POST", &create, applied("v1")),
            // get, wide or not, and get -w
            get(&list, &AS_TABLE),
            get("/apis/serving.knative.dev/v1/services?limit=500", &AS_TABLE),
            // apply of one that is there, and with --dry-run=server
            get(&one, &JSON),
            get("/openapi/v2", &[]),
            with(
                "PATCH",
                &dry,
                &MERGE_PATCH,
                json!({"spec": applied("v2")["spec"]}),
            ),
            with(
                "PATCH",
                &apply,
                &MERGE_PATCH,
                json!({"spec": applied("v2")["spec"]}),
            ),
            // patch in its three types, label
            with(
                "PATCH",
                &patch,
                &strategic,
                json!({"metadata": {"labels": {"a": "b"}}}),
            ),
            with(
                "PATCH",
                &patch,
                &JSON_PATCH,
                json!([{"op": "test", "path": "/metadata/name", "value": "h1"},
                    {"op": "add", "path": "/metadata/annotations/x", "value": "y"}]),
            ),
            with(
                "PATCH",
                &patch,
                &JSON_PATCH,
                json!([{"op": "test", "path": "/metadata/name", "value": "h2"}]),
            ),
            with(
                "PATCH",
                &label,
                &MERGE_PATCH,
                json!({"metadata": {"labels": {"a": "b"}}}),
            ),
            get(&labelled, &AS_TABLE),
            // replace
            with("PUT", &replace, &[], stale),
            with("PUT", &replace, &[], replaced),
            // wait, and get -w
            get(&named, &JSON),
            get(&watch, &JSON),
            get(&watch_table, &AS_TABLE),
            // delete, and waiting for it
            ask("DELETE", &one, json!({"propagationPolicy": "Background"})),
            get(&one, &JSON),
            // auth can-i, version, cluster-info
            ask(
                "POST",
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                    "spec": {"resourceAttributes": {"verb": "create", "resource": "services",
                        "group": "serving.knative.dev", "namespace": "default"}}}),
            ),
            get("/version?timeout=32s", &[]),
            get(
                "/api/v1/namespaces/kube-system/services?labelSelector=kubernetes.io%2F\
                 cluster-service%3Dtrue",
                &[],
            ),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn kn_commands() {
    let one = format!("{SERVICES}/h1");
    let watch = |version: u32| {
        format!(
            "{SERVICES}?fieldSelector=metadata.name%3Dh1&resourceVersion={version}&\
             timeout=10m30s&timeoutSeconds=1&watch=true"
        )
    };
    let (created, updated) = (watch(14), watch(15));
    let revisions = "/apis/serving.knative.dev/v1/namespaces/default/revisions";
    let of_service = format!("{revisions}?labelSelector=serving.knative.dev%2Fservice%3Dh1");
    let revision = format!("{revisions}/h1-00001");
    let configuration =
        "/apis/serving.knative.dev/v1/namespaces/default/configurations/h1".to_owned();
    let domains = "/apis/serving.knative.dev/v1beta1/namespaces/default/domainmappings";
    let domain = format!("{domains}/hello.example.org");
    let mut update = applied("v2");
    update["metadata"]["resourceVersion"] = "14".into();
    update["metadata"]["annotations"] = json!({
        "serving.knative.dev/creator": "kubernetes-admin",
        "serving.knative.dev/lastModifier": "kubernetes-admin",
    });
    let mapping = json!({"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping",
        "metadata": {"name": "hello.example.org", "namespace": "default",
            "creationTimestamp": null},
        "spec": {"ref": {"kind": "Service", "name": "h1", "namespace": "default",
            "apiVersion": "serving.knative.dev/v1"}}, "status": {}});
    golden(
        "kn",
        &[
            // service create
            get(&one, &KN),
            with("POST", SERVICES, &KN, applied("v1")),
            get(&one, &KN),
            get(&created, &KN),
            // service update
            get(&revision, &KN),
            with("PUT", &one, &KN, update),
            get(&updated, &KN),
            get(&of_service, &KN),
            // service apply of what is already there
            with(
                "PATCH",
                &one,
                &MERGE_PATCH,
                json!({"spec": applied("v2")["spec"]}),
            ),
            // service list, with -A
            get(SERVICES, &KN),
            get("/apis/serving.knative.dev/v1/services", &KN),
            // service import
            get(&configuration, &KN),
            // domain create, list, delete
            with("POST", domains, &KN, mapping),
            get(domains, &KN),
            with("DELETE", &domain, &KN, Value::Null),
            // service delete
            with("DELETE", &one, &KN, json!({})),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_may_ask_and_how_much() {
    let nobody = [("authorization", "")];
    let wrong = [(
        "authorization",
        "Bearer 1111111111111111111111111111111111111111",
    )];
    let foreign = [("host", "evil.example")];
    let origin = [("origin", "https://evil.example")];
    let create = |query: &str| format!("{SERVICES}?{query}");
    let (dry, warn, ignore) = (
        create("dryRun=All"),
        create("fieldValidation=Warn&dryRun=All"),
        create("fieldValidation=Ignore&dryRun=All"),
    );
    let mut unknown = applied("v1");
    unknown["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x".into();
    let mut generated = applied("v1");
    generated["metadata"] = json!({"generateName": "g-", "namespace": "default"});
    let first = format!("{SERVICES}?limit=1");
    golden(
        "access",
        &[
            get(SERVICES, &nobody),
            get(SERVICES, &wrong),
            get("/livez", &nobody),
            get("/version", &nobody),
            get(SERVICES, &foreign),
            get(SERVICES, &origin),
            with("POST", &dry, &[], applied("v1")),
            with("POST", &warn, &[], unknown.clone()),
            with("POST", &ignore, &[], unknown),
            with("POST", &create("dryRun=Some"), &[], applied("v1")),
            with("POST", &create("fieldValidation=Often"), &[], applied("v1")),
            get(SERVICES, &[]),
            with("POST", SERVICES, &[], service("a", &template("img"))),
            with("POST", SERVICES, &[], service("b", &template("img"))),
            get(&first, &[]),
            get(&format!("{SERVICES}?limit=1&continue=nonsense"), &[]),
            get(&format!("{SERVICES}?resourceVersion=many"), &[]),
            get(&format!("{SERVICES}?labelSelector=a%3D%3D%3Db"), &[]),
            get(&format!("{SERVICES}?fieldSelector=spec.x%3Dy"), &[]),
            get(
                &format!(
                    "{SERVICES}?allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&\
                     sendInitialEvents=true&timeoutSeconds=1&watch=true"
                ),
                &AS_TABLE,
            ),
        ],
    )
    .await;
    let world = World::new();
    let (code, made) = world.json("POST", SERVICES, &generated).await;
    let name = made["metadata"]["name"].as_str().expect("a name");
    assert_eq!((code, name.len()), (201, "g-".len() + 5), "{name}");
    let (code, _) = world
        .send("POST", SERVICES, &[], &"x".repeat(4 << 20))
        .await;
    assert_eq!(code, 413);
}
