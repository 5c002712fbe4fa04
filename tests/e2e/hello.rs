//! The first story: manifests in, answers out.

use std::path::{Path, PathBuf};

use crate::client::{Client, get, request};
use crate::process::Serve;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory with the hello guest in it.
pub fn workspace() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let guest = repository().join("examples/hello.wat");
    std::fs::copy(guest, directory.path().join("hello.wat")).expect("copied");
    directory
}

pub fn write(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

pub fn service(name: &str, target: &str) -> String {
    format!(
        "apiVersion: serving.knative.dev/v1\n\
         kind: Service\n\
         metadata:\n  name: {name}\n\
         spec:\n  template:\n    spec:\n      containers:\n      - image: ./hello.wat\n        \
         env:\n        - name: TARGET\n          value: \"{target}\"\n"
    )
}

#[test]
fn the_example_answers_at_the_url_that_is_printed() {
    let mut serve = Serve::start(&repository().join("examples/hello.yaml"));
    let ready = serve.event("ready");
    let port = serve.public().port();
    assert_eq!(ready["name"], "hello");
    assert_eq!(ready["revision"], "hello-00001");
    assert_eq!(
        ready["url"],
        format!("http://hello.default.localhost:{port}")
    );
    let response = get(serve.public(), &format!("hello.default.localhost:{port}"));
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, "Hello Go Sample v1!\n")
    );
}

#[test]
fn each_service_is_found_by_its_host() {
    let directory = workspace();
    let text = format!(
        "{}---\n{}",
        service("first", "one"),
        service("second", "two")
    );
    let mut serve = Serve::start(&write(&directory, "both.yaml", &text));
    serve.event("ready");
    serve.event("ready");
    let at = serve.public();
    assert_eq!(get(at, "first.default.localhost").body, "Hello one!\n");
    assert_eq!(get(at, "SECOND.default.localhost:80").body, "Hello two!\n");
    assert_eq!(get(at, "third.default.localhost").status, 404);
    assert_eq!(
        request(
            at,
            "GET http://first.default.localhost/ HTTP/1.1\r\nHost: other\r\n\r\n"
        )
        .body,
        "Hello one!\n",
        "the absolute form wins over the Host field"
    );
    assert_eq!(request(at, "GET / HTTP/1.1\r\nHost:\r\n\r\n").status, 400);
}

#[test]
fn local_names_are_served_on_the_local_listener_only() {
    let directory = workspace();
    let mut serve = Serve::start(&write(&directory, "one.yaml", &service("one", "x")));
    serve.event("ready");
    for host in [
        "one.default",
        "one.default.svc",
        "one.default.svc.cluster.local",
    ] {
        assert_eq!(get(serve.public(), host).status, 404, "{host}");
        assert_eq!(get(serve.local(), host).body, "Hello x!\n", "{host}");
    }
    assert_eq!(
        get(serve.local(), "one.default.localhost").body,
        "Hello x!\n"
    );
}

#[test]
fn probes_are_answered_and_upgrades_are_refused_with_the_reason() {
    let directory = workspace();
    let mut serve = Serve::start(&write(&directory, "one.yaml", &service("one", "x")));
    serve.event("ready");
    let ask = |fields: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: one.default.localhost\r\n{fields}\r\n");
        request(serve.public(), &head)
    };
    let probed = ask("K-Network-Probe: probe\r\nK-Network-Hash: abc\r\n");
    assert_eq!(
        (probed.status, probed.header("k-network-hash")),
        (200, Some("abc"))
    );
    assert_eq!(ask("K-Network-Probe: probe\r\n").status, 400);
    let upgraded = ask("Connection: upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!(upgraded.status, 501);
    assert!(upgraded.body.contains("wasi:http"), "{}", upgraded.body);
}

#[test]
fn bodies_stream_both_ways() {
    let directory = tempfile::tempdir().expect("a directory");
    let guest = repository().join("tests/guests/echo.wat");
    std::fs::copy(guest, directory.path().join("hello.wat")).expect("copied");
    let mut serve = Serve::start(&write(&directory, "one.yaml", &service("echo", "x")));
    serve.event("ready");
    let mut client = Client::connect(serve.public());
    client.send(
        b"POST / HTTP/1.1\r\nHost: echo.default.localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    client.send(b"5\r\nfirst\r\n");
    // The response begins, and the first part comes back, before the request ends.
    assert_eq!(client.head().status, 200);
    let mut got = Vec::new();
    while got.len() < 5 {
        got.extend(client.chunk().expect("more of the body"));
    }
    assert_eq!(got, b"first");
    client.send(b"6\r\nsecond\r\n0\r\n\r\n");
    let rest: Vec<u8> = std::iter::from_fn(|| client.chunk()).flatten().collect();
    assert_eq!(rest, b"second");
}

#[test]
fn signals_end_the_process_after_its_requests() {
    for signal in ["TERM", "INT"] {
        let directory = workspace();
        let mut serve = Serve::start(&write(&directory, "one.yaml", &service("one", "x")));
        serve.event("ready");
        assert_eq!(get(serve.public(), "one.default.localhost").status, 200);
        serve.signal(signal);
        serve.event("stopped");
        let (status, log) = serve.wait();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

#[test]
fn a_request_that_runs_when_the_signal_comes_is_finished() {
    let directory = tempfile::tempdir().expect("a directory");
    let guest = repository().join("tests/guests/echo.wat");
    std::fs::copy(guest, directory.path().join("hello.wat")).expect("copied");
    let mut serve = Serve::start(&write(&directory, "one.yaml", &service("echo", "x")));
    serve.event("ready");
    let mut client = Client::connect(serve.public());
    client.send(
        b"POST / HTTP/1.1\r\nHost: echo.default.localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\nfirst\r\n",
    );
    assert_eq!(client.head().status, 200);
    serve.signal("TERM");
    // Once the listener is closed the signal has been seen.
    let closed = crate::process::wait_for(crate::process::PATIENCE, || {
        std::net::TcpStream::connect(serve.public())
            .is_err()
            .then_some(())
    });
    assert!(closed.is_some(), "the listener closes");
    client.send(b"6\r\nsecond\r\n0\r\n\r\n");
    let body: Vec<u8> = std::iter::from_fn(|| client.chunk()).flatten().collect();
    assert_eq!(body, b"firstsecond");
    serve.event("stopped");
    assert_eq!(serve.wait().0.code(), Some(0));
}
