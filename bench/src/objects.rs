//! What the stored objects of a Service at zero take in memory.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use serve_core::object::Object;
use serve_runtime::Runtime;
use serve_runtime::source::resolve::Origin;

use crate::machine;
use crate::manifest::{self, INITIAL_SCALE};

const SERVICES: usize = 500;
/// The first copy fills what the allocator has left over.
const COPIES: usize = 5;

/// Bytes of all objects that there are for one Service at zero: what the resident memory of this
/// process rises by when they are copied.
pub fn bytes_per_service(components: &[PathBuf]) -> Result<f64> {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let objects = threads.block_on(make(components))?;
    let copy = || -> Vec<Object> { objects.iter().map(|one| Object::clone(one)).collect() };
    let mut copies = vec![copy()];
    let before = machine::resident_bytes(std::process::id());
    for _ in 0..COPIES {
        copies.push(copy());
    }
    let after = machine::resident_bytes(std::process::id());
    black_box(copies);
    Ok(after.saturating_sub(before) as f64 / (COPIES * SERVICES) as f64)
}

/// The objects of that many Services.
async fn make(components: &[PathBuf]) -> Result<Vec<Arc<Object>>> {
    let runtime = Runtime::builder().build()?;
    let origin = || Origin {
        directory: Path::new("/"),
        may_build: false,
    };
    let settings = Object::from_value(manifest::zero_allowed())?;
    runtime.apply(settings, origin()).await?;
    for (n, component) in components.iter().cycle().take(SERVICES).enumerate() {
        let name = format!("o-{n}");
        let service = manifest::service(&name, component, &[(INITIAL_SCALE, "0")]);
        crate::embedded::apply(&runtime, service, Path::new("/")).await?;
    }
    let objects = runtime.store().all();
    runtime.shutdown(std::time::Duration::ZERO).await;
    Ok(objects)
}
