//! Exchanges as clients have them, compared with files in `tests/golden/`. `UPDATE_GOLDEN=1` writes
//! the files anew.

mod clients;

use std::path::Path;

use serve_core::kind::Kind;
use serve_core::settings::Settings;
use serve_core::time::Timestamp;
use serve_runtime::clock::Clock;
use serve_runtime::control::settings::Live;
use serve_runtime::control::store::Store;
use serve_runtime::image::Images;
use serve_runtime::logs::Logs;
use serve_runtime::progress;
use serve_runtime::source::ko::{self, Ko};
use serve_runtime::source::resolve::Resolver;
use serve_runtime::tasks::Tasks;

use super::*;
use crate::builtin;

const SERVICES: &str = "/apis/serving.knative.dev/v1/namespaces/default/services";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const MERGE: &str = "application/merge-patch+json";

struct World {
    server: Server,
    settings: Live,
    _tasks: Tasks,
}

/// A host without anything that runs.
pub fn host(clock: Clock) -> (Host, Live) {
    let store = Store::in_memory(clock.clone());
    let settings = Live::new(Settings::default());
    let resolver = Resolver {
        images: Images::in_memory(),
        ko: Ko {
            scratch: "/nonexistent".into(),
            limits: ko::Limits {
                time: std::time::Duration::from_secs(1),
                memory_bytes: 0,
            },
        },
        progress: progress::Reporter::default(),
        config: serve_runtime::config::Images::default(),
    };
    let host = Host {
        store,
        settings: settings.subscribe(),
        resolver,
        logs: Logs::new(clock.clone(), 1 << 16),
        clock,
    };
    builtin::create(&host.store, "localhost");
    (host, settings)
}

impl World {
    fn new() -> Self {
        let (host, settings) = host(Clock::tokio(Timestamp::from_unix_seconds(1_800_000_000)));
        let tasks = Tasks::default();
        let token = Token::parse(&"0".repeat(40)).expect("a token");
        let names = Names(vec!["localhost".to_owned()]);
        let stop = tasks.stop_signal();
        Self {
            server: crate::http::server(host, token, names, Limits::default(), &stop),
            settings,
            _tasks: tasks,
        }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        if fields.iter().all(|(name, _)| *name != "authorization") {
            request = request.header("authorization", format!("Bearer {}", "0".repeat(40)));
        }
        if fields.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", "localhost");
        }
        // An empty one takes the usual one away.
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("a request");
        let response = self.server.answer(request).await;
        let code = response.status().as_u16();
        let mut text = format!("{code}\n");
        for name in ["content-type", "warning", "www-authenticate", "retry-after"] {
            for value in response.headers().get_all(name) {
                text.push_str(&format!("{name}: {}\n", value.to_str().expect("text")));
            }
        }
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        match serde_json::from_str::<Value>(&body) {
            Ok(value) => text.push_str(&serde_json::to_string_pretty(&value).expect("JSON")),
            Err(_) => text.push_str(&body),
        }
        (code, text)
    }

    async fn json(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (code, text) = self.send(method, path, &[], &body.to_string()).await;
        let start = text.find('{').unwrap_or(text.len());
        (
            code,
            serde_json::from_str(&text[start..]).unwrap_or_default(),
        )
    }
}

/// One request of a golden file.
struct Ask<'a> {
    method: &'a str,
    path: &'a str,
    fields: &'a [(&'a str, &'a str)],
    body: Value,
}

fn get<'a>(path: &'a str, fields: &'a [(&'a str, &'a str)]) -> Ask<'a> {
    Ask {
        method: "GET",
        path,
        fields,
        body: Value::Null,
    }
}

fn ask<'a>(method: &'a str, path: &'a str, body: Value) -> Ask<'a> {
    Ask {
        method,
        path,
        fields: &[],
        body,
    }
}

async fn golden(name: &str, asks: &[Ask<'_>]) {
    golden_of(&World::new(), name, asks).await;
}

async fn golden_of(world: &World, name: &str, asks: &[Ask<'_>]) {
    let mut text = String::new();
    for ask in asks {
        let body = if ask.body.is_null() {
            String::new()
        } else {
            ask.body.to_string()
        };
        text.push_str(&format!("{} {}\n", ask.method, ask.path));
        for (name, value) in ask.fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("{body}\n"));
        }
        let (_, answer) = world.send(ask.method, ask.path, ask.fields, &body).await;
        text.push_str(&format!("=> {}\n\n", without_uids(&answer)));
    }
    compare(name, &text);
}

