//! Many Services in one `serve`: what they cost at zero, and when all of them are woken.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Context;
use crate::client::Client;
use crate::guests;
use crate::machine;
use crate::manifest::{self, INITIAL_SCALE, ISOLATION};
use crate::objects;
use crate::peer::{Peer, Serve};
use crate::stats::ms;
use crate::table::{Section, Table};

const SERVICES: [usize; 2] = [1000, 10_000];
const COMPONENTS: usize = 100;
/// Connections that wake them side by side.
const CLIENTS: usize = 4;
/// How long the CPU time of Services at zero is watched.
const REST: Duration = Duration::from_secs(15);

pub fn run(context: &Context) -> Result<Section> {
    let components = guests::distinct_hellos(context, COMPONENTS)?;
    let mut table = Table::new(&[
        "Services",
        "components",
        "all ready after s",
        "RSS at zero MiB",
        "a Service at zero kB",
        "of it objects kB",
        "CPU at zero ms/s",
        "all woken in s",
        "failed",
        "RSS awake MiB",
    ]);
    // Compiles, so that no memory of a compiler is in the figures.
    drop(start(context, COMPONENTS, &components)?);
    let (one, _) = start(context, 1, &components)?;
    let alone = machine::resident_bytes(one.pid());
    drop(one);
    let objects = objects::bytes_per_service(&components)?;
    let mut fewer = (1, alone);
    for count in SERVICES {
        let count = context.size(count);
        let (peer, ready_seconds) = start(context, count, &components)?;
        peer.rest()?;
        let at_zero = machine::resident_bytes(peer.pid());
        let before = machine::cpu_time(peer.pid());
        std::thread::sleep(REST);
        let idle = machine::cpu_time(peer.pid()).saturating_sub(before);
        let begin = Instant::now();
        let failed = wake_all(peer.address, count)?;
        let woken_seconds = begin.elapsed().as_secs_f64();
        let awake = machine::resident_bytes(peer.pid());
        let more = at_zero.saturating_sub(fewer.1) as f64 / (count - fewer.0) as f64;
        fewer = (count, at_zero);
        table.row([
            count.to_string(),
            COMPONENTS.to_string(),
            format!("{ready_seconds:.1}"),
            mebibytes(at_zero),
            format!("{:.1}", more / 1e3),
            format!("{:.1}", objects / 1e3),
            format!("{:.2}", ms(idle) / REST.as_secs_f64()),
            format!("{woken_seconds:.1}"),
            failed.to_string(),
            mebibytes(awake),
        ]);
    }
    Ok(Section {
        name: "density",
        about: format!(
            "Services of {COMPONENTS} components, at zero from the beginning, in a `serve` that has \
             their code on disk. What one costs at zero is what `serve` has more than with the fewer \
             Services of the row above, in the first row than with a single one ({} MiB), for each \
             Service more; so the first row has what is kept for each component in it, and the log of the \
             last 10 000 events, which is full then. Of it are the stored objects, by what the \
             memory of another process rises by when it copies all of them. Its CPU time is watched \
             for {} s once the work that follows the start is done. {CLIENTS} clients wake all of \
             them, each on one connection; every body is checked for the name of the Service.",
            mebibytes(alone),
            REST.as_secs()
        ),
        table,
        notes: vec![],
    })
}

/// Starts `serve` with so many Services at zero; returns the seconds until all were ready too.
fn start(context: &Context, count: usize, components: &[PathBuf]) -> Result<(Peer, f64)> {
    let at_zero = [(INITIAL_SCALE, "0"), (ISOLATION, "revision")];
    let mut documents = vec![manifest::zero_allowed()];
    let paths = components.iter().cycle().take(count).enumerate();
    documents.extend(paths.map(|(n, path)| manifest::service(&name(n), path, &at_zero)));
    let manifest = manifest::write(context, "density", &documents)?;
    let serve = Serve {
        context,
        home: "density",
        manifest: &manifest,
        port: 0,
        arguments: vec!["--fresh".to_owned()],
    };
    let begin = Instant::now();
    let peer = serve.start()?;
    peer.ready(count)?;
    Ok((peer, begin.elapsed().as_secs_f64()))
}

fn wake_all(address: SocketAddr, count: usize) -> Result<usize> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || wake(address, (client..count).step_by(CLIENTS))))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("asking does not panic"))
            .sum()
    })
}

/// How many of these did not answer as they should.
fn wake(address: SocketAddr, numbers: impl Iterator<Item = usize>) -> Result<usize> {
    let mut client = Client::connect(address)?;
    let mut failed = 0;
    for n in numbers {
        let response = client.get(&manifest::host(&name(n)), "/")?;
        let want = format!("Hello {}!\n", name(n));
        let is_good = response.status == 200 && response.body == want.as_bytes();
        if !is_good {
            let body = String::from_utf8_lossy(&response.body).into_owned();
            eprintln!("{}: {} {body:?}", name(n), response.status);
            failed += 1;
        }
    }
    Ok(failed)
}

fn name(n: usize) -> String {
    format!("d-{n}")
}

fn mebibytes(bytes: u64) -> String {
    (bytes >> 20).to_string()
}
