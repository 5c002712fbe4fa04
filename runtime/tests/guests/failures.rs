//! What a guest's failure is to its caller, to its neighbours and in the log.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::*;
use serve_runtime::engine::Component;

#[tokio::test]
async fn trap_is_an_error_with_a_backtrace_in_the_log() {
    let (log, _guard) = log::Log::start();
    let pool = pool_of("trap", reused);
    for _ in 0..3 {
        let error = get(&pool, "/").await.unwrap_err();
        assert!(
            matches!(&error, Error::Trap(why) if why.contains("unreachable")),
            "{error}"
        );
    }
    let traps = log.with("guest trapped");
    assert_eq!(traps.len(), 3);
    assert!(
        traps[0].contains("explode") && traps[0].contains("revision=test/trap"),
        "{}",
        traps[0]
    );
    assert_eq!((live(&pool), n(&pool.counts().failed)), (0, 3));
}

#[tokio::test]
async fn trap_in_the_body_is_not_a_clean_end() {
    let pool = pool_of("trap-mid-body", reused);
    let mut body = get(&pool, "/").await.unwrap().into_body();
    for _ in 0..8 {
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "half");
    }
    assert!(matches!(
        piece(&mut body).await,
        Some(Err(body::Error::Guest))
    ));
    assert_eq!(live(&pool), 0);
}

#[tokio::test]
async fn body_that_is_never_finished_is_not_a_clean_end() {
    let pool = pool_of("unfinished", reused);
    let mut body = get(&pool, "/").await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "half");
    assert!(matches!(
        piece(&mut body).await,
        Some(Err(body::Error::Guest))
    ));
    assert_eq!((live(&pool), n(&pool.counts().discarded)), (0, 1));
}

#[tokio::test]
async fn neighbours_of_a_trap_go_on() {
    let (trap, echo) = (pool_of("trap", reused), pool_of("echo", reused));
    let (send, body) = channel();
    let call = echo
        .lease(0)
        .unwrap()
        .call(request("/", body), Timeouts::total(MINUTE));
    let mut response = call.await.unwrap().into_body();
    get(&trap, "/").await.unwrap_err();
    send.send("alive".into()).await.unwrap();
    assert_eq!(piece(&mut response).await.unwrap().unwrap(), "alive");
}

#[tokio::test]
async fn no_response_is_an_error() {
    let pool = pool_of("no-response", reused);
    assert!(matches!(get(&pool, "/").await, Err(Error::NoResponse)));
    assert_eq!(
        live(&pool),
        0,
        "a guest that lost its answer is not used again"
    );
}

#[tokio::test]
async fn exit_is_an_error_with_the_code() {
    assert!(matches!(
        get(&pool_of("exit", reused), "/").await,
        Err(Error::Exit(1))
    ));
    let pool = pool_of("start-exit", reused);
    assert!(matches!(pool.warm().await, Err(Error::Exit(1))));
    assert_eq!(live(&pool), 0);
}

#[tokio::test]
async fn trap_at_the_start_is_an_error() {
    let pool = pool_of("start-trap", reused);
    let error = pool.warm().await.unwrap_err();
    assert!(
        matches!(&error, Error::Start(why) if why.contains("unreachable")),
        "{error}"
    );
    assert!(matches!(get(&pool, "/").await, Err(Error::Start(_))));
    assert_eq!(live(&pool), 0);
}

/// The ticker's thread ends the turn of a guest that only computes; the time-out comes from
/// outside.
#[tokio::test]
async fn endless_loop_times_out_and_others_run() {
    let (spin, hello) = (pool_of("spin", reused), pool_of("hello", reused));
    hello.warm().await.unwrap();
    spin.warm().await.unwrap();
    let timeouts = Timeouts::total(Duration::from_millis(100));
    let call = spin.lease(0).unwrap().call(request("/", ""), timeouts);
    let (timed_out, answered) = tokio::join!(call, get_text(&hello, "/"));
    assert!(matches!(timed_out, Err(Error::Timeout)));
    assert_eq!(answered.unwrap(), "Hello World!\n");
    assert_eq!((live(&spin), n(&spin.counts().timed_out)), (0, 1));
}

/// A pool whose guest is started, so that a paused clock never waits for a compiler.
async fn warm_pool_of(name: &str) -> Pool {
    let pool = pool_of(name, reused);
    pool.warm().await.unwrap();
    pool
}

