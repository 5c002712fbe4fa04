//! Idle connections beside busy ones.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Context;
use crate::client::Client;
use crate::guests;
use crate::machine;
use crate::manifest::{self, ISOLATION};
use crate::peer::{Peer, Serve};
use crate::table::{Section, Table};
use crate::tools::{self, Load};

/// Each costs this process a descriptor too.
const IDLE: usize = 10_000;
const ACTIVE: usize = 100;
const STARTUP: Duration = Duration::from_secs(60);

pub fn run(context: &Context) -> Result<Section> {
    let hello = guests::text(context, "hello")?;
    let service = manifest::service("idle", &hello, &[(ISOLATION, "revision")]);
    let manifest = manifest::write(context, "idle", &[service])?;
    let set = |setting: &str| ["--set".to_owned(), setting.to_owned()];
    let peer = Serve {
        context,
        home: "idle",
        manifest: &manifest,
        port: 0,
        arguments: [
            set("ingress.max-connections=20000"),
            set("ingress.max-connections-per-address=20000"),
        ]
        .concat(),
    }
    .start()?;
    let host = manifest::host("idle");
    peer.wait_for(&host, Instant::now() + STARTUP)?;
    let load = Load {
        address: peer.address,
        host: &host,
        connections: ACTIVE,
        seconds: context.arguments.seconds,
    };
    let measure = || -> Result<_> {
        tools::wrk(Load { seconds: 1, ..load })?;
        let before = machine::cpu_time(peer.pid());
        let seen = tools::wrk(load)?;
        let used = machine::cpu_time(peer.pid()).saturating_sub(before);
        let cpu_us = used.as_secs_f64() * 1e6 / seen.requests.max(1) as f64;
        Ok((seen, cpu_us))
    };
    let mut table = Table::new(&[
        "idle connections",
        "req/s of 100 others",
        "p50 µs",
        "p99 µs",
        "CPU µs/req",
        "failed",
        "RSS MiB",
        "an idle one kB",
    ]);
    let count = context.size(IDLE);
    let alone = measure()?;
    let base = machine::resident_bytes(peer.pid());
    let idle = open(&peer, &host, count)?;
    let with_idle = machine::resident_bytes(peer.pid());
    let beside = measure()?;
    drop(idle);
    let each = with_idle.saturating_sub(base) as f64 / 1e3 / count as f64;
    for (idle, (seen, cpu_us), resident, each) in [
        (0, alone, base, "-".to_owned()),
        (count, beside, with_idle, format!("{each:.1}")),
    ] {
        table.row([
            idle.to_string(),
            format!("{:.0}", seen.per_second),
            format!("{:.0}", seen.p50_us),
            format!("{:.0}", seen.p99_us),
            format!("{cpu_us:.1}"),
            seen.failed.to_string(),
            (resident >> 20).to_string(),
            each,
        ]);
    }
    Ok(Section {
        name: "idle-connections",
        about: format!(
            "Connections that asked once and were kept open, beside {ACTIVE} at full speed (wrk)."
        ),
        table,
        notes: vec![],
    })
}

/// Connections that have had one answer and wait.
fn open(peer: &Peer, host: &str, count: usize) -> Result<Vec<TcpStream>> {
    let open = |n: usize| {
        let mut client = Client::connect(peer.address)
            .with_context(|| format!("after {n} connections; see `ulimit -n`"))?;
        client.get(host, "/")?;
        Ok(client.into_stream())
    };
    (0..count).map(open).collect()
}
