//! The pool with fake guests and paused time: what is kept, what is dropped, and when.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;
use crate::engine::GuestBody;

/// Starts fake guests. Each answers at once with its number and then ends as `end` says.
#[derive(Default)]
struct Fake {
    /// Places that the "engine" has; `None` for no limit.
    places: Option<Arc<Semaphore>>,
    unloads: AtomicUsize,
    end: End,
    bytes: usize,
}

#[derive(Clone, Copy, Default)]
enum End {
    #[default]
    Returned,
    Trapped,
    Dirty,
    /// Answers and then never returns.
    Never,
}

struct FakeGuest {
    id: u64,
    end: End,
    bytes: usize,
    _place: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Launch for Fake {
    fn launch(&self, id: u64) -> Boxed<'_, Result<Box<dyn Guest>, Error>> {
        Box::pin(async move {
            let place = self.places.clone().map(Semaphore::try_acquire_owned);
            let place = place.transpose().map_err(|_| Error::Full)?;
            let guest = FakeGuest {
                id,
                end: self.end,
                bytes: self.bytes,
                _place: place,
            };
            Ok(Box::new(guest) as Box<dyn Guest>)
        })
    }

    fn unload(&self) {
        self.unloads.fetch_add(1, Relaxed);
    }
}

impl Guest for FakeGuest {
    fn run(self: Box<Self>, call: Call) -> Boxed<'static, Ended> {
        Box::pin(async move {
            let body = GuestBody::new(Body::from(self.id.to_string()));
            _ = call.respond.send(Ok(http::Response::new(body)));
            match self.end {
                End::Returned => (Some(self as Box<dyn Guest>), Ok(())),
                End::Trapped => (None, Err(Error::Trap("fake".into()))),
                End::Dirty => (None, Ok(())),
                End::Never => std::future::pending().await,
            }
        })
    }

    fn drive(self: Box<Self>, mut calls: Calls, _: Arc<Link>) -> Boxed<'static, Result<(), Error>> {
        Box::pin(async move {
            while let Some(call) = calls.recv().await {
                let body = GuestBody::new(Body::from(self.id.to_string()));
                _ = call.respond.send(Ok(http::Response::new(body)));
            }
            Ok(())
        })
    }

    fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

fn pool(fake: Fake, change: impl FnOnce(&mut Options)) -> Pool {
    let mut options = Options::default();
    change(&mut options);
    Pool::new(Arc::new(fake), options)
}

fn request() -> http::Request<Body> {
    http::Request::new(Body::empty())
}

const TIMEOUTS: Timeouts = Timeouts {
    total: Duration::from_mins(5),
    response_start: None,
    idle: None,
};

/// The number of the instance that answered.
async fn call(pool: &Pool) -> Result<String, Error> {
    use http_body_util::BodyExt;
    let response = pool.lease(0)?.call(request(), TIMEOUTS).await?;
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|_| Error::Gone)?
        .to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

fn live_and_idle(pool: &Pool) -> (usize, usize) {
    (pool.counts().live.load(Relaxed), pool.idle())
}

