//! Real guests, written as WAT in `tests/guests` at the root of the repository, in real pools.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod autoscaler_settings;
#[cfg(target_arch = "x86_64")]
mod baseline;
mod calls;
mod cpu;
mod failures;
mod host;
mod limits;
mod log;
mod p3;
mod replicas;
mod scaling;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use serve_runtime::body::{self, Body};
use serve_runtime::engine::{Config, Engine, Error, InstanceSpec};
use serve_runtime::image::{self, Store};
use serve_runtime::pool::{Heavy, Isolation, Launcher, Options, Pool, Source, Timeouts};

/// One engine for all tests: each reserves address space for its instances.
fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let config = Config {
        instances: 300,
        ..Config::default()
    };
    ENGINE.get_or_init(|| Engine::new(&config).unwrap()).clone()
}

fn source(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/guests/{name}.wat", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn guest(name: &str) -> Vec<u8> {
    image::componentize(&source(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A pool of the guest `name`.
fn pool_of(name: &str, change: impl FnOnce(&mut InstanceSpec, &mut Options)) -> Pool {
    let store = Store::in_memory();
    let digest = store.put(guest(name)).unwrap();
    let mut spec = InstanceSpec::new(format!("test/{name}"));
    let revision = spec.revision.clone();
    // A machine that compiles beside the tests may be slow; no test is about this limit.
    let mut options = Options {
        revision,
        start: MINUTE,
        ..Options::default()
    };
    change(&mut spec, &mut options);
    Pool::new(
        Arc::new(Launcher::new(engine(), spec, Source { digest, store })),
        options,
    )
}

const MINUTE: Duration = Duration::from_mins(1);

fn fresh(_: &mut InstanceSpec, options: &mut Options) {
    options.isolation = Isolation::Request;
}

fn reused(_: &mut InstanceSpec, _: &mut Options) {}

fn request(path: &str, body: impl Into<Body>) -> http::Request<Body> {
    http::Request::post(path)
        .header("host", "guest.test")
        .body(body.into())
        .unwrap()
}

async fn get(pool: &Pool, path: &str) -> Result<http::Response<Body>, Error> {
    pool.lease(0)?
        .call(request(path, ""), Timeouts::total(MINUTE))
        .await
}

/// The text of the response, or the first failure on the way.
async fn get_text(pool: &Pool, path: &str) -> Result<String, String> {
    let response = get(pool, path).await.map_err(|error| error.to_string())?;
    text(response.into_body())
        .await
        .map_err(|error| error.to_string())
}

async fn text(body: Body) -> Result<String, body::Error> {
    Ok(String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap())
}

/// A body that a test writes piece by piece.
fn channel() -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::poll_fn(move |cx| {
        receiver
            .poll_recv(cx)
            .map(|bytes| bytes.map(|bytes| Ok(http_body::Frame::data(bytes))))
    });
    (sender, Body::new(http_body_util::StreamBody::new(frames)))
}

/// The next bytes of a body.
async fn piece(body: &mut Body) -> Option<Result<Bytes, body::Error>> {
    Some(body.frame().await?.map(|frame| frame.into_data().unwrap()))
}

fn live(pool: &Pool) -> usize {
    pool.counts().live.load(Ordering::Relaxed)
}

fn n(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}
