//! Changes of traffic under load: every answer is checked against the states that were in force.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use serve_runtime::config::Config;
use serve_runtime::{Listener, Runtime};

use crate::Context;
use crate::client::Client;
use crate::embedded;
use crate::guests;
use crate::manifest::{self, ISOLATION, MIN_SCALE};
use crate::table::{Section, Table};

const NAME: &str = "swap";
const CLIENTS: usize = 4;
/// 100 changes a second.
const INTERVAL: Duration = Duration::from_millis(10);

/// States are numbered; even ones send all traffic to the first revision, odd ones to the second.
#[derive(Default)]
struct Progress {
    /// The newest state that was written.
    written: AtomicUsize,
    /// The newest state that was in force.
    settled: AtomicUsize,
    over: AtomicBool,
    good: AtomicUsize,
    wrong: AtomicUsize,
    failed: AtomicUsize,
}

pub fn run(context: &Context) -> Result<Section> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let host = runtime.block_on(Swapper::start(context))?;
    let seconds = context.size(usize::try_from(context.arguments.swap_seconds)?) as u64;
    let mut table = Table::new(&[
        "swaps",
        "seconds",
        "requests",
        "req/s",
        "of before",
        "failed",
        "from a wrong revision",
    ]);
    let calm = (seconds / 6).max(1);
    let (before, _) = under_load(host.address, || Ok(sleep(calm)))?;
    let (during, swaps) = under_load_swapping(&runtime, &host, seconds)?;
    for (swaps, seconds, progress) in [(0, calm, &before), (swaps, seconds, &during)] {
        let good = progress.good.load(Ordering::Relaxed) as f64;
        let rate = good / seconds as f64;
        let of_before = before.good.load(Ordering::Relaxed) as f64 / calm as f64;
        table.row([
            swaps.to_string(),
            seconds.to_string(),
            format!("{good:.0}"),
            format!("{rate:.0}"),
            format!("{:.2}", rate / of_before),
            progress.failed.load(Ordering::Relaxed).to_string(),
            progress.wrong.load(Ordering::Relaxed).to_string(),
        ]);
    }
    runtime.block_on(host.runtime.shutdown(Duration::from_secs(5)));
    Ok(Section {
        name: "swaps",
        about: format!(
            "One Service whose traffic goes all to one revision, then all to the other, by \
             `Runtime::apply` in a process that serves {CLIENTS} connections meanwhile. An answer \
             is wrong when no state between the last one in force before the request and the last \
             one written before its answer names its revision."
        ),
        table,
        notes: vec![],
    })
}

fn sleep(seconds: u64) -> usize {
    std::thread::sleep(Duration::from_secs(seconds));
    0
}

/// Runs the clients beside `change`, whose result is handed on.
fn under_load(
    address: SocketAddr,
    change: impl FnOnce() -> Result<usize>,
) -> Result<(Progress, usize)> {
    let progress = Progress::default();
    let changes = beside(address, &progress, change)?;
    Ok((progress, changes))
}

fn under_load_swapping(
    runtime: &tokio::runtime::Runtime,
    swapper: &Swapper,
    seconds: u64,
) -> Result<(Progress, usize)> {
    let progress = Progress::default();
    let swaps = beside(swapper.address, &progress, || {
        runtime.block_on(swapper.swap(&progress, Duration::from_secs(seconds)))
    })?;
    Ok((progress, swaps))
}

fn beside(
    address: SocketAddr,
    progress: &Progress,
    change: impl FnOnce() -> Result<usize>,
) -> Result<usize> {
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !progress.over.load(Ordering::Acquire) {
                    if ask(address, progress).is_err() {
                        progress.failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let changes = change();
        progress.over.store(true, Ordering::Release);
        changes
    })
}

/// Asks on one connection until it is over.
fn ask(address: SocketAddr, progress: &Progress) -> Result<()> {
    let mut client = Client::connect(address)?;
    let host = manifest::host(NAME);
    while !progress.over.load(Ordering::Acquire) {
        let from = progress.settled.load(Ordering::Acquire);
        let response = client.get(&host, "/")?;
        let to = progress.written.load(Ordering::Acquire);
        ensure!(response.status == 200, "status {}", response.status);
        let fits = (from..=to)
            .take(2)
            .any(|state| response.body == body(state).as_bytes());
        let count = if fits {
            &progress.good
        } else {
            &progress.wrong
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn body(state: usize) -> String {
    format!("Hello {}!\n", state % 2)
}

struct Swapper {
    runtime: Runtime,
    address: SocketAddr,
    service: Value,
}

impl Swapper {
    /// Two revisions, all traffic to the first.
    async fn start(context: &Context) -> Result<Self> {
        let hello = guests::text(context, "hello")?;
        let mut config = Config::default();
        // Nothing of the clients is refused: all of them have one address.
        config.ingress.max_connections_per_address = config.ingress.max_connections;
        let runtime = Runtime::builder().config(config).build()?;
        let address = runtime
            .listen(Listener::Public, SocketAddr::from(([127, 0, 0, 1], 0)))
            .await?;
        let annotations = [(ISOLATION, "revision"), (MIN_SCALE, "1")];
        let service = manifest::service(NAME, &hello, &annotations);
        let mut swapper = Self {
            runtime,
            address,
            service,
        };
        for state in 0..2 {
            swapper.service["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] =
                json!(state.to_string());
            swapper.apply(swapper.service.clone()).await?;
        }
        swapper.apply(swapper.state(0)).await?;
        Ok(swapper)
    }

    fn state(&self, state: usize) -> Value {
        let mut service = self.service.clone();
        let revision = format!("{NAME}-{:05}", state % 2 + 1);
        service["spec"]["traffic"] = json!([{"revisionName": revision, "percent": 100}]);
        service
    }

    async fn apply(&self, service: Value) -> Result<()> {
        embedded::apply(&self.runtime, service, Path::new("/")).await
    }

    /// Swaps at a fixed rate; returns how often.
    async fn swap(&self, progress: &Progress, time: Duration) -> Result<usize> {
        let end = Instant::now() + time;
        let mut ticks = tokio::time::interval(INTERVAL);
        let mut state = 0;
        while Instant::now() < end {
            ticks.tick().await;
            state += 1;
            progress.written.store(state, Ordering::Release);
            self.apply(self.state(state)).await?;
            progress.settled.store(state, Ordering::Release);
        }
        Ok(state)
    }
}