/// Makes `count` instances idle at once.
async fn fill(pool: &Pool, count: usize) {
    let leases: Vec<_> = (0..count).map(|_| pool.lease(0).unwrap()).collect();
    for lease in leases {
        drop(lease.call(request(), TIMEOUTS).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn newest_idle_instance_is_taken_first() {
    let pool = pool(Fake::default(), |_| {});
    fill(&pool, 3).await;
    assert_eq!(call(&pool).await.unwrap(), "2");
    assert_eq!(call(&pool).await.unwrap(), "2");
    assert_eq!(live_and_idle(&pool), (3, 3));
}

/// tokio lets a task that never waits see nothing of its channels after 128 looks.
#[tokio::test]
async fn task_that_never_waits_sees_every_answer() {
    let pool = pool(Fake::default(), |_| {});
    for _ in 0..1000 {
        assert_eq!(call(&pool).await.unwrap(), "0");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_instances_go_one_by_one_as_their_time_comes() {
    let pool = pool(Fake::default(), |options| {
        options.idle = Duration::from_secs(10);
    });
    fill(&pool, 3).await;
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(call(&pool).await.unwrap(), "2");
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::task::yield_now().await;
    assert_eq!(live_and_idle(&pool), (1, 1), "the one that was used stays");
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::task::yield_now().await;
    assert_eq!(live_and_idle(&pool), (0, 0));
    // The task that looks after them begins anew.
    assert_eq!(call(&pool).await.unwrap(), "3");
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::task::yield_now().await;
    assert_eq!(live_and_idle(&pool), (0, 0));
    assert_eq!(pool.counts().evicted.load(Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn idle_bounds_hold() {
    let by_count = pool(Fake::default(), |options| options.idle_instances = 2);
    fill(&by_count, 5).await;
    assert_eq!(live_and_idle(&by_count), (2, 2));
    let fake = Fake {
        bytes: 10,
        ..Fake::default()
    };
    let by_bytes = pool(fake, |options| options.idle_bytes = 35);
    fill(&by_bytes, 5).await;
    assert_eq!(live_and_idle(&by_bytes), (3, 3));
    assert_eq!(by_bytes.counts().kept_bytes.load(Relaxed), 30);
}

#[tokio::test(start_paused = true)]
async fn only_clean_instances_are_kept() {
    for (end, kept) in [(End::Returned, 1), (End::Trapped, 0), (End::Dirty, 0)] {
        let pool = pool(
            Fake {
                end,
                ..Fake::default()
            },
            |_| {},
        );
        _ = call(&pool).await;
        assert_eq!(live_and_idle(&pool), (kept, kept));
    }
}

#[tokio::test(start_paused = true)]
async fn guest_that_works_on_has_the_rest_of_its_time() {
    let pool = pool(
        Fake {
            end: End::Never,
            ..Fake::default()
        },
        |_| {},
    );
    let start = Instant::now();
    assert_eq!(call(&pool).await.unwrap(), "0");
    assert_eq!(live_and_idle(&pool), (1, 0));
    pool.drained().await;
    assert!(start.elapsed() >= TIMEOUTS.total);
    assert_eq!(pool.counts().timed_out.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn caller_that_leaves_gives_its_guest_the_grace() {
    let pool = pool(
        Fake {
            end: End::Never,
            ..Fake::default()
        },
        |_| {},
    );
    let start = Instant::now();
    drop(
        pool.lease(0)
            .unwrap()
            .call(request(), TIMEOUTS)
            .await
            .unwrap(),
    );
    pool.drained().await;
    assert!(start.elapsed() < Duration::from_millis(60));
    assert_eq!(pool.counts().cancelled.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn lease_without_a_call_changes_nothing() {
    let pool = pool(Fake::default(), |options| options.instances = 1);
    drop(pool.lease(0).unwrap());
    assert_eq!(live_and_idle(&pool), (0, 0));
    fill(&pool, 1).await;
    drop(pool.lease(0).unwrap());
    assert_eq!(live_and_idle(&pool), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn full_pool_takes_from_other_shards_first() {
    let pool = pool(Fake::default(), |options| {
        (options.instances, options.shards) = (1, 4);
    });
    fill(&pool, 1).await;
    let lease = pool.lease(3).unwrap();
    assert!(matches!(pool.lease(0), Err(Error::Full)));
    drop(lease.call(request(), TIMEOUTS).await.unwrap());
    assert_eq!(pool.counts().started.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn zero_drops_idle_instances_and_code() {
    let fake = Arc::new(Fake::default());
    let pool = Pool::new(fake.clone(), Options::default());
    fill(&pool, 3).await;
    let running = pool.lease(0).unwrap();
    pool.set_target(0);
    assert_eq!(
        (live_and_idle(&pool), fake.unloads.load(Relaxed)),
        ((1, 0), 1)
    );
    drop(running.call(request(), TIMEOUTS).await.unwrap());
    pool.drained().await;
    assert_eq!(live_and_idle(&pool), (0, 0));
    pool.set_target(1);
    fill(&pool, 1).await;
    assert_eq!(live_and_idle(&pool), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn full_engine_drops_the_oldest_idle_instances_of_all_pools() {
    let (pressure, places) = (Pressure::default(), Arc::new(Semaphore::new(3)));
    let make = || {
        let fake = Fake {
            places: Some(places.clone()),
            ..Fake::default()
        };
        pool(fake, |options| options.pressure = pressure.clone())
    };
    let pools: Vec<_> = (0..100).map(|_| make()).collect();
    for pool in &pools {
        assert_eq!(call(pool).await.unwrap(), "0");
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let running: Vec<_> = pools
        .iter()
        .take(3)
        .map(|pool| pool.lease(0).unwrap())
        .collect();
    let evicted: u64 = pools
        .iter()
        .map(|pool| pool.counts().evicted.load(Relaxed))
        .sum();
    assert!((97..=100).contains(&evicted), "{evicted}");
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn full_engine_drops_shared_instances_without_a_call() {
    let (pressure, places) = (Pressure::default(), Arc::new(Semaphore::new(3)));
    let make = || {
        let fake = Fake {
            places: Some(places.clone()),
            ..Fake::default()
        };
        pool(fake, |options| {
            options.pressure = pressure.clone();
            options.calls_per_instance = 8;
        })
    };
    let pools: Vec<_> = (0..50).map(|_| make()).collect();
    for pool in &pools {
        assert_eq!(call(pool).await.unwrap(), "0");
    }
    let live: usize = pools.iter().map(|pool| live_and_idle(pool).0).sum();
    assert!(live <= 3, "{live}");
}

#[tokio::test(start_paused = true)]
async fn engine_without_idle_instances_is_full() {
    let places = Some(Arc::new(Semaphore::new(0)));
    let pool = pool(
        Fake {
            places,
            ..Fake::default()
        },
        |_| {},
    );
    assert!(matches!(call(&pool).await, Err(Error::Full)));
    assert_eq!(live_and_idle(&pool), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn shared_instance_takes_calls_up_to_its_limit() {
    let pool = pool(Fake::default(), |options| options.calls_per_instance = 2);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(
            pool.lease(0)
                .unwrap()
                .call(request(), TIMEOUTS)
                .await
                .unwrap(),
        );
    }
    // The fake ends its calls at once: only callers would hold more instances.
    assert!((1..=2).contains(&live_and_idle(&pool).0));
    drop(open);
    pool.drained().await;
}

/// Random leases, calls and waits against the sums that must always hold.
#[tokio::test(start_paused = true)]
async fn counts_hold_under_random_operations() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..50 {
        let end = [End::Returned, End::Trapped, End::Dirty][random.usize(..3)];
        let instances = random.usize(1..6);
        let pool = pool(
            Fake {
                end,
                bytes: 1,
                ..Fake::default()
            },
            |options| {
                options.instances = instances;
                options.shards = 3;
                options.idle = Duration::from_secs(3);
                options.idle_instances = 4;
            },
        );
        let (mut leases, mut bodies) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            match random.u8(..6) {
                0 | 1 => leases.extend(pool.lease(random.usize(..3)).ok()),
                2 if !leases.is_empty() => {
                    let lease: Lease = leases.swap_remove(random.usize(..leases.len()));
                    bodies.extend(lease.call(request(), TIMEOUTS).await.ok());
                }
                3 => drop(bodies.pop()),
                4 => tokio::time::advance(Duration::from_secs(random.u64(..4))).await,
                _ => pool.set_target(random.usize(..2)),
            }
            tokio::task::yield_now().await;
            let (live, idle) = live_and_idle(&pool);
            assert!(
                live <= instances && idle <= live && idle <= 4,
                "seed {seed}"
            );
            assert_eq!(live, idle + leases.len(), "seed {seed}");
            let counts = pool.counts();
            let kept = counts.kept.load(Relaxed);
            assert!(idle <= kept && kept <= live.min(4), "seed {seed}");
            assert_eq!(counts.kept_bytes.load(Relaxed), kept, "seed {seed}");
        }
        leases.clear();
        pool.set_target(0);
        assert_eq!(live_and_idle(&pool), (0, 0), "seed {seed}");
        assert_eq!(pool.counts().kept.load(Relaxed), 0, "seed {seed}");
        assert_eq!(pool.counts().kept_bytes.load(Relaxed), 0, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_uses_no_instance_of_before() {
    let pool = pool(Fake::default(), |_| {});
    fill(&pool, 2).await;
    let running = pool.lease(0).unwrap();
    pool.restart();
    assert_eq!(live_and_idle(&pool), (1, 0), "idle ones go at once");
    drop(running.call(request(), TIMEOUTS).await.unwrap());
    assert_eq!(live_and_idle(&pool), (0, 0), "and the other after its call");
    assert_eq!(call(&pool).await.unwrap(), "2");
}
