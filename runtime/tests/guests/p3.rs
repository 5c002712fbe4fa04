//! Guests of WASI 0.3: several calls in one instance.

use super::*;

fn shared(_: &mut InstanceSpec, options: &mut Options) {
    options.calls_per_instance = 3;
}

async fn call(pool: &Pool, path: &str, body: Body) -> Result<http::Response<Body>, Error> {
    pool.lease(0)?
        .call(request(path, body), Timeouts::total(MINUTE))
        .await
}

#[tokio::test]
async fn one_call_at_a_time() {
    for (isolation, want) in [
        (fresh as fn(&mut _, &mut _), ["1", "1"]),
        (reused, ["1", "2"]),
    ] {
        let pool = pool_of("echo-p3", isolation);
        for want in want {
            let response = call(&pool, "/", "some text".into()).await.unwrap();
            assert_eq!(response.headers()["x-call"], want);
            assert_eq!(text(response.into_body()).await.unwrap(), "some text");
        }
    }
}

#[tokio::test]
async fn calls_share_an_instance_up_to_the_limit() {
    let pool = pool_of("echo-p3", shared);
    let mut open = Vec::new();
    for want in ["1", "2", "3", "1"] {
        let (send, body) = channel();
        let response = call(&pool, "/", body).await.unwrap();
        assert_eq!(response.headers()["x-call"], want);
        open.push((send, response.into_body()));
    }
    assert_eq!(n(&pool.counts().started), 2);
    for (i, (send, body)) in open.iter_mut().enumerate().rev() {
        send.send(format!("call {i}").into()).await.unwrap();
        assert_eq!(piece(body).await.unwrap().unwrap(), format!("call {i}"));
    }
    for (send, mut body) in open {
        drop(send);
        assert!(piece(&mut body).await.is_none());
    }
}

#[tokio::test]
async fn trap_ends_all_calls_of_the_instance() {
    let pool = pool_of("echo-p3", shared);
    let (send, body) = channel();
    let mut response = call(&pool, "/", body).await.unwrap().into_body();
    let error = call(&pool, "/trap", Body::empty()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Trap(why) if why.contains("unreachable")),
        "{error}"
    );
    assert!(matches!(
        piece(&mut response).await,
        Some(Err(body::Error::Guest))
    ));
    drop((send, response));
    assert_eq!(
        call(&pool, "/", Body::empty()).await.unwrap().headers()["x-call"],
        "1"
    );
}

#[tokio::test]
async fn endless_loop_retires_the_instance() {
    let pool = pool_of("echo-p3", shared);
    pool.warm().await.unwrap();
    let timeouts = Timeouts::total(Duration::from_millis(100));
    let ended = pool
        .lease(0)
        .unwrap()
        .call(request("/spin", ""), timeouts)
        .await;
    assert!(matches!(ended, Err(Error::Timeout)));
    let next = call(&pool, "/", "next".into()).await.unwrap();
    assert_eq!(next.headers()["x-call"], "1");
    assert_eq!(text(next.into_body()).await.unwrap(), "next");
}

#[tokio::test]
async fn unused_instance_is_dropped() {
    let pool = pool_of("echo-p3", shared);
    assert_eq!(
        text(call(&pool, "/", "x".into()).await.unwrap().into_body())
            .await
            .unwrap(),
        "x"
    );
    assert_eq!(live(&pool), 1);
    tokio::time::pause();
    pool.drained().await;
    assert_eq!(n(&pool.counts().evicted), 1);
}
