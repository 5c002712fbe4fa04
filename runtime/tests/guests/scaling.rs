//! What the autoscaler does with a real guest under a whole runtime, annotation by annotation.
//!
//! Time is paused: minutes pass as fast as nothing is left to do, so each time is exact.

use std::ops::RangeInclusive;

use futures_util::future::join_all;
use serde_json::{Value, json};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use serve_core::object::Object;
use tokio::time::{Instant, sleep};

use super::host::Host;
use super::*;

/// A revision of guest `hold`, and when it was ready.
pub struct Scaled {
    pub host: Host,
    pub start: Instant,
}

/// Annotations of the autoscaler, by what follows their domain.
pub fn autoscaling(annotations: &[(&str, &str)]) -> Value {
    let named =
        |(key, value): &(&str, &str)| (format!("autoscaling.knative.dev/{key}"), json!(value));
    Value::Object(annotations.iter().map(named).collect())
}

impl Scaled {
    pub async fn new(annotations: &[(&str, &str)], concurrency: u32) -> Self {
        Self::with(Host::paused(), annotations, concurrency).await
    }

    pub async fn with(host: Host, annotations: &[(&str, &str)], concurrency: u32) -> Self {
        let spec = json!({"containerConcurrency": concurrency, "timeoutSeconds": 600});
        host.service("hold", autoscaling(annotations), spec, json!({}))
            .await;
        host.ready(1).await;
        Self {
            host,
            start: Instant::now(),
        }
    }

