//! Code of the baseline compiler does what optimised code does, and makes room for it.

use serve_runtime::engine::Component;
use serve_runtime::pool::{Boxed, Guest, Launch};

use super::*;

/// An engine that takes the baseline compiler for whatever it has not compiled before.
fn quick_engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let config = Config {
        instances: 50,
        baseline_bytes: Some(0),
        ..Config::default()
    };
    ENGINE.get_or_init(|| Engine::new(&config).unwrap()).clone()
}

/// Starts instances of one and the same code.
struct Fixed {
    code: Component,
    spec: InstanceSpec,
}

impl Launch for Fixed {
    fn launch(&self, id: u64) -> Boxed<'_, Result<Box<dyn Guest>, Error>> {
        Box::pin(async move {
            let instance = quick_engine().start(&self.code, &self.spec, id).await?;
            Ok(Box::new(instance) as Box<dyn Guest>)
        })
    }
}

/// A pool of instances that all run `code`.
fn fixed(code: &Component, change: impl FnOnce(&mut Options)) -> Pool {
    let spec = InstanceSpec::new("test/baseline");
    let mut options = Options {
        revision: spec.revision.clone(),
        start: MINUTE,
        ..Options::default()
    };
    change(&mut options);
    let code = code.clone();
    Pool::new(Arc::new(Fixed { code, spec }), options)
}

/// What the baseline compiler made of a guest; the optimised code is there, too.
async fn quick(name: &str) -> Component {
    let code = quick_engine().prepare(guest(name)).await.unwrap();
    quick_engine().optimized().await;
    assert!(code.is_superseded(), "{name} has code of both compilers");
    code
}

#[tokio::test]
async fn guests_do_on_baseline_code_what_they_do_on_optimised_code() {
    for name in ["hello", "echo", "echo-p3", "trap", "exit", "no-response"] {
        let quick = quick(name).await;
        let mut answers = Vec::new();
        for code in [&quick, &quick.better().unwrap()] {
            let pool = fixed(code, |options| options.isolation = Isolation::Request);
            let answer = match get(&pool, "/").await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = text(body).await.map_err(|error| error.to_string());
                    Ok((head.status, head.headers, body))
                }
                Err(error) => Err(error.to_string()),
            };
            answers.push(answer);
        }
        assert_eq!(answers[0], answers[1], "{name}");
    }
}

#[tokio::test]
async fn baseline_code_that_only_computes_can_be_stopped() {
    let pool = fixed(&quick("spin").await, |_| {});
    pool.warm().await.unwrap();
    let timeouts = Timeouts::total(Duration::from_millis(20));
    let call = pool.lease(0).unwrap().call(request("/", ""), timeouts);
    assert!(matches!(call.await, Err(Error::Timeout)));
}

#[tokio::test]
async fn instances_end_after_their_call_when_there_is_better_code() {
    let one = |options: &mut Options| options.calls_per_instance = 1;
    let several = |options: &mut Options| options.calls_per_instance = 16;
    for (name, change) in [("hello", one as fn(&mut Options)), ("echo-p3", several)] {
        let quick = quick(name).await;
        for (code, started) in [(&quick, 3), (&quick.better().unwrap(), 1)] {
            let pool = fixed(code, change);
            for _ in 0..3 {
                get_text(&pool, "/").await.unwrap();
            }
            assert_eq!(n(&pool.counts().started), started, "{name}");
        }
    }
}

#[tokio::test]
async fn new_instances_run_the_best_code() {
    let (store, spec) = (Store::in_memory(), InstanceSpec::new("test/baseline"));
    let digest = store.put(guest("request-head")).unwrap();
    let launcher = Launcher::new(quick_engine(), spec, Source { digest, store });
    let first = launcher.component().await.unwrap();
    quick_engine().optimized().await;
    let second = launcher.component().await.unwrap();
    // The first may be it, too: the optimiser works meanwhile.
    assert!(!second.is_superseded());
    let again = quick_engine().prepare(guest("request-head")).await.unwrap();
    assert!(!again.is_superseded());
    drop(first);
}

/// Tail calls are more than the baseline compiler can do.
#[tokio::test]
async fn what_the_baseline_compiler_cannot_compile_is_optimised_at_once() {
    let text = String::from_utf8(source("hello")).unwrap();
    let (module, _) = text.rsplit_once(')').unwrap();
    let text = format!("{module} (func $tail (result i32) (return_call $tail)))");
    let component = image::componentize(text.as_bytes()).unwrap();
    let code = quick_engine().prepare(component).await.unwrap();
    quick_engine().optimized().await;
    assert!(!code.is_superseded());
    assert_eq!(
        get_text(&fixed(&code, |_| {}), "/").await.unwrap(),
        "Hello World!\n"
    );
}

#[tokio::test]
async fn optimised_code_is_kept_and_baseline_code_is_not() {
    let root = tempfile::tempdir().unwrap();
    let config = Config {
        pooling: false,
        baseline_bytes: Some(0),
        cache: Some(root.path().join("code")),
        ..Config::default()
    };
    let engine = Engine::new(&config).unwrap();
    let code = engine.prepare(guest("hello")).await.unwrap();
    engine.optimized().await;
    assert!(engine.has_code(&code.facts().digest));
    let next = Engine::new(&config).unwrap();
    let code = next.load(code.facts().digest, || panic!("not compiled again"));
    let code = code.await.unwrap();
    next.optimized().await;
    assert!(!code.is_superseded());
}
