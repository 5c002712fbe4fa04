//! From a manifest to Ready: components that `serve` sees for the first time, and those that an
//! earlier run has compiled.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use serve_runtime::Runtime;

use crate::Context;
use crate::embedded;
use crate::guests;
use crate::manifest;
use crate::stats::{median, ms};
use crate::table::{Section, Table};

/// A component that takes seconds to compile is deployed once.
const LARGE_BYTES: u64 = 1 << 20;
/// From then on whoever loads the code notes which file it was.
const SETTLED: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(1);

pub fn run(context: &Context) -> Result<Section> {
    let mut table = Table::new(&[
        "guest",
        "MB",
        "new, ms",
        "known, ms",
        "loaded before, ms",
        "rounds",
    ]);
    let hello = ("hello".to_owned(), guests::text(context, "hello")?);
    let (found, notes) = guests::samples(context, vec![hello]);
    let go_directory = context.root.join("examples/helloworld-go");
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    for (guest, component) in found {
        let bytes = std::fs::metadata(&component)?.len();
        let rounds = if bytes > LARGE_BYTES {
            1
        } else {
            context.arguments.rounds
        };
        // The manifest names the source of Go; the size is that of what it becomes.
        let image = if guest == guests::GO {
            PathBuf::from("ko://.")
        } else {
            component
        };
        let (mut new, mut known, mut loaded) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let cache = context.directory.join("deploy");
            if cache.exists() {
                std::fs::remove_dir_all(&cache)?;
            }
            for (n, times) in [&mut new, &mut known, &mut loaded].into_iter().enumerate() {
                if n == 1 {
                    std::thread::sleep(SETTLED);
                }
                let time = threads.block_on(deploy(&cache, &image, &go_directory))?;
                eprintln!("deploy {guest}: {:.1} ms", ms(time));
                times.push(ms(time));
            }
        }
        table.row([
            guest,
            format!("{:.2}", bytes as f64 / 1e6),
            format!("{:.1}", median(&new)),
            format!("{:.1}", median(&known)),
            format!("{:.1}", median(&loaded)),
            rounds.to_string(),
        ]);
    }
    Ok(Section {
        name: "deploy",
        about: "From `Runtime::apply` of a new Service to its Ready, one started instance included, \
                in a process that has just begun. New: nothing of the component is on disk but its \
                file. Known: another process has compiled it, some seconds ago. Loaded before: so has \
                one that found it compiled, and compared the code with its digest. Go is given as \
                `ko://.`, so `go build` runs each time; its own cache is warm."
            .to_owned(),
        table,
        notes,
    })
}

/// How long a Service takes to be ready in a host of its own.
async fn deploy(cache: &Path, image: &Path, directory: &Path) -> Result<Duration> {
    let runtime = Runtime::builder().cache_directory(cache).build()?;
    let start = Instant::now();
    embedded::apply(&runtime, manifest::service("deploy", image, &[]), directory).await?;
    let time = start.elapsed();
    // What the next one finds, and nothing that has a share of its time.
    runtime.optimized().await;
    runtime.shutdown(GRACE).await;
    Ok(time)
}