    /// The replicas of a revision now.
    pub fn of(&self, number: u32) -> i32 {
        let key = ObjectKey::new("default", format!("h1-{number:05}"));
        match self
            .host
            .runtime
            .store()
            .get(Kind::Revision, &key)
            .as_deref()
        {
            Some(Object::Revision(revision)) => revision.status.actual_replicas.unwrap_or(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn replicas(&self) -> i32 {
        self.of(1)
    }

    /// Waits until there are so many replicas. Returns the seconds since `from`.
    pub async fn comes_to(&self, replicas: i32, from: Instant) -> u64 {
        let is_so = |revision: &serve_core::api::Revision| {
            revision.status.actual_replicas.unwrap_or(0) == replicas
        };
        self.host.revision(1, is_so).await;
        from.elapsed().as_secs()
    }

    #[track_caller]
    pub fn is(&self, replicas: i32, name: &str) {
        assert_eq!(self.replicas(), replicas, "{name}");
    }

    /// So many requests at once, each of which takes so many seconds; all are answered.
    pub async fn hold(&self, count: usize, seconds: u64) {
        let path = format!("/{seconds}");
        for (status, body) in join_all((0..count).map(|_| self.host.get(&path))).await {
            assert_eq!(status, 200, "{body}");
        }
    }
}

pub async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[track_caller]
pub fn within(at: u64, range: RangeInclusive<u64>, name: impl std::fmt::Debug) {
    assert!(range.contains(&at), "{name:?}: at {at} s");
}

#[tokio::test(start_paused = true)]
async fn a_guest_goes_to_zero_after_the_stable_window_and_wakes_at_once() {
    let scaled = Scaled::new(&[], 0).await;
    let at = scaled.comes_to(0, scaled.start).await;
    within(at, 58..=66, "first");
    let woken = Instant::now();
    scaled.hold(1, 0).await;
    assert_eq!(woken.elapsed(), Duration::ZERO, "no tick was waited for");
    seconds(1).await;
    scaled.is(1, "woken");
    let at = scaled.comes_to(0, woken).await;
    within(at, 60..=66, "again");
}

#[tokio::test(start_paused = true)]
async fn the_last_replica_stays_as_long_as_its_annotations_say() {
    let cases: [(&[(&str, &str)], _); 4] = [
        (&[("window", "2m")], 118..=126),
        // A new revision has the grace period of 30 s, which counts from its start.
        (&[("window", "6s")], 28..=36),
        (&[("scale-to-zero-pod-retention-period", "5m")], 358..=368),
        (&[("window", "10s"), ("scale-down-delay", "2m")], 118..=136),
    ];
    for (annotations, want) in cases {
        let scaled = Scaled::new(annotations, 0).await;
        scaled.hold(1, 2).await;
        within(scaled.comes_to(0, scaled.start).await, want, annotations);
    }
}

#[tokio::test(start_paused = true)]
async fn an_activation_scale_is_what_the_first_request_wakes() {
    let scaled = Scaled::new(&[("activation-scale", "3")], 0).await;
    scaled.is(1, "it does not count at the start");
    scaled.comes_to(0, scaled.start).await;
    scaled.hold(1, 0).await;
    seconds(1).await;
    scaled.is(3, "woken");
}

#[tokio::test(start_paused = true)]
async fn the_load_is_divided_by_target_and_utilization() {
    type Case<'a> = (&'a [(&'a str, &'a str)], u32, i32);
    let cases: [Case<'_>; 6] = [
        (&[("target", "10")], 0, 3),
        (
            &[("target", "10"), ("target-utilization-percentage", "50")],
            0,
            4,
        ),
        (
            &[("target", "10"), ("target-utilization-percentage", "100")],
            0,
            2,
        ),
        (&[], 10, 3),
        // The smaller of the two bounds.
        (
            &[("target", "5"), ("target-utilization-percentage", "100")],
            10,
            4,
        ),
        (&[("target", "10"), ("max-scale", "2")], 0, 2),
    ];
    for (annotations, concurrency, want) in cases {
        let scaled = Scaled::new(annotations, concurrency).await;
        tokio::join!(scaled.hold(20, 30), async {
            seconds(12).await;
            scaled.is(want, &format!("{annotations:?} {concurrency}"));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn requests_per_second_are_counted_when_asked_for() {
    let annotations = [("metric", "rps"), ("target", "10")];
    let scaled = Scaled::new(&annotations, 0).await;
    for _ in 0..400 {
        scaled.hold(1, 0).await;
        sleep(Duration::from_millis(50)).await;
    }
    // Twenty a second, of which a replica is to bear seven.
    scaled.is(3, "rps");
    // Requests that run do not count, and do not end with the replicas.
    tokio::join!(scaled.hold(40, 250), async {
        seconds(200).await;
        scaled.is(0, "none begins any more");
    });
}

#[tokio::test(start_paused = true)]
async fn minimum_and_initial_scale_are_there_before_the_first_request() {
    let scaled = Scaled::new(&[("min-scale", "2")], 0).await;
    scaled.is(2, "minimum");
    seconds(600).await;
    scaled.is(2, "minimum, ten minutes later");

    let scaled = Scaled::new(&[("initial-scale", "3")], 0).await;
    scaled.is(3, "initial scale");
    // It is a minimum until it was reached, and no longer.
    within(
        scaled.comes_to(1, scaled.start).await,
        0..=6,
        "initial scale",
    );
    within(scaled.comes_to(0, scaled.start).await, 58..=66, "then zero");
}

#[tokio::test(start_paused = true)]
async fn a_minimum_ends_when_no_route_leads_to_the_revision() {
    let scaled = Scaled::new(&[("min-scale", "2")], 0).await;
    let host = &scaled.host;
    host.service("hold", autoscaling(&[]), json!({}), json!({}))
        .await;
    host.ready(2).await;
    scaled.comes_to(0, Instant::now()).await;
}

/// A surge of ten seconds after minutes without one.
async fn surge(annotations: &[(&str, &str)]) -> (Scaled, Instant) {
    let mut all = vec![
        ("min-scale", "1"),
        ("target", "10"),
        ("target-utilization-percentage", "100"),
    ];
    all.extend(annotations);
    let scaled = Scaled::new(&all, 0).await;
    seconds(200).await;
    let surge = Instant::now();
    scaled.hold(50, 10).await;
    (scaled, surge)
}

#[tokio::test(start_paused = true)]
async fn a_surge_is_met_in_panic_and_its_replicas_stay_for_a_stable_window() {
    let (scaled, surge) = surge(&[]).await;
    scaled.is(5, "after ten seconds");
    seconds(48).await;
    scaled.is(5, "panic never scales down");
    // A stable window after the panic average last asked for twice of what was there.
    let at = scaled.comes_to(2, surge).await;
    within(at, 60..=72, "by the rate of 2 at most");
    let at = scaled.comes_to(1, surge).await;
    within(at, 62..=76, "to the minimum");
}

#[tokio::test(start_paused = true)]
async fn a_surge_below_the_threshold_is_averaged_over_the_stable_window() {
    // 50 for 10 of 60 seconds are 8 of the 10 that one replica bears.
    let (scaled, _) = surge(&[("panic-threshold-percentage", "1000")]).await;
    scaled.is(1, "no panic");
    // With the whole stable window as panic window there is no surge either.
    let (scaled, _) = surge(&[("panic-window-percentage", "100")]).await;
    scaled.is(1, "a long panic window");
}

#[tokio::test(start_paused = true)]
async fn fewer_replicas_are_run_only_after_the_delay() {
    let calm = ("panic-threshold-percentage", "1000");
    for (delay, want) in [("0s", [6..=12, 8..=14]), ("2m", [120..=132, 240..=254])] {
        let (scaled, _) = surge(&[calm, ("scale-down-delay", delay), ("window", "10s")]).await;
        let end = Instant::now();
        scaled.is(5, delay);
        // What the rate of 2 allows is delayed each time.
        for (replicas, want) in [2, 1].into_iter().zip(want) {
            within(
                scaled.comes_to(replicas, end).await,
                want,
                (delay, replicas),
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_wait_in_the_longer_queue_while_the_activator_is_in_the_path() {
    let bounds = [("min-scale", "2"), ("max-scale", "2")];
    for (capacity, want) in [("0", 100 - 2 * (1 + 10)), ("-1", 0)] {
        let annotations = [bounds[0], bounds[1], ("target-burst-capacity", capacity)];
        let scaled = Scaled::new(&annotations, 1).await;
        seconds(10).await;
        let answers = join_all((0..100).map(|_| scaled.host.get("/1"))).await;
        let full = (503, "pending request queue full\n".to_owned());
        let refused = answers.iter().filter(|answer| **answer == full).count();
        let answered = answers.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!((refused, answered), (want, 100 - want), "{capacity}");
    }
}
