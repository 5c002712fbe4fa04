use std::time::Duration;

use super::*;

async fn admit(activator: &Arc<Activator>) -> Result<Permit, Error> {
    let now = Instant::now();
    activator.admit(0, now, now + Duration::from_secs(1)).await
}

#[tokio::test(start_paused = true)]
async fn requests_wait_at_zero_and_run_in_order() {
    let activator = Activator::new(10, 2);
    let mut order = Vec::new();
    let mut waiting: Vec<_> = (0..3)
        .map(|_| {
            let activator = activator.clone();
            tokio::spawn(async move { admit(&activator).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(
        activator.load(),
        Load {
            running: 0,
            waiting: 3
        }
    );
    activator.poked().await;
    activator.set_capacity(Capacity::Limited(1));
    for (n, task) in waiting.drain(..).enumerate() {
        let permit = task.await.expect("joined").expect("admitted");
        order.push(n);
        assert_eq!(
            activator.load(),
            Load {
                running: 1,
                waiting: 2 - n
            }
        );
        drop(permit);
    }
    assert_eq!(order, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait() {
    let activator = Activator::new(10, 2);
    assert_eq!(admit(&activator).await.err(), Some(Error::Deadline));
    assert_eq!(
        activator.load(),
        Load {
            running: 0,
            waiting: 0
        }
    );
}

#[tokio::test(start_paused = true)]
async fn beyond_the_queue_requests_are_sent_away() {
    let activator = Activator::new(1, 2);
    let first = tokio::spawn({
        let activator = activator.clone();
        async move { admit(&activator).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(admit(&activator).await.err(), Some(Error::QueueFull));
    activator.set_capacity(Capacity::Limited(1));
    assert_eq!(first.await.expect("joined"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn stopping_sends_away_who_waits() {
    let activator = Activator::new(1, 2);
    let first = tokio::spawn({
        let activator = activator.clone();
        async move { admit(&activator).await.map(drop) }
    });
    tokio::task::yield_now().await;
    activator.stop();
    assert_eq!(first.await.expect("joined"), Err(Error::Stopped));
    assert_eq!(admit(&activator).await.err(), Some(Error::Stopped));
}

/// Requests come, wait, give up, are admitted and end in random order: nobody runs beyond the
/// capacity, and in the end everything is given back.
#[tokio::test(start_paused = true)]
async fn random_cancellations_lose_no_capacity() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let activator = Activator::new(50, 2);
    activator.set_capacity(Capacity::Limited(4));
    let mut tasks = Vec::new();
    for _ in 0..500 {
        match random.u8(..4) {
            0 if !tasks.is_empty() => {
                let task: tokio::task::JoinHandle<()> =
                    tasks.swap_remove(random.usize(..tasks.len()));
                task.abort();
            }
            1 => activator.set_capacity(Capacity::Limited(random.usize(..6))),
            _ => {
                let activator = activator.clone();
                let held = Duration::from_millis(random.u64(..20));
                tasks.push(tokio::spawn(async move {
                    if let Ok(permit) = admit(&activator).await {
                        tokio::time::sleep(held).await;
                        drop(permit);
                    }
                }));
            }
        }
        tokio::time::advance(Duration::from_millis(random.u64(..3))).await;
    }
    activator.set_capacity(Capacity::Limited(1));
    for task in tasks {
        let _ = task.await;
    }
    assert_eq!(
        activator.load(),
        Load {
            running: 0,
            waiting: 0
        }
    );
    let permit = admit(&activator).await;
    assert!(permit.is_ok(), "the capacity of one is still there");
    assert_eq!(
        activator.load(),
        Load {
            running: 1,
            waiting: 0
        }
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_request_at_zero_wakes_the_revision_itself() {
    let activator = Activator::new(10, 1);
    activator.sleep(Capacity::Limited(1));
    let mut first = admit(&activator).await.expect("admitted at once");
    assert!(first.woke());
    first.announce();
    assert!(!first.woke(), "it is announced once");
    activator.poked().await;
    assert!(activator.take_woken());
    assert!(!activator.take_woken(), "it is told once");
    assert_eq!(
        admit(&activator).await.err(),
        Some(Error::Deadline),
        "the capacity is that of one replica"
    );
    drop(first);
    assert!(!admit(&activator).await.expect("a free place").woke());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_overtaken_by_a_promise_at_zero() {
    let activator = Activator::new(10, 1);
    let waiting = tokio::spawn({
        let activator = activator.clone();
        async move { admit(&activator).await.map(drop) }
    });
    tokio::task::yield_now().await;
    activator.sleep(Capacity::Limited(1));
    assert!(!activator.take_woken());
    assert_eq!(activator.load().waiting, 1, "who came before still waits");
    activator.set_capacity(Capacity::Limited(1));
    assert_eq!(waiting.await.expect("joined"), Ok(()));
}

/// Threads come and go as fast as they can while the capacity changes: nobody runs beyond it, and
/// every place comes back.
#[test]
fn threads_lose_no_place_and_gain_none() {
    const THREADS: usize = 4;
    const EACH: usize = 2000;
    let activator = Activator::new(THREADS, THREADS);
    let running = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    activator.set_capacity(Capacity::Limited(2));
    let threads = (0..THREADS).map(|core| {
        let (activator, running) = (activator.clone(), running.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                for turn in 0..EACH {
                    let now = Instant::now();
                    let far = now + Duration::from_secs(600);
                    let permit = activator.admit(core, now, far).await.expect("admitted");
                    let beside = running.fetch_add(1, AcqRel);
                    assert!(beside < 2, "{beside} run already");
                    if turn % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                    running.fetch_sub(1, AcqRel);
                    drop(permit);
                }
            });
        })
    });
    let threads: Vec<_> = threads.collect();
    for turn in 0..EACH {
        activator.set_capacity(Capacity::Limited(1 + turn % 2));
        std::thread::yield_now();
    }
    for thread in threads {
        thread.join().expect("no thread failed");
    }
    let idle = Load {
        running: 0,
        waiting: 0,
    };
    assert_eq!(activator.load(), idle);
}
