//! One Service beside others that take what they can get.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Context;
use crate::client::Client;
use crate::guests;
use crate::manifest::{self, ISOLATION};
use crate::peer::{Peer, Serve};
use crate::stats::median;
use crate::table::{Section, Table};
use crate::tools::{self, Load, Seen};

const CONNECTIONS: usize = 16;
/// Requests at once to the neighbour.
const HUNGRY: usize = 2;
/// A request to the busy loop ends after this, and the next one follows.
const SPIN_SECONDS: u32 = 5;
/// How often each is measured: the 99th percentile of one time is half or twice that of another, by
/// what the kernel has the load generator and the server do on two cores.
const ROUNDS: usize = 5;
const STARTUP: Duration = Duration::from_secs(60);

pub fn run(context: &Context) -> Result<Section> {
    let reused = [(ISOLATION, "revision")];
    let fresh = [(ISOLATION, "request")];
    let mut spin = manifest::service("spin", &guests::text(context, "spin")?, &fresh);
    spin["spec"]["template"]["spec"]["timeoutSeconds"] = SPIN_SECONDS.into();
    let documents = [
        manifest::service("quiet", &guests::text(context, "hello")?, &reused),
        spin,
        manifest::service("bomb", &guests::text(context, "allocate")?, &fresh),
    ];
    let manifest = manifest::write(context, "neighbour", &documents)?;
    let peer = Serve {
        context,
        home: "neighbour",
        manifest: &manifest,
        port: 0,
        arguments: vec!["--fresh".to_owned()],
    }
    .start()?;
    peer.ready(documents.len())?;
    peer.wait_for(&manifest::host("quiet"), Instant::now() + STARTUP)?;
    let mut table = Table::new(&[
        "neighbour",
        "its requests",
        "req/s",
        "p50 µs",
        "p99 µs",
        "p99 to alone",
        "failed",
    ]);
    measure(&peer, 1)?;
    let neighbours = [
        ("none", None),
        ("busy loop", Some(("spin", "/"))),
        ("memory bomb", Some(("bomb", "/200/0"))),
        ("memory bomb, refused", Some(("bomb", "/1000/0"))),
    ];
    let mut seen: [Vec<(Seen, usize)>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (seen, (_, asked)) in seen.iter_mut().zip(neighbours) {
            seen.push(match asked {
                None => (measure(&peer, context.arguments.seconds)?, 0),
                Some((name, path)) => beside(context, &peer, name, path)?,
            });
        }
    }
    let of = |seen: &[(Seen, usize)], value: fn(&Seen) -> f64| {
        median(&seen.iter().map(|(seen, _)| value(seen)).collect::<Vec<_>>())
    };
    let alone = of(&seen[0], |seen| seen.p99_us);
    for (seen, (name, _)) in seen.iter().zip(neighbours) {
        let p99 = of(seen, |seen| seen.p99_us);
        let requests: usize = seen.iter().map(|(_, requests)| requests).sum();
        let failed: u64 = seen.iter().map(|(seen, _)| seen.failed).sum();
        table.row([
            name.to_owned(),
            requests.to_string(),
            format!("{:.0}", of(seen, |seen| seen.per_second)),
            format!("{:.0}", of(seen, |seen| seen.p50_us)),
            format!("{p99:.0}"),
            format!("{:.2}", p99 / alone),
            failed.to_string(),
        ]);
    }
    Ok(Section {
        name: "neighbour",
        about: format!(
            "hello with {CONNECTIONS} connections at full speed (wrk), beside a Service that is \
             asked {HUNGRY} times at once: a loop that never calls the host (`spin.wat`, ended \
             after {SPIN_SECONDS} s), and instances that grow by 200 MiB, or by more than they may \
             have (`allocate.wat`); medians of {ROUNDS} rounds of {} s.",
            context.arguments.seconds
        ),
        table,
        notes: vec![],
    })
}

fn measure(peer: &Peer, seconds: u64) -> Result<Seen> {
    tools::wrk(Load {
        address: peer.address,
        host: &manifest::host("quiet"),
        connections: CONNECTIONS,
        seconds,
    })
}

/// Measures while the neighbour is asked again and again; returns how often it was, too.
fn beside(context: &Context, peer: &Peer, name: &str, path: &str) -> Result<(Seen, usize)> {
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (host, address) = (manifest::host(name), peer.address);
    std::thread::scope(|scope| {
        for _ in 0..HUNGRY {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    asked.fetch_add(1, Ordering::Relaxed);
                    // That it fails is what the neighbour is for; a new connection each time,
                    // as the old one may be closed.
                    let _ = Client::connect(address).and_then(|mut c| c.get(&host, path));
                }
            });
        }
        let seen = measure(peer, context.arguments.seconds);
        over.store(true, Ordering::Release);
        Ok((seen?, asked.load(Ordering::Relaxed)))
    })
}