#[tokio::test]
async fn call_without_an_answer_times_out() {
    let second = Duration::from_secs(1);
    let no_head = Timeouts {
        response_start: Some(second),
        ..Timeouts::total(MINUTE)
    };
    let silent = Timeouts {
        idle: Some(second),
        ..Timeouts::total(MINUTE)
    };
    let pools = [
        warm_pool_of("wait").await,
        warm_pool_of("wait").await,
        warm_pool_of("wait").await,
    ];
    tokio::time::pause();
    for (pool, timeouts) in pools.iter().zip([Timeouts::total(second), no_head, silent]) {
        let start = tokio::time::Instant::now();
        let ended = pool
            .lease(0)
            .unwrap()
            .call(request("/", ""), timeouts)
            .await;
        assert!(matches!(ended, Err(Error::Timeout)));
        assert!(start.elapsed() < second + Duration::from_millis(100));
        assert_eq!((live(pool), n(&pool.counts().timed_out)), (0, 1));
    }
}

#[tokio::test]
async fn body_that_takes_too_long_times_out() {
    let silent = Timeouts {
        idle: Some(Duration::from_millis(50)),
        ..Timeouts::total(MINUTE)
    };
    let pools = [warm_pool_of("slow").await, warm_pool_of("slow").await];
    let good = warm_pool_of("slow").await;
    tokio::time::pause();
    for (pool, timeouts) in pools
        .iter()
        .zip([silent, Timeouts::total(Duration::from_millis(250))])
    {
        let call = pool.lease(0).unwrap().call(request("/", ""), timeouts);
        let ended = match call.await {
            Ok(response) => text(response.into_body())
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        assert!(ended.is_err(), "{ended:?}");
        assert_eq!((live(pool), n(&pool.counts().timed_out)), (0, 1));
    }
    // A head in time, and pieces that come often enough.
    let second = Some(Duration::from_secs(1));
    let timeouts = Timeouts {
        total: MINUTE,
        response_start: second,
        idle: second,
    };
    let call = good.lease(0).unwrap().call(request("/", ""), timeouts);
    assert_eq!(text(call.await.unwrap().into_body()).await.unwrap(), "123");
}

#[tokio::test]
async fn full_pool_says_so() {
    let pool = pool_of("echo", |_, options| options.instances = 1);
    let (_send, body) = channel();
    let call = pool
        .lease(0)
        .unwrap()
        .call(request("/", body), Timeouts::total(MINUTE));
    let response = call.await.unwrap();
    assert!(matches!(pool.lease(0), Err(Error::Full)));
    drop(response);
}

async fn prepare(wat: &str) -> Result<Component, Error> {
    engine()
        .prepare(image::componentize(wat.as_bytes()).unwrap())
        .await
}

#[tokio::test]
async fn unknown_import_names_the_interface() {
    let wat = String::from_utf8(source("imports-unknown")).unwrap();
    let error = prepare(&wat).await.err().unwrap().to_string();
    let expected = "imports \"wasi:nn/graph@0.2.0-rc-2024-10-28\", which this host does not provide; \
                it needs a host with a machine learning backend";
    assert_eq!(error, expected);
}

#[tokio::test]
async fn unknown_function_of_a_known_interface_does_not_link() {
    let wat = r#"(component
        (import "wasi:cli/exit@0.2.0" (instance (export "leave" (func))))
        (instance $none)
        (export "wasi:http/incoming-handler@0.2.0" (instance $none)))"#;
    let error = prepare(wat).await.err().unwrap();
    assert!(
        matches!(&error, Error::Link(why) if why.contains("leave")),
        "{error}"
    );
}

#[tokio::test]
async fn large_components_are_refused() {
    let engine = Engine::new(&Config {
        pooling: false,
        component_bytes: 100,
        ..Config::default()
    });
    let error = engine.unwrap().prepare(guest("hello")).await.err().unwrap();
    assert!(
        matches!(error, Error::TooLarge { limit: 100, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn outgoing_requests_and_sockets_are_denied() {
    // ok(err(HTTP-request-denied)): case 1, code 15 of the interface; no socket.
    let answer = get_text(&pool_of("outgoing", reused), "/").await.unwrap();
    assert_eq!(answer, "1Ps");
}

#[tokio::test]
async fn guest_that_computes_runs_elsewhere_and_its_neighbours_here() {
    let heavy = Heavy::default();
    heavy.start(1).unwrap();
    let spin = pool_of("spin", |_, options| options.heavy = heavy.clone());
    let hello = pool_of("hello", |_, options| options.heavy = heavy.clone());
    hello.warm().await.unwrap();
    let mut call = Box::pin(
        spin.lease(0)
            .unwrap()
            .call(request("/", ""), Timeouts::total(MINUTE)),
    );
    while n(&spin.counts().moved) == 0 {
        let look = |cx: &mut Context<'_>| Poll::Ready(call.as_mut().poll(cx).is_pending());
        assert!(poll_fn(look).await, "it never answers");
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        assert!(get_text(&hello, "/").await.unwrap().contains("Hello"));
    }
    assert_eq!(n(&hello.counts().moved), 0);
    // Its caller leaves: it ends at one of the next epochs, after its grace.
    drop(call);
    spin.set_target(0);
    spin.drained().await;
    heavy.stop();
}
