//! What the keys of `config-autoscaler` and `config-deployment` do to a revision that runs while they
//! change, and so do the annotations of a Revision. Time is paused.

use serde_json::{Value, json};
use serve_core::kind::Kind;
use serve_core::meta::ObjectKey;
use tokio::time::{Instant, sleep};

use super::host::{Host, says};
use super::scaling::{Scaled, autoscaling, seconds, within};
use super::*;

async fn set(scaled: &Scaled, data: &[(&str, &str)]) {
    let members = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)));
    let data = Value::Object(members.collect());
    scaled.host.set("config-autoscaler", data).await;
}

/// The seconds after the start at which it is at zero, when the settings come at this second.
async fn to_zero(at: u64, data: &[(&str, &str)]) -> u64 {
    let scaled = Scaled::new(&[], 0).await;
    seconds(at).await;
    scaled.is(1, "before");
    set(&scaled, data).await;
    scaled.comes_to(0, scaled.start).await
}

#[tokio::test(start_paused = true)]
async fn windows_and_periods_of_the_last_replica_act_while_it_runs() {
    let short = ("stable-window", "6s");
    within(to_zero(40, &[short]).await, 40..=46, "window");
    within(
        to_zero(40, &[("stable-window", "3m")]).await,
        178..=186,
        "longer window",
    );
    let grace = ("scale-to-zero-grace-period", "100s");
    within(to_zero(10, &[short, grace]).await, 98..=106, "grace period");
    let retention = ("scale-to-zero-pod-retention-period", "3m");
    within(to_zero(10, &[retention]).await, 238..=248, "retention");
}

#[tokio::test(start_paused = true)]
async fn scale_to_zero_is_switched_off_and_on_while_it_runs() {
    let scaled = Scaled::new(&[], 0).await;
    scaled.comes_to(0, scaled.start).await;
    set(&scaled, &[("enable-scale-to-zero", "false")]).await;
    let off = Instant::now();
    within(scaled.comes_to(1, off).await, 0..=2, "without a request");
    seconds(600).await;
    scaled.is(1, "off");
    set(&scaled, &[("enable-scale-to-zero", "true")]).await;
    within(scaled.comes_to(0, Instant::now()).await, 0..=6, "on");
}

#[tokio::test(start_paused = true)]
async fn targets_act_on_the_load_that_there_is() {
    let scaled = Scaled::new(&[], 0).await;
    let one = ("container-concurrency-target-default", "10");
    let percentage = |percent| ("container-concurrency-target-percentage", percent);
    tokio::join!(scaled.hold(20, 250), async {
        seconds(70).await;
        scaled.is(1, "20 of 70");
        set(&scaled, &[one, percentage("100")]).await;
        seconds(1).await;
        scaled.is(2, "20 of 10");
        set(&scaled, &[one, percentage("50")]).await;
        seconds(1).await;
        scaled.is(4, "20 of 5");
        set(&scaled, &[one, percentage("0.25")]).await;
        seconds(1).await;
        scaled.is(8, "20 of 2.5");
    });
}

#[tokio::test(start_paused = true)]
async fn the_target_of_requests_per_second_acts_on_the_load_that_there_is() {
    let scaled = Scaled::new(&[("metric", "rps")], 0).await;
    let twenty_a_second = async |count: u32| {
        for _ in 0..count * 20 {
            scaled.hold(1, 0).await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    twenty_a_second(10).await;
    scaled.is(1, "20 of 140");
    set(&scaled, &[("requests-per-second-target-default", "10")]).await;
    twenty_a_second(3).await;
    scaled.is(3, "20 of 7");
}

#[tokio::test(start_paused = true)]
async fn bounds_act_while_it_runs_and_annotations_come_first() {
    let scaled = Scaled::new(&[("target", "10")], 0).await;
    tokio::join!(scaled.hold(20, 60), async {
        seconds(20).await;
        scaled.is(3, "20 of 7");
        set(&scaled, &[("max-scale", "2")]).await;
        seconds(1).await;
        scaled.is(2, "at most");
        set(&scaled, &[("min-scale", "4")]).await;
        seconds(1).await;
        scaled.is(4, "at least");
    });
    let annotation = [("min-scale", "1"), ("max-scale", "3")];
    let scaled = Scaled::new(&annotation, 0).await;
    set(&scaled, &[("min-scale", "5"), ("max-scale", "9")]).await;
    seconds(100).await;
    scaled.is(1, "the annotation");
}

#[tokio::test(start_paused = true)]
async fn initial_scales_act_on_the_next_revision() {
    let scaled = Scaled::new(&[], 0).await;
    let host = &scaled.host;
    set(&scaled, &[("initial-scale", "3")]).await;
    seconds(2).await;
    scaled.is(1, "it was reached long ago");
    let next = async |number, annotations: Value| {
        host.service("hold", annotations, json!({}), json!({}))
            .await;
        host.ready(number).await;
        scaled.of(number)
    };
    assert_eq!(next(2, json!({"a": "2"})).await, 3);
    let zero = autoscaling(&[("initial-scale", "0")]);
    let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
        "metadata": {"name": "h1", "namespace": "default"},
        "spec": {"template": {"metadata": {"annotations": zero},
            "spec": {"containers": [{"image": "./hold.wat"}]}}}});
    let refused = host.try_apply(service).await.unwrap_err();
    assert!(
        refused.contains("initial-scale=0 not allowed by cluster"),
        "{refused}"
    );
    set(&scaled, &[("allow-zero-initial-scale", "true")]).await;
    // What is set acts when the controller has read it.
    let mut settings = host.runtime.settings().clone();
    let is_read = |settings: &Arc<serve_core::settings::Settings>| {
        settings.autoscaler.allow_zero_initial_scale
    };
    settings.wait_for(is_read).await.unwrap();
    assert_eq!(next(3, zero).await, 0);
    let woken = Instant::now();
    scaled.hold(1, 0).await;
    assert_eq!(woken.elapsed(), Duration::ZERO);
}

