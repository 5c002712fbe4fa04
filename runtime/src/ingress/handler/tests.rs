//! What a request is for, and what is refused before it reaches a revision.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use http::Version;

use super::*;
use crate::config;

fn request(uri: &str, version: Version, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(uri).version(version);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

#[test]
fn the_host_comes_from_the_uri_or_the_field() {
    use Version as V;
    let long = "a".repeat(300);
    for (uri, version, hosts, want) in [
        ("/", V::HTTP_11, &["a.b:80"][..], Ok("a.b:80")),
        ("/", V::HTTP_11, &["[::1]:80"], Ok("[::1]:80")),
        ("/", V::HTTP_11, &[], Err("the request names no host")),
        ("/", V::HTTP_10, &[], Err("the request names no host")),
        ("/", V::HTTP_11, &[""], Err("the request names no host")),
        (
            "/",
            V::HTTP_11,
            &["a b"],
            Err("the request's host is malformed"),
        ),
        (
            "/",
            V::HTTP_11,
            &["a/b"],
            Err("the request's host is malformed"),
        ),
        (
            "/",
            V::HTTP_11,
            &["u@b"],
            Err("the request's host is malformed"),
        ),
        (
            "/",
            V::HTTP_11,
            &["a\u{e4}"],
            Err("the request's host is malformed"),
        ),
        ("/", V::HTTP_11, &[&long], Ok(&long)),
        (
            "/",
            V::HTTP_2,
            &["a", "a"],
            Err("the request has more than one Host header"),
        ),
        ("http://c/x", V::HTTP_11, &["a"], Ok("c")),
        ("http://c/x", V::HTTP_2, &["C"], Ok("c")),
        ("http://c/x", V::HTTP_2, &[], Ok("c")),
        ("/", V::HTTP_2, &["a"], Ok("a")),
        (
            "http://c/x",
            V::HTTP_2,
            &["a"],
            Err("the request's host is malformed"),
        ),
        (
            "http://u:p@c/x",
            V::HTTP_11,
            &[],
            Err("the request's host is malformed"),
        ),
    ] {
        let fields: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let request = request(uri, version, &fields);
        let got = host(Asked::of(&request), &request).map_err(|failure| failure.to_string());
        assert_eq!(
            got,
            want.map_err(str::to_owned),
            "{uri} {version:?} {hosts:?}"
        );
    }
}

#[test]
fn the_absolute_form_is_passed_on_as_the_origin_form() {
    for (uri, want) in [
        ("http://c:80/x?y", ("/x?y", "c:80")),
        ("http://c", ("/", "c")),
        ("/x", ("/x", "a")),
    ] {
        let mut request = request(uri, Version::HTTP_11, &[("host", "a")]);
        use_origin_form(Asked::of(&request), &mut request);
        let host = request.headers()[HOST].to_str().unwrap();
        assert_eq!((request.uri().to_string().as_str(), host), want, "{uri}");
    }
}

#[test]
fn probes_are_answered_here() {
    let shared = Shared::new(config::Ingress::default());
    let probe = |fields: &[(&str, &str)]| {
        let request = request("/", Version::HTTP_11, fields);
        answer_probe(&shared, request.headers()).map(|answer| match answer {
            Ok(response) => format!("{} {:?}", response.status().as_u16(), response.headers()),
            Err(failure) => failure.to_string(),
        })
    };
    let kubelet = ("user-agent", "kube-probe/1.32");
    for (fields, want) in [
        (&[][..], None),
        (&[("user-agent", "curl"), ("k-network-hash", "x")], None),
        (&[("k-network-probe", "")], None),
        (&[kubelet], Some("200 {}")),
        (&[("k-kubelet-probe", "queue")], Some("200 {}")),
        (
            &[("k-network-probe", "probe"), ("k-network-hash", "x")],
            Some("200 {\"k-network-hash\": \"x\"}"),
        ),
        (
            &[("k-network-probe", "probe")],
            Some("a probe without a hash"),
        ),
        (
            &[("k-network-probe", "probe"), ("k-network-hash", "")],
            Some("a probe without a hash"),
        ),
        (
            &[("k-network-probe", "queue"), kubelet],
            Some("a probe with value \"queue\""),
        ),
    ] {
        assert_eq!(probe(fields).as_deref(), want, "{fields:?}");
    }
    shared.drain();
    assert_eq!(probe(&[kubelet]).as_deref(), Some("shutting down"));
    assert_eq!(probe(&[]), None, "requests are served to the end");
}

#[test]
fn wishes_that_a_guest_cannot_fulfil_are_refused() {
    for (fields, want) in [
        (&[][..], None),
        (&[("upgrade", "h2c")], None),
        (&[("upgrade", "foo/1")], None),
        (
            &[("upgrade", "websocket")],
            Some("upgrade to \"websocket\""),
        ),
        (
            &[("upgrade", "h2c, WebSocket")],
            Some("upgrade to \"h2c, WebSocket\""),
        ),
        (&[("expect", "100-Continue")], None),
        (&[("expect", "200-ok")], Some("expectation \"200-ok\"")),
    ] {
        let mut request = request("/", Version::HTTP_11, fields);
        let failure = check_wishes(Asked::of(&request), &mut request).err();
        let failure = failure.map(|failure| failure.to_string());
        assert_eq!(failure.as_deref(), want, "{fields:?}");
        assert!(!request.headers().contains_key(EXPECT));
    }
}

#[test]
fn sizes_are_limited_on_every_protocol() {
    let shared = Shared::new(config::Ingress::default());
    let of = |request: &Request<Body>| {
        let failure = check(&shared, Asked::of(request), request).err();
        failure.map(|failure| respond::status(&failure).as_u16())
    };
    let uri = format!("http://a/{}", "x".repeat((16 << 10) - 1));
    assert_eq!(of(&request(&uri, Version::HTTP_2, &[])), None);
    assert_eq!(of(&request(&(uri + "x"), Version::HTTP_2, &[])), Some(414));
    let mut many = vec![("a", "b"); MAX_FIELDS];
    assert_eq!(of(&request("/", Version::HTTP_2, &many)), None);
    many.push(("a", "b"));
    assert_eq!(of(&request("/", Version::HTTP_2, &many)), Some(431));
}

#[tokio::test]
async fn responses_without_a_body_keep_their_length_where_they_may() {
    for (method, status, length, want) in [
        (Method::HEAD, 200, None, (Some("3"), "")),
        (Method::HEAD, 200, Some("7"), (Some("7"), "")),
        (Method::HEAD, 204, Some("7"), (None, "")),
        (Method::GET, 204, Some("7"), (None, "")),
        (Method::GET, 304, Some("7"), (Some("7"), "")),
        (Method::GET, 200, None, (None, "abc")),
    ] {
        let mut request = request("/", Version::HTTP_11, &[]);
        *request.method_mut() = method.clone();
        let mut response = Response::new(Body::from("abc"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(length) = length {
            let length = HeaderValue::from_static(length);
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
        let response = finish(Asked::of(&request), response).await.unwrap();
        let length = response.headers().get(CONTENT_LENGTH).cloned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let got = (length.as_ref().map(|l| l.to_str().unwrap()), &*body);
        assert_eq!(got, (want.0, want.1.as_bytes()), "{method} {status}");
    }
    let mut informational = Response::new(Body::empty());
    *informational.status_mut() = StatusCode::EARLY_HINTS;
    let request = request("/", Version::HTTP_11, &[]);
    let failure = finish(Asked::of(&request), informational)
        .await
        .unwrap_err();
    assert_eq!(respond::status(&failure), 500);
}
