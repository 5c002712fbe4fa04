//! Scale to zero and back, in real time with the smallest window.

use crate::client::{Client, get};
use crate::hello::{service, workspace, write};
use crate::process::{PATIENCE, Serve, wait_for};

/// Settings come as on a cluster, from a ConfigMap.
const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-autoscaler\n  \
                        namespace: knative-serving\ndata:\n  scale-to-zero-grace-period: 1s\n";

/// A Service with the shortest window.
fn with_window(service: &str) -> String {
    service.replace(
        "  template:\n",
        "  template:\n    metadata:\n      annotations:\n        \
         autoscaling.knative.dev/window: 6s\n",
    )
}

#[test]
fn an_idle_revision_goes_to_zero_and_the_next_request_wakes_it() {
    let directory = workspace();
    let text = with_window(&service("h1", "x"));
    let text = format!("{SETTINGS}---\n{text}");
    let mut serve = Serve::start(&write(&directory, "h1.yaml", &text));
    serve.event("ready");
    for round in 1..=2 {
        assert_eq!(
            get(serve.public(), "h1.default.localhost").body,
            "Hello x!\n"
        );
        let is_zero = wait_for(PATIENCE, || {
            let times = serve.log().matches("revision is scaled to zero").count();
            (times >= round).then_some(())
        });
        assert!(is_zero.is_some(), "round {round}\n{}", serve.log());
    }
    assert_eq!(
        get(serve.public(), "h1.default.localhost").body,
        "Hello x!\n"
    );
    assert!(
        serve.log().contains("h1-00001"),
        "the log names the revision"
    );
}

/// Services that go to zero at about the same time, and clients that ask each at full speed as soon
/// as that is told.
#[test]
fn clients_that_come_back_at_zero_lose_no_request() {
    const SERVICES: usize = 16;
    const ROUNDS: usize = 3;
    const BURST: usize = 100;
    let directory = workspace();
    let mut text = SETTINGS.to_owned();
    for n in 0..SERVICES {
        text.push_str("---\n");
        text.push_str(&with_window(&service(&format!("s{n}"), &n.to_string())));
    }
    let mut serve = Serve::start(&write(&directory, "all.yaml", &text));
    for _ in 0..SERVICES {
        serve.event("ready");
    }
    let (address, log) = (serve.public(), serve.log_reader());
    let log = &log;
    let zeros = &|name: &str| {
        let log = log();
        let lines = log
            .lines()
            .filter(|line| line.contains("revision is scaled to zero"));
        lines
            .filter(|line| line.contains(&format!("{name}-00001")))
            .count()
    };
    std::thread::scope(|scope| {
        for n in 0..SERVICES {
            scope.spawn(move || {
                let name = format!("s{n}");
                let head = format!("GET / HTTP/1.1\r\nHost: {name}.default.localhost\r\n\r\n");
                let mut client = Client::connect(address);
                for round in 0..ROUNDS {
                    for _ in 0..BURST {
                        client.send(head.as_bytes());
                        let response = client.response();
                        let got = (response.status, response.body.as_str());
                        assert_eq!(
                            got,
                            (200, format!("Hello {n}!\n").as_str()),
                            "{name} {round}"
                        );
                    }
                    let is_zero = wait_for(PATIENCE, || (zeros(&name) > round).then_some(()));
                    assert!(is_zero.is_some(), "{name} {round}\n{}", log());
                }
                client.send(head.as_bytes());
                assert_eq!(client.response().status, 200, "{name} is woken again");
            });
        }
    });
}
