#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::json;
use serve_core::api::podspec::Container;

use super::*;
use crate::engine::{Call, Calls, GuestBody, Link};
use crate::pool::{Ended, Guest, Launch, Options};

/// What the guest does with a probe.
#[derive(Clone, Copy)]
enum Reply {
    Status(u16),
    Trap,
    Never,
    Health(u8),
}

/// A guest that answers as it is told, the last answer again and again.
#[derive(Default)]
struct Fake {
    replies: Mutex<VecDeque<Reply>>,
    heads: Mutex<Vec<http::request::Parts>>,
    started: AtomicUsize,
}

struct FakeGuest(Arc<Fake>);

struct Launcher(Arc<Fake>);

impl Launch for Launcher {
    fn launch(&self, _: u64) -> Boxed<'_, Result<Box<dyn Guest>, Error>> {
        self.0.started.fetch_add(1, Ordering::Relaxed);
        let guest = FakeGuest(self.0.clone());
        Box::pin(async move { Ok(Box::new(guest) as Box<dyn Guest>) })
    }
}

impl Guest for FakeGuest {
    fn run(self: Box<Self>, call: Call) -> Boxed<'static, Ended> {
        let reply = {
            let mut replies = self.0.replies.lock().unwrap();
            let reply = replies.pop_front().unwrap_or(Reply::Status(200));
            if replies.is_empty() {
                replies.push_back(reply);
            }
            reply
        };
        let (head, _) = call.request.into_parts();
        self.0.heads.lock().unwrap().push(head);
        Box::pin(async move {
            let response = match reply {
                Reply::Trap => return (None, Err(Error::Trap("unreachable".to_owned()))),
                Reply::Never => return std::future::pending().await,
                Reply::Status(status) => {
                    let body = GuestBody::new(Body::from("well"));
                    Response::builder().status(status).body(body)
                }
                Reply::Health(status) => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                    let message = vec![0, 0, 0, 0, 2, 8, status];
                    let frames = [
                        Ok(Frame::data(Bytes::from(message))),
                        Ok(Frame::trailers(trailers)),
                    ];
                    let frames = futures_util::stream::iter(frames);
                    Response::builder().body(GuestBody::new(Body::new(StreamBody::new(frames))))
                }
            };
            _ = call.respond.send(Ok(response.unwrap()));
            (Some(self as Box<dyn Guest>), Ok(()))
        })
    }

    fn drive(self: Box<Self>, _: Calls, _: Arc<Link>) -> Boxed<'static, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

struct Probed {
    prober: Prober,
    fake: Arc<Fake>,
    start: Instant,
}

async fn probed(container: serde_json::Value, replies: &[Reply], instances: usize) -> Probed {
    let fake = Arc::new(Fake::default());
    fake.replies.lock().unwrap().extend(replies);
    let options = Options {
        instances,
        ..Options::default()
    };
    let pool = Pool::new(Arc::new(Launcher(fake.clone())), options);
    pool.warm().await.unwrap();
    let container: Container = serde_json::from_value(container).unwrap();
    let probes = Arc::new(Probes::of(&container).unwrap());
    Probed {
        prober: Prober::new(probes, pool, 8080),
        fake,
        start: Instant::now(),
    }
}

