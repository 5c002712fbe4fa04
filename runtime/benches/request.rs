//! A whole request in process, without a socket: to a Service that is awake, and to one at zero.
//!
//! `cargo bench -p serve-runtime --bench request`

use std::path::Path;
use std::time::Duration;

use divan::{Bencher, black_box};
use http::Request;
use http_body_util::BodyExt;
use serve_core::kind::Kind;
use serve_core::object::Object;
use serve_runtime::Runtime;
use serve_runtime::body::Body;
use serve_runtime::source::resolve::Origin;

/// How many Services are woken, each once.
const COLD: u32 = 100;

fn main() {
    divan::main();
}

#[divan::bench(args = ["request", "revision"])]
fn warm(bencher: Bencher, isolation: &str) {
    let tokio = tokio();
    let directory = guests(1);
    let runtime = tokio.block_on(async {
        let runtime = Runtime::builder().build().expect("it starts");
        let annotations = serde_json::json!({"serve.wasm/isolation": isolation});
        apply(&runtime, directory.path(), 0, &annotations).await;
        runtime
    });
    tokio.block_on(call(&runtime, 0));
    bencher.bench_local(|| tokio.block_on(call(&runtime, 0)));
    tokio.block_on(runtime.shutdown(Duration::ZERO));
}

/// The code is compiled and on disk; nothing of it is loaded.
#[divan::bench(sample_count = COLD, sample_size = 1)]
fn cold(bencher: Bencher) {
    let tokio = tokio();
    let directory = guests(COLD as usize);
    let start = async || {
        let runtime = Runtime::builder()
            .cache_directory(directory.path().join("cache"))
            .build()
            .expect("it starts");
        let settings = serde_json::json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "config-autoscaler", "namespace": "knative-serving"},
            "data": {"allow-zero-initial-scale": "true"},
        });
        let settings = Object::from_value(settings).expect("a ConfigMap");
        runtime
            .apply(settings, origin(directory.path()))
            .await
            .expect("it is valid");
        let annotations = serde_json::json!({
            "serve.wasm/isolation": "revision",
            "autoscaling.knative.dev/initial-scale": "0",
        });
        for n in 0..COLD as usize {
            apply(&runtime, directory.path(), n, &annotations).await;
        }
        runtime
    };
    // The first one compiles.
    let compiled = tokio.block_on(start());
    tokio.block_on(compiled.shutdown(Duration::ZERO));
    drop(compiled);
    let runtime = tokio.block_on(start());
    let mut next = 0;
    bencher.bench_local(|| {
        tokio.block_on(call(&runtime, next));
        next += 1;
    });
    tokio.block_on(runtime.shutdown(Duration::ZERO));
}

fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads start")
}

/// Components that differ from each other: `hello`, each with another five letters to greet.
fn guests(count: usize) -> tempfile::TempDir {
    let source = include_str!("../../tests/guests/hello.wat");
    let directory = tempfile::tempdir().expect("a directory");
    for n in 0..count {
        let text = source.replacen("\"World\"", &format!("\"{n:05}\""), 1);
        let path = directory.path().join(format!("{n}.wat"));
        std::fs::write(path, text).expect("written");
    }
    directory
}

fn origin(directory: &Path) -> Origin<'_> {
    Origin {
        directory,
        may_build: false,
    }
}

/// Applies Service number `n` and waits until it is ready.
async fn apply(runtime: &Runtime, directory: &Path, n: usize, annotations: &serde_json::Value) {
    let service = serde_json::json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": format!("s-{n}"), "namespace": "default"},
        "spec": {"template": {
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{"image": format!("./{n}.wat")}]},
        }},
    });
    let service = Object::from_value(service).expect("a Service");
    let applied = runtime
        .apply(service, origin(directory))
        .await
        .expect("it is valid");
    let is_ready = |object: Option<&Object>| object.is_some_and(Object::is_ready);
    let key = applied.key();
    let ready = runtime.store().wait_for(Kind::Service, &key, is_ready);
    tokio::time::timeout(Duration::from_secs(60), ready)
        .await
        .expect("it becomes ready");
}

async fn call(runtime: &Runtime, n: usize) {
    let request = Request::get(format!("http://s-{n}.default/"))
        .body(Body::empty())
        .expect("a request");
    let response = runtime.call(request).await;
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.expect("a whole body");
    assert_eq!(black_box(body.to_bytes()), format!("Hello {n:05}!\n"));
}
