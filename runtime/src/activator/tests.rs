use std::time::Duration;

use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn requests_wait_at_zero_and_run_in_order() {
    let activator = Activator::new(10);
    let mut order = Vec::new();
    let mut waiting: Vec<_> = (0..3)
        .map(|_| {
            let activator = activator.clone();
            tokio::spawn(async move { activator.admit(soon()).await })
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
    let activator = Activator::new(10);
    assert_eq!(activator.admit(soon()).await.err(), Some(Error::Deadline));
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
    let activator = Activator::new(1);
    let first = tokio::spawn({
        let activator = activator.clone();
        async move { activator.admit(soon()).await.map(drop) }
    });
    tokio::task::yield_now().await;
    assert_eq!(activator.admit(soon()).await.err(), Some(Error::QueueFull));
    activator.set_capacity(Capacity::Limited(1));
    assert_eq!(first.await.expect("joined"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn stopping_sends_away_who_waits() {
    let activator = Activator::new(1);
    let first = tokio::spawn({
        let activator = activator.clone();
        async move { activator.admit(soon()).await.map(drop) }
    });
    tokio::task::yield_now().await;
    activator.stop();
    assert_eq!(first.await.expect("joined"), Err(Error::Stopped));
    assert_eq!(activator.admit(soon()).await.err(), Some(Error::Stopped));
}

/// Requests come, wait, give up, are admitted and end in random order: nobody runs beyond the
/// capacity, and in the end everything is given back.
#[tokio::test(start_paused = true)]
async fn random_cancellations_lose_no_capacity() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let activator = Activator::new(50);
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
                    if let Ok(permit) = activator.admit(soon()).await {
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
    let permit = activator.admit(soon()).await;
    assert!(permit.is_ok(), "the capacity of one is still there");
    assert_eq!(
        activator.load(),
        Load {
            running: 1,
            waiting: 0
        }
    );
}
