//! A request to one Service, alone and beside thousands of others.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Context;
use crate::guests;
use crate::load::{self, of};
use crate::manifest::{self, INITIAL_SCALE, ISOLATION};
use crate::peer::{Peer, Serve};
use crate::table::{Section, Table};
use crate::tools::{self, Load};

const SERVICES: usize = 10_000;
const CONNECTIONS: usize = 16;
const STARTUP: Duration = Duration::from_secs(60);
const NAME: &str = "asked";

pub fn run(context: &Context) -> Result<Section> {
    let many = context.size(SERVICES);
    let peers = [(1, start(context, 1)?), (many, start(context, many)?)];
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..2 * context.arguments.rounds {
        for index in [round % 2, (round + 1) % 2] {
            let peer = &peers[index].1;
            let load = Load {
                address: peer.address,
                host: &manifest::host(NAME),
                connections: CONNECTIONS,
                seconds: context.arguments.seconds,
            };
            let sample = load::sample(peer, load, tools::wrk)?;
            eprintln!("{} Services: {:.2} µs CPU", peers[index].0, sample.cpu_us);
            samples[index].push(sample);
        }
    }
    let cpu = samples
        .each_ref()
        .map(|samples| of(samples, |sample| sample.cpu_us));
    let mut table = Table::new(&["Services", "req/s", "CPU µs/req", "CPU to alone", "failed"]);
    for (index, (count, _)) in peers.iter().enumerate() {
        let samples = &samples[index];
        let failed: u64 = samples.iter().map(|sample| sample.seen.failed).sum();
        table.row([
            count.to_string(),
            format!("{:.0}", of(samples, |sample| sample.seen.per_second)),
            format!("{:.2}", cpu[index]),
            format!("{:.3}", cpu[index] / cpu[0]),
            failed.to_string(),
        ]);
    }
    Ok(Section {
        name: "routes",
        about: format!(
            "hello, reused, {CONNECTIONS} connections (wrk), in a `serve` with this Service alone \
             and in one with all the others at zero, both at rest after their start; medians of \
             alternating rounds of {} s.",
            context.arguments.seconds
        ),
        table,
        notes: vec![],
    })
}

fn start(context: &Context, count: usize) -> Result<Peer> {
    let hello = guests::text(context, "hello")?;
    let mut documents = vec![
        manifest::zero_allowed(),
        manifest::service(NAME, &hello, &[(ISOLATION, "revision")]),
    ];
    let others = (1..count).map(|n| format!("other-{n}"));
    documents.extend(others.map(|name| manifest::service(&name, &hello, &[(INITIAL_SCALE, "0")])));
    let home = format!("routes-{count}");
    let manifest = manifest::write(context, &home, &documents)?;
    let peer = Serve {
        context,
        home: &home,
        manifest: &manifest,
        port: 0,
        arguments: vec!["--fresh".to_owned()],
    }
    .start()?;
    peer.ready(count)?;
    peer.wait_for(&manifest::host(NAME), Instant::now() + STARTUP)?;
    peer.rest()?;
    Ok(peer)
}
