//! Time-outs as a client sees them, with a fake guest and paused time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serve_core::breaker::Capacity;

use super::*;
use crate::activator;
use crate::body;
use crate::engine::{self, Call, Calls, GuestBody, Link};
use crate::pool::{Boxed, Ended, Guest, Launch};

/// Sends its head after a while, and then a piece after each of these pauses.
#[derive(Clone, Copy, Default)]
struct Fake {
    head: Duration,
    pauses: &'static [u64],
    length: Option<u64>,
}

const SECOND: Duration = Duration::from_secs(1);
const NO_HEAD: &str = "the guest did not answer in time";

impl Launch for Fake {
    fn launch(&self, _: u64) -> Boxed<'_, Result<Box<dyn Guest>, engine::Error>> {
        let fake = *self;
        Box::pin(async move { Ok(Box::new(fake) as Box<dyn Guest>) })
    }
}

impl Guest for Fake {
    fn run(self: Box<Self>, call: Call) -> Boxed<'static, Ended> {
        Box::pin(async move {
            tokio::time::sleep(self.head).await;
            let (pieces, mut body) = tokio::sync::mpsc::unbounded_channel();
            let frames = futures_util::stream::poll_fn(move |cx| {
                let piece = body.poll_recv(cx);
                piece.map(|piece| piece.map(|()| Ok(Frame::data("piece ".into()))))
            });
            let mut response = Response::new(GuestBody::new(Body::new(StreamBody::new(frames))));
            if let Some(length) = self.length {
                response.headers_mut().insert(CONTENT_LENGTH, length.into());
            }
            _ = call.respond.send(Ok(response));
            for pause in self.pauses {
                tokio::time::sleep(Duration::from_secs(*pause)).await;
                _ = pieces.send(());
            }
            drop(pieces);
            (None, Ok(()))
        })
    }

    fn drive(self: Box<Self>, _: Calls, _: Arc<Link>) -> Boxed<'static, Result<(), engine::Error>> {
        Box::pin(async { Ok(()) })
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

const TIMEOUTS: Timeouts = Timeouts {
    total: Duration::from_secs(10),
    response_start: None,
    idle: None,
};

fn revision(fake: Fake, timeouts: Timeouts) -> Arc<Revision> {
    let activator = Activator::new(1, 1);
    activator.set_capacity(Capacity::Limited(1));
    Arc::new(Revision {
        key: ObjectKey::new("default", "fake"),
        uid: String::new(),
        activator,
        pool: Pool::new(Arc::new(fake), pool::Options::default()),
        timeouts,
        container_concurrency: 0,
    })
}

/// The bytes and the trailers of a response, or why it broke off.
type Whole = Result<(String, Option<HeaderMap>), body::Error>;

async fn call(
    revision: &Arc<Revision>,
    content_type: &str,
) -> Result<(StatusCode, Whole), Failure> {
    let request = Request::get("/")
        .header("content-type", content_type)
        .body(Body::empty())
        .unwrap();
    let asked = Asked::of(&request);
    let response = revision.call(request, asked, 0).await?;
    let status = response.status();
    let ended = response.into_body().collect().await.map(|whole| {
        let trailers = whole.trailers().cloned();
        let bytes = whole.to_bytes().to_vec();
        (String::from_utf8(bytes).unwrap(), trailers)
    });
    Ok((status, ended))
}

/// What a client sees, and after how many seconds.
async fn seen(fake: Fake, timeouts: Timeouts, content_type: &str) -> (String, u64) {
    let revision = revision(fake, timeouts);
    let start = Instant::now();
    let seen = match call(&revision, content_type).await {
        Ok((status, Ok((text, None)))) => format!("{} {text}", status.as_u16()),
        Ok((status, Ok((text, Some(trailers))))) => {
            let code = trailers["grpc-status"].to_str().unwrap();
            format!("{} {text}grpc-status {code}", status.as_u16())
        }
        Ok((status, Err(error))) => format!("{} then {error}", status.as_u16()),
        Err(failure) => failure.to_string(),
    };
    let seconds = start.elapsed().as_secs();
    assert_eq!(revision.activator.load().running, 0, "the permit is back");
    (seen, seconds)
}

