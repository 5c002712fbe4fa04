//! `kn` against `serve up`: the story that its users know from a cluster, and each verb and flag.

use std::path::Path;

use serde_json::{Value, json};

use crate::api::{expect, host, kn, refuse};
use crate::client::get;
use crate::golden;
use crate::process::{PATIENCE, Serve, wait_for};

const IMAGE: &str = "docker.io/xiexianbin/knative-helloworld-go:latest";

/// A host and `kn`.
struct Kn {
    kn: &'static Path,
    serve: Serve,
}

impl Kn {
    fn new() -> Option<Self> {
        let kn = kn()?;
        Some(Self { kn, serve: host() })
    }

    /// Runs a line of words; what has spaces of its own comes as `more`.
    #[track_caller]
    fn ask_with(&self, line: &str, more: &[&str]) -> String {
        let words: Vec<&str> = line
            .split_whitespace()
            .chain(more.iter().copied())
            .collect();
        expect(self.kn, &self.serve, &words)
    }

    #[track_caller]
    fn ask(&self, line: &str) -> String {
        self.ask_with(line, &[])
    }

    #[track_caller]
    fn refuse(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        refuse(self.kn, &self.serve, &words)
    }

    #[track_caller]
    fn service(&self, name: &str) -> Value {
        let text = self.ask(&format!("service describe {name} -o json"));
        serde_json::from_str(&text).expect("JSON")
    }

    fn body(&self, host: &str) -> String {
        get(self.serve.public(), host).body
    }
}

fn container(service: &Value) -> &Value {
    &service["spec"]["template"]["spec"]["containers"][0]
}

/// Leaves out what depends on the moment at which `kn` looks: what it waits for before a Service is
/// ready, and replicas, which the autoscaler tells some time after the start.
fn without_moments(text: &str) -> String {
    let is_wait = |line: &str| line.starts_with(" _s ") && !line.ends_with("Ready to serve.");
    let is_scale = |line: &str| line.trim_start().starts_with("Replicas:");
    let mut told = String::new();
    for line in text
        .lines()
        .filter(|line| !is_wait(line) && !is_scale(line))
    {
        // The names of a list are as wide as the longest.
        match line.split_once("Image:") {
            Some((start, image)) => told.push_str(&format!("{start}Image: {}", image.trim_start())),
            None => told.push_str(line),
        }
        told.push('\n');
    }
    told
}

#[test]
fn the_story_is_printed_as_on_a_cluster() {
    let Some(kn) = Kn::new() else { return };
    let mut told = String::new();
    let mut ask = |line: &str, more: &[&str]| {
        told.push_str(&format!("$ kn {line}"));
        for word in more {
            told.push_str(&format!(" '{word}'"));
        }
        told.push('\n');
        // Warnings go to the other stream, and would come before or after.
        let text = kn.ask_with(line, more);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("Warning: Kubernetes default"))
            .collect();
        told.push_str(&without_moments(&golden::without_seconds(
            &lines.join("\n"),
        )));
        told.push('\n');
    };
    let create = format!("service create h1 --image {IMAGE} --port 8080 --env");
    ask(&create, &["TARGET=Go Sample v1"]);
    ask("service list", &[]);
    ask("service describe h1", &[]);
    ask("revision list", &[]);
    ask("revision describe h1-00001", &[]);
    ask("route list", &[]);
    ask("route describe h1", &[]);
    ask("service update h1 --env", &["TARGET=Go Sample v2"]);
    ask("service update h1 --traffic h1-00001=100", &[]);
    ask("service update h1 --traffic h1-00001=20,h1-00002=80", &[]);
    ask("service describe h1", &[]);
    ask("revision list -s h1", &[]);
    ask("service delete h1 --wait", &[]);
    ask("service list", &[]);
    golden::check("kn-story.txt", &told);
}

#[test]
fn a_service_is_exported_with_its_revisions_and_imported_again() {
    let Some(kn) = Kn::new() else { return };
    kn.ask(&format!(
        "service create h1 --image {IMAGE} --env TARGET=v1 --revision-name rev1"
    ));
    kn.ask("service update h1 --env TARGET=v2 --revision-name rev2");
    kn.ask("service update h1 --traffic h1-rev1=20,h1-rev2=80");
    let path = kn.serve.home().join("h1.json");
    let exported = kn.ask("service export h1 --with-revisions --mode=export -o json");
    std::fs::write(path, exported).expect("written");
    let yaml = kn.ask("service export h1 --mode=replay -o yaml");
    assert!(
        yaml.contains("kind: Service") && !yaml.contains("observedGeneration"),
        "{yaml}"
    );
    kn.ask("service delete h1 --wait");
    assert!(kn.ask("service list").contains("No services found."));
    kn.ask("service import h1.json");
    kn.ask("service wait h1");
    let traffic = &kn.service("h1")["status"]["traffic"];
    let percents: Vec<_> = [0, 1].map(|n| traffic[n]["percent"].clone()).into();
    assert_eq!(percents, [json!(20), json!(80)], "{traffic}");
}

