//! HTTP/2 with prior knowledge, and gRPC over it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use crate::datapath::{App, HOST, guest};
use crate::process::PATIENCE;

type Body = BoxBody<Bytes, std::convert::Infallible>;
type Connection = JoinHandle<hyper::Result<()>>;

async fn connect(address: SocketAddr) -> (SendRequest<Body>, Connection) {
    let stream = tokio::net::TcpStream::connect(address).await;
    let io = TokioIo::new(stream.expect("the listener is there"));
    let (sender, connection) = handshake(TokioExecutor::new(), io)
        .await
        .expect("a handshake");
    (sender, tokio::spawn(connection))
}

fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{HOST}{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Empty::new().boxed()).expect("a request")
}

async fn ask(sender: &mut SendRequest<Body>, request: Request<Body>) -> Response<Incoming> {
    let response = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    response.expect("in time").expect("a response")
}

/// The bytes and the trailers of a response; none when it broke off.
async fn whole(response: Response<Incoming>) -> Option<(String, HeaderMap)> {
    let ended = tokio::time::timeout(PATIENCE, response.into_body().collect()).await;
    let body = ended.expect("in time").ok()?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let bytes = body.to_bytes().to_vec();
    Some((String::from_utf8(bytes).expect("text"), trailers))
}

#[tokio::test]
async fn many_streams_of_an_honest_client_are_served() {
    let app = App::start(&guest("hello", &[]), &[]);
    let (sender, _connection) = connect(app.serve.public()).await;
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let mut sender = sender.clone();
        streams.spawn(async move {
            let response = ask(&mut sender, request("GET", "/", &[])).await;
            let head = (response.version(), response.status());
            (head, whole(response).await.expect("whole").0)
        });
    }
    for (head, text) in streams.join_all().await {
        assert_eq!(head, (Version::HTTP_2, StatusCode::OK));
        assert_eq!(text, "Hello World!\n");
    }
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let app = App::start(&guest("echo-p3", &[]), &[]);
    let (mut sender, _connection) = connect(app.serve.public()).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("7"));
    let sent = trailers.clone();
    let body = Full::new(Bytes::from("abc")).with_trailers(async move { Some(Ok(sent)) });
    let request = request("POST", "/", &[]).map(|_| body.boxed());
    let response = ask(&mut sender, request).await;
    assert_eq!(whole(response).await, Some(("abc".to_owned(), trailers)));
}

#[tokio::test]
async fn time_outs_end_responses_as_their_heads_allow() {
    let app = App::start(&guest("drip", &[]), &["timeoutSeconds: 1"]);
    let (mut sender, _connection) = connect(app.serve.public()).await;
    let response = ask(&mut sender, request("GET", "/", &[])).await;
    let (text, trailers) = whole(response).await.expect("it ends well");
    assert!(text.ends_with(".request timeout"));
    assert!(trailers.is_empty());

    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let response = ask(&mut sender, request("POST", "/", &grpc)).await;
    assert_eq!(response.status(), 200);
    let (text, trailers) = whole(response).await.expect("it ends well");
    assert!(text.ends_with('.'));
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(trailers["grpc-message"], "request timeout");

    let announced = (
        "$announced i32 (i32.const 0)",
        "$announced i32 (i32.const 1)",
    );
    let app = App::start(&guest("drip", &[announced]), &["timeoutSeconds: 1"]);
    let (mut sender, _connection) = connect(app.serve.public()).await;
    let response = ask(&mut sender, request("GET", "/", &[])).await;
    assert_eq!(whole(response).await, None, "it is reset");
}

#[tokio::test]
async fn failures_have_a_grpc_status() {
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    for (name, host, want) in [
        ("trap", HOST, "2"),
        ("wait", HOST, "4"),
        ("hello", "other.default.localhost", "12"),
    ] {
        let app = App::start(&guest(name, &[]), &["timeoutSeconds: 1"]);
        let (mut sender, _connection) = connect(app.serve.public()).await;
        let mut request = request("POST", "/", &grpc);
        *request.uri_mut() = format!("http://{host}/a.B/C").parse().expect("a URI");
        let response = ask(&mut sender, request).await;
        assert_eq!(response.status(), 200, "{name}");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], want, "{name}");
        let (text, trailers) = whole(response).await.expect("whole");
        assert_eq!((text.as_str(), trailers.len()), ("", 0), "{name}");
    }
}

#[tokio::test]
async fn what_is_ambiguous_or_too_large_is_refused() {
    let app = App::start(&guest("hello", &[]), &[]);
    let (mut sender, _connection) = connect(app.serve.public()).await;
    let mut many = request("GET", "/", &[]);
    for number in 0..101 {
        let value = http::HeaderValue::from(number);
        many.headers_mut().append("x", value);
    }
    let long = format!("/{}", "x".repeat(16 << 10));
    for (name, request, want) in [
        (
            "another_host",
            request("GET", "/", &[("host", "other")]),
            400,
        ),
        ("the_same_host", request("GET", "/", &[("host", HOST)]), 200),
        ("fields", many, 431),
        ("uri", request("GET", &long, &[]), 414),
        ("head", request("HEAD", "/", &[]), 200),
    ] {
        let response = ask(&mut sender, request).await;
        assert_eq!(response.status(), want, "{name}");
        let (text, _) = whole(response).await.expect("whole");
        assert_eq!(text.is_empty(), name == "head", "{name}: {text:?}");
    }
}