/// Random names of objects as a fixed one, in text for people and in that of a watch.
fn without_uids(text: &str) -> String {
    let mut text = text.to_owned();
    for start in ["\"uid\": \"", "\"uid\":\""] {
        let mut parts = text.split(start);
        let mut fixed = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.find('"').map_or("", |end| &part[end..]);
            fixed.push_str(&format!("{start}<uid>{rest}"));
        }
        text = fixed;
    }
    text
}

fn compare(name: &str, text: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let path = root.join(format!("api-{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        want == text,
        "{} differs; run with UPDATE_GOLDEN=1 and review the diff. Found:\n{text}",
        path.display()
    );
}

fn service(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn template(image: &str) -> Value {
    // What kn sends beside: members with nothing in them.
    json!({"template": {"metadata": {"creationTimestamp": null},
        "spec": {"containers": [{"image": image, "name": "", "resources": {},
            "securityContext": {"runAsNonRoot": true, "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"}}}]}}})
}

#[tokio::test(start_paused = true)]
async fn discovery() {
    let aggregated = [(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
    )];
    golden(
        "discovery",
        &[
            get("/api", &[]),
            get("/apis", &[]),
            get("/api/v1", &[]),
            get("/apis/serving.knative.dev", &[]),
            get("/apis/serving.knative.dev/v1", &[]),
            get("/apis/serving.knative.dev/v1beta1", &[]),
            get("/apis/apps/v1", &[]),
            get("/apis/autoscaling.internal.knative.dev/v1alpha1", &[]),
            get("/api", &aggregated),
            get("/apis", &aggregated),
            get("/livez", &[]),
            get("/openapi/v2", &[]),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn openapi() {
    let gv = crate::resources::GroupVersion::find("serving.knative.dev", "v1").expect("there");
    let body = openapi::document(gv);
    let value: Value = serde_json::from_slice(&body).expect("JSON");
    compare(
        "openapi-serving-v1",
        &(serde_json::to_string_pretty(&value).expect("JSON") + "\n"),
    );
}

#[tokio::test(start_paused = true)]
async fn one_service() {
    let one = format!("{SERVICES}/h1");
    let status = format!("{one}/status");
    let table = [("accept", TABLE)];
    let merge = [("content-type", MERGE)];
    let with_fields = |fields, path, body| Ask {
        method: "PATCH",
        path,
        fields,
        body,
    };
    let create = format!("{SERVICES}?fieldManager=kubectl-create&fieldValidation=Strict");
    let dry = format!("{one}?dryRun=All");
    golden(
        "service",
        &[
            get(&one, &[]),
            ask("POST", &create, service("h1", &template("img"))),
            ask("POST", &create, service("h1", &template("img"))),
            get(SERVICES, &[]),
            get(SERVICES, &table),
            with_fields(
                &merge,
                &dry,
                json!({"spec": {"traffic": null, "template": {"spec":
                {"timeoutSeconds": 5}}}}),
            ),
            with_fields(
                &merge,
                &one,
                json!({"metadata": {"labels": {"a": "b"}}, "status":
                {"url": "http://ignored"}}),
            ),
            with_fields(
                &merge,
                &status,
                json!({"spec": null, "status": {"url": "http://h1",
                "observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False",
                    "reason": "Because"}]}}),
            ),
            get(&one, &table),
            ask("DELETE", &one, json!({"propagationPolicy": "Foreground"})),
            ask("DELETE", &one, Value::Null),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn refusals() {
    let one = format!("{SERVICES}/h1");
    let strict = format!("{SERVICES}?fieldValidation=Strict");
    let mut wrong = template("img");
    wrong["template"]["spec"]["containers"][0]["imagee"] = "x".into();
    let mut stale = service("h1", &template("img"));
    stale["metadata"]["resourceVersion"] = "1".into();
    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let apply = [("content-type", "application/apply-patch+yaml")];
    let foreign = [("host", "evil.example")];
    let mut elsewhere = service("h1", &template("img"));
    elsewhere["metadata"]["namespace"] = "other".into();
    golden(
        "refusals",
        &[
            ask("POST", &strict, service("h1", &wrong)),
            ask("POST", SERVICES, service("h2", &wrong)),
            ask(
                "POST",
                SERVICES,
                service("h3", &json!({"template": {"spec": {}}})),
            ),
            ask("POST", SERVICES, service("h3", &json!({"template": {}}))),
            ask("POST", SERVICES, service("h3", &template("./app.wasm"))),
            ask("POST", SERVICES, service("h3", &template("ko://./cmd/x"))),
            ask("POST", SERVICES, service("h3", &json!({"template": 7}))),
            ask("POST", SERVICES, service("", &template("img"))),
            ask("POST", SERVICES, service("No", &template("img"))),
            ask("POST", SERVICES, elsewhere),
            ask(
                "POST",
                "/apis/serving.knative.dev/v1/namespaces/nowhere/services",
                json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata":
                    {"name": "x"}, "spec": template("img")}),
            ),
            ask(
                "POST",
                SERVICES,
                json!({"apiVersion": "v1", "kind": "Service"}),
            ),
            ask("POST", SERVICES, service("h1", &template("img"))),
            ask("PUT", &one, service("h1", &template("img"))),
            ask("PUT", &one, stale),
            Ask {
                method: "PATCH",
                path: &one,
                fields: &strategic,
                body: json!({}),
            },
            Ask {
                method: "PATCH",
                path: &one,
                fields: &apply,
                body: json!({}),
            },
            ask("PATCH", &one, json!({})),
            get("/apis/serving.knative.dev/v1/namespaces/default/pods", &[]),
            ask("DELETE", "/api/v1/namespaces/default", Value::Null),
            get("/version", &foreign),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn increments_with_versions_are_never_lost() {
    const CLIENTS: usize = 20;
    const ROUNDS: usize = 20;
    let world = Arc::new(World::new());
    let path = "/api/v1/namespaces/default/configmaps/n";
    let start = json!({"metadata": {"name": "n"}, "data": {"n": "0"}});
    let (code, _) = world
        .json("POST", "/api/v1/namespaces/default/configmaps", &start)
        .await;
    assert_eq!(code, 201);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let world = world.clone();
        clients.spawn(async move {
            let mut done = 0;
            while done < ROUNDS {
                let (_, mut map) = world.json("GET", path, &Value::Null).await;
                let n: usize = map["data"]["n"]
                    .as_str()
                    .expect("text")
                    .parse()
                    .expect("a number");
                map["data"]["n"] = (n + 1).to_string().into();
                tokio::task::yield_now().await;
                match world.json("PUT", path, &map).await {
                    (200, _) => done += 1,
                    (409, status) => assert_eq!(status["reason"], "Conflict"),
                    (code, status) => panic!("{code} {status}"),
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("the client ends");
    }
    let (_, map) = world.json("GET", path, &Value::Null).await;
    assert_eq!(map["data"]["n"], (CLIENTS * ROUNDS).to_string());
}

#[tokio::test(start_paused = true)]
async fn settings_are_checked_and_namespaces_take_their_objects_with_them() {
    let world = World::new();
    let config = "/api/v1/namespaces/knative-serving/configmaps/config-gc";
    let patch = json!({"data": {"min-non-active-revisions": "x"}});
    let fields = [("content-type", MERGE)];
    let (code, text) = world
        .send("PATCH", config, &fields, &patch.to_string())
        .await;
    assert_eq!(code, 400, "{text}");
    assert!(
        text.contains("config.webhook.serving.knative.dev"),
        "{text}"
    );
    assert!(!world.settings.refresh(&world.server.host.store) || code == 400);

    let (code, _) = world
        .json(
            "POST",
            "/api/v1/namespaces",
            &json!({"metadata": {"name": "n"}}),
        )
        .await;
    assert_eq!(code, 201);
    let maps = "/api/v1/namespaces/n/configmaps";
    for name in ["a", "b"] {
        let map = json!({"metadata": {"name": name, "labels": {"l": name}}});
        assert_eq!(world.json("POST", maps, &map).await.0, 201);
    }
    let generated = json!({"metadata": {"generateName": "g-"}});
    let (code, made) = world.json("POST", maps, &generated).await;
    assert_eq!(
        (code, made["metadata"]["name"].as_str().map(str::len)),
        (201, Some(7))
    );
    // What is made of it is never too long for a name.
    let generated = json!({"metadata": {"generateName": format!("{}é", "g".repeat(62))}});
    let (code, made) = world.json("POST", maps, &generated).await;
    assert_eq!(
        (code, made["metadata"]["name"].as_str().map(str::len)),
        (201, Some(63))
    );
    let generated = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"generateName": "g-"}});
    let (code, made) = world.json("POST", "/api/v1/namespaces", &generated).await;
    let meta = &made["metadata"];
    assert_eq!(code, 201);
    assert_eq!(meta["labels"]["kubernetes.io/metadata.name"], meta["name"]);
    let some = format!("{maps}?labelSelector=l%3Da");
    assert_eq!(world.json("DELETE", &some, &Value::Null).await.0, 200);
    let store = &world.server.host.store;
    assert_eq!(store.list(Kind::ConfigMap, Some("n")).0.len(), 3);
    assert_eq!(
        world
            .json("DELETE", "/api/v1/namespaces/n", &Value::Null)
            .await
            .0,
        200
    );
    assert!(store.list(Kind::ConfigMap, Some("n")).0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_a_deletion_up() {
    let world = World::new();
    let maps = "/api/v1/namespaces/default/configmaps";
    let one = format!("{maps}/a");
    let map = json!({"metadata": {"name": "a", "finalizers": ["x/y"]}});
    assert_eq!(world.json("POST", maps, &map).await.0, 201);
    let (code, held) = world.json("DELETE", &one, &Value::Null).await;
    assert_eq!(code, 200);
    assert_eq!(
        held["metadata"]["deletionTimestamp"],
        "2027-01-15T08:00:00Z"
    );
    assert_eq!(world.json("DELETE", &one, &Value::Null).await.0, 200);
    assert_eq!(world.json("GET", &one, &Value::Null).await.0, 200);
    let fields = [("content-type", MERGE)];
    let done = json!({"metadata": {"finalizers": null}}).to_string();
    assert_eq!(world.send("PATCH", &one, &fields, &done).await.0, 200);
    assert_eq!(world.json("GET", &one, &Value::Null).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn bodies_and_watches_are_bounded() {
    let world = World::new();
    let path = "/api/v1/namespaces/default/configmaps";
    let (code, text) = world
        .send("POST", path, &[], &" ".repeat((3 << 20) + 1))
        .await;
    assert_eq!(code, 413, "{text}");
    assert!(
        text.contains("Request entity too large: limit is 3145728"),
        "{text}"
    );
    let nested = "[".repeat(200) + &"]".repeat(200);
    assert_eq!(world.send("POST", path, &[], &nested).await.0, 400);
    // What is kept as it was given has to be read again by the next run, too.
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let map = |name: &str, levels| json!({"metadata": {"name": name}, "x": nested(levels)});
    assert_eq!(world.json("POST", path, &map("a", 63)).await.0, 201);
    assert_eq!(world.json("POST", path, &map("b", 64)).await.0, 400);
    let deeper = json!({"x": nested(64)});
    let merge = [("content-type", MERGE)];
    let one = format!("{path}/a");
    let (code, text) = world.send("PATCH", &one, &merge, &deeper.to_string()).await;
    assert_eq!(code, 400, "{text}");

    let permits = u32::try_from(world.server.limits.watches).expect("few");
    let taken = world.server.watches.clone().try_acquire_many_owned(permits);
    let (code, text) = world
        .send("GET", &format!("{path}?watch=true"), &[], "")
        .await;
    assert_eq!(code, 429, "{text}");
    assert!(text.contains("retry-after: 5"), "{text}");
    drop(taken);
    let short = format!("{path}?watch=true&timeoutSeconds=1");
    assert_eq!(world.send("GET", &short, &[], "").await.0, 200);
}

mod workloads;
