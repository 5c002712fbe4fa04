//! What net/http promises a program and its clients, asked over sockets.

use std::thread;

use serde_json::{Value, json};

use super::guest::{Guest, PORT, head};
use crate::client::{Client, Response};
use crate::process::{PATIENCE, wait_for};

/// Bytes in which a shift or a loss shows.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(count).collect()
}

fn json(response: &Response) -> Value {
    serde_json::from_str(&response.body).unwrap_or_else(|_| panic!("not JSON: {response:?}"))
}

#[track_caller]
fn assert_hello(guest: &Guest) {
    let response = guest.get("/");
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, "Hello World!\n")
    );
}

/// Reads chunks until there are `count` bytes of them.
fn read_part(client: &mut Client, count: usize) -> Vec<u8> {
    let mut part = Vec::new();
    while part.len() < count {
        part.extend(client.chunk().expect("more of the body"));
    }
    part
}

#[track_caller]
fn wait_for_log(guest: &Guest, parts: &[&str]) {
    let found = wait_for(PATIENCE, || {
        let log = guest.log();
        let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
        log.lines().any(has_all).then_some(())
    });
    assert!(found.is_some(), "no line with {parts:?}");
}

pub fn instances_are_reused(guest: &Guest) {
    // A request that comes before the last one's instance is back gets another instance.
    let counted = (0..100).any(|_| guest.get_of("counted", "/count").body == "5\n");
    assert!(counted, "no instance was used five times");
}

/// Go's collector reads the clock, and an import must not be called while the host hands bytes
/// over: guests that allocate for them trap here.
pub fn large_bodies_are_whole_beside_garbage_collection(guest: &Guest) {
    const SIZE: usize = 3_000_000;
    let sent = noise(SIZE);
    let sum: u64 = sent.iter().copied().map(u64::from).sum();
    for path in ["/echo", "/echo?length", "/echo?gc", "/length", "/echo"] {
        let mut client = guest.connect();
        let fields = format!("Content-Length: {SIZE}\r\n");
        client.send(head("POST", "loaded", path, &fields).as_bytes());
        let sending = client.send_beside(sent.clone());
        let response = client.head();
        assert_eq!(response.status, 200, "{path}");
        let got = client.body(&response);
        if path == "/length" {
            assert_eq!(got, format!("{SIZE} {sum} <nil>\n").as_bytes());
        } else {
            assert_eq!(got.len(), sent.len(), "{path}");
            assert!(got == sent, "{path}: the bytes differ");
        }
        sending.join().expect("no panic").expect("all was read");
        let collected = guest.get_of("loaded", "/gc?mb=16");
        assert!(collected.body.starts_with("gc "), "{collected:?}");
    }
    let response = guest.get_of("loaded", &format!("/big?bytes={SIZE}"));
    assert_eq!(response.body.len(), SIZE);
}

pub fn many_requests_one_after_the_other(guest: &Guest) {
    let mut client = guest.connect();
    for _ in 0..100 {
        client.send(head("GET", "testguest", "/", "").as_bytes());
        let response = client.response();
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, "Hello World!\n")
        );
    }
}

