//! Knative's sample in Rust: greets `TARGET`.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(_request: Request<Body>) -> Result<Response<Body>, Error> {
    let target = std::env::var("TARGET").unwrap_or_else(|_| "World".to_owned());
    Ok(Response::new(format!("Hello {target}!\n").into()))
}