impl Probed {
    /// What changes first within some minutes, and after how many milliseconds in all.
    async fn next(&mut self) -> Option<(bool, u32, u128)> {
        let changed = timeout(Duration::from_mins(5), self.prober.changed()).await;
        let at = self.start.elapsed().as_millis();
        changed
            .ok()
            .map(|health| (health.is_ready, health.restarts, at))
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_started_is_ready_at_once_and_never_asked() {
    let tcp = json!({"readinessProbe": {"tcpSocket": {"port": 0}}});
    for container in [json!({}), tcp] {
        let mut probed = probed(container, &[], 1).await;
        assert!(probed.prober.health().is_ready);
        assert_eq!(probed.next().await, None);
        assert!(probed.fake.heads.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_ready_while_its_probe_passes() {
    let container = json!({"readinessProbe": {"httpGet": {"path": "/ready"},
        "periodSeconds": 2, "failureThreshold": 2}});
    let replies = [
        Reply::Status(503),
        Reply::Status(302),
        Reply::Status(404),
        Reply::Trap,
        Reply::Status(204),
    ];
    let mut probed = probed(container, &replies, 10).await;
    assert_eq!(probed.next().await, Some((true, 0, 2000)));
    assert_eq!(probed.next().await, Some((false, 0, 6000)));
    assert_eq!(probed.next().await, Some((true, 0, 8000)));
    assert_eq!(probed.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_period_of_zero_asks_every_fifty_milliseconds_and_waits_a_hundred() {
    let container = json!({"readinessProbe": {"httpGet": {}}});
    let replies = [Reply::Status(500), Reply::Never, Reply::Status(200)];
    let mut probed = probed(container, &replies, 10).await;
    assert_eq!(probed.next().await, Some((true, 0, 150)));
}

#[tokio::test(start_paused = true)]
async fn a_failing_liveness_probe_starts_fresh_instances() {
    let container = json!({"livenessProbe": {"httpGet": {}, "periodSeconds": 1,
        "failureThreshold": 2, "timeoutSeconds": 1}});
    let replies = [Reply::Never, Reply::Status(500), Reply::Status(200)];
    let mut probed = probed(container, &replies, 10).await;
    let before = probed.fake.started.load(Ordering::Relaxed);
    assert!(probed.prober.health().is_ready);
    assert_eq!(probed.next().await, Some((false, 1, 1000)));
    assert_eq!(
        probed.next().await,
        Some((true, 1, 1000)),
        "and at once again"
    );
    assert!(probed.fake.started.load(Ordering::Relaxed) > before);
    assert_eq!(probed.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_is_no_verdict() {
    let container = json!({"livenessProbe": {"httpGet": {}, "periodSeconds": 1,
        "failureThreshold": 1}});
    let mut probed = probed(container, &[Reply::Status(500)], 1).await;
    let lease = probed.prober.pool.lease(0).unwrap();
    assert_eq!(
        probed.next().await,
        None,
        "somebody else has the only instance"
    );
    drop(lease);
    assert!(matches!(probed.next().await, Some((false, 1, _))));
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_a_request_as_the_kubelet_sends_it() {
    let container = json!({
        "readinessProbe": {"httpGet": {"path": "/r?a=1"}},
        "livenessProbe": {"httpGet": {"path": "l", "host": "well.test",
            "httpHeaders": [{"name": "X-Who", "value": "me"}]}}});
    let mut probed = probed(container, &[], 10).await;
    assert!(probed.next().await.is_some());
    assert_eq!(probed.next().await, None, "both were asked meanwhile");
    let heads = probed.fake.heads.lock().unwrap();
    let seen: Vec<_> = heads
        .iter()
        .map(|head| {
            let field = |name| head.headers.get(name).map(|value| value.to_str().unwrap());
            let (agent, who) = (field("user-agent"), field("x-who"));
            let (host, kubelet) = (field("host"), field("k-kubelet-probe"));
            (head.uri.to_string(), agent, host, who, kubelet)
        })
        .collect();
    let agent = Some("kube-probe/1.32");
    let readiness = (
        "/r?a=1".to_owned(),
        agent,
        Some("127.0.0.1:8080"),
        None,
        None,
    );
    let liveness = (
        "/l".to_owned(),
        agent,
        Some("well.test"),
        Some("me"),
        Some("queue"),
    );
    assert!(seen.contains(&readiness), "{seen:?}");
    assert!(seen.contains(&liveness), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn grpc_asks_the_health_service() {
    let container = json!({"readinessProbe": {"grpc": {"port": 8080, "service": "a"},
        "periodSeconds": 1}});
    let not_serving = 2;
    let replies = [
        Reply::Status(200),
        Reply::Health(not_serving),
        Reply::Health(1),
    ];
    let mut probed = probed(container, &replies, 10).await;
    assert_eq!(probed.next().await, Some((true, 0, 2000)));
    let heads = probed.fake.heads.lock().unwrap();
    assert_eq!(heads[0].uri, "/grpc.health.v1.Health/Check");
    assert_eq!(heads[0].method, http::Method::POST);
}

#[test]
fn a_service_name_is_a_field_of_the_message() {
    for (name, head) in [
        ("", vec![0, 0, 0, 0, 0]),
        ("a", vec![0, 0, 0, 0, 3, 10, 1, b'a']),
    ] {
        let request = check_health(name, &host(1)).unwrap();
        let mut bytes = futures_util::FutureExt::now_or_never(request.into_body().collect())
            .unwrap()
            .unwrap()
            .to_bytes()
            .to_vec();
        bytes.truncate(head.len());
        assert_eq!(bytes, head);
    }
}
