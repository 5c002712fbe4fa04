//! Clients at full speed while everything changes: no request fails, and no response is of a state
//! that was over before the request began or had not begun when it ended.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::client::Client;
use crate::hello::{service, workspace, write};
use crate::process::Serve;

const CHANGES: usize = 100;
const CLIENTS: usize = 2;

/// States are numbered; a response says with which it was made.
#[derive(Default)]
struct Progress {
    /// The newest state that was written to the file.
    written: AtomicUsize,
    /// The newest state that was reported as serving.
    settled: AtomicUsize,
    over: AtomicBool,
    requests: AtomicUsize,
}

/// Runs clients beside `change`, which goes through the states.
fn under_load(
    serve: &mut Serve,
    fits: impl Fn(&str, usize, usize) -> bool + Sync,
    change: impl FnOnce(&mut Serve, &Progress),
) {
    let progress = Progress::default();
    let address = serve.public();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !progress.over.load(Ordering::Acquire) {
                    let from = progress.settled.load(Ordering::Acquire);
                    client.send(b"GET / HTTP/1.1\r\nHost: h1.default.localhost\r\n\r\n");
                    let response = client.response();
                    let to = progress.written.load(Ordering::Acquire);
                    assert_eq!(response.status, 200, "{}", response.body);
                    assert!(
                        fits(&response.body, from, to),
                        "{:?} between states {from} and {to}",
                        response.body
                    );
                    progress.requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The clients end whatever happens here, or the scope would wait for them.
        struct End<'a>(&'a Progress);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.over.store(true, Ordering::Release);
            }
        }
        let _end = End(&progress);
        change(serve, &progress);
    });
    let requests = progress.requests.into_inner();
    println!("{requests} requests");
    assert!(requests > CHANGES, "the clients kept asking");
}

fn overwrite(path: &Path, text: &str) {
    let beside = path.with_extension("new~");
    std::fs::write(&beside, text).expect("written");
    std::fs::rename(beside, path).expect("renamed");
}

#[test]
fn new_revisions_take_over_without_a_lost_request() {
    let directory = workspace();
    let manifest = write(&directory, "h1.yaml", &service("h1", "0"));
    let mut serve = Serve::start(&manifest);
    serve.event("ready");
    let number = |body: &str| -> Option<usize> {
        body.strip_prefix("Hello ")?
            .strip_suffix("!\n")?
            .parse()
            .ok()
    };
    under_load(
        &mut serve,
        |body, from, to| number(body).is_some_and(|n| (from..=to).contains(&n)),
        |serve, progress| {
            for n in 1..=CHANGES {
                progress.written.store(n, Ordering::Release);
                overwrite(&manifest, &service("h1", &n.to_string()));
                assert_eq!(
                    serve.event("reloaded")["revision"],
                    format!("h1-{:05}", n + 1)
                );
                progress.settled.store(n, Ordering::Release);
            }
        },
    );
}

#[test]
fn traffic_changes_lose_no_request() {
    let directory = workspace();
    let manifest = write(&directory, "h1.yaml", &service("h1", "0"));
    let mut serve = Serve::start(&manifest);
    serve.event("ready");
    let second = service("h1", "1");
    overwrite(&manifest, &second);
    serve.event("reloaded");
    let all_to = |n: usize| {
        let name = ["h1-00001", "h1-00002"][n % 2];
        format!("{second}  traffic:\n  - revisionName: {name}\n    percent: 100\n")
    };
    overwrite(&manifest, &all_to(0));
    serve.event("reloaded");
    under_load(
        &mut serve,
        |body, from, to| (from..=to).any(|n| body == ["Hello 0!\n", "Hello 1!\n"][n % 2]),
        |serve, progress| {
            for n in 1..=CHANGES {
                progress.written.store(n, Ordering::Release);
                overwrite(&manifest, &all_to(n));
                serve.event("reloaded");
                progress.settled.store(n, Ordering::Release);
            }
        },
    );
}

#[test]
fn a_storm_of_events_costs_no_request_and_makes_one_revision() {
    let directory = workspace();
    let manifest = write(&directory, "h1.yaml", &service("h1", "0"));
    let mut serve = Serve::start(&manifest);
    serve.event("ready");
    under_load(
        &mut serve,
        |body, from, to| (from..=to).any(|n| body == ["Hello 0!\n", "Hello 1!\n"][n % 2]),
        |serve, progress| {
            // The same text again and again, half-written now and then: nothing is new in it.
            let text = service("h1", "0");
            for n in 0..10_000 {
                let text = if n % 100 == 0 {
                    &text[..text.len() / 2]
                } else {
                    &text
                };
                std::fs::write(&manifest, text).expect("written");
            }
            progress.written.store(1, Ordering::Release);
            overwrite(&manifest, &service("h1", "1"));
            assert_eq!(serve.event("reloaded")["revision"], "h1-00002");
            progress.settled.store(1, Ordering::Release);
        },
    );
}
