//! What a client of HTTP/1.1 and a guest see of each other.

use std::path::Path;

use crate::client::{Client, Response, request};
use crate::process::{PATIENCE, Serve, wait_for};

pub const HOST: &str = "app.default.localhost";

/// A guest of `tests/guests`, with parts of its text replaced.
pub fn guest(name: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/guests/{name}.wat"));
    let mut text = std::fs::read_to_string(path).expect("a guest");
    for (old, new) in changes {
        assert!(text.contains(old), "{name} has no {old:?}");
        text = text.replace(old, new);
    }
    text
}

/// A running Service `app`.
pub struct App {
    pub serve: Serve,
    _directory: tempfile::TempDir,
}

impl App {
    /// Runs a guest with these lines in its Revision's spec, in one replica.
    pub fn start(guest: &str, spec: &[&str]) -> Self {
        Self::start_with(guest, spec, &[])
    }

    pub fn start_with(guest: &str, spec: &[&str], arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("app.wat"), guest).expect("written");
        let mut manifest = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  \
                            name: app\nspec:\n  template:\n    metadata:\n      annotations:\n        \
                            autoscaling.knative.dev/max-scale: \"1\"\n    spec:\n"
            .to_owned();
        for line in spec {
            manifest += &format!("      {line}\n");
        }
        manifest += "      containers:\n      - image: ./app.wat\n";
        let path = directory.path().join("app.yaml");
        std::fs::write(&path, manifest).expect("written");
        let mut serve = Serve::start_with(&path, arguments);
        serve.event("ready");
        Self {
            serve,
            _directory: directory,
        }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.serve.public())
    }

    /// Sends one request whose head has these lines after the Host field.
    pub fn ask(&self, line: &str, fields: &[&str]) -> Response {
        request(self.serve.public(), &head(line, fields))
    }
}

/// The head of a request to the app.
pub fn head(line: &str, fields: &[&str]) -> String {
    let mut head = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n");
    for field in fields {
        head += field;
        head += "\r\n";
    }
    head + "\r\n"
}

#[test]
fn a_guest_sees_the_request_as_on_a_cluster() {
    let app = App::start(&guest("request-head", &[]), &[]);
    let seen = |response: &Response| {
        let mut lines: Vec<String> = response.body.lines().map(str::to_owned).collect();
        lines[1..].sort();
        lines
    };
    let response = app.ask(
        "GET /a%20b?c=d",
        &[
            "Accept: */*",
            "Connection: keep-alive, x-hop",
            "X-Hop: 1",
            "TE: trailers, deflate",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            "X-Forwarded-For: 192.0.2.7",
            "K-Original-Host: other",
            "Knative-Serving-Revision: other",
            "Knative-Serving-Namespace: other",
            "Knative-Serving-Tag: other",
            "Knative-Serving-Default-Route: true",
            "K-Network-Hash: x",
            "traceparent: 00-1-2-3",
        ],
    );
    assert_eq!(
        seen(&response),
        [
            &format!("{HOST} /a%20b?c=d"),
            "accept: */*",
            "forwarded: for=192.0.2.7;proto=http, for=127.0.0.1",
            "k-proxy-request: activator",
            "te: trailers",
            "traceparent: 00-1-2-3",
            "x-forwarded-for: 192.0.2.7, 127.0.0.1",
            "x-forwarded-proto: http",
        ]
    );
    // The port and the case of the host are the client's.
    let text = "GET / HTTP/1.1\r\nHost: APP.default.localhost:80\r\n\r\n";
    let response = request(app.serve.public(), text);
    assert_eq!(seen(&response)[0], "APP.default.localhost:80 /");
    let text = format!("GET http://{HOST}:80/x?y HTTP/1.1\r\nHost: other\r\n\r\n");
    let response = request(app.serve.public(), &text);
    assert_eq!(seen(&response)[0], format!("{HOST}:80 /x?y"));
}

#[test]
fn probes_are_answered_without_the_guest() {
    // The guest would never answer.
    let app = App::start(&guest("wait", &[]), &[]);
    let probed = app.ask("GET /", &["K-Network-Probe: probe", "K-Network-Hash: abc"]);
    assert_eq!(probed.status, 200);
    assert_eq!(probed.header("k-network-hash"), Some("abc"));
    let wrong = app.ask("GET /", &["K-Network-Probe: other"]);
    assert_eq!(
        (wrong.status, wrong.body.as_str()),
        (400, "unexpected probe header value: other\n")
    );
    let hashless = app.ask("GET /", &["K-Network-Probe: probe"]);
    assert_eq!(
        (hashless.status, hashless.body.as_str()),
        (
            400,
            "a probe request must contain a non-empty \"K-Network-Hash\" header\n"
        )
    );
    for field in ["User-Agent: kube-probe/1.32", "K-Kubelet-Probe: queue"] {
        let probed = app.ask("GET /", &[field]);
        assert_eq!((probed.status, probed.body.as_str()), (200, ""), "{field}");
    }
    let elsewhere = "GET / HTTP/1.1\r\nHost: other\r\nK-Network-Probe: probe\r\n\r\n";
    assert_eq!(request(app.serve.public(), elsewhere).status, 404);
}

