//! A host program with Knative Services inside: no listener, no file but the guest.
//!
//! `cargo run -p serve-runtime --example embed`

use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serve_core::kind::Kind;
use serve_core::object::Object;
use serve_runtime::Runtime;
use serve_runtime::body::Body;
use serve_runtime::source::resolve::Origin;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let runtime = Runtime::builder().build()?;

    let service = Object::from_value(serde_json::json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello", "namespace": "default"},
        "spec": {"template": {"spec": {"containers": [{
            "image": "./hello.wat",
            "env": [{"name": "TARGET", "value": "embedder"}],
        }]}}},
    }))?;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let origin = Origin {
        directory: &examples,
        may_build: false,
    };
    let applied = runtime.apply(service, origin).await?;

    let ready = |object: Option<&Object>| object.is_some_and(Object::is_ready);
    runtime
        .store()
        .wait_for(Kind::Service, &applied.key(), ready)
        .await;

    let request = Request::get("http://hello.default.svc.cluster.local/").body(Body::empty())?;
    let response = runtime.call(request).await;
    let body = response.into_body().collect().await?.to_bytes();
    print!("{}", String::from_utf8_lossy(&body));

    runtime.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
