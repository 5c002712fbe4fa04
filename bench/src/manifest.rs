//! Manifests of many Services.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::Context;

pub const INITIAL_SCALE: &str = "autoscaling.knative.dev/initial-scale";
pub const MIN_SCALE: &str = "autoscaling.knative.dev/min-scale";
pub const ISOLATION: &str = "serve.wasm/isolation";

/// A Service whose answer, when its guest is hello, has its name in it.
pub fn service(name: &str, image: &Path, annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": {
            "metadata": {"annotations": annotations},
            "spec": {"containers": [{
                "image": image,
                "env": [{"name": "TARGET", "value": name}],
            }]},
        }},
    })
}

/// Lets revisions begin at zero.
pub fn zero_allowed() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "config-autoscaler", "namespace": "knative-serving"},
        "data": {"allow-zero-initial-scale": "true"},
    })
}

/// The public host of a Service.
pub fn host(name: &str) -> String {
    format!("{name}.default.localhost")
}

/// A file with more documents than 256 is refused.
const DOCUMENTS_PER_FILE: usize = 200;

/// Writes the documents to files of a folder of their own below `target/bench`.
pub fn write(context: &Context, name: &str, documents: &[Value]) -> Result<PathBuf> {
    let directory = context.directory.join("manifests").join(name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    for (n, documents) in documents.chunks(DOCUMENTS_PER_FILE).enumerate() {
        let mut text = String::new();
        for document in documents {
            writeln!(text, "---\n{document}")?;
        }
        let path = directory.join(format!("{n:04}.yaml"));
        std::fs::write(&path, text).with_context(|| format!("writing \"{}\"", path.display()))?;
    }
    Ok(directory)
}
