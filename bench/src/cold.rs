//! The first request to a Service at zero, as its client sees it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::Context;
use crate::client::Client;
use crate::guests;
use crate::languages::RUST;
use crate::manifest::{self, INITIAL_SCALE, ISOLATION};
use crate::peer::{Peer, Serve};
use crate::stats::{ms, percentile};
use crate::table::{Section, Table};

const ACTIVATIONS: usize = 1000;
/// Compiling one takes seconds, once: the code is kept for the next run.
const GO_SERVICES: usize = 20;
const RUST_SERVICES: usize = 100;
const STARTUP: Duration = Duration::from_secs(60);

pub fn run(context: &Context) -> Result<Section> {
    let mut table = Table::new(&[
        "guest",
        "Services",
        "starts of serve",
        "first p50 ms",
        "first p99 ms",
        "first max ms",
        "second p50 ms",
        "second p99 ms",
        "failed",
    ]);
    let mut notes = Vec::new();
    let hellos = guests::distinct_hellos(context, context.size(ACTIVATIONS))?;
    measure(context, "hello", &hellos, &mut table)?;
    let others = [
        (guests::GO, GO_SERVICES, guests::go_sample(context)),
        (RUST.name, RUST_SERVICES, RUST.sample(context)),
    ];
    for (guest, count, component) in others {
        match component {
            Ok(path) => {
                let variants: Result<Vec<_>> = (0..context.size(count))
                    .map(|n| guests::variant(context, &path, n))
                    .collect();
                measure(context, guest, &variants?, &mut table)?;
            }
            Err(error) => notes.push(format!("{guest}: skipped: {error:#}")),
        }
    }
    Ok(Section {
        name: "cold",
        about: "Distinct Services, each with a component of its own, all at zero \
                (`initial-scale: 0`), in a `serve` that has just started with its code compiled \
                and in the page cache; one request to each in turn on one kept connection, \
                then a second one to each; `serve` is started again until there were 1 000."
            .to_owned(),
        table,
        notes,
    })
}

fn measure(
    context: &Context,
    guest: &str,
    components: &[PathBuf],
    table: &mut Table,
) -> Result<()> {
    let isolation = [(INITIAL_SCALE, "0"), (ISOLATION, "revision")];
    let mut documents = vec![manifest::zero_allowed()];
    let named = components.iter().enumerate();
    documents.extend(named.map(|(n, path)| manifest::service(&name(n), path, &isolation)));
    // A Service that is awake, so that the connection has served something before.
    documents.push(manifest::service(
        "awake",
        &guests::text(context, "hello")?,
        &[],
    ));
    let manifest = manifest::write(context, &format!("cold-{guest}"), &documents)?;
    let serve = Serve {
        context,
        home: &format!("cold-{guest}"),
        manifest: &manifest,
        port: 0,
        arguments: vec!["--fresh".to_owned()],
    };
    // The first run compiles, the second one finds the code on disk and nothing loaded.
    let compiled = serve.start()?;
    compiled.ready(documents.len() - 1)?;
    drop(compiled);
    let starts = context.size(ACTIVATIONS).div_ceil(components.len());
    let (mut first, mut second, mut failed) = (Vec::new(), Vec::new(), 0);
    for _ in 0..starts {
        let peer = serve.start()?;
        peer.ready(documents.len() - 1)?;
        let asked = ask_each(&peer, components.len())?;
        first.extend(asked.0);
        second.extend(asked.1);
        failed += asked.2;
    }
    table.row([
        guest.to_owned(),
        components.len().to_string(),
        starts.to_string(),
        format!("{:.2}", percentile(&first, 50.0)),
        format!("{:.2}", percentile(&first, 99.0)),
        format!("{:.2}", percentile(&first, 100.0)),
        format!("{:.2}", percentile(&second, 50.0)),
        format!("{:.2}", percentile(&second, 99.0)),
        failed.to_string(),
    ]);
    Ok(())
}

/// Milliseconds of the first and the second request to each Service, and how many failed.
fn ask_each(peer: &Peer, count: usize) -> Result<(Vec<f64>, Vec<f64>, usize)> {
    peer.wait_for(&manifest::host("awake"), Instant::now() + STARTUP)?;
    let mut client = Client::connect(peer.address)?;
    ensure!(client.get(&manifest::host("awake"), "/")?.status == 200);
    let mut failed = 0;
    let mut round = || -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(count);
        for n in 0..count {
            let host = manifest::host(&name(n));
            let start = Instant::now();
            let response = client.get(&host, "/")?;
            times.push(ms(start.elapsed()));
            failed += usize::from(response.status != 200);
        }
        Ok(times)
    };
    Ok((round()?, round()?, failed))
}

fn name(n: usize) -> String {
    format!("cold-{n}")
}