#[test]
fn time_outs_end_responses_as_their_heads_allow() {
    let dots = guest("drip", &[]);
    let app = App::start(&dots, &["timeoutSeconds: 1"]);
    let mut client = app.connect();
    client.send(head("GET /", &[]).as_bytes());
    let chunked = client.response();
    assert_eq!(chunked.status, 200);
    assert!(chunked.body.ends_with(".request timeout"), "it ends well");
    // The connection can be used again.
    client.send(head("HEAD /", &[]).as_bytes());
    assert_eq!(client.head().status, 200);
    // HTTP/1.0 has no chunks: the end of the connection is the end of the body.
    let mut old = app.connect();
    old.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n").as_bytes());
    assert_eq!(old.head().status, 200);
    let rest = old.rest();
    assert!(rest.ends_with(b".request timeout"));
    drop(app);

    let announced = (
        "$announced i32 (i32.const 0)",
        "$announced i32 (i32.const 1)",
    );
    let app = App::start(&guest("drip", &[announced]), &["timeoutSeconds: 1"]);
    let mut client = app.connect();
    client.send(head("GET /", &[]).as_bytes());
    assert_eq!(client.head().header("content-length"), Some("99999999"));
    let rest = client.rest();
    assert!(rest.ends_with(b"."), "the response breaks off");
    drop(app);

    let app = App::start(&guest("wait", &[]), &["timeoutSeconds: 1"]);
    let late = app.ask("GET /", &[]);
    assert_eq!((late.status, late.body.as_str()), (504, "request timeout"));
    let late = app.ask(
        "POST /",
        &["Content-Type: application/grpc", "TE: trailers"],
    );
    assert_eq!((late.status, late.body.as_str()), (200, ""));
    assert_eq!(late.header("grpc-status"), Some("4"));
    assert_eq!(late.header("grpc-message"), Some("request timeout"));
}

#[test]
fn start_and_idle_times_are_those_of_the_manifest() {
    let app = App::start(
        &guest("wait", &[]),
        &["timeoutSeconds: 60", "responseStartTimeoutSeconds: 1"],
    );
    assert_eq!(app.ask("GET /", &[]).status, 504);
    drop(app);
    let slow = ("(i64.const 100_000_000)", "(i64.const 3_000_000_000)");
    let app = App::start(
        &guest("drip", &[slow]),
        &["timeoutSeconds: 60", "idleTimeoutSeconds: 1"],
    );
    let idle = app.ask("GET /", &[]);
    assert_eq!((idle.status, idle.body.as_str()), (200, "request timeout"));
}

#[test]
fn a_guest_that_fails_costs_its_own_response() {
    let app = App::start(&guest("trap", &[]), &[]);
    let trapped = app.ask("GET /", &[]);
    assert_eq!((trapped.status, trapped.body.as_str()), (500, ""));
    let trapped = app.ask("POST /", &["Content-Type: application/grpc+proto"]);
    assert_eq!(
        (trapped.status, trapped.header("grpc-status")),
        (200, Some("2"))
    );
    drop(app);
    let app = App::start(&guest("trap-mid-body", &[]), &[]);
    let mut client = app.connect();
    client.send(head("GET /", &[]).as_bytes());
    assert_eq!(client.head().status, 200);
    let rest = client.rest();
    assert!(rest.starts_with(b"4\r\nhalf\r\n"), "what there was of it");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it does not look whole");
}

