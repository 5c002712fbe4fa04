//! Every number that a guest cannot exceed, tried from inside.

use super::*;

/// The answer of the guest `limits` to `/<amount>/<what>`.
async fn limit(amount: u64, what: u32) -> Result<String, String> {
    get_text(&pool_of("limits", fresh), &format!("/{amount}/{what}")).await
}

#[track_caller]
fn assert_trap(result: &Result<String, String>, why: &str) {
    let error = result.as_ref().expect_err("the guest went on");
    assert!(
        error.starts_with("the guest trapped") && error.contains(why),
        "{error}"
    );
}

#[tokio::test]
async fn memories_share_one_limit() {
    let pool = pool_of("allocate", |spec, _| spec.limits.memory_bytes = 64 << 20);
    for (path, grows) in [
        ("/40", true),
        ("/0/40", true),
        ("/30/30", true),
        ("/40/40", false),
        ("/64", false),
        ("/0/64", false),
    ] {
        let pool = pool_of("allocate", |spec, options| {
            spec.limits.memory_bytes = 64 << 20;
            options.isolation = Isolation::Request;
        });
        assert_eq!(get_text(&pool, path).await.is_ok(), grows, "{path}");
    }
    // Of one instance, over its calls.
    assert!(get_text(&pool, "/40").await.is_ok());
    assert!(get_text(&pool, "/0/40").await.is_err());
}

#[tokio::test]
async fn refused_memory_is_named_in_the_log() {
    let (log, _guard) = log::Log::start();
    let pool = pool_of("allocate", |spec, _| spec.limits.memory_bytes = 8 << 20);
    get_text(&pool, "/9").await.unwrap_err();
    assert_eq!(log.with("limit=memory").len(), 1);
}

#[tokio::test]
async fn memory_that_is_too_large_at_the_start_does_not_start() {
    let pool = pool_of("allocate", |spec, _| spec.limits.memory_bytes = 64 << 10);
    let error = pool.warm().await.unwrap_err();
    assert!(
        matches!(&error, Error::Start(why) if why.contains("memory")),
        "{error}"
    );
}

#[tokio::test]
async fn random_bytes_are_limited() {
    assert_eq!(limit(64 << 10, 0).await.unwrap(), "ok");
    assert_trap(&limit((64 << 10) + 1, 0).await, "");
}

#[tokio::test]
async fn handles_are_limited() {
    assert_eq!(limit(9_000, 1).await.unwrap(), "ok");
    assert_trap(&limit(10_001, 1).await, "");
}

#[tokio::test]
async fn header_bytes_are_limited() {
    assert_eq!(limit(100, 2).await.unwrap(), "ok");
    assert_trap(&limit(200, 2).await, "total size of fields exceeds limit");
}

#[tokio::test]
async fn table_elements_are_limited() {
    assert_eq!(limit(19_000, 4).await.unwrap(), "ok");
    assert_eq!(limit(20_000, 4).await.unwrap(), "no");
}

#[tokio::test]
async fn bytes_of_one_host_call_are_limited() {
    assert_eq!(
        limit(100, 5).await.unwrap(),
        "no",
        "refused as header fields, not as a copy"
    );
    assert_trap(&limit(200, 5).await, "");
}

#[tokio::test]
async fn stack_overflow_is_a_trap() {
    assert_eq!(limit(1_000, 6).await.unwrap(), "ok");
    assert_trap(&limit(10_000_000, 6).await, "call stack exhausted");
}

#[tokio::test]
async fn output_is_cleaned_and_limited() {
    let (log, _guard) = log::Log::start();
    let pool = pool_of("limits", fresh);
    assert_eq!(get_text(&pool, "/1/3").await.unwrap(), "ok");
    assert_eq!(log.with("guest message=\\u{1b}[31mred ").len(), 1);
    // Each line counts for 64 bytes: a second allows 16 384 of them.
    assert_eq!(get_text(&pool, "/30000/3").await.unwrap(), "ok");
    let passed = log.with("guest message=").len();
    assert!((16_384..30_000).contains(&passed), "{passed}");
    drop(pool);
    assert_eq!(log.with("lines were dropped").len(), 1);
}

#[tokio::test]
async fn leaking_guest_is_replaced() {
    let pool = pool_of("limits", reused);
    assert_eq!(get_text(&pool, "/1/1").await.unwrap(), "ok");
    assert_eq!(get_text(&pool, "/1000/1").await.unwrap(), "ok");
    assert_eq!((n(&pool.counts().discarded), live(&pool)), (1, 0));
}

#[tokio::test]
async fn idle_memory_is_bounded() {
    let pool = pool_of("allocate", |_, options| options.idle_bytes = 16 << 20);
    assert!(get_text(&pool, "/1").await.is_ok());
    assert_eq!(pool.idle(), 1);
    assert!(get_text(&pool, "/20").await.is_ok());
    assert_eq!((pool.idle(), count(&pool.counts().kept_bytes)), (0, 0));
}
