//! Scale to zero and back, in real time with the smallest window.

use crate::client::get;
use crate::hello::{service, workspace, write};
use crate::process::{PATIENCE, Serve, wait_for};

#[test]
fn an_idle_revision_goes_to_zero_and_the_next_request_wakes_it() {
    let directory = workspace();
    let text = service("h1", "x").replace(
        "  template:\n",
        "  template:\n    metadata:\n      annotations:\n        \
         autoscaling.knative.dev/window: 6s\n",
    );
    // Settings come as on a cluster, from a ConfigMap.
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-autoscaler\n  \
                    namespace: knative-serving\ndata:\n  scale-to-zero-grace-period: 1s\n---\n";
    let mut serve = Serve::start(&write(&directory, "h1.yaml", &format!("{settings}{text}")));
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