#[tokio::test]
async fn a_reset_stream_makes_room() {
    let app = App::start(
        &guest("drip", &[]),
        &["timeoutSeconds: 600", "containerConcurrency: 1"],
    );
    let (mut sender, _connection) = connect(app.serve.public()).await;
    for _ in 0..3 {
        let response = ask(&mut sender, request("GET", "/", &[])).await;
        assert_eq!(response.status(), 200);
    }
    // Its window is full after a while; its time ends nevertheless.
    let endless = ("(i64.const 100_000_000)", "(i64.const 0)");
    let app = App::start(
        &guest("drip", &[endless]),
        &["timeoutSeconds: 1", "containerConcurrency: 1"],
    );
    let (mut sender, _connection) = connect(app.serve.public()).await;
    let unread = ask(&mut sender, request("GET", "/", &[])).await;
    let mut served = false;
    // Each of these waits for a second at most.
    for _ in 0..PATIENCE.as_secs() {
        let next = ask(&mut sender, request("HEAD", "/", &[])).await;
        served = next.status() == 200;
        if served {
            break;
        }
        assert_eq!(next.status(), 503);
    }
    assert!(served, "its place is free after its time");
    assert_eq!(whole(unread).await, None, "it is reset");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let app = App::start_with(
        &guest("drip", &[]),
        &["timeoutSeconds: 3"],
        &["--set", "ingress.keep-alive-timeout=1s"],
    );
    let (mut sender, connection) = connect(app.serve.public()).await;
    let response = ask(&mut sender, request("GET", "/", &[])).await;
    let (text, _) = whole(response).await.expect("whole");
    assert!(text.ends_with("request timeout"));
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    ended
        .expect("in time")
        .expect("no panic")
        .expect("a good end");
}

/// One frame, apart from its length.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection that sends exactly these bytes after the preface, and what kind of frames with
/// which payloads come back until it ends or `until` is there.
fn frames(address: SocketAddr, bytes: &[u8], until: u8) -> Vec<(u8, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).expect("the listener is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    sent.extend(bytes);
    // The other side may close while this is sent.
    let _ = stream.write_all(&sent);
    let mut frames = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("small")];
        if stream.read_exact(&mut payload).is_err() {
            break;
        }
        frames.push((head[3], payload));
        if head[3] == until {
            break;
        }
    }
    frames
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

#[test]
fn settings_tell_the_limits() {
    let app = App::start(&guest("hello", &[]), &[]);
    let frames = frames(app.serve.public(), &[], SETTINGS);
    let (_, settings) = frames.last().expect("a frame");
    let settings: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|s| {
            let name = u16::from_be_bytes([s[0], s[1]]);
            (name, u32::from_be_bytes([s[2], s[3], s[4], s[5]]))
        })
        .collect();
    // MAX_CONCURRENT_STREAMS and MAX_HEADER_LIST_SIZE.
    assert!(settings.contains(&(3, 128)), "{settings:?}");
    assert!(settings.contains(&(6, 32 << 10)), "{settings:?}");
}

#[test]
fn floods_end_their_connection() {
    let app = App::start(&guest("wait", &[]), &[]);
    let mut block = vec![
        0x82,
        0x86,
        0x84,
        0x41,
        u8::try_from(HOST.len()).expect("short"),
    ];
    block.extend(HOST.as_bytes());
    let mut resets = Vec::new();
    for number in 0..1000_u32 {
        let stream = 2 * number + 1;
        // HEADERS with END_HEADERS and END_STREAM, then RST_STREAM with CANCEL.
        resets.extend(frame(1, 5, stream, &block));
        resets.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut continuations = frame(1, 1, 1, &block);
    for _ in 0..1000 {
        continuations.extend(frame(9, 0, 1, &[0; 100]));
    }
    let forbidden = [&block[..], b"\x00\x11transfer-encoding\x07chunked"].concat();
    for (name, bytes, codes) in [
        // ENHANCE_YOUR_CALM; of the second, the fields are wrong as well.
        ("resets", resets, &[11_u32][..]),
        ("continuations", continuations, &[11, 9, 1]),
        ("even_stream", frame(1, 5, 2, &block), &[1]),
        ("data_without_stream", frame(0, 0, 1, b"x"), &[1]),
        ("large_frame", frame(1, 5, 1, &vec![0; 20 << 10]), &[6]),
    ] {
        let frames = frames(app.serve.public(), &bytes, GOAWAY);
        let (kind, payload) = frames.last().unwrap_or_else(|| panic!("{name}: no frame"));
        assert_eq!(*kind, GOAWAY, "{name}");
        let code = u32::from_be_bytes(payload[4..8].try_into().expect("four bytes"));
        assert!(codes.contains(&code), "{name}: {code}");
    }
    // A field that speaks of the connection: the stream is reset.
    let frames = frames(app.serve.public(), &frame(1, 5, 1, &forbidden), 3);
    let (kind, code) = frames.last().expect("a frame");
    assert_eq!((*kind, code.as_slice()), (3, &1_u32.to_be_bytes()[..]));
}
