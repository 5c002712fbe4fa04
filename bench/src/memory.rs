//! What an instance costs that is kept for the next request.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use http_body_util::BodyExt as _;
use serve_runtime::body::Body;
use serve_runtime::engine::{Config, Engine, InstanceSpec};
use serve_runtime::image::Store;
use serve_runtime::pool::{Launcher, Options, Pool, Source, Timeouts};

use crate::Context;
use crate::guests;
use crate::machine;
use crate::table::{Section, Table};

const INSTANCES: usize = 100;
const TIME: Duration = Duration::from_secs(60);

pub fn run(context: &Context) -> Result<Section> {
    let mut table = Table::new(&["guest", "instances", "an instance kB"]);
    let hello = ("hello".to_owned(), guests::text(context, "hello")?);
    let (found, mut notes) = guests::samples(context, vec![hello]);
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    for (guest, component) in found {
        let bytes = match threads.block_on(measure(&component)) {
            Ok(bytes) => bytes,
            Err(error) => {
                notes.push(format!("{guest}: {error:#}"));
                continue;
            }
        };
        table.row([guest, INSTANCES.to_string(), format!("{:.0}", bytes / 1e3)]);
    }
    Ok(Section {
        name: "memory",
        about: format!(
            "What the resident memory of a process rises by when {INSTANCES} more instances have \
             served a request and are kept, with as many there before."
        ),
        table,
        notes,
    })
}

/// Bytes of one more instance.
async fn measure(component: &Path) -> Result<f64> {
    let engine = Engine::new(&Config {
        baseline_bytes: None,
        ..Config::default()
    })?;
    let store = Store::in_memory();
    let digest = store.put(std::fs::read(component)?)?;
    let launcher = Launcher::new(
        engine,
        InstanceSpec::new("bench/memory"),
        Source { digest, store },
    );
    let options = Options {
        // All of them are to be there at once.
        idle_bytes: usize::MAX,
        ..Options::default()
    };
    let pool = Pool::new(Arc::new(launcher), options);
    let resident = || machine::resident_bytes(std::process::id());
    fill(&pool, INSTANCES).await?;
    let before = resident();
    fill(&pool, 2 * INSTANCES).await?;
    Ok(resident().saturating_sub(before) as f64 / INSTANCES as f64)
}

/// Sees to it that so many instances are idle, all of which have served a request.
async fn fill(pool: &Pool, count: usize) -> Result<()> {
    let leases: Result<Vec<_>, _> = (0..count).map(|_| pool.lease(0)).collect();
    for lease in leases? {
        let request = http::Request::get("http://memory.test/").body(Body::empty())?;
        let response = lease.call(request, Timeouts::total(TIME)).await?;
        ensure!(response.status() == 200, "status {}", response.status());
        response.into_body().collect().await?;
    }
    ensure!(pool.idle() == count, "{} of {count} are kept", pool.idle());
    Ok(())
}
