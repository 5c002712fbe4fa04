//! What each kind of thread may take from the others.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::client::{Client, get};
use crate::hello::{service, workspace, write};
use crate::process::{PATIENCE, Serve, wait_for};

/// The niceness of the threads of a process, by what their names begin with.
fn niceness(pid: u32) -> BTreeMap<String, Vec<i32>> {
    let mut found = BTreeMap::<_, Vec<i32>>::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
        let stat = std::fs::read_to_string(thread.expect("listed").path().join("stat"));
        // A thread may have ended since.
        let Ok(stat) = stat else { continue };
        let (name, fields) = stat.split_once(") ").expect("a name in brackets");
        let name = name.split_once('(').expect("a name in brackets").1;
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        // The 19th field; the first two are before the bracket.
        let nice = fields.split(' ').nth(16).expect("a niceness");
        let nice = nice.parse().expect("a number");
        found.entry(name.to_owned()).or_default().push(nice);
    }
    found
}

#[test]
fn threads_that_serve_requests_go_before_those_of_the_control_plane() {
    let directory = workspace();
    let mut serve = Serve::start(&write(&directory, "h1.yaml", &service("h1", "x")));
    serve.event("ready");
    assert_eq!(get(serve.public(), "h1.default.localhost").status, 200);
    let found = niceness(serve.pid());
    let of = |name: &str| {
        found
            .get(name)
            .unwrap_or_else(|| panic!("{name}: {found:?}"))
    };
    // Of the thread that started the others: whoever runs the tests may have given way to all.
    let own = of("serve")[0];
    assert!(
        of("serve-data").iter().all(|nice| *nice == own),
        "{found:?}"
    );
    assert!(
        of("serve-control").iter().all(|nice| *nice > own),
        "{found:?}"
    );
}

/// What stands after a name in one of the files of a process.
fn field(pid: u32, file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn no_request_waits_for_a_larger_table_of_open_files() {
    let directory = workspace();
    let mut serve = Serve::start(&write(&directory, "h1.yaml", &service("h1", "x")));
    serve.event("ready");
    let reserved = field(serve.pid(), "status", "FDSize:").expect("a number");
    // None where it is `unlimited`.
    let limit = field(serve.pid(), "limits", "Max open files").unwrap_or(u64::MAX);
    assert!(reserved >= limit.min(10_000), "{reserved} of {limit}");
}

/// A Service whose calls compute for some tenths of a millisecond.
fn working(name: &str, cpu: &str) -> String {
    let service = service(name, "x").replace("./hello.wat", "./work.wat");
    format!("{service}        resources:\n          requests:\n            cpu: {cpu}\n")
}

/// Clients of two Services, which ask for more than the machine has: its cores are shared by what the
/// Services request.
#[test]
fn short_calls_share_busy_cores_by_what_their_services_request() {
    const CLIENTS: usize = 8;
    /// Calls that are counted at once, of both.
    const ROUND: usize = 2000;
    /// One is enough that is as it should be: where the machine has so much else to do that the
    /// clients come too late, there is nothing to be shared.
    const ROUNDS: usize = 20;
    let directory = workspace();
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/work.wat");
    std::fs::copy(guest, directory.path().join("work.wat")).expect("copied");
    let text = format!(
        "{}---\n{}",
        working("small", "100m"),
        working("large", "300m")
    );
    let mut serve = Serve::start(&write(&directory, "both.yaml", &text));
    serve.event("ready");
    serve.event("ready");
    let (address, is_over) = (serve.public(), AtomicBool::new(false));
    let answered = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let got = || [0, 1].map(|n: usize| answered[n].load(Ordering::Relaxed));
    let is_right = |share: &f64| (2.0..4.5).contains(share);
    let shares = std::thread::scope(|scope| {
        for (name, answered) in ["small", "large"].iter().zip(&answered) {
            for _ in 0..CLIENTS {
                let mut client = Client::connect(address);
                let is_over = &is_over;
                scope.spawn(move || {
                    let head = format!("GET / HTTP/1.1\r\nHost: {name}.default.localhost\r\n\r\n");
                    while !is_over.load(Ordering::Relaxed) {
                        client.send(head.as_bytes());
                        assert_eq!(client.response().status, 200);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        let mut shares = Vec::new();
        for _ in 0..ROUNDS {
            let before = got();
            let passed = wait_for(PATIENCE, || {
                let now = got();
                let round = [now[0] - before[0], now[1] - before[1]];
                (round[0] + round[1] >= ROUND).then_some(round)
            });
            let Some([small, large]) = passed else { break };
            shares.push(large as f64 / small.max(1) as f64);
            if shares.last().is_some_and(is_right) {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        shares
    });
    assert!(shares.last().is_some_and(is_right), "{shares:?}");
}
