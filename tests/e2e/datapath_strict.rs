//! Requests that two readers could understand in two ways, and requests that are too large: refused
//! with the reason, and the connection ends.

#![allow(clippy::too_many_lines, reason = "tables are long")]

use crate::datapath::{App, HOST, guest, head};

/// Sends bytes and returns all that comes back; the connection must end.
fn answer(app: &App, text: &str) -> String {
    let mut client = app.connect();
    client.try_send(text.as_bytes());
    String::from_utf8(client.rest()).expect("text")
}

/// How many responses there are in what came back.
fn responses(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

#[test]
fn a_request_has_one_meaning_or_none() {
    let app = App::start(&guest("echo", &[]), &[]);
    let smuggled = head("GET /smuggled", &[]);
    let post = |fields: &[&str], body: &str| head("POST /", fields) + body + &smuggled;
    let get = |text: &str| format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{text}\r\n");
    let chunked = "Transfer-Encoding: chunked";
    let cases = [
        (
            "length_and_chunks",
            post(&["Content-Length: 5", chunked], "0\r\n\r\n"),
        ),
        (
            "chunks_and_length",
            post(&[chunked, "Content-Length: 5"], "0\r\n\r\n"),
        ),
        (
            "two_lengths",
            post(&["Content-Length: 0", "Content-Length: 5"], ""),
        ),
        (
            "equal_lengths",
            post(&["Content-Length: 0", "Content-Length: 0"], ""),
        ),
        ("a_list_of_lengths", post(&["Content-Length: 0, 5"], "")),
        ("a_signed_length", post(&["Content-Length: +0"], "")),
        (
            "unknown_coding",
            post(&["Transfer-Encoding: xchunked"], "0\r\n\r\n"),
        ),
        (
            "coding_list",
            post(&["Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"),
        ),
        (
            "chunked_not_last",
            post(&["Transfer-Encoding: chunked, gzip"], "0\r\n\r\n"),
        ),
        (
            "coding_twice",
            post(&[chunked, "Transfer-Encoding: identity"], "0\r\n\r\n"),
        ),
        (
            "space_before_colon",
            post(&["Transfer-Encoding : chunked"], "0\r\n\r\n"),
        ),
        (
            "folded_coding",
            post(&["Transfer-Encoding:\r\n chunked"], "0\r\n\r\n"),
        ),
        (
            "coding_with_a_tab",
            post(&["Transfer-Encoding: \x0bchunked"], "0\r\n\r\n"),
        ),
        (
            "coding_in_http_1_0",
            format!("POST / HTTP/1.0\r\nHost: {HOST}\r\n{chunked}\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("two_hosts", get("Host: other\r\n")),
        ("equal_hosts", get(&format!("Host: {HOST}\r\n"))),
        ("lone_line_feeds", get("").replace("\r\n", "\n")),
        ("a_lone_line_feed_in_a_field", get("X: y\nZ: 1\r\n")),
        ("a_lone_return_in_a_field", get("X: y\rZ: 1\r\n")),
        ("folded", get("X: y\r\n z\r\n")),
        (
            "a_fold_before_the_first_field",
            format!("GET / HTTP/1.1\r\n Host: {HOST}\r\n\r\n"),
        ),
        ("null_in_a_value", get("X: a\0b\r\n")),
        ("null_in_a_name", get("X\0: a\r\n")),
        ("null_in_the_uri", get("").replace("GET /", "GET /\0")),
        ("no_colon", get("X\r\n")),
        ("a_name_with_a_space", get("X Y: z\r\n")),
        ("an_empty_name", get(": z\r\n")),
        (
            "two_spaces_in_the_request_line",
            get("").replace("GET /", "GET  /"),
        ),
        (
            "a_tab_in_the_request_line",
            get("").replace("GET /", "GET\t/"),
        ),
        ("no_version", format!("GET /\r\nHost: {HOST}\r\n\r\n")),
        ("another_version", get("").replace("HTTP/1.1", "HTTP/1.2")),
        (
            "a_version_in_lower_case",
            get("").replace("HTTP/1.1", "http/1.1"),
        ),
        ("our_own_method", get("").replace("GET", "!7")),
        ("no_host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (
            "a_host_with_a_path",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(),
        ),
        (
            "a_host_with_a_user",
            format!("GET / HTTP/1.1\r\nHost: x@{HOST}\r\n\r\n"),
        ),
        (
            "a_user_in_the_uri",
            get("").replace("GET /", &format!("GET http://x@{HOST}/")),
        ),
    ];
    for (name, text) in cases {
        let got = answer(&app, &text);
        assert!(got.starts_with("HTTP/1.1 400 "), "{name}: {got:?}");
        assert_eq!(responses(&got), 1, "{name}: {got:?}");
        // After an answered request it is the same.
        let got = answer(&app, &(head("GET /", &[]) + &text));
        assert!(got.starts_with("HTTP/1.1 200 "), "{name}: {got:?}");
        assert!(got.contains("HTTP/1.1 400 "), "{name}: {got:?}");
        assert_eq!(responses(&got), 2, "{name}: {got:?}");
    }
}

#[test]
fn a_malformed_chunk_ends_the_connection() {
    let app = App::start(&guest("echo", &[]), &[]);
    let smuggled = head("GET /smuggled", &[]);
    let start = head("POST /", &["Transfer-Encoding: chunked"]);
    for (name, body) in [
        ("a_lone_line_feed_after_the_size", "3\nabc\r\n0\r\n\r\n"),
        ("a_lone_line_feed_after_the_data", "3\r\nabc\n0\r\n\r\n"),
        (
            "a_lone_line_feed_in_an_extension",
            "3;x\ny\r\nabc\r\n0\r\n\r\n",
        ),
        ("a_lone_line_feed_in_a_trailer", "0\r\nx: y\nz: y\r\n\r\n"),
        ("more_data_than_said", "3\r\nabcdef\r\n0\r\n\r\n"),
        ("a_negative_size", "-3\r\nabc\r\n0\r\n\r\n"),
        ("a_size_with_a_prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("an_overflow", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("no_size", "\r\nabc\r\n0\r\n\r\n"),
    ] {
        let got = answer(&app, &format!("{start}{body}{smuggled}"));
        // What is told of it is the guest's to say, which reads that its body broke off.
        assert_eq!(responses(&got), 1, "{name}: {got:?}");
    }
}

#[test]
fn what_is_too_large_is_refused_with_its_status() {
    let app = App::start(&guest("hello", &[]), &[]);
    let fields = |count: usize| vec!["X: y"; count];
    let get = |size: usize| {
        head(
            &format!("GET /{}", "x".repeat(size - 1)),
            &["Connection: close"],
        )
    };
    let field = |size: usize| {
        head(
            "GET /",
            &[&format!("X: {}", "y".repeat(size)), "Connection: close"],
        )
    };
    // The Host field is one of them.
    let mut most = fields(98);
    most.push("Connection: close");
    let cases = [
        ("100_fields", head("GET /", &most), 200),
        ("101_fields", head("GET /", &fields(100)), 431),
        ("the_longest_uri", get(16 << 10), 200),
        ("a_longer_one", get((16 << 10) + 1), 414),
        ("a_uri_of_64_kib", get(64 << 10), 414),
        ("a_large_field", field(30 << 10), 200),
        ("a_larger_one", field(33 << 10), 431),
        ("a_field_of_64_kib", field(64 << 10), 431),
        ("a_field_of_a_megabyte", field(1 << 20), 431),
        (
            "connect",
            format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n"),
            501,
        ),
    ];
    for (name, text, want) in cases {
        let got = answer(&app, &text);
        assert!(
            got.starts_with(&format!("HTTP/1.1 {want} ")),
            "{name}: {got:?}"
        );
    }
}
