//! Requests per second, latency and CPU per request of one Service, beside the peers, in rounds that
//! alternate between them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Context;
use crate::guests::{self, Guest};
use crate::machine;
use crate::manifest::{self, ISOLATION};
use crate::peer::{self, Peer, Serve};
use crate::stats::median;
use crate::table::{Section, Table};
use crate::tools::{self, Load, STREAMS, Seen, find_wasmtime};

const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// JS and Python guests take most of it to compile, once.
const STARTUP: Duration = Duration::from_secs(300);

/// What is measured.
#[derive(Clone, Debug)]
enum Kind {
    /// No guest: the upper limit.
    Hyper,
    /// With these arguments.
    Wasmtime(&'static [&'static str]),
    /// With this isolation.
    Serve(&'static str),
}

struct Contender {
    name: &'static str,
    kind: Kind,
}

const HYPER: Contender = Contender {
    name: "plain hyper, no guest",
    kind: Kind::Hyper,
};
const WASMTIME: Contender = Contender {
    name: "wasmtime serve, defaults",
    kind: Kind::Wasmtime(&[]),
};
const WASMTIME_REUSE: Contender = Contender {
    name: "wasmtime serve, reuse 128",
    kind: Kind::Wasmtime(&["--max-instance-reuse-count", "128"]),
};
const FRESH: Contender = Contender {
    name: "serve, isolation request",
    kind: Kind::Serve("request"),
};
const REUSED: Contender = Contender {
    name: "serve, isolation revision",
    kind: Kind::Serve("revision"),
};

/// How the clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    H2c,
}

/// One measurement of one server.
pub struct Sample {
    pub seen: Seen,
    pub cpu_us: f64,
}

/// Loads a server by `ask`, after a second that warms it.
pub fn sample(
    peer: &Peer,
    load: Load<'_>,
    ask: impl Fn(Load<'_>) -> Result<Seen>,
) -> Result<Sample> {
    ask(Load { seconds: 1, ..load })?;
    let before = machine::cpu_time(peer.pid());
    let seen = ask(load)?;
    let used = machine::cpu_time(peer.pid()).saturating_sub(before);
    Ok(Sample {
        seen,
        cpu_us: used.as_secs_f64() * 1e6 / seen.requests.max(1) as f64,
    })
}

pub fn run(context: &Context) -> Result<Vec<Section>> {
    let wasmtime = find_wasmtime(context)?;
    let hello = guests::text(context, "hello")?;
    let bench = |guest: &Path| Bench {
        context,
        wasmtime: wasmtime.clone(),
        component: guest.to_owned(),
    };
    let all = [HYPER, WASMTIME, WASMTIME_REUSE, FRESH, REUSED];
    let seconds = context.arguments.seconds;
    let rounds = context.arguments.rounds;
    let how = format!("medians of {rounds} rounds of {seconds} s after 1 s of warm-up");
    let mut sections = Vec::new();

    let mut table = head();
    bench(&hello).rounds(&all, &CONNECTIONS, Protocol::Http1, &mut table, "")?;
    sections.push(Section {
        name: "load-hello",
        about: format!("`tests/guests/hello.wat`, HTTP/1.1, wrk; {how}."),
        table,
        notes: vec![],
    });

    let mut table = head();
    let with_h2 = [HYPER, FRESH, REUSED];
    bench(&hello).rounds(&with_h2, &[16], Protocol::H2c, &mut table, "")?;
    sections.push(Section {
        name: "load-h2c",
        about: format!(
            "The same guest, HTTP/2 with prior knowledge, h2load, 16 connections with {STREAMS} \
             streams each; {how}."
        ),
        table,
        notes: vec!["`wasmtime serve` speaks HTTP/1.1 only and is not in this table.".to_owned()],
    });

    let (others, notes) = guests::samples(context, given(context)?);
    let mut table = head();
    for (name, component) in others {
        let contenders = [WASMTIME, WASMTIME_REUSE, FRESH, REUSED];
        bench(&component).rounds(&contenders, &[16], Protocol::Http1, &mut table, &name)?;
    }
    sections.push(Section {
        name: "load-guests",
        about: format!("Other guests, HTTP/1.1, wrk, 16 connections; {how}."),
        table,
        notes,
    });
    Ok(sections)
}

/// The guests that were given on the command line.
fn given(context: &Context) -> Result<Vec<Guest>> {
    let guests = context.arguments.guests.iter().map(|guest| {
        let (name, path) = guest
            .split_once('=')
            .with_context(|| format!("--guest \"{guest}\": expected NAME=FILE"))?;
        Ok((name.to_owned(), PathBuf::from(path)))
    });
    guests.collect()
}

fn head() -> Table {
    Table::new(&[
        "connections",
        "server",
        "req/s",
        "of wasmtime serve",
        "of hyper",
        "p50 µs",
        "p99 µs",
        "CPU µs/req",
        "failed",
    ])
}

struct Bench<'a> {
    context: &'a Context,
    wasmtime: PathBuf,
    component: PathBuf,
}

