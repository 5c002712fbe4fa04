//! Calls that go well: reuse, freshness, streaming, many at once, a client that leaves.

use super::*;

#[tokio::test]
async fn hello_greets_target() {
    let pool = pool_of("hello", |spec, _| {
        spec.env = vec![("TARGET".into(), "Knative".into())];
    });
    let response = get(&pool, "/").await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        text(response.into_body()).await.unwrap(),
        "Hello Knative!\n"
    );
}

#[tokio::test]
async fn reused_instance_counts_on() {
    let pool = pool_of("count", reused);
    for want in ["1", "2", "3"] {
        assert_eq!(get_text(&pool, "/").await.unwrap(), want);
    }
    assert_eq!(
        (n(&pool.counts().started), live(&pool), pool.idle()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn fresh_instance_starts_at_one() {
    let pool = pool_of("count", fresh);
    for _ in 0..3 {
        assert_eq!(get_text(&pool, "/").await.unwrap(), "1");
    }
    assert_eq!((n(&pool.counts().started), live(&pool)), (3, 0));
}

#[tokio::test]
async fn warm_instance_takes_the_first_request() {
    for isolation in [fresh, reused] {
        let pool = pool_of("count", isolation);
        pool.warm().await.unwrap();
        assert_eq!(get_text(&pool, "/").await.unwrap(), "1");
        assert_eq!(n(&pool.counts().started), 1);
    }
}

#[tokio::test]
async fn used_up_instance_is_replaced() {
    let pool = pool_of("count", |_, options| options.calls = 2);
    let mut counted = String::new();
    for _ in 0..5 {
        counted += &get_text(&pool, "/").await.unwrap();
    }
    assert_eq!(
        (counted.as_str(), n(&pool.counts().discarded)),
        ("12121", 2)
    );
}

#[tokio::test]
async fn echo_streams_both_ways() {
    let pool = pool_of("echo", reused);
    let (send, body) = channel();
    let call = pool
        .lease(0)
        .unwrap()
        .call(request("/", body), Timeouts::total(MINUTE));
    let mut response = call.await.unwrap().into_body();
    for text in ["one", "two", "three"] {
        send.send(text.into()).await.unwrap();
        assert_eq!(piece(&mut response).await.unwrap().unwrap(), text);
    }
    drop(send);
    assert!(piece(&mut response).await.is_none());
    assert_eq!((n(&pool.counts().discarded), pool.idle()), (0, 1));
}

#[tokio::test]
async fn large_bodies_pass_unchanged() {
    let pool = pool_of("echo", reused);
    let sent: Bytes = (0..3_000_000_u32)
        .map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1])
        .collect();
    for _ in 0..2 {
        let call = pool
            .lease(0)
            .unwrap()
            .call(request("/", sent.clone()), Timeouts::total(MINUTE));
        let received = call
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        assert!(received == sent);
    }
    assert_eq!(n(&pool.counts().started), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_parallel_requests_get_their_own_answers() {
    for isolation in [fresh, reused] {
        let pool = pool_of("echo", isolation);
        let mut calls = tokio::task::JoinSet::new();
        for i in 0..100 {
            let pool = pool.clone();
            calls.spawn(async move {
                let sent = format!("request {i} ").repeat(500);
                let call = pool
                    .lease(i)
                    .unwrap()
                    .call(request("/", sent.clone()), Timeouts::total(MINUTE));
                assert_eq!(text(call.await.unwrap().into_body()).await.unwrap(), sent);
            });
        }
        while let Some(done) = calls.join_next().await {
            done.unwrap();
        }
        assert_eq!(live(&pool), pool.idle());
    }
}

#[tokio::test]
async fn slow_guest_sends_as_it_goes() {
    let pool = pool_of("slow", reused);
    pool.warm().await.unwrap();
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let mut body = get(&pool, "/").await.unwrap().into_body();
    for (digit, after) in [("1", 100), ("2", 200), ("3", 300)] {
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), digit);
        let waited = start.elapsed().as_millis();
        assert!(
            (after..after + 50).contains(&waited),
            "{digit} after {waited} ms"
        );
    }
    assert!(piece(&mut body).await.is_none());
}

#[tokio::test]
async fn code_is_unloaded_at_zero_and_loaded_again() {
    let pool = pool_of("count", reused);
    assert_eq!(get_text(&pool, "/").await.unwrap(), "1");
    pool.set_target(0);
    pool.drained().await;
    assert_eq!(live(&pool), 0);
    pool.set_target(1);
    assert_eq!(get_text(&pool, "/").await.unwrap(), "1");
}

#[tokio::test]
async fn scale_to_zero_lets_running_calls_end() {
    let pool = pool_of("echo", reused);
    let (send, body) = channel();
    let call = pool
        .lease(0)
        .unwrap()
        .call(request("/", body), Timeouts::total(MINUTE));
    let mut response = call.await.unwrap().into_body();
    pool.set_target(0);
    send.send("still here".into()).await.unwrap();
    assert_eq!(piece(&mut response).await.unwrap().unwrap(), "still here");
    drop(send);
    assert!(piece(&mut response).await.is_none());
    pool.drained().await;
    assert_eq!(pool.idle(), 0);
}

#[tokio::test]
async fn client_that_leaves_frees_a_guest_that_notices() {
    let pool = pool_of("echo", reused);
    let (send, body) = channel();
    let call = pool
        .lease(0)
        .unwrap()
        .call(request("/", body), Timeouts::total(MINUTE));
    let mut response = call.await.unwrap().into_body();
    send.send("one".into()).await.unwrap();
    assert_eq!(piece(&mut response).await.unwrap().unwrap(), "one");
    drop(response);
    // The guest reads an error, returns, and its instance takes the next call.
    pool.set_target(1);
    while pool.idle() == 0 {
        assert_eq!(live(&pool), 1, "the instance was thrown away");
        tokio::task::yield_now().await;
    }
    assert_eq!(n(&pool.counts().cancelled), 1);
    drop(send);
}

#[tokio::test]
async fn client_that_leaves_ends_a_guest_that_does_not_notice() {
    let pool = pool_of("wait", reused);
    pool.warm().await.unwrap();
    tokio::time::pause();
    let lease = pool.lease(0).unwrap();
    let call = lease.call(request("/", ""), Timeouts::total(Duration::from_hours(2)));
    let gone = tokio::time::timeout(Duration::from_secs(1), call).await;
    assert!(gone.is_err());
    let start = tokio::time::Instant::now();
    pool.drained().await;
    assert!(
        start.elapsed() <= Duration::from_millis(60),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((n(&pool.counts().cancelled), live(&pool)), (1, 0));
}

#[tokio::test]
async fn tmp_is_private_and_empty() {
    let root = tempfile::tempdir().unwrap();
    let scratch = Arc::new(serve_runtime::engine::Scratch::open(root.path().join("tmp")).unwrap());
    for (isolation, later) in [(Isolation::Revision, "old"), (Isolation::Request, "new")] {
        let pool = pool_of("files", |spec, options| {
            spec.scratch = Some(scratch.clone());
            options.isolation = isolation;
        });
        assert_eq!(get_text(&pool, "/").await.unwrap(), "/tmp");
        assert_eq!(get_text(&pool, "/x").await.unwrap(), later);
    }
}

#[tokio::test]
async fn no_scratch_no_directories() {
    let pool = pool_of("files", fresh);
    assert_eq!(get_text(&pool, "/").await.unwrap(), "none");
}

#[tokio::test]
async fn untouched_tmp_makes_no_directory() {
    let root = tempfile::tempdir().unwrap();
    let scratch = Arc::new(serve_runtime::engine::Scratch::open(root.path().join("tmp")).unwrap());
    let pool = pool_of("hello", |spec, _| spec.scratch = Some(scratch));
    get_text(&pool, "/").await.unwrap();
    assert_eq!(
        std::fs::read_dir(root.path().join("tmp")).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn wasip1_is_adapted_and_its_output_logged() {
    let (log, _guard) = log::Log::start();
    let pool = pool_of("preview1", reused);
    assert_eq!(get_text(&pool, "/").await.unwrap(), "ok");
    let lines = log.with("hello from wasip1");
    let want = "guest message=hello from wasip1 revision=test/preview1 instance=0 stream=stdout";
    assert_eq!(lines, [want]);
}
