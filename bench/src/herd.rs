//! Many requests at once to a Service at zero.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Context;
use crate::client::Client;
use crate::guests;
use crate::manifest::{self, INITIAL_SCALE, ISOLATION};
use crate::peer::Serve;
use crate::stats::{ms, percentile};
use crate::table::{Section, Table};

const REQUESTS: usize = 500;
const HERDS: usize = 3;
const STARTUP: Duration = Duration::from_secs(60);

pub fn run(context: &Context) -> Result<Section> {
    let components = guests::distinct_hellos(context, HERDS)?;
    let cold = [(INITIAL_SCALE, "0"), (ISOLATION, "revision")];
    let mut documents = vec![manifest::zero_allowed()];
    let named = components.iter().enumerate();
    documents.extend(named.map(|(n, path)| manifest::service(&name(n), path, &cold)));
    documents.push(manifest::service("awake", &components[0], &[]));
    let manifest = manifest::write(context, "herd", &documents)?;
    let peer = Serve {
        context,
        home: "herd",
        manifest: &manifest,
        port: 0,
        arguments: vec!["--fresh".to_owned()],
    }
    .start()?;
    peer.ready(HERDS + 1)?;
    peer.wait_for(&manifest::host("awake"), Instant::now() + STARTUP)?;
    let mut table = Table::new(&[
        "herd", "requests", "200", "other", "p50 ms", "p99 ms", "max ms",
    ]);
    for herd in 0..HERDS {
        let (host, address) = (manifest::host(&name(herd)), peer.address);
        let barrier = Barrier::new(REQUESTS);
        let answers: Vec<Result<(u16, f64)>> = std::thread::scope(|scope| {
            let ask = || -> Result<(u16, f64)> {
                let client = Client::connect(address);
                // Reached by all, whether or not they are connected.
                barrier.wait();
                let start = Instant::now();
                let status = client?.get(&host, "/")?.status;
                Ok((status, ms(start.elapsed())))
            };
            let threads: Vec<_> = (0..REQUESTS).map(|_| scope.spawn(ask)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("asking does not panic"))
                .collect()
        });
        let times: Vec<f64> = answers.iter().flatten().map(|(_, time)| *time).collect();
        let good = answers.iter().flatten().filter(|a| a.0 == 200).count();
        if let Some(Err(error)) = answers.iter().find(|answer| answer.is_err()) {
            eprintln!("herd {herd}: {error:#}");
        }
        table.row([
            (herd + 1).to_string(),
            REQUESTS.to_string(),
            good.to_string(),
            (REQUESTS - good).to_string(),
            format!("{:.1}", percentile(&times, 50.0)),
            format!("{:.1}", percentile(&times, 99.0)),
            format!("{:.1}", percentile(&times, 100.0)),
        ]);
    }
    let log = context.directory.join("herd/serve.log");
    let log = std::fs::read_to_string(&log).context("reading the log")?;
    let wakes = log.matches("revision is scaled up from zero").count();
    Ok(Section {
        name: "herd",
        about: format!(
            "{REQUESTS} connections, opened before, that ask a Service at zero at the same moment; \
             three Services, each with a component of its own. The log has {wakes} wakes from zero."
        ),
        table,
        notes: vec![],
    })
}

fn name(n: usize) -> String {
    format!("herd-{n}")
}
