use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serve_core::autoscale::to_zero::InactiveReason;
use serve_core::autoscale::{Config, Template};
use tokio::time::{Instant, sleep};

use super::*;
use crate::engine::{Call, Calls, Error, Link};
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

fn spec(annotations: &[(&str, &str)], concurrency: u32, reachable: bool) -> Arc<Spec> {
    let annotations: BTreeMap<String, String> = annotations
        .iter()
        .map(|(key, value)| {
            (
                format!("autoscaling.knative.dev/{key}"),
                (*value).to_owned(),
            )
        })
        .collect();
    Arc::new(Spec::new(
        &Config::default(),
        Template {
            annotations: &annotations,
            container_concurrency: concurrency,
            progress_deadline: Duration::from_secs(600),
            reachable,
        },
    ))
}

fn scale(annotations: &[(&str, &str)], concurrency: u32) -> Scaled {
    let activator = Activator::new(1000, 1);
    let fake = Arc::new(Fake::default());
    let pool = Pool::new(fake.clone(), Options::default());
    let specs = watch::Sender::new(spec(annotations, concurrency, true));
    let told = Arc::new(Mutex::new(Vec::new()));
    let (start, sink) = (Instant::now(), told.clone());
    let report: Report = Box::new(move |scale| {
        sink.lock()
            .expect("no test panics here")
            .push((start.elapsed().as_secs(), scale));
    });
    let clock = Clock::tokio(Timestamp::from_unix_seconds(1_800_000_000));
    let receiver = specs.subscribe();
    let scaler = Scaler::new(
        activator.clone(),
        pool,
        clock,
        concurrency,
        receiver,
        report,
    );
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

impl Scaled {
    fn last(&self) -> Scale {
        self.told
            .lock()
            .expect("no test panics here")
            .last()
            .expect("told")
            .1
    }

    /// When the scale was first told to be this.
    fn first(&self, actual: u32) -> Option<u64> {
        let told = self.told.lock().expect("no test panics here");
        told.iter()
            .find(|(_, scale)| scale.actual == actual)
            .map(|(at, _)| *at)
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
    let permit = scaled.admit().await;
    assert_eq!(before.elapsed(), Duration::ZERO, "no tick was waited for");
    assert!(permit.woke(), "the request starts the instance itself");
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
    scaled.specs.send_replace(spec(&annotations, 0, false));
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
}
