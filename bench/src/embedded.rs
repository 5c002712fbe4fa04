//! `serve` inside this program: applying a Service, and waiting until it is ready.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use serve_core::kind::Kind;
use serve_core::object::Object;
use serve_runtime::Runtime;
use serve_runtime::source::resolve::Origin;

const PATIENCE: Duration = Duration::from_secs(300);

/// Applies it, and waits until it is in force. Images are found, and built, from `directory`.
pub async fn apply(runtime: &Runtime, service: Value, directory: &Path) -> Result<()> {
    let origin = Origin {
        directory,
        may_build: true,
    };
    let applied = runtime.apply(Object::from_value(service)?, origin).await?;
    let is_ready = |object: Option<&Object>| object.is_some_and(Object::is_ready);
    let key = applied.key();
    let settled = runtime.store().wait_for(Kind::Service, &key, is_ready);
    tokio::time::timeout(PATIENCE, settled)
        .await
        .with_context(|| format!("Service \"{key}\" is not ready"))?;
    Ok(())
}
