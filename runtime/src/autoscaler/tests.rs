mod race;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serve_core::autoscale::{Config, Template};
use serve_core::node::Resources;
use tokio::time::{Instant, sleep};

use super::*;
use crate::engine::{Call, Calls, Error, Link};
use crate::node::Node;
use crate::pool::{Boxed, Ended, Guest, Launch, Options};
use crate::tasks::Tasks;

/// Instances that start when they are told, and never get a call.
#[derive(Default)]
struct Fake {
    started: AtomicUsize,
    unloaded: AtomicUsize,
}

struct FakeGuest;

impl Launch for Fake {
    fn launch(&self, _id: u64) -> Boxed<'_, Result<Box<dyn Guest>, Error>> {
        self.started.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(Box::new(FakeGuest) as Box<dyn Guest>) })
    }

    fn unload(&self) {
        self.unloaded.fetch_add(1, Ordering::Relaxed);
    }
}

impl Guest for FakeGuest {
    fn run(self: Box<Self>, _call: Call) -> Boxed<'static, Ended> {
        Box::pin(std::future::pending())
    }

    fn drive(
        self: Box<Self>,
        _calls: Calls,
        _link: Arc<Link>,
    ) -> Boxed<'static, Result<(), Error>> {
        Box::pin(std::future::pending())
    }

    fn memory_bytes(&self) -> usize {
        0
    }
}

/// A scaler at work.
struct Scaled {
    activator: Arc<Activator>,
    fake: Arc<Fake>,
    told: Arc<Mutex<Vec<(u64, Scale)>>>,
    specs: watch::Sender<Arc<Spec>>,
    start: Instant,
    _tasks: Tasks,
}

/// A ConfigMap's values, and the rest as by default.
fn config(values: &[(&str, &str)]) -> Config {
    let values = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Config::from_map(&values).expect("valid settings")
}

/// Of which revision; see [`Template`].
struct Of<'a> {
    config: &'a [(&'a str, &'a str)],
    annotations: &'a [(&'a str, &'a str)],
    concurrency: u32,
    reachable: bool,
    /// Of its container.
    probes: serde_json::Value,
    requests: serde_json::Value,
}

impl Default for Of<'_> {
    fn default() -> Self {
        Self {
            config: &[],
            annotations: &[],
            concurrency: 0,
            reachable: true,
            probes: serde_json::json!({}),
            requests: serde_json::json!({}),
        }
    }
}

fn asked(requests: &serde_json::Value) -> Resources {
    let requirements = serde_json::json!({"requests": requests});
    Resources::asked(&serde_json::from_value(requirements).expect("requirements"))
}

impl Of<'_> {
    fn spec(&self) -> Arc<Spec> {
        let annotations: BTreeMap<String, String> = self
            .annotations
            .iter()
            .map(|(key, value)| {
                (
                    format!("autoscaling.knative.dev/{key}"),
                    (*value).to_owned(),
                )
            })
            .collect();
        Arc::new(Spec::new(
            &config(self.config),
            Template {
                annotations: &annotations,
                container_concurrency: self.concurrency,
                progress_deadline: Duration::from_secs(600),
                reachable: self.reachable,
            },
        ))
    }

    fn start(&self) -> Scaled {
        let activator = Activator::new(1000, 1);
        let fake = Arc::new(Fake::default());
        let pool = Pool::new(fake.clone(), Options::default());
        let specs = watch::Sender::new(self.spec());
        let told = Arc::new(Mutex::new(Vec::new()));
        let (start, sink) = (Instant::now(), told.clone());
        let report: Report = Box::new(move |scale| {
            sink.lock()
                .expect("no test panics here")
                .push((start.elapsed().as_secs(), scale));
        });
        let clock = Clock::tokio(Timestamp::from_unix_seconds(1_800_000_000));
        let receiver = specs.subscribe();
        let container = serde_json::from_value(self.probes.clone()).expect("a container");
        let subject = Subject {
            begin: Begin::New,
            activator: activator.clone(),
            pool,
            container_concurrency: self.concurrency,
            probes: Arc::new(Probes::of(&container).expect("offered")),
            port: 8080,
            share: Node::new(Resources::of_machine(1, 1 << 30)).share(asked(&self.requests)),
        };
        let scaler = Scaler::new(subject, clock, receiver, report);
        let tasks = Tasks::default();
        tasks.spawn(scaler.run(tasks.stop_signal()));
        Scaled {
            activator,
            fake,
            told,
            specs,
            start,
            _tasks: tasks,
        }
    }
}

fn scale(annotations: &[(&str, &str)], concurrency: u32) -> Scaled {
    let of = Of {
        annotations,
        concurrency,
        ..Of::default()
    };
    of.start()
}