struct Case {
    name: &'static str,
    fake: Fake,
    timeouts: Timeouts,
    want: (&'static str, u64),
}

#[tokio::test(start_paused = true)]
async fn time_outs_end_an_exchange_as_its_head_allows() {
    let late = "the request timed out while its response was sent";
    let fake = |head, pauses| Fake {
        head: Duration::from_secs(head),
        pauses,
        length: None,
    };
    let cases = [
        Case {
            name: "in_time",
            fake: fake(9, &[]),
            timeouts: TIMEOUTS,
            want: ("200 ", 9),
        },
        Case {
            name: "no_head_in_time",
            fake: fake(11, &[]),
            timeouts: TIMEOUTS,
            want: (NO_HEAD, 10),
        },
        Case {
            name: "no_head_within_the_start_time",
            fake: fake(4, &[]),
            timeouts: Timeouts {
                response_start: Some(3 * SECOND),
                ..TIMEOUTS
            },
            want: (NO_HEAD, 3),
        },
        Case {
            name: "the_start_time_is_over_with_the_head",
            fake: fake(2, &[3, 1]),
            timeouts: Timeouts {
                response_start: Some(3 * SECOND),
                ..TIMEOUTS
            },
            want: ("200 piece piece ", 6),
        },
        Case {
            name: "no_head_within_the_idle_time",
            fake: fake(4, &[]),
            timeouts: Timeouts {
                idle: Some(3 * SECOND),
                ..TIMEOUTS
            },
            want: (NO_HEAD, 3),
        },
        Case {
            name: "no_piece_within_the_idle_time",
            fake: fake(2, &[2, 4]),
            timeouts: Timeouts {
                idle: Some(3 * SECOND),
                ..TIMEOUTS
            },
            want: ("200 piece request timeout", 7),
        },
        Case {
            name: "pieces_within_the_idle_time",
            fake: fake(2, &[2, 2, 2]),
            timeouts: Timeouts {
                idle: Some(3 * SECOND),
                ..TIMEOUTS
            },
            want: ("200 piece piece piece ", 8),
        },
        Case {
            name: "a_text_is_appended",
            fake: fake(0, &[1, 14]),
            timeouts: TIMEOUTS,
            want: ("200 piece request timeout", 10),
        },
        Case {
            name: "an_announced_length_is_broken_off",
            fake: Fake {
                length: Some(12),
                ..fake(0, &[1, 14])
            },
            timeouts: TIMEOUTS,
            want: ("", 10),
        },
    ];
    for case in cases {
        let (got, seconds) = seen(case.fake, case.timeouts, "text/plain").await;
        let want = match case.want.0 {
            "" => format!("200 then {late}"),
            want => want.to_owned(),
        };
        assert_eq!((got, seconds), (want, case.want.1), "{}", case.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_grpc_response_gets_its_status_in_trailers() {
    let fake = Fake {
        pauses: &[1, 14],
        ..Fake::default()
    };
    let (got, seconds) = seen(fake, TIMEOUTS, "application/grpc").await;
    assert_eq!((got.as_str(), seconds), ("200 piece grpc-status 4", 10));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_capacity_counts() {
    let fake = Fake {
        head: 6 * SECOND,
        ..Fake::default()
    };
    let revision = revision(fake, TIMEOUTS);
    let start = Instant::now();
    // The first runs for 6 s, then the second has 4 s left, and the third finds no place.
    let (first, second, third) = tokio::join!(
        call(&revision, ""),
        async {
            let second = call(&revision, "").await;
            (second, start.elapsed().as_secs())
        },
        call(&revision, ""),
    );
    assert!(first.is_ok());
    let (second, seconds) = second;
    let second = second.err().map(|failure| failure.to_string());
    assert_eq!((second.as_deref(), seconds), (Some(NO_HEAD), 10));
    let third = third.err().map(|failure| failure.to_string());
    assert_eq!(third.as_deref(), Some("pending request queue full"));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_past_its_deadline_is_told_so() {
    let revision = revision(Fake::default(), TIMEOUTS);
    revision.activator.set_capacity(Capacity::Limited(0));
    let start = Instant::now();
    let failure = call(&revision, "").await.err();
    let is_late = matches!(
        failure,
        Some(Failure::Admission(activator::Error::Deadline))
    );
    assert!(is_late, "{failure:?}");
    assert_eq!(start.elapsed(), TIMEOUTS.total);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_the_exchange() {
    let fake = Fake {
        head: 5 * SECOND,
        pauses: &[5],
        length: None,
    };
    let revision = revision(fake, TIMEOUTS);
    let before_head = tokio::time::timeout(SECOND, call(&revision, "")).await;
    assert!(before_head.is_err());
    let after_head = tokio::time::timeout(7 * SECOND, call(&revision, "")).await;
    assert!(after_head.is_err());
    tokio::time::sleep(SECOND).await;
    assert_eq!(revision.activator.load().running, 0);
    let counts = revision.pool.counts();
    let live = counts.live.load(std::sync::atomic::Ordering::Relaxed);
    let cancelled = counts.cancelled.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((live, cancelled), (0, 2));
}

#[test]
fn timeouts_of_a_manifest() {
    let spec = PodSpec {
        timeout_seconds: Some(20),
        response_start_timeout_seconds: Some(0),
        idle_timeout_seconds: Some(5),
        ..PodSpec::default()
    };
    let want = Timeouts {
        total: 20 * SECOND,
        response_start: None,
        idle: Some(5 * SECOND),
    };
    assert_eq!(Timeouts::of(&spec), want);
    assert_eq!(Timeouts::of(&PodSpec::default()).total, DEFAULT_TIMEOUT);
}
