//! Every failure and what a client reads of it, with and without gRPC.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::too_many_lines, reason = "tables are long")]

use http_body_util::BodyExt;

use super::*;

const PLAIN: Asked = Asked {
    is_http2: false,
    is_head: false,
    is_grpc: false,
};

struct Case {
    failure: Failure,
    status: u16,
    text: &'static str,
    grpc_status: &'static str,
    closes: bool,
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn check(case: &Case) {
    let name = case.failure.to_string();
    let response = from_error(&case.failure, PLAIN);
    assert_eq!(response.status(), case.status, "{name}");
    let closes = response.headers().get(CONNECTION).is_some();
    assert_eq!(closes, case.closes, "{name}");
    assert_eq!(
        response.headers()[CONTENT_LENGTH],
        case.text.len().to_string(),
        "{name}"
    );
    assert_eq!(text(response).await, case.text, "{name}");

    let head = Asked {
        is_head: true,
        ..PLAIN
    };
    let response = from_error(&case.failure, head);
    assert_eq!(
        response.headers()[CONTENT_LENGTH],
        case.text.len().to_string(),
        "{name}"
    );
    assert_eq!(text(response).await, "", "{name}");

    let grpc = Asked {
        is_http2: true,
        is_grpc: true,
        ..PLAIN
    };
    let response = from_error(&case.failure, grpc);
    assert_eq!(response.status(), 200, "{name}");
    assert_eq!(response.headers()[CONTENT_TYPE], GRPC, "{name}");
    assert_eq!(response.headers()[GRPC_STATUS], case.grpc_status, "{name}");
    assert_eq!(response.headers().get(CONNECTION), None, "{name}");
    let message = response.headers().get(GRPC_MESSAGE);
    let message = message.map_or("", |message| message.to_str().unwrap());
    assert_eq!(message, case.text.trim_end(), "{name}");
}

#[tokio::test]
async fn each_failure_has_its_response() {
    use activator::Error as A;
    use engine::Error as E;
    let case = |failure: Failure, status, text, grpc_status| Case {
        closes: false,
        failure,
        status,
        text,
        grpc_status,
    };
    let closing = |failure: Failure, status, text, grpc_status| Case {
        closes: true,
        failure,
        status,
        text,
        grpc_status,
    };
    let cases = [
        case(E::Timeout.into(), 504, "request timeout", "4"),
        case(A::Deadline.into(), 503, "context deadline exceeded\n", "4"),
        case(
            A::QueueFull.into(),
            503,
            "pending request queue full\n",
            "14",
        ),
        case(A::Stopped.into(), 503, "shutting down\n", "14"),
        case(Failure::Draining, 503, "shutting down\n", "14"),
        case(E::Full.into(), 503, "no instance is free\n", "14"),
        case(
            E::Start("x".into()).into(),
            503,
            "no instance starts\n",
            "14",
        ),
        case(E::Trap("x".into()).into(), 500, "", "2"),
        case(E::Exit(1).into(), 500, "", "2"),
        case(E::NoResponse.into(), 500, "", "2"),
        case(Failure::BadResponse("x"), 500, "", "2"),
        case(
            Failure::UnknownHost("a.b".into()),
            404,
            "no route for host \"a.b\"\n",
            "12",
        ),
        case(
            Failure::UnknownProbe("queue".into()),
            400,
            "unexpected probe header value: queue\n",
            "13",
        ),
        case(
            Failure::ProbeWithoutHash,
            400,
            "a probe request must contain a non-empty \"K-Network-Hash\" header\n",
            "13",
        ),
        case(
            Failure::Expectation("200-ok".into()),
            417,
            "the only expectation that can be met is 100-continue\n",
            "2",
        ),
        case(
            Failure::Upgrade("websocket".into()),
            501,
            "upgrade to \"websocket\" is not offered: wasi:http gives guests requests and \
             responses, not connections\n",
            "2",
        ),
        closing(
            Failure::Connect,
            501,
            "method CONNECT is not offered\n",
            "2",
        ),
        closing(
            Failure::NoHost,
            400,
            "the request must have a Host header\n",
            "13",
        ),
        closing(
            Failure::BadHost,
            400,
            "the request's host is malformed\n",
            "13",
        ),
        closing(
            Refusal::Uri.into(),
            414,
            "the URI of the request is too long\n",
            "2",
        ),
        closing(
            Refusal::Fields.into(),
            431,
            "the request has too many header fields\n",
            "2",
        ),
        closing(
            Refusal::Head.into(),
            431,
            "the header of the request is too large\n",
            "2",
        ),
        closing(
            Refusal::Hosts.into(),
            400,
            "the request has more than one Host header\n",
            "13",
        ),
    ];
    for case in &cases {
        check(case).await;
    }
}

#[test]
fn grpc_is_told_by_the_content_type() {
    for (content_type, want) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("Application/gRPC;charset=utf-8", true),
        ("application/grpc-web", false),
        ("application/grpcx", false),
        ("application/json", false),
        ("", false),
    ] {
        let value = HeaderValue::from_static(content_type);
        assert_eq!(is_grpc(&value), want, "{content_type:?}");
    }
}

#[test]
fn grpc_messages_are_escaped() {
    assert_eq!(grpc_message("50 % of \"ä\"\n"), "50 %25 of \"%C3%A4\"%0A");
}

#[test]
fn a_late_response_ends_as_its_head_allows() {
    let mut with_length = HeaderMap::new();
    with_length.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
    let none = HeaderMap::new();
    let grpc = Asked {
        is_grpc: true,
        ..PLAIN
    };
    assert_eq!(Ending::of(PLAIN, &none, false), Ending::Text);
    assert_eq!(Ending::of(PLAIN, &none, true), Ending::Cut);
    assert_eq!(Ending::of(PLAIN, &with_length, false), Ending::Cut);
    assert_eq!(Ending::of(grpc, &none, false), Ending::Grpc);
}