impl Bench<'_> {
    /// Runs the rounds and adds a row for each contender and number of connections.
    fn rounds(
        &self,
        contenders: &[Contender],
        connections: &[usize],
        protocol: Protocol,
        table: &mut Table,
        guest: &str,
    ) -> Result<()> {
        let mut samples: Vec<Vec<Vec<Sample>>> = contenders
            .iter()
            .map(|_| connections.iter().map(|_| Vec::new()).collect())
            .collect();
        for round in 0..self.context.arguments.rounds {
            for index in 0..contenders.len() {
                // Each one comes first, in the middle and last in turn.
                let index = (index + round) % contenders.len();
                let contender = &contenders[index];
                let (peer, host) = self.start(&contender.kind)?;
                for (of, &connections) in samples[index].iter_mut().zip(connections) {
                    let sample = self.sample(&peer, &host, connections, protocol)?;
                    eprintln!(
                        "{guest} {:?} {} {connections}: {:.0}/s, {:.1} µs CPU",
                        protocol, contender.name, sample.seen.per_second, sample.cpu_us
                    );
                    of.push(sample);
                }
            }
        }
        for (column, connections) in connections.iter().enumerate() {
            let rate = |index: usize| of(&samples[index][column], |s| s.seen.per_second);
            let reference = |name: &str| {
                let found = contenders.iter().position(|c| c.name == name);
                found.map(rate)
            };
            let (wasmtime, hyper) = (reference(WASMTIME.name), reference(HYPER.name));
            for (index, contender) in contenders.iter().enumerate() {
                let samples = &samples[index][column];
                let ratio = |to: Option<f64>| {
                    to.map_or("-".to_owned(), |to| format!("{:.2}", rate(index) / to))
                };
                let failed: u64 = samples.iter().map(|s| s.seen.failed).sum();
                table.row([
                    connections.to_string(),
                    format!("{guest} {}", contender.name).trim().to_owned(),
                    format!("{:.0}", rate(index)),
                    ratio(wasmtime),
                    ratio(hyper),
                    format!("{:.0}", of(samples, |s| s.seen.p50_us)),
                    format!("{:.0}", of(samples, |s| s.seen.p99_us)),
                    format!("{:.1}", of(samples, |s| s.cpu_us)),
                    failed.to_string(),
                ]);
            }
        }
        Ok(())
    }

    /// Starts a contender and waits for its first answer; returns the host to ask for too.
    fn start(&self, kind: &Kind) -> Result<(Peer, String)> {
        let (peer, host) = match kind {
            Kind::Hyper => (peer::plain_hyper()?, "localhost".to_owned()),
            Kind::Wasmtime(arguments) => {
                let peer = peer::wasmtime(&self.wasmtime, &self.component, arguments)?;
                (peer, "localhost".to_owned())
            }
            Kind::Serve(isolation) => serve(self.context, "load", &self.component, isolation)?,
        };
        peer.wait_for(&host, Instant::now() + STARTUP)?;
        Ok((peer, host))
    }

    fn sample(
        &self,
        peer: &Peer,
        host: &str,
        connections: usize,
        protocol: Protocol,
    ) -> Result<Sample> {
        let load = Load {
            address: peer.address,
            host,
            connections,
            seconds: self.context.arguments.seconds,
        };
        sample(peer, load, |load| match protocol {
            Protocol::Http1 => tools::wrk(load),
            Protocol::H2c => tools::h2load(load, &self.context.directory),
        })
    }
}

/// Starts `serve` with one Service of this component; returns the host to ask for too.
pub fn serve(
    context: &Context,
    home: &str,
    component: &Path,
    isolation: &str,
) -> Result<(Peer, String)> {
    let service = manifest::service("load", component, &[(ISOLATION, isolation)]);
    let manifest = manifest::write(context, home, &[service])?;
    let serve = Serve {
        context,
        home,
        manifest: &manifest,
        port: 0,
        arguments: vec!["--fresh".to_owned()],
    };
    Ok((serve.start()?, manifest::host("load")))
}

/// The median of a value of the samples.
pub fn of(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    median(&samples.iter().map(value).collect::<Vec<_>>())
}
