//! Each class of ambiguous request as a table, and all of them cut at every place.

#![allow(clippy::too_many_lines, reason = "tables are long")]

use super::*;

const LIMITS: Limits = Limits {
    head_bytes: 256,
    uri_bytes: 32,
    fields: 4,
};

/// What went on to the parser, and why the connection ended, when the bytes come in pieces of this
/// size.
fn scan(text: &[u8], piece: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut framing = Framing::new(LIMITS);
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for piece in text.chunks(piece) {
        held.extend_from_slice(piece);
        let scanned = framing.scan(&held);
        out.extend(held.drain(..scanned.pass));
        if scanned.last.is_some() {
            return (out, scanned.last);
        }
    }
    (out, None)
}

#[track_caller]
fn check(name: &str, text: &str, passed: usize, last: Option<Vec<u8>>) {
    for piece in 1..=text.len() {
        let (out, end) = scan(text.as_bytes(), piece);
        assert_eq!(
            (out.as_slice(), &end),
            (&text.as_bytes()[..passed], &last),
            "{name}, in pieces of {piece}: {:?} {:?}",
            String::from_utf8_lossy(&out),
            end.as_deref().map(String::from_utf8_lossy),
        );
    }
}

#[test]
fn requests_with_one_meaning_pass() {
    for (name, text) in [
        ("no_body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no_fields", "GET / HTTP/1.0\r\n\r\n"),
        (
            "empty_lines_before",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "a_length",
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\nabc",
        ),
        (
            "a_length_of_zero",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:0\r\n\r\n",
        ),
        (
            "chunks",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\n",
        ),
        (
            "trailers",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1 \r\na\r\n0\r\nx: y\r\nz: 1\r\n\r\n",
        ),
        (
            "a_body_that_looks_like_a_bad_request",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nGET /\nx\n\nGET / HTTP/1.1\r\n\r\n",
        ),
    ] {
        check(name, text, text.len(), None);
        let twice = text.repeat(2);
        check(name, &twice, twice.len(), None);
    }
}

#[test]
fn an_unfinished_head_is_held_back() {
    let whole = "GET / HTTP/1.1\r\n\r\n";
    check(
        "held",
        &format!("{whole}GET / HTTP/1.1\r\nHo"),
        whole.len(),
        None,
    );
}

#[test]
fn ambiguous_heads_are_refused_after_the_requests_before_them() {
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(32));
    let longer = format!("GET /{}", "x".repeat(200));
    let large = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(240));
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let cases = [
        (
            "both",
            post("Content-Length: 3\r\nTransfer-Encoding: chunked"),
            Refusal::LengthAndCoding,
        ),
        (
            "both_turned",
            post("Transfer-Encoding: chunked\r\nContent-Length: 3"),
            Refusal::LengthAndCoding,
        ),
        (
            "both_and_none",
            post("Transfer-Encoding: chunked\r\nContent-Length: 0"),
            Refusal::LengthAndCoding,
        ),
        (
            "two_lengths",
            post("Content-Length: 3\r\nContent-Length: 4"),
            Refusal::Length,
        ),
        (
            "equal_lengths",
            post("Content-Length: 3\r\nContent-Length: 3"),
            Refusal::Length,
        ),
        (
            "a_list_of_lengths",
            post("Content-Length: 3, 3"),
            Refusal::Length,
        ),
        ("a_sign", post("Content-Length: +3"), Refusal::Length),
        ("hexadecimal", post("Content-Length: 0x3"), Refusal::Length),
        ("no_number", post("Content-Length:"), Refusal::Length),
        (
            "an_overflow",
            post("Content-Length: 18446744073709551616"),
            Refusal::Length,
        ),
        (
            "two_codings",
            post("Transfer-Encoding: gzip, chunked"),
            Refusal::Coding,
        ),
        (
            "chunked_twice",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            Refusal::Coding,
        ),
        (
            "not_chunked",
            post("Transfer-Encoding: xchunked"),
            Refusal::Coding,
        ),
        (
            "identity",
            post("Transfer-Encoding: identity"),
            Refusal::Coding,
        ),
        (
            "a_vertical_tab",
            post("Transfer-Encoding: \x0bchunked"),
            Refusal::Coding,
        ),
        ("two_hosts", post("Host: b"), Refusal::Hosts),
        ("equal_hosts", post("host: a"), Refusal::Hosts),
        (
            "folded",
            post("X: 1\r\n Content-Length: 3"),
            Refusal::Folded,
        ),
        (
            "folded_by_a_tab",
            post("X: 1\r\n\tContent-Length: 3"),
            Refusal::Folded,
        ),
        (
            "white_space_first",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(),
            Refusal::Folded,
        ),
        (
            "a_lone_line_feed",
            "GET / HTTP/1.1\nHost: a\r\n\r\n".into(),
            Refusal::LineFeed,
        ),
        ("in_the_fields", post("X: 1\nY: 2"), Refusal::LineFeed),
        (
            "at_the_end",
            "GET / HTTP/1.1\r\nHost: a\r\n\n".into(),
            Refusal::LineFeed,
        ),
        (
            "before_the_request",
            "\nGET / HTTP/1.1\r\n\r\n".into(),
            Refusal::LineFeed,
        ),
        (
            "too_many_parts",
            "GET / HTTP/1.1 x\r\n\r\n".into(),
            Refusal::RequestLine,
        ),
        ("one_part", "GET\r\n\r\n".into(), Refusal::RequestLine),
        (
            "our_own_method",
            "!1 / HTTP/1.1\r\n\r\n".into(),
            Refusal::RequestLine,
        ),
        ("fields", many, Refusal::Fields),
        ("uri", long, Refusal::Uri),
        ("uri_without_end", longer, Refusal::Uri),
        ("head", large, Refusal::Head),
    ];
    for (name, text, want) in cases {
        check(name, &text, 0, Some(want.request()));
        let first = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let text = format!("{first}{text}");
        check(name, &text, first.len(), Some(want.request()));
    }
}

#[test]
fn ambiguous_chunks_spoil_the_body() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (name, good, bad) in [
        ("a_lone_line_feed_after_a_size", "3", "\nabc\r\n0\r\n\r\n"),
        ("in_an_extension", "3;x", "\nabc\r\n0\r\n\r\n"),
        ("after_data", "3\r\nabc", "\n0\r\n\r\n"),
        ("too_much_data", "3\r\nabc", "d\r\n0\r\n\r\n"),
        ("in_a_trailer", "0\r\nx: y", "\nz: y\r\n\r\n"),
        ("a_lone_return", "3\r", "abc"),
        ("an_overflow", "FFFFFFFFFFFFFFFF", "0\r\n"),
    ] {
        let text = format!("{head}{good}{bad}");
        check(name, &text, head.len() + good.len(), Some(SPOIL.to_vec()));
    }
}

#[test]
fn each_refusal_is_known_by_its_request() {
    for refusal in Refusal::ALL {
        let request = String::from_utf8(refusal.request()).expect("text");
        let (method, _) = request.split_once(' ').expect("a request line");
        let method = Method::from_bytes(method.as_bytes()).expect("a token");
        assert_eq!(Refusal::of(&method), Some(refusal));
    }
    assert_eq!(Refusal::of(&Method::GET), None);
}