#[test]
fn a_client_that_goes_away_makes_room() {
    let app = App::start(
        &guest("drip", &[]),
        &["timeoutSeconds: 600", "containerConcurrency: 1"],
    );
    // Each takes the only place; the next one gets it only when the guest has been ended.
    for _ in 0..3 {
        let mut client = app.connect();
        client.send(head("GET /", &[]).as_bytes());
        assert_eq!(client.head().status, 200);
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let endless = ("(i64.const 100_000_000)", "(i64.const 0)");
    let app = App::start(
        &guest("drip", &[endless]),
        &["timeoutSeconds: 1", "containerConcurrency: 1"],
    );
    let mut reader = app.connect();
    reader.send(head("GET /", &[]).as_bytes());
    assert_eq!(reader.head().status, 200);
    // It reads no further, and its place is free after its time.
    let next = wait_for(PATIENCE, || {
        let mut next = app.connect();
        next.send(head("HEAD /", &[]).as_bytes());
        (next.head().status == 200).then_some(())
    });
    assert!(next.is_some(), "the next request is served");
}

#[test]
fn expectations_are_met_when_the_guest_reads() {
    // It reads before it answers.
    let reads = (
        "(call $begin (local.get $out))",
        "(call $read (local.get $in) (i64.const 0) (i32.const 16)) (call $begin (local.get $out))",
    );
    let app = App::start(&guest("echo", &[reads]), &[]);
    let mut client = app.connect();
    client.send(head("POST /", &["Expect: 100-continue", "Content-Length: 3"]).as_bytes());
    assert_eq!(client.head().status, 100);
    client.send(b"abc");
    let response = client.response();
    assert_eq!((response.status, response.body.as_str()), (200, "abc"));
    assert_eq!(app.ask("POST /", &["Expect: 200-ok"]).status, 417);
    drop(app);
    // This one does not read, and the client is spared the body.
    let app = App::start(&guest("hello", &[]), &[]);
    let answered = app.ask("POST /", &["Expect: 100-continue", "Content-Length: 3"]);
    assert_eq!(answered.status, 200);
}

#[test]
fn head_gets_the_head_of_get() {
    let app = App::start(&guest("hello", &[]), &[]);
    let mut client = app.connect();
    for _ in 0..2 {
        client.send(head("HEAD /", &[]).as_bytes());
        let response = client.head();
        assert_eq!(response.status, 200);
        assert_eq!(response.header("transfer-encoding"), None);
    }
    // Nothing of a body is in the way of the next response.
    client.send(head("GET /", &[]).as_bytes());
    assert_eq!(client.response().body, "Hello World!\n");
    client.send(b"HEAD / HTTP/1.1\r\nHost: other\r\n\r\n");
    let unknown = client.head();
    assert_eq!(unknown.status, 404);
    assert_eq!(
        unknown.header("content-length"),
        Some("no route for host \"other\"\n".len().to_string().as_str())
    );
}

#[test]
fn trailers_go_both_ways() {
    // A header `trailer: 1`: a client of HTTP/1.1 is told beforehand which trailers come.
    let announce = [
        ("\"x-call\"", "\"trailer\""),
        (
            "(i32.const 256) (i32.const 6)",
            "(i32.const 256) (i32.const 7)",
        ),
    ];
    let app = App::start(&guest("echo-p3", &announce), &[]);
    for (te, want) in [
        ("TE: trailers", "0\r\n1: sum\r\n\r\n"),
        ("X: y", "0\r\n\r\n"),
    ] {
        let mut client = app.connect();
        let fields = [
            te,
            "Transfer-Encoding: chunked",
            "Trailer: 1",
            "Connection: close",
        ];
        client.send(head("POST /", &fields).as_bytes());
        client.send(b"3\r\nabc\r\n0\r\n1: sum\r\n\r\n");
        assert_eq!(client.head().status, 200);
        let rest = String::from_utf8(client.rest()).expect("text");
        assert!(rest.ends_with(want), "{te}: {rest:?}");
    }
}

#[test]
fn connections_are_limited_by_address_and_in_all() {
    let app = App::start_with(
        &guest("hello", &[]),
        &[],
        &["--set", "ingress.max-connections-per-address=2"],
    );
    let mut first = app.connect();
    let mut second = app.connect();
    for client in [&mut first, &mut second] {
        client.send(head("GET /", &[]).as_bytes());
        assert_eq!(client.response().status, 200);
    }
    let mut third = app.connect();
    assert_eq!(third.rest(), b"", "refused at once");
    drop(first);
    let fourth = wait_for(PATIENCE, || {
        let mut client = app.connect();
        client.try_send(head("GET /", &["Connection: close"]).as_bytes());
        (!client.rest().is_empty()).then_some(())
    });
    assert!(fourth.is_some(), "there is room again");
}

#[test]
fn an_idle_connection_is_closed() {
    let app = App::start_with(
        &guest("hello", &[]),
        &[],
        &[
            "--set",
            "ingress.keep-alive-timeout=1s",
            "--set",
            "ingress.header-read-timeout=1s",
        ],
    );
    let mut used = app.connect();
    used.send(head("GET /", &[]).as_bytes());
    assert_eq!(used.response().status, 200);
    assert_eq!(used.rest(), b"");
    let mut silent = app.connect();
    assert_eq!(silent.rest(), b"");
    let mut slow = app.connect();
    slow.send(b"GET / HTTP/1.1\r\nHo");
    assert_eq!(slow.rest(), b"");
}