pub fn many_requests_at_once(guest: &Guest) {
    let ask = || guest.get("/fan?n=3&ms=20");
    let responses: Vec<Response> = thread::scope(|scope| {
        let asking: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        let join = |asked: thread::ScopedJoinHandle<'_, Response>| asked.join().expect("an answer");
        asking.into_iter().map(join).collect()
    });
    let failed: Vec<_> = responses.iter().filter(|r| r.status != 200).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

pub fn flushed_parts_arrive_one_by_one(guest: &Guest) {
    // A busy machine may be late with a look, but a host that holds parts back is so every time.
    let one_by_one = (0..5).any(|_| {
        let mut client = guest.connect();
        client.send(head("GET", "testguest", "/stream?n=3&ms=500", "").as_bytes());
        assert_eq!(client.head().status, 200);
        let mut is_one_by_one = true;
        for n in 0..3 {
            let want = format!("chunk {n}\n");
            assert_eq!(read_part(&mut client, want.len()), want.as_bytes());
            is_one_by_one &= n == 2 || client.is_quiet();
        }
        assert_eq!(client.chunk(), None);
        is_one_by_one
    });
    assert!(one_by_one, "the parts came together");
}

pub fn goroutines_sleep_at_the_same_time(guest: &Guest) {
    let response = guest.get("/fan?n=100&ms=200");
    let milliseconds: u32 = response.body.trim().parse().expect("a number");
    assert!((200..10_000).contains(&milliseconds), "{milliseconds}");
}

pub fn a_request_and_its_response_run_at_the_same_time(guest: &Guest) {
    let mut client = guest.connect();
    let fields = "Transfer-Encoding: chunked\r\n";
    client.send(head("POST", "testguest", "/echo", fields).as_bytes());
    for n in 0..5 {
        let part = format!("part {n}");
        client.send(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes());
        if n == 0 {
            assert_eq!(client.head().status, 200);
        }
        assert_eq!(read_part(&mut client, part.len()), part.as_bytes());
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.chunk(), None);
}

pub fn trailers_go_both_ways(guest: &Guest) {
    let mut client = guest.connect();
    let fields = "TE: trailers\r\nTrailer: X-Sent\r\nTransfer-Encoding: chunked\r\n";
    client.send(head("POST", "testguest", "/trailers", fields).as_bytes());
    client.send(b"3\r\nabc\r\n0\r\nX-Sent: value\r\n\r\n");
    assert_eq!(client.response().body, "3 bytes\n");
    assert_eq!(client.trailer("x-sum"), Some("3"));
    assert_eq!(client.trailer("x-seen"), Some("X-Sent=value"));
}

pub fn headers_arrive_as_they_were_sent(guest: &Guest) {
    let mut client = guest.connect();
    let fields = "x-repeated: 1\r\nX-REPEATED: 2\r\nx-text: gr\u{fc}n\r\nContent-Length: 4\r\n";
    client.send(head("PUT", "testguest", "/headers?a=%2F&b", fields).as_bytes());
    client.send(b"body");
    let seen = json(&client.response());
    let want = json!({
        "X-Repeated": ["1", "2"],
        "X-Text": ["gr\u{fc}n"],
        "Content-Length": ["4"],
        "X-Forwarded-For": ["127.0.0.1"],
        "X-Forwarded-Proto": ["http"],
        "Forwarded": ["for=127.0.0.1;proto=http"],
        "K-Proxy-Request": ["activator"],
    });
    assert_eq!(seen["header"], want);
    for (name, want) in [
        ("method", json!("PUT")),
        ("uri", json!("/headers?a=%2F&b")),
        ("path", json!("/headers")),
        ("query", json!("a=%2F&b")),
        ("proto", json!("HTTP/1.1")),
        ("host", json!("testguest.default.localhost")),
        ("length", json!(4)),
        ("body", json!("body")),
    ] {
        assert_eq!(seen[name], want, "{name}");
    }
}

pub fn a_panic_before_the_response_is_a_500(guest: &Guest) {
    assert_eq!(guest.get("/panic").status, 500);
    assert_hello(guest);
    wait_for_log(guest, &["revision=", "boom"]);
}

pub fn a_panic_in_the_response_cuts_the_connection(guest: &Guest) {
    let mut client = guest.connect();
    client.send(head("GET", "testguest", "/panic-mid", "").as_bytes());
    assert_eq!(client.head().status, 200);
    assert_eq!(read_part(&mut client, 10), b"half of it\n");
    let rest = client.until_closed();
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    assert_hello(guest);
}

pub fn statuses_are_those_of_the_program(guest: &Guest) {
    // One connection: a body where none may be would be taken for the next response.
    let mut client = guest.connect();
    let mut ask = |method, path: &str| {
        client.send(head(method, "testguest", path, "").as_bytes());
        if method == "HEAD" {
            client.head()
        } else {
            client.response()
        }
    };
    for status in [200, 201, 204, 304, 404, 418, 503, 599] {
        let response = ask("GET", &format!("/status?code={status}"));
        assert_eq!((response.status, response.body.as_str()), (status, ""));
    }
    let response = ask("HEAD", "/");
    assert_eq!(
        (response.status, response.header("content-length")),
        (200, Some("13"))
    );
    assert_eq!(ask("HEAD", "/big?bytes=5000").status, 200);
    assert_eq!(ask("GET", "/no-such-path").status, 404);
    assert_eq!(ask("GET", "/").body, "Hello World!\n");
}

pub fn a_client_that_goes_away_leaves_the_service_usable(guest: &Guest) {
    let upload = "Content-Length: 100000\r\n";
    for (method, path, fields) in [
        ("GET", "/ctx", ""),
        ("GET", "/stream?n=100", ""),
        ("GET", "/big?bytes=50000000", ""),
        ("POST", "/echo", upload),
        ("POST", "/length", upload),
    ] {
        for _ in 0..5 {
            let mut client = guest.connect();
            client.send(head(method, "testguest", path, fields).as_bytes());
            if method == "POST" {
                client.send(b"the beginning");
            }
            // This one answers at the end of the request, which never comes.
            if path != "/length" {
                assert_eq!(client.head().status, 200, "{path}");
                client.chunk().expect("the beginning");
            }
            drop(client);
            assert_hello(guest);
        }
    }
}

pub fn what_the_program_prints_is_in_the_log(guest: &Guest) {
    assert_eq!(guest.get("/log").status, 200);
    for (line, stream) in [
        ("a line by log", "stderr"),
        ("a line by slog n=1", "stderr"),
        ("a line on stdout", "stdout"),
        ("a line on stderr", "stderr"),
    ] {
        let revision = "revision=\"default/testguest-00001\"";
        let stream = format!("stream=\"{stream}\"");
        wait_for_log(guest, &["guest", line, revision, "instance=", &stream]);
    }
}

pub fn the_environment_is_the_revisions(guest: &Guest) {
    let want = json!({
        "PORT": PORT.to_string(),
        "K_SERVICE": "testguest",
        "K_CONFIGURATION": "testguest",
        "K_REVISION": "testguest-00001",
    });
    assert_eq!(json(&guest.get("/env")), want);
}
