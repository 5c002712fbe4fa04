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
/// The time with changes is in so many parts, with half as much time without before each: what else
/// the machine does comes and goes.
const ROUNDS: u64 = 6;

/// States are numbered; even ones send all traffic to the first revision, odd ones to the second.
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

impl Progress {
    /// One that begins where another ended.
    fn from(state: usize) -> Self {
        Self {
            written: state.into(),
            settled: state.into(),
            over: AtomicBool::default(),
            good: AtomicUsize::default(),
            wrong: AtomicUsize::default(),
            failed: AtomicUsize::default(),
        }
    }
}

/// What several parts of the same kind saw.
#[derive(Default)]
struct Sum {
    seconds: u64,
    swaps: usize,
    good: usize,
    wrong: usize,
    failed: usize,
}

impl Sum {
    fn add(&mut self, seconds: u64, swaps: usize, seen: &Progress) {
        self.seconds += seconds;
        self.swaps += swaps;
        self.good += seen.good.load(Ordering::Relaxed);
        self.wrong += seen.wrong.load(Ordering::Relaxed);
        self.failed += seen.failed.load(Ordering::Relaxed);
    }

    fn rate(&self) -> f64 {
        self.good as f64 / self.seconds as f64
    }
}

pub fn run(context: &Context) -> Result<Section> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let host = runtime.block_on(Swapper::start(context))?;
    let seconds = context.size(usize::try_from(context.arguments.swap_seconds)?) as u64;
    let part = (seconds / ROUNDS).max(1);
    let calm = (part / 2).max(1);
    let (mut before, mut during) = (Sum::default(), Sum::default());
    let mut state = 0;
    for _ in 0..ROUNDS {
        let progress = Progress::from(state);
        under_load(host.address, &progress, || {
            std::thread::sleep(Duration::from_secs(calm));
            Ok(())
        })?;
        before.add(calm, 0, &progress);
        let progress = Progress::from(state);
        let swap = || runtime.block_on(host.swap(&progress, Duration::from_secs(part)));
        under_load(host.address, &progress, swap)?;
        let last = progress.settled.load(Ordering::Acquire);
        during.add(part, last - state, &progress);
        state = last;
    }
    let mut table = Table::new(&[
        "swaps",
        "seconds",
        "requests",
        "req/s",
        "of without",
        "failed",
        "from a wrong revision",
    ]);
    for sum in [&before, &during] {
        table.row([
            sum.swaps.to_string(),
            sum.seconds.to_string(),
            sum.good.to_string(),
            format!("{:.0}", sum.rate()),
            format!("{:.2}", sum.rate() / before.rate()),
            sum.failed.to_string(),
            sum.wrong.to_string(),
        ]);
    }
    runtime.block_on(host.runtime.shutdown(Duration::from_secs(5)));
    Ok(Section {
        name: "swaps",
        about: format!(
            "One Service whose traffic goes all to one revision, then all to the other, by \
             `Runtime::apply` in a process that serves {CLIENTS} connections meanwhile; {ROUNDS} \
             times without changes for a while, then with them. An answer is wrong when no state \
             between the last one in force before the request and the last one written before its \
             answer names its revision."
        ),
        table,
        notes: vec![],
    })
}

/// Runs the clients beside `change`.
fn under_load(
    address: SocketAddr,
    progress: &Progress,
    change: impl FnOnce() -> Result<()>,
) -> Result<()> {
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
        let changed = change();
        progress.over.store(true, Ordering::Release);
        changed
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

    /// Swaps at a fixed rate.
    async fn swap(&self, progress: &Progress, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut ticks = tokio::time::interval(INTERVAL);
        let mut state = progress.settled.load(Ordering::Acquire);
        while Instant::now() < end {
            ticks.tick().await;
            state += 1;
            progress.written.store(state, Ordering::Release);
            self.apply(self.state(state)).await?;
            progress.settled.store(state, Ordering::Release);
        }
        Ok(())
    }
}
