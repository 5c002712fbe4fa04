//! Pods, deployments, events and logs, as `kubectl` shows them of what really runs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::api::{expect, kubectl, refuse};
use crate::client::get;
use crate::process::{PATIENCE, Serve, wait_for};

/// A host whose images are the guests of the tests, with the smallest windows.
fn host() -> Serve {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests");
    let config = tempfile::NamedTempFile::new().expect("a file");
    let text = format!(
        "[images]\nroots = ['{}']\n[network]\nurl-port = \"none\"\ndomain = \"example.com\"\n",
        guests.display(),
    );
    std::fs::write(config.path(), text).expect("written");
    Serve::up(&["--config", &config.path().display().to_string()])
}

fn service(name: &str, image: &str, annotations: &str) -> String {
    let image = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/guests")
        .join(image);
    format!(
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  \
         template:\n    metadata:\n      annotations: {{{annotations}}}\n    spec:\n      \
         containers:\n      - image: {}\n",
        image.display()
    )
}

fn apply(kubectl: &Path, serve: &Serve, name: &str, manifest: &str) {
    let file = format!("{name}.yaml");
    std::fs::write(serve.home().join(&file), manifest).expect("written");
    expect(kubectl, serve, &["apply", "-f", &file]);
    let wait = ["wait", "--for=condition=Ready", "--timeout=100s"];
    expect(
        kubectl,
        serve,
        &[&wait[..], &[&format!("ksvc/{name}")]].concat(),
    );
}

