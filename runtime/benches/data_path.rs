//! The steps of a request before its guest: finding the Route, choosing the Revision, making the
//! headers, being admitted.
//!
//! `cargo bench -p serve-runtime --bench data_path`

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue};
use serve_core::breaker::Capacity;
use serve_core::meta::ObjectKey;
use serve_core::traffic::{Host, Ingress, RouteTable, Target, Visibility, pick};
use serve_runtime::activator::Activator;
use serve_runtime::ingress::fields::Fields;
use serve_runtime::ingress::headers::{self, Client};
use tokio::time::Instant;

fn main() {
    divan::main();
}

fn host(n: usize) -> String {
    format!("service-{n}.default.example.com")
}

fn ingress(n: usize) -> Ingress {
    let target = Target {
        revision: ObjectKey::new("default", format!("service-{n}-00001")),
        percent: 100,
    };
    Ingress {
        route: ObjectKey::new("default", format!("service-{n}")),
        uid: n.to_string(),
        hosts: vec![Host {
            host: host(n),
            visibility: Visibility::Public,
            tag: None,
            targets: vec![target],
        }],
        ..Ingress::default()
    }
}

/// Another host each time, so that the table and not one line of the cache is looked at.
#[divan::bench(args = [1, 100, 10_000, 100_000])]
fn route_lookup(bencher: Bencher, hosts: usize) {
    let ingresses: Vec<Ingress> = (0..hosts).map(ingress).collect();
    let table = RouteTable::build(&ingresses);
    let names: Vec<String> = (0..hosts).map(host).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        // A step that has no factor in common with the numbers of hosts.
        next = (next + 7919) % hosts;
        let found = table.lookup(black_box(&names[next]), Visibility::Public, None);
        assert!(found.is_some());
    });
}

/// What a change of one Route costs the table.
#[divan::bench(args = [1, 100, 10_000, 100_000])]
fn route_swap(bencher: Bencher, hosts: usize) {
    let ingresses: Vec<Ingress> = (0..hosts).map(ingress).collect();
    let table = RouteTable::build(&ingresses);
    let mut changed = ingresses[0].clone();
    "service-0-00002".clone_into(&mut changed.hosts[0].targets[0].revision.name);
    bencher.bench(|| table.replace(black_box(Some(&ingresses[0])), black_box(Some(&changed))));
}

#[divan::bench(args = [1, 2, 10])]
fn weighted_pick(bencher: Bencher, targets: u8) {
    let target = |n: u8| Target {
        revision: ObjectKey::new("default", format!("r-{n}")),
        percent: 100 / targets,
    };
    let targets: Vec<Target> = (0..targets).map(target).collect();
    let mut random: u64 = 0;
    bencher.bench_local(|| {
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        assert!(pick::pick(black_box(&targets), random).is_some());
    });
}

/// The header fields of a browser's request.
#[divan::bench]
fn header_preparation(bencher: Bencher) {
    let given: HeaderMap = [
        ("host", "service-1.default.example.com"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"),
        ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate"),
        ("connection", "keep-alive"),
        ("cookie", "session=0123456789abcdef"),
        ("x-forwarded-for", "192.0.2.7"),
    ]
    .map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    })
    .into_iter()
    .collect();
    let client = Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
    bencher
        .with_inputs(|| given.clone())
        .bench_local_refs(|headers| {
            let fields = Fields::of(black_box(headers));
            headers::prepare(headers, fields, &client);
        });
}

/// Admission and its end, while there is room.
#[divan::bench(args = [0, 10])]
fn admission(bencher: Bencher, container_concurrency: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O starts");
    let activator: Arc<Activator> = Activator::new(100, 1);
    activator.set_capacity(Capacity::of(1, container_concurrency));
    runtime.block_on(async {
        let now = Instant::now();
        let deadline = now + Duration::from_secs(60);
        bencher.bench_local(|| {
            let admitted = futures_util::FutureExt::now_or_never(activator.admit(0, now, deadline));
            let permit = admitted.expect("there is room").expect("it is not stopped");
            drop(black_box(permit));
        });
    });
}