/// The replicas at each second.
async fn trace(scaled: &Scaled, count: u64) -> Vec<i32> {
    let mut trace = Vec::new();
    for _ in 0..count {
        seconds(1).await;
        if trace.last() != Some(&scaled.replicas()) {
            trace.push(scaled.replicas());
        }
    }
    trace
}

#[tokio::test(start_paused = true)]
async fn one_decision_goes_as_far_as_its_rates_allow() {
    let annotations = [("target", "1"), ("target-utilization-percentage", "100")];
    let scaled = Scaled::new(&annotations, 0).await;
    set(&scaled, &[("max-scale-up-rate", "2")]).await;
    seconds(1).await;
    let (trace_up, ()) = tokio::join!(trace(&scaled, 30), scaled.hold(40, 30));
    assert_eq!(trace_up, [1, 2, 4, 8, 16, 32, 40]);

    let scaled = Scaled::new(&annotations, 0).await;
    let (trace_up, ()) = tokio::join!(trace(&scaled, 30), scaled.hold(40, 30));
    assert!(trace_up.len() <= 5, "as fast as the average: {trace_up:?}");

    for (rate, want) in [("2", &[16, 8, 4, 2, 1][..]), ("4", &[16, 4, 1])] {
        let scaled = Scaled::new(&[], 0).await;
        set(&scaled, &[("min-scale", "16")]).await;
        scaled.comes_to(16, scaled.start).await;
        set(&scaled, &[("max-scale-down-rate", rate)]).await;
        let mut got = vec![16];
        got.extend(trace(&scaled, 20).await);
        got.dedup();
        assert_eq!(got, want, "{rate}");
    }
}

#[tokio::test(start_paused = true)]
async fn panic_and_delay_act_while_it_runs() {
    let annotations = [
        ("min-scale", "1"),
        ("target", "10"),
        ("target-utilization-percentage", "100"),
    ];
    let calm = ("panic-threshold-percentage", "1000");
    let cases: [(&[_], _, _); 5] = [
        (&[], 5, 60..=72),
        (&[calm], 1, 0..=0),
        (&[("panic-window-percentage", "100")], 1, 0..=0),
        (&[calm, ("stable-window", "10s")], 5, 18..=24),
        (
            &[calm, ("stable-window", "10s"), ("scale-down-delay", "1m")],
            5,
            // From 5 to 2 to 1.
            130..=140,
        ),
    ];
    for (data, most, back) in cases {
        let scaled = Scaled::new(&annotations, 0).await;
        seconds(100).await;
        set(&scaled, data).await;
        seconds(100).await;
        let surge = Instant::now();
        scaled.hold(50, 10).await;
        scaled.is(most, &format!("{data:?}"));
        let at = scaled.comes_to(1, surge).await;
        let back = if most == 1 { 10..=10 } else { back };
        within(at, back, data);
    }
}

#[tokio::test(start_paused = true)]
async fn the_burst_capacity_acts_while_it_runs() {
    let scaled = Scaled::new(&[("min-scale", "2"), ("max-scale", "2")], 1).await;
    for (capacity, refused) in [("0", 78), ("-1", 0), ("0", 78), ("211", 0)] {
        set(&scaled, &[("target-burst-capacity", capacity)]).await;
        seconds(10).await;
        let answers = futures_util::future::join_all((0..100).map(|_| scaled.host.get("/1"))).await;
        let full = answers.iter().filter(|(status, _)| *status == 503).count();
        assert_eq!(full, refused, "{capacity}");
    }
}