/// A `kubectl` that goes on, line by line.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(kubectl: &Path, serve: &Serve, arguments: &[&str]) -> Self {
        let mut child = Command::new(kubectl)
            .args(arguments)
            .env("KUBECONFIG", serve.kubeconfig())
            .env("HOME", serve.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line with all these words.
    #[track_caller]
    fn hears(&self, words: &[&str]) -> String {
        let mut heard = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("no line with {words:?}; heard:\n{}", heard.join("\n"));
            };
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
            heard.push(line);
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pods_go_at_zero_and_come_with_the_next_request() {
    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    let ask = |arguments: &[&str]| expect(kubectl, &serve, arguments);
    let patch = "{\"data\":{\"scale-to-zero-grace-period\":\"1s\"}}";
    ask(&[
        "patch",
        "cm",
        "config-autoscaler",
        "-n",
        "knative-serving",
        "-p",
        patch,
    ]);
    let watch = Follower::start(kubectl, &serve, &["get", "pods", "-w"]);
    let window = "autoscaling.knative.dev/window: 6s";
    apply(kubectl, &serve, "h1", &service("h1", "hello.wat", window));

    let first = watch.hears(&["h1-00001-deployment-", "2/2", "Running"]);
    let first = first.split_whitespace().next().expect("a name");
    let all = ask(&["get", "all"]);
    for part in [
        &format!("pod/{first}"),
        "deployment.apps/h1-00001-deployment",
        "replicaset.apps/h1-00001-deployment-",
        "service.serving.knative.dev/h1",
    ] {
        assert!(all.contains(part), "{part} in\n{all}");
    }
    watch.hears(&[first, "Terminating"]);
    let counts = "jsonpath={.status.actualReplicas} {.status.desiredReplicas}";
    let is_zero = wait_for(PATIENCE, || {
        let pods = ask(&["get", "pods"]);
        let counts = ask(&["get", "rev", "h1-00001", "-o", counts]);
        (pods.contains("No resources found") && counts == "0 0").then_some(())
    });
    assert!(is_zero.is_some(), "{}", ask(&["get", "pods,rev"]));
    let deployment = ask(&["get", "deploy", "h1-00001-deployment", "--no-headers"]);
    let cells: Vec<&str> = deployment.split_whitespace().collect();
    assert_eq!(cells[1..4], ["0/0", "0", "0"]);
    let autoscaler = ask(&["get", "kpa", "h1-00001", "--no-headers"]);
    let cells: Vec<&str> = autoscaler.split_whitespace().collect();
    assert_eq!(cells[..5], ["h1-00001", "0", "0", "False", "NoTraffic"]);

    assert_eq!(get(serve.public(), "h1.default.example.com").status, 200);
    let second = watch.hears(&["h1-00001-deployment-", "2/2", "Running"]);
    assert!(!second.contains(first), "a new replica has a new name");
    let list = ask(&[
        "get",
        "pods",
        "-l",
        "serving.knative.dev/service=h1",
        "-o",
        "wide",
    ]);
    assert!(list.contains("127.0.0.1"), "{list}");
    ask(&["delete", "ksvc", "h1"]);
    assert!(ask(&["get", "deploy,rs,kpa"]).contains("No resources found"));
    watch.hears(&[
        second.split_whitespace().next().expect("a name"),
        "Terminating",
    ]);
    ask(&["wait", "--for=delete", "pods", "--all", "--timeout=60s"]);
    assert!(ask(&["get", "pods"]).contains("No resources found"));
}

#[test]
fn a_pod_is_replaced_when_it_is_deleted_and_changed_by_nobody() {
    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    let ask = |arguments: &[&str]| expect(kubectl, &serve, arguments);
    let scale = "autoscaling.knative.dev/min-scale: \"2\"";
    apply(kubectl, &serve, "h2", &service("h2", "hello.wat", scale));
    let pods = || {
        let names = ask(&["get", "pods", "-o", "name"]);
        names.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let two = wait_for(PATIENCE, || Some(pods()).filter(|pods| pods.len() == 2));
    let two = two.expect("two replicas");
    ask(&["delete", &two[0], "--timeout=60s"]);
    let next = pods();
    assert!(
        next.contains(&two[1]) && !next.contains(&two[0]),
        "{two:?} {next:?}"
    );
    assert_eq!(next.len(), 2);
    assert_eq!(get(serve.public(), "h2.default.example.com").status, 200);

    let deployment = "deployment/h2-00001-deployment";
    let refused = refuse(kubectl, &serve, &["scale", deployment, "--replicas=5"]);
    assert!(
        refused.contains("autoscaling.knative.dev/min-scale"),
        "{refused}"
    );
    let refused = refuse(kubectl, &serve, &["label", &next[0], "a=b"]);
    assert!(
        refused.contains("it shows a replica of a Revision"),
        "{refused}"
    );
    let refused = refuse(kubectl, &serve, &["delete", deployment]);
    assert!(refused.contains("is forbidden"), "{refused}");
    assert!(ask(&["explain", "pods.status"]).contains("containerStatuses"));
    assert!(ask(&["get", "sa"]).contains("default"));
}

#[test]
fn events_tell_what_became_of_a_service() {
    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    let ask = |arguments: &[&str]| expect(kubectl, &serve, arguments);
    apply(kubectl, &serve, "h3", &service("h3", "hello.wat", ""));
    let described = ask(&["describe", "ksvc", "h3"]);
    for part in [
        "Created Configuration \"h3\"",
        "Created Route \"h3\"",
        "service-controller",
    ] {
        assert!(described.contains(part), "{part} in\n{described}");
    }
    let events = ask(&["get", "events"]);
    for part in [
        "revision/h3-00001",
        "RevisionReady",
        "ConfigurationReady",
        "configuration/h3",
    ] {
        assert!(events.contains(part), "{part} in\n{events}");
    }
    let events = ask(&["events", "--for", "revision/h3-00001"]);
    assert!(
        events.contains("RevisionReady") && !events.contains("Created Route"),
        "{events}"
    );
    let described = ask(&["describe", "pods", "-l", "serving.knative.dev/service=h3"]);
    assert!(described.contains("user-container:"), "{described}");
}

#[test]
fn logs_are_what_the_guest_wrote() {
    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    let ask = |arguments: &[&str]| expect(kubectl, &serve, arguments);
    let scale = "autoscaling.knative.dev/min-scale: \"1\"";
    apply(kubectl, &serve, "h4", &service("h4", "limits.wat", scale));
    let write = |lines: usize| {
        let head = format!("GET /{lines}/3 HTTP/1.1\r\nHost: h4.default.example.com\r\n\r\n");
        assert_eq!(crate::client::request(serve.public(), &head).status, 200);
    };
    let selector = ["-l", "serving.knative.dev/service=h4"];
    let of = |container: &str, more: &[&str]| {
        ask(&[&["logs", "-c", container][..], &selector, more].concat())
    };
    let logs = |more: &[&str]| of("user-container", more);
    assert_eq!(logs(&[]), "");
    write(3);
    let three = logs(&["--tail=-1"]);
    assert_eq!(three.lines().count(), 3, "{three}");
    assert!(
        three.lines().all(|line| line.contains("\\u{1b}[31mred")),
        "{three}"
    );
    assert_eq!(logs(&["--tail=2"]).lines().count(), 2);
    assert_eq!(of("queue-proxy", &[]), "");
    let line = logs(&["--tail=1", "--timestamps"]);
    let (time, text) = line.split_once(' ').expect("a time and a text");
    assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
    assert_eq!(text, "\\u{1b}[31mred\n");
    let pod = ask(&["get", "pods", "-o", "name"]);
    let pod = pod.trim();
    let follow = Follower::start(kubectl, &serve, &["logs", "-f", "--tail=1", pod]);
    follow.hears(&["red"]);
    write(1);
    follow.hears(&["red"]);
    let refused = refuse(kubectl, &serve, &["logs", pod, "--previous"]);
    assert!(
        refused.contains("previous terminated container"),
        "{refused}"
    );
    let refused = refuse(kubectl, &serve, &["logs", pod, "-c", "other"]);
    assert!(
        refused.contains("container other is not valid for pod"),
        "{refused}"
    );
}
