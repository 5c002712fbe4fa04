//! A revision goes to zero and back as fast as it can while clients on threads of their own ask at
//! full speed: every request is answered, whatever step of the way it meets.

use http::{Request, Response};
use http_body_util::BodyExt;
use serve_core::meta::ObjectKey;

use super::*;
use crate::body::Body;
use crate::engine::GuestBody;
use crate::ingress::respond::Asked;
use crate::revision::{Revision, Timeouts};

const ROUNDS: usize = 5_000;
const CLIENTS: usize = 3;

/// Answers at once, and can be used again.
struct Quick;

impl Launch for Quick {
    fn launch(&self, _id: u64) -> Boxed<'_, Result<Box<dyn Guest>, Error>> {
        Box::pin(async { Ok(Box::new(Quick) as Box<dyn Guest>) })
    }
}

impl Guest for Quick {
    fn run(self: Box<Self>, call: Call) -> Boxed<'static, Ended> {
        Box::pin(async move {
            let body = GuestBody::new(Body::from("well"));
            // Nobody takes it when the caller is gone.
            let _ = call.respond.send(Ok(Response::new(body)));
            (Some(self as Box<dyn Guest>), Ok(()))
        })
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

async fn ask(revision: &Arc<Revision>, core: usize) {
    let request = Request::get("/").body(Body::empty()).expect("a request");
    let asked = Asked::of(&request);
    let response = revision.call(request, asked, core).await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.expect("a whole body");
    assert_eq!(body.to_bytes(), "well");
}

/// Returns how many requests there were.
async fn race(concurrency: u32) -> usize {
    let activator = Activator::new(1000, CLIENTS);
    let pool = Pool::new(Arc::new(Quick), Options::default());
    let revision = Arc::new(Revision {
        key: ObjectKey::new("default", "h1-00001"),
        uid: String::new(),
        activator: activator.clone(),
        pool: pool.clone(),
        timeouts: Timeouts {
            total: Duration::from_mins(1),
            response_start: None,
            idle: None,
        },
        container_concurrency: concurrency,
    });
    let of = Of {
        concurrency,
        ..Of::default()
    };
    let specs = watch::Sender::new(of.spec());
    let subject = Subject {
        activator,
        pool,
        container_concurrency: concurrency,
        probes: Arc::default(),
        port: 8080,
        share: Node::new(Resources::of_machine(1, 1 << 30)).share(Resources::default()),
        begin: Begin::New,
    };
    let clock = Clock::default();
    let mut scaler = Scaler::new(subject, clock, specs.subscribe(), Box::new(|_| {}));
    scaler.set_replicas(1).await;

    let over = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|core| {
            let (revision, over) = (revision.clone(), over.clone());
            tokio::spawn(async move {
                let mut requests = 0;
                while over.load(Ordering::Relaxed) == 0 {
                    ask(&revision, core).await;
                    requests += 1;
                    tokio::task::yield_now().await;
                }
                requests
            })
        })
        .collect();
    for round in 0..ROUNDS {
        scaler.set_replicas(0).await;
        scaler.activator.poked().await;
        scaler.notice_wake();
        // What the decision after it says.
        let replicas = 1 + u32::try_from(round % 3).expect("small");
        scaler.set_replicas(replicas).await;
    }
    over.store(1, Ordering::Relaxed);
    let mut requests = 0;
    for client in clients {
        requests += client.await.expect("no request failed");
    }
    assert_eq!(scaler.activator.load().requests(), 0);
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_race_the_way_to_zero_and_back_and_all_are_answered() {
    for concurrency in [0, 1, 2] {
        let race = tokio::time::timeout(Duration::from_mins(2), race(concurrency));
        let requests = race.await.expect("no request is stuck");
        println!("concurrency {concurrency}: {requests} requests in {ROUNDS} rounds");
        assert!(requests > ROUNDS / 2, "{requests} requests");
    }
}