#[tokio::test(start_paused = true)]
async fn annotations_of_a_revision_act_while_it_runs() {
    let scaled = Scaled::new(&[("min-scale", "1")], 0).await;
    let store = scaled.host.runtime.store();
    let key = ObjectKey::new("default", "h1-00001");
    for replicas in [3, 2, 4] {
        let mut revision = store.get(Kind::Revision, &key).unwrap().to_value();
        revision["metadata"]["annotations"]["autoscaling.knative.dev/min-scale"] =
            json!(replicas.to_string());
        scaled.host.apply(revision).await;
        within(
            scaled.comes_to(replicas, Instant::now()).await,
            0..=6,
            replicas,
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_progress_deadline_acts_while_a_revision_starts() {
    let host = Host::paused();
    let probe = json!({"readinessProbe": {"httpGet": {"path": "/broken"}}});
    host.service("sick", json!({}), json!({}), probe).await;
    let start = Instant::now();
    host.revision(1, |revision| says(revision, "Ready Unknown Deploying"))
        .await;
    seconds(60).await;
    host.set("config-deployment", json!({"progress-deadline": "90s"}))
        .await;
    let text = "Ready False ProgressDeadlineExceeded Initial scale was never achieved";
    host.revision(1, |revision| says(revision, text)).await;
    within(start.elapsed().as_secs(), 90..=92, "late");
    host.revision(1, |revision| says(revision, "Active False TimedOut"))
        .await;
    within(start.elapsed().as_secs(), 120..=122, "given up");
}

#[tokio::test(start_paused = true)]
async fn a_revision_whose_class_is_not_offered_says_so() {
    let scaled = Scaled::new(&[], 0).await;
    let host = &scaled.host;
    let hpa = "hpa.autoscaling.knative.dev";
    let service = async |number, annotations: &[(&str, &str)], class: &str| {
        host.service("hold", autoscaling(annotations), json!({}), json!({}))
            .await;
        let text = format!(
            "Ready False CreateContainerConfigError autoscaler class \"{class}\" is not offered"
        );
        host.revision(number, |revision| says(revision, &text))
            .await;
    };
    service(2, &[("class", hpa), ("metric", "cpu")], hpa).await;
    service(3, &[("class", "own.example.com")], "own.example.com").await;
    // The class of those that name none; what runs already keeps its own.
    set(&scaled, &[("pod-autoscaler-class", hpa)]).await;
    let mut settings = host.runtime.settings().clone();
    let is_read = |settings: &Arc<serve_core::settings::Settings>| {
        settings.autoscaler.pod_autoscaler_class == hpa
    };
    settings.wait_for(is_read).await.unwrap();
    service(4, &[], hpa).await;
    scaled.hold(1, 1).await;
    scaled.is(1, "the first revision serves on");
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_starts_when_there_is_some() {
    let cores = std::thread::available_parallelism().unwrap();
    let all = json!({"resources": {"requests": {"cpu": cores.to_string()}}});
    let host = Host::paused();
    let bound = autoscaling(&[("min-scale", "1")]);
    host.service("hold", bound, json!({}), all.clone()).await;
    host.ready(1).await;
    host.service("hold", json!({}), json!({}), all).await;
    let text = "Ready False Unschedulable 0/1 nodes are available: 1 Insufficient cpu.";
    host.revision(2, |revision| says(revision, text)).await;
    host.set(
        "config-deployment",
        json!({"pod-is-always-schedulable": "true"}),
    )
    .await;
    host.revision(2, |revision| says(revision, "Ready Unknown Deploying"))
        .await;
    seconds(100).await;
    let old = ObjectKey::new("default", "h1-00001");
    host.runtime.delete(Kind::Revision, &old).unwrap();
    host.ready(2).await;
    // What can never fit waits, too, until its deadline.
    let much = json!({"resources": {"requests": {"cpu": "10000"}}});
    let deadline = json!({"serving.knative.dev/progress-deadline": "20s"});
    host.service("hold", deadline, json!({}), much).await;
    let start = Instant::now();
    host.revision(3, |revision| says(revision, "Ready Unknown Deploying"))
        .await;
    let text = "Ready False ProgressDeadlineExceeded";
    host.revision(3, |revision| says(revision, text)).await;
    within(start.elapsed().as_secs(), 20..=22, "late");
}
