//! Real guests that want all the CPU time there is, in two Revisions at once.
//!
//! What they got is counted by the clocks of their threads; no test needs a machine of some speed.

use std::future::poll_fn;
use std::task::{Context, Poll};

use serve_runtime::engine::Share;
use tokio::time::Instant;

use super::*;

/// CPU time after which the guests are compared: four windows.
const ENOUGH: Duration = Duration::from_millis(400);

fn computed(pool: &Pool) -> Duration {
    Duration::from_nanos(n(&pool.counts().computed))
}

/// A Revision whose guests never end, on threads that it shares with others.
fn spinning(heavy: &Heavy, share: Share) -> Pool {
    let share = Arc::new(share);
    pool_of("spin", |spec, options| {
        spec.cpu = share.clone();
        options.cpu = share;
        options.heavy = heavy.clone();
    })
}

/// Runs so many calls of each until all have computed for long enough together; returns for how long
/// each did.
async fn compete(pools: [(&Pool, usize); 2]) -> [Duration; 2] {
    for (pool, _) in pools {
        // Compiled before any of them computes.
        pool.warm().await.unwrap();
    }
    let mut calls = Vec::new();
    for (pool, count) in pools {
        for _ in 0..count {
            let lease = pool.lease(0).unwrap();
            calls.push(Box::pin(
                lease.call(request("/", ""), Timeouts::total(10 * MINUTE)),
            ));
        }
    }
    let got = || pools.map(|(pool, _)| computed(pool));
    // Not by asking all the time: those threads run when no other wants to.
    let mut look = tokio::time::interval(Duration::from_millis(2));
    while got().iter().sum::<Duration>() < ENOUGH {
        let mut any_ended = |cx: &mut Context<'_>| {
            let ended = calls
                .iter_mut()
                .any(|call| call.as_mut().poll(cx).is_ready());
            Poll::Ready(ended)
        };
        assert!(!poll_fn(&mut any_ended).await, "it never answers");
        look.tick().await;
    }
    let got = got();
    drop(calls);
    for (pool, _) in pools {
        pool.set_target(0);
        pool.drained().await;
    }
    got
}

#[tokio::test]
async fn cores_are_shared_by_what_the_revisions_request() {
    let heavy = Heavy::default();
    heavy.start(1).unwrap();
    let (small, large) = (Share::new(100, None), Share::new(300, None));
    let (small, large) = (spinning(&heavy, small), spinning(&heavy, large));
    // More calls do not mean more of the cores.
    let [small, large] = compete([(&small, 3), (&large, 1)]).await;
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    assert!((2.0..4.5).contains(&ratio), "{small:?} and {large:?}");
    heavy.stop();
}

#[tokio::test]
async fn a_limit_holds_while_others_want_the_cores() {
    let heavy = Heavy::default();
    heavy.start(1).unwrap();
    // Its requests would give it nearly everything.
    let (limited, free) = (Share::new(900, Some(100)), Share::new(100, None));
    let (limited, free) = (spinning(&heavy, limited), spinning(&heavy, free));
    let began = Instant::now();
    let [got, _] = compete([(&limited, 2), (&free, 2)]).await;
    // A tenth of each window, of which the first and the last were not whole; what is beyond it
    // when a turn ends counts in the next one. Its first epochs, on this thread, count, too.
    let windows = began.elapsed().as_millis() / 100 + 2;
    let most = Duration::from_millis(10) * u32::try_from(windows).unwrap();
    assert!(
        got <= most + Duration::from_millis(20),
        "{got:?} of {most:?}"
    );
    assert!(got > Duration::ZERO, "it gets its share");
    heavy.stop();
}