impl Scaled {
    fn last(&self) -> Scale {
        self.told
            .lock()
            .expect("no test panics here")
            .last()
            .expect("told")
            .1
            .clone()
    }

    /// When the scale was first told to be this.
    fn first(&self, actual: u32) -> Option<u64> {
        let told = self.told.lock().expect("no test panics here");
        told.iter()
            .find(|(_, scale)| scale.actual == actual)
            .map(|(at, _)| *at)
    }

    /// Requests that each hold their place for this long; returns how many were sent away.
    async fn requests(&self, count: usize, time: Duration) -> usize {
        let deadline = Instant::now() + Duration::from_secs(300);
        let requests = (0..count).map(|_| async {
            let permit = self.activator.admit(0, Instant::now(), deadline).await;
            sleep(time).await;
            permit.is_err()
        });
        let lost = futures_util::future::join_all(requests).await;
        lost.into_iter().filter(|lost| *lost).count()
    }

    async fn admit(&self) -> crate::activator::Permit {
        let deadline = Instant::now() + Duration::from_secs(30);
        self.activator
            .admit(0, Instant::now(), deadline)
            .await
            .expect("admitted")
    }
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_without_requests_goes_to_zero_after_the_stable_window() {
    let scaled = scale(&[], 0);
    seconds(1).await;
    assert_eq!(scaled.last().actual, 1);
    assert_eq!(scaled.last().activity, Activity::Active);
    seconds(120).await;
    let at = scaled.first(0).expect("it went to zero");
    assert!((60..=66).contains(&at), "at {at} s");
    assert_eq!(
        scaled.last().activity,
        Activity::Inactive(InactiveReason::NoTraffic)
    );
    assert_eq!(scaled.last().desired, Some(0));
    assert!(
        scaled.fake.unloaded.load(Ordering::Relaxed) >= 1,
        "the code is let go"
    );
}

#[tokio::test(start_paused = true)]
async fn the_window_of_the_annotation_counts() {
    let scaled = scale(&[("window", "6s")], 0);
    seconds(60).await;
    let at = scaled.first(0).expect("it went to zero");
    // A new revision has the grace period of 30 s first, which the activator has passed later.
    assert!((30..=36).contains(&at), "at {at} s");
    drop(scaled.admit().await);
    seconds(5).await;
    assert_eq!(scaled.last().actual, 1, "the window is not over");
    seconds(8).await;
    assert_eq!(scaled.last().actual, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_wakes_a_revision_at_once() {
    let scaled = scale(&[], 0);
    seconds(200).await;
    assert_eq!(scaled.last().actual, 0);
    let started = scaled.fake.started.load(Ordering::Relaxed);
    let before = Instant::now();
    let mut permit = scaled.admit().await;
    assert_eq!(before.elapsed(), Duration::ZERO, "no tick was waited for");
    assert!(permit.woke(), "the request starts the instance itself");
    permit.announce();
    assert_eq!(scaled.fake.started.load(Ordering::Relaxed), started);
    seconds(3).await;
    assert_eq!(scaled.last().actual, 1);
    assert_eq!(scaled.last().activity, Activity::Active);
    drop(permit);
    seconds(200).await;
    assert_eq!(scaled.last().actual, 0, "and it sleeps again");
}

#[tokio::test(start_paused = true)]
async fn a_minimum_keeps_replicas_until_no_route_names_the_revision() {
    let annotations = [("min-scale", "2")];
    let scaled = scale(&annotations, 0);
    seconds(300).await;
    assert_eq!(scaled.last().actual, 2);
    assert_eq!(scaled.first(0), None);
    let unreachable = Of {
        annotations: &annotations,
        reachable: false,
        ..Of::default()
    };
    scaled.specs.send_replace(unreachable.spec());
    seconds(120).await;
    assert_eq!(scaled.last().actual, 0);
}

#[tokio::test(start_paused = true)]
async fn load_adds_replicas_up_to_the_maximum() {
    let scaled = scale(&[("max-scale", "3"), ("target", "10")], 10);
    let mut permits = Vec::new();
    for _ in 0..10 {
        permits.push(scaled.admit().await);
    }
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let activator = scaled.activator.clone();
            let deadline = scaled.start + Duration::from_secs(600);
            tokio::spawn(async move {
                let permit = activator
                    .admit(0, Instant::now(), deadline)
                    .await
                    .expect("admitted");
                seconds(5).await;
                drop(permit);
            })
        })
        .collect();
    seconds(4).await;
    assert_eq!(scaled.last().actual, 3);
    assert_eq!(scaled.activator.load().running, 30, "ten in each replica");
    drop(permits);
    for task in waiting {
        task.await.expect("each was admitted in the end");
    }
    seconds(300).await;
    assert_eq!(scaled.last().actual, 0);
}

#[tokio::test(start_paused = true)]
async fn the_initial_scale_is_there_before_the_first_request() {
    let scaled = scale(&[("initial-scale", "3")], 0);
    seconds(1).await;
    assert_eq!((scaled.last().actual, scaled.last().initialized), (3, true));
    // It was reached, so the load counts from now on: down by the rate of 2 at most.
    seconds(3).await;
    assert_eq!(scaled.last().actual, 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_not_made_to_wait_for_a_tick() {
    let scaled = scale(&[("max-scale", "10")], 1);
    seconds(1).await;
    let start = Instant::now();
    let lost = scaled.requests(100, Duration::from_millis(300)).await;
    assert_eq!(lost, 0);
    // Ten at once and ten times: what remains is the first decision.
    assert!(
        start.elapsed() <= Duration::from_millis(3_100),
        "{:?}",
        start.elapsed()
    );
    seconds(3).await;
    assert_eq!(scaled.last().actual, 10);
}

#[tokio::test(start_paused = true)]
async fn a_herd_at_zero_is_served_as_a_whole() {
    let scaled = scale(&[("max-scale", "10")], 5);
    seconds(200).await;
    assert_eq!(scaled.last().actual, 0);
    assert_eq!(scaled.requests(500, Duration::from_millis(100)).await, 0);
    assert_eq!(scaled.last().actual, 10);
}

#[tokio::test(start_paused = true)]
async fn beside_the_activator_the_queue_is_that_of_the_replicas() {
    let annotations = [
        ("max-scale", "2"),
        ("min-scale", "2"),
        ("target-burst-capacity", "0"),
    ];
    let scaled = scale(&annotations, 1);
    seconds(10).await;
    let lost = scaled.requests(100, Duration::from_secs(1)).await;
    assert_eq!(lost, 100 - 2 * (1 + 10));
    // With the activator in the path the same requests wait.
    let always = Of {
        annotations: &[
            ("max-scale", "2"),
            ("min-scale", "2"),
            ("target-burst-capacity", "-1"),
        ],
        concurrency: 1,
        ..Of::default()
    };
    scaled.specs.send_replace(always.spec());
    seconds(1).await;
    assert_eq!(scaled.requests(100, Duration::from_secs(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn requests_per_second_scale_when_asked_for() {
    let annotations = [("metric", "rps"), ("target", "10"), ("max-scale", "20")];
    let scaled = scale(&annotations, 0);
    for _ in 0..200 {
        drop(scaled.admit().await);
        sleep(Duration::from_millis(50)).await;
    }
    // Twenty a second, of which a replica is to bear seven.
    assert_eq!(scaled.last().actual, 3);
}

#[tokio::test(start_paused = true)]
async fn an_initial_scale_of_zero_waits_for_a_request() {
    let of = Of {
        config: &[("allow-zero-initial-scale", "true")],
        annotations: &[("initial-scale", "0")],
        ..Of::default()
    };
    let scaled = of.start();
    seconds(10).await;
    assert_eq!(scaled.fake.started.load(Ordering::Relaxed), 0);
    let last = scaled.last();
    assert_eq!(
        (last.actual, last.initialized),
        (0, true),
        "and is ready so"
    );
    drop(scaled.admit().await);
    seconds(1).await;
    assert_eq!(scaled.last().actual, 1);
}

#[tokio::test(start_paused = true)]
async fn an_activation_scale_is_what_zero_wakes_to() {
    let scaled = scale(&[("activation-scale", "3")], 0);
    seconds(200).await;
    assert_eq!(scaled.last().actual, 0);
    drop(scaled.admit().await);
    seconds(1).await;
    assert_eq!(scaled.last().actual, 3);
}

#[tokio::test(start_paused = true)]
async fn less_is_run_later_than_it_is_wanted() {
    type Annotations = &'static [(&'static str, &'static str)];
    // What is set, and the seconds after which it is at zero.
    let cases: [(Annotations, std::ops::Range<u64>); 3] = [
        (&[("scale-to-zero-pod-retention-period", "5m")], 360..370),
        (&[("scale-down-delay", "2m"), ("window", "10s")], 120..145),
        (&[("window", "2m")], 120..130),
    ];
    for (annotations, want) in cases {
        let scaled = scale(annotations, 0);
        scaled.requests(1, Duration::from_secs(4)).await;
        seconds(500).await;
        let at = scaled.first(0).expect("it went to zero");
        assert!(want.contains(&at), "{annotations:?}: at {at} s");
    }
}

#[tokio::test(start_paused = true)]
async fn settings_act_while_it_runs() {
    let of = Of {
        config: &[("enable-scale-to-zero", "false")],
        ..Of::default()
    };
    let scaled = of.start();
    seconds(300).await;
    assert_eq!(scaled.last().actual, 1);
    scaled.specs.send_replace(Of::default().spec());
    seconds(100).await;
    assert_eq!(scaled.last().actual, 0);
    scaled.specs.send_replace(of.spec());
    seconds(1).await;
    assert_eq!(scaled.last().actual, 1, "without a request");
    let min = Of {
        annotations: &[("min-scale", "4")],
        ..Of::default()
    };
    scaled.specs.send_replace(min.spec());
    seconds(1).await;
    assert_eq!(scaled.last().actual, 4);
}

#[tokio::test(start_paused = true)]
async fn no_request_runs_before_the_probes_passed() {
    let of = Of {
        probes: serde_json::json!({"readinessProbe":
            {"tcpSocket": {}, "periodSeconds": 1, "initialDelaySeconds": 5}}),
        ..Of::default()
    };
    let scaled = of.start();
    drop(scaled.admit().await);
    assert_eq!(scaled.start.elapsed(), Duration::from_secs(5));
    seconds(1).await;
    assert_eq!(scaled.last().activity, Activity::Active);
    seconds(100).await;
    assert_eq!(scaled.last().actual, 0);
    let woken = Instant::now();
    drop(scaled.admit().await);
    assert_eq!(
        woken.elapsed(),
        Duration::from_secs(5),
        "each start is probed"
    );
}

#[tokio::test(start_paused = true)]
async fn what_never_gets_ready_is_given_up() {
    for (annotations, in_the_end) in [
        (&[][..], Activity::Inactive(InactiveReason::TimedOut)),
        // A minimum is held, and shown as late.
        (&[("min-scale", "1")][..], Activity::Activating),
    ] {
        let of = Of {
            annotations,
            // The guest of these tests never answers.
            probes: serde_json::json!({"readinessProbe": {"httpGet": {}, "periodSeconds": 5}}),
            ..Of::default()
        };
        let scaled = of.start();
        seconds(595).await;
        let last = scaled.last();
        assert_eq!((last.actual, last.running, last.is_late), (0, 1, false));
        seconds(10).await;
        assert!(scaled.last().is_late);
        seconds(60).await;
        assert_eq!(scaled.last().activity, in_the_end);
        assert!(!scaled.last().initialized);
    }
}

#[tokio::test(start_paused = true)]
async fn replicas_that_do_not_fit_the_machine_are_not_run() {
    let of = Of {
        annotations: &[("min-scale", "5")],
        requests: serde_json::json!({"cpu": "400m"}),
        ..Of::default()
    };
    let scaled = of.start();
    seconds(5).await;
    let last = scaled.last();
    assert_eq!((last.actual, last.desired), (2, Some(5)));
    let text = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(last.shortage.as_deref(), Some(text));
    let fewer = Of {
        annotations: &[("min-scale", "1")],
        ..of
    };
    scaled.specs.send_replace(fewer.spec());
    seconds(100).await;
    assert_eq!((scaled.last().actual, scaled.last().shortage), (1, None));
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_resources_wakes_from_zero_all_the_same() {
    let of = Of {
        requests: serde_json::json!({"cpu": "400m"}),
        ..Of::default()
    };
    let scaled = of.start();
    seconds(100).await;
    assert_eq!(scaled.last().actual, 0);
    drop(scaled.admit().await);
    assert_eq!(scaled.last().actual, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_revision_serves_who_waits_for_it() {
    let scaled = scale(&[("max-scale", "1")], 1);
    seconds(1).await;
    let Scaled {
        activator,
        specs,
        _tasks,
        ..
    } = scaled;
    let requests = tokio::spawn({
        let activator = activator.clone();
        async move {
            let deadline = Instant::now() + Duration::from_secs(300);
            let request = || async {
                let permit = activator.admit(0, Instant::now(), deadline).await;
                sleep(Duration::from_secs(2)).await;
                permit.is_ok()
            };
            futures_util::future::join_all((0..10).map(|_| request())).await
        }
    });
    seconds(1).await;
    // As the controller does when the Revision is gone.
    drop(specs);
    assert_eq!(requests.await.expect("joined"), [true; 10]);
    seconds(2).await;
    let late = activator.admit(0, Instant::now(), Instant::now()).await;
    assert_eq!(late.err(), Some(crate::activator::Error::Stopped));
}