#[test]
fn apply_changes_what_differs() {
    let Some(kn) = Kn::new() else { return };
    let apply = format!("service apply a1 --image {IMAGE} --env TARGET=v1");
    assert!(
        kn.ask(&apply)
            .contains("created to latest revision 'a1-00001'")
    );
    let changed = kn.ask(&apply.replace("v1", "v2"));
    assert!(
        changed.contains("applied to latest revision 'a1-00002'"),
        "{changed}"
    );
    assert_eq!(kn.body("a1.default.example.com"), "Hello v2!\n");
    let forced = kn.ask(&format!(
        "service create a1 --force --image {IMAGE} --env TARGET=v3"
    ));
    assert!(
        forced.contains("Service 'a1' replaced to latest revision 'a1-00003'"),
        "{forced}"
    );
    let taken = kn.refuse(&format!("service create a1 --image {IMAGE}"));
    assert!(
        taken.contains(
            "cannot create service 'a1' in namespace 'default' because the service already exists"
        ),
        "{taken}"
    );
}

#[test]
fn flags_become_fields() {
    let Some(kn) = Kn::new() else { return };
    kn.ask(&format!(
        "service create f1 --image {IMAGE} --port h2c:8080 --env A=b --annotation x/y=z --label k=v \
         --request cpu=50m,memory=64Mi --limit memory=256Mi --scale-min 1 --scale-max 3 \
         --scale-target 5 --scale-metric rps --scale-utilization 60 --scale-window 10s \
         --concurrency-limit 7"
    ));
    let service = kn.service("f1");
    let template = &service["spec"]["template"];
    let got = container(&service);
    assert_eq!(
        got["ports"][0],
        json!({ "containerPort": 8080, "name": "h2c" })
    );
    assert_eq!(got["env"][0], json!({ "name": "A", "value": "b" }));
    assert_eq!(
        got["resources"],
        json!({ "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "256Mi" } })
    );
    assert_eq!(template["spec"]["containerConcurrency"], 7);
    assert_eq!(service["metadata"]["annotations"]["x/y"], "z");
    assert_eq!(service["metadata"]["labels"]["k"], "v");
    for (key, want) in [
        ("min-scale", "1"),
        ("max-scale", "3"),
        ("target", "5"),
        ("metric", "rps"),
        ("target-utilization-percentage", "60"),
        ("window", "10s"),
    ] {
        let key = format!("autoscaling.knative.dev/{key}");
        assert_eq!(template["metadata"]["annotations"][&key], want, "{key}");
    }
    kn.ask("service update f1 --scale 2 --env A- --annotation x/y-");
    let service = kn.service("f1");
    assert!(container(&service)["env"].is_null(), "{service}");
    let annotations = &service["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["autoscaling.knative.dev/min-scale"], "2");
    assert_eq!(annotations["autoscaling.knative.dev/max-scale"], "2");

    let refused = kn.refuse(&format!(
        "service create f2 --image {IMAGE} --scale-min 3 --scale-max 2"
    ));
    assert!(
        refused.contains("max-scale=2 is less than min-scale=3"),
        "{refused}"
    );
}

#[test]
fn a_local_service_is_not_public() {
    let Some(kn) = Kn::new() else { return };
    let created = kn.ask(&format!(
        "service create l1 --image {IMAGE} --cluster-local"
    ));
    assert!(
        created.contains("http://l1.default.svc.cluster.local"),
        "{created}"
    );
    assert_eq!(
        get(kn.serve.public(), "l1.default.svc.cluster.local").status,
        404
    );
    assert_eq!(
        get(kn.serve.local(), "l1.default.svc.cluster.local").status,
        200
    );
    kn.ask("service update l1 --no-cluster-local");
    let answered = wait_for(PATIENCE, || {
        (get(kn.serve.public(), "l1.default.example.com").status == 200).then_some(())
    });
    assert!(answered.is_some(), "{}", kn.serve.log());
}

#[test]
fn tags_are_set_moved_and_taken_away() {
    let Some(kn) = Kn::new() else { return };
    kn.ask(&format!(
        "service create t1 --image {IMAGE} --env TARGET=v1"
    ));
    kn.ask("service update t1 --env TARGET=v2 --tag t1-00001=old --tag @latest=new");
    assert_eq!(kn.body("old-t1.default.example.com"), "Hello v1!\n");
    assert_eq!(kn.body("new-t1.default.example.com"), "Hello v2!\n");
    let revisions = kn.ask("revision list -s t1");
    assert!(
        revisions.contains("old") && revisions.contains("new"),
        "{revisions}"
    );
    kn.ask("service update t1 --untag old --traffic new=100");
    let gone = wait_for(PATIENCE, || {
        (get(kn.serve.public(), "old-t1.default.example.com").status == 404).then_some(())
    });
    assert!(gone.is_some(), "{}", kn.serve.log());
    let refused = kn.refuse("service update t1 --tag t1-00001=Old");
    assert!(refused.contains("not a DNS 1035 label"), "{refused}");
}

#[test]
fn revisions_are_named_deleted_and_pruned() {
    let Some(kn) = Kn::new() else { return };
    kn.ask(&format!(
        "service create r1 --image {IMAGE} --revision-name first"
    ));
    kn.ask("service update r1 --env TARGET=v2 --revision-name second");
    kn.ask("service update r1 --env TARGET=v3 --revision-name third");
    assert!(kn.ask("revision describe r1-first").contains("r1-first"));
    assert!(
        kn.ask("revision delete r1-first")
            .contains("Revision 'r1-first' deleted")
    );
    let pruned = wait_for(PATIENCE, || {
        let text = kn.ask("revision delete --prune r1");
        text.contains("r1-second").then_some(text)
    });
    assert!(pruned.is_some(), "the second has no traffic");
    let left = kn.ask("revision list -s r1 --no-headers");
    assert!(
        left.starts_with("r1-third") && left.lines().count() == 1,
        "{left}"
    );
    assert!(
        kn.refuse("revision describe r1-first")
            .contains("not found")
    );
}

#[test]
fn images_are_pinned_to_their_digests() {
    let Some(kn) = Kn::new() else { return };
    kn.ask(&format!("service create p1 --image {IMAGE}"));
    assert!(kn.ask("service describe p1").contains("(pinned to "));
    kn.ask("service update p1 --env A=b --lock-to-digest");
    let image = container(&kn.service("p1"))["image"].to_string();
    assert!(image.contains("@sha256:"), "{image}");
    let user_image = |service: &Value| {
        service["spec"]["template"]["metadata"]["annotations"]["client.knative.dev/user-image"]
            .clone()
    };
    assert_eq!(user_image(&kn.service("p1")), IMAGE);
    kn.ask("service update p1 --env A=c --no-lock-to-digest");
    let service = kn.service("p1");
    assert!(user_image(&service).is_null(), "{service}");
    assert_eq!(service["status"]["latestReadyRevisionName"], "p1-00003");
}

#[test]
fn domains_are_created_listed_changed_and_deleted() {
    let Some(kn) = Kn::new() else { return };
    for name in ["d1", "d2"] {
        kn.ask(&format!("service create {name} --image {IMAGE}"));
    }
    kn.ask("domain create hello.example.org --ref ksvc:d1");
    assert!(kn.ask("domain list").contains("hello.example.org"));
    let described = kn.ask("domain describe hello.example.org");
    assert!(
        described.contains("d1") && described.contains("serving.knative.dev/v1"),
        "{described}"
    );
    kn.ask("domain update hello.example.org --ref ksvc:d2");
    assert!(kn.ask("domain describe hello.example.org").contains("d2"));
    let refused = kn.refuse("domain create other.example.org --ref ksvc:none");
    assert!(refused.contains("\"none\" not found"), "{refused}");
    kn.ask("domain delete hello.example.org");
    let gone = || {
        let list = kn.ask("domain list");
        list.contains("No domain mapping found.").then_some(())
    };
    // It is held until its claim is cleaned up, which kn does not wait for.
    assert!(wait_for(PATIENCE, gone).is_some());
}

#[test]
fn files_that_it_writes_are_run() {
    let Some(kn) = Kn::new() else { return };
    let target = kn.serve.home().join("target");
    std::fs::create_dir(&target).expect("made");
    let create = format!(
        "service create g1 --image {} --env TARGET=file --target",
        hello()
    );
    kn.ask_with(&create, &[&target.display().to_string()]);
    let written = target.join("default/ksvc/g1.yaml");
    assert!(written.exists(), "kn writes where it says");
    let mut run = Serve::start(&target);
    assert_eq!(run.event("ready")["name"], "g1");
    assert_eq!(
        get(run.public(), "g1.default.localhost").body,
        "Hello file!\n"
    );
}

fn hello() -> String {
    format!("file://{}/examples/hello.wat", env!("CARGO_MANIFEST_DIR"))
}
