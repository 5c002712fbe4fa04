//! `kubectl` against `serve up`.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::api::{expect, host, kubectl, refuse};
use crate::process::command;

const SERVICE: &str = "apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: a1
spec:
  template:
    spec:
      containers:
      - image: ./hello.wat
";

#[test]
fn a_service_is_applied_watched_changed_and_deleted() {
    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    let manifest = serve.home().join("a1.yaml");
    std::fs::write(&manifest, SERVICE).expect("written");
    let ask = |arguments: &[&str]| expect(kubectl, &serve, arguments);

    assert!(ask(&["apply", "-f", "a1.yaml"]).contains("service.serving.knative.dev/a1 created"));
    ask(&["wait", "--for=condition=Ready", "ksvc/a1", "--timeout=100s"]);
    let list = ask(&["get", "ksvc"]);
    let header: Vec<&str> = list
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(
        header,
        [
            "NAME",
            "URL",
            "LATESTCREATED",
            "LATESTREADY",
            "READY",
            "REASON"
        ]
    );
    assert!(list.contains("http://a1.default.example.com"), "{list}");
    assert!(ask(&["get", "rev", "-o", "name"]).contains("revision.serving.knative.dev/a1-00001"));
    for (kind, name) in [("cfg", "a1"), ("rt", "a1"), ("kservice", "a1")] {
        assert!(ask(&["get", kind]).contains(name));
    }
    assert!(ask(&["get", "all"]).contains("route.serving.knative.dev/a1"));
    assert!(ask(&["describe", "ksvc", "a1"]).contains("Latest Ready Revision Name:    a1-00001"));

    ask(&["apply", "-f", "a1.yaml"]);
    assert!(
        !ask(&["get", "rev"]).contains("a1-00002"),
        "nothing changed"
    );
    let patch = "{\"spec\":{\"template\":{\"spec\":{\"containerConcurrency\":5}}}}";
    ask(&["patch", "ksvc", "a1", "--type", "merge", "-p", patch]);
    ask(&[
        "wait",
        "--for=jsonpath={.status.latestReadyRevisionName}=a1-00002",
        "ksvc/a1",
        "--timeout=100s",
    ]);
    ask(&["label", "ksvc", "a1", "x=y"]);
    assert_eq!(
        ask(&["get", "ksvc", "-l", "x=y", "-o", "name"]).trim(),
        "service.serving.knative.dev/a1"
    );

    let refused = refuse(kubectl, &serve, &["patch", "ksvc", "a1", "-p", "{}"]);
    assert!(
        refused.contains("is not supported by serving.knative.dev/v1"),
        "{refused}"
    );
    let refused = refuse(
        kubectl,
        &serve,
        &["apply", "--server-side", "-f", "a1.yaml"],
    );
    assert!(
        refused.contains("Server-side apply not available"),
        "{refused}"
    );

    ask(&["delete", "ksvc", "a1"]);
    assert!(ask(&["get", "rev"]).contains("No resources found"));
}

#[test]
fn core_kinds_are_written_with_protobuf_and_strategic_patches() {
    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    let ask = |arguments: &[&str]| expect(kubectl, &serve, arguments);
    ask(&["create", "cm", "c", "--from-literal=a=b"]);
    ask(&["patch", "cm", "c", "-p", "{\"data\":{\"c\":\"d\"}}"]);
    assert_eq!(
        ask(&["get", "cm", "c", "-o", "jsonpath={.data}"]),
        "{\"a\":\"b\",\"c\":\"d\"}"
    );
    ask(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    assert_eq!(
        ask(&["get", "secret", "s", "-o", "jsonpath={.type} {.data.a}"]),
        "Opaque Yg=="
    );
    ask(&["create", "ns", "n"]);
    ask(&["create", "cm", "c", "-n", "n"]);
    ask(&["delete", "ns", "n"]);
    assert!(refuse(kubectl, &serve, &["get", "cm", "c", "-n", "n"]).contains("NotFound"));
    let refused = refuse(kubectl, &serve, &["delete", "ns", "default"]);
    assert!(
        refused.contains("this namespace may not be deleted"),
        "{refused}"
    );
    let data = [
        "get",
        "cm",
        "config-domain",
        "-n",
        "knative-serving",
        "-o",
        "jsonpath={.data}",
    ];
    assert_eq!(ask(&data), "{\"example.com\":\"\"}");
}

#[test]
fn what_kubectl_reads_about_types_is_there() {
    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    let ask = |arguments: &[&str]| expect(kubectl, &serve, arguments);
    let resources = ask(&["api-resources", "--no-headers"]);
    assert_eq!(resources.lines().count(), 16, "{resources}");
    let explained = ask(&["explain", "ksvc.spec.template.spec.containers"]);
    assert!(
        explained.contains("FIELD: containers <[]Container>"),
        "{explained}"
    );
    assert_eq!(ask(&["auth", "can-i", "create", "ksvc"]).trim(), "yes");
    assert!(ask(&["auth", "whoami"]).contains("kubernetes-admin"));
    assert!(ask(&["version"]).contains("Server Version: v1.33"));
    std::fs::write(
        serve.home().join("a.yaml"),
        SERVICE.replace("image:", "imagee:"),
    )
    .expect("written");
    let refused = refuse(kubectl, &serve, &["create", "-f", "a.yaml"]);
    assert!(
        refused.contains("unknown field \"spec.template.spec.containers[0].imagee\""),
        "{refused}"
    );
}

#[test]
fn a_context_is_merged_into_the_users_file_and_taken_out_again() {
    let serve = host();
    let mine = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://a\n  name: a\nkind: \
                Config\ncurrent-context: a\n";
    let path = serve.home().join("mine");
    std::fs::write(&path, mine).expect("written");
    let edit = |flag: &str| {
        let output = command(serve.home())
            .args(["kubeconfig", flag])
            .env("KUBECONFIG", &path)
            .output()
            .expect("serve runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    edit("--merge");
    let merged = std::fs::read_to_string(&path).expect("there");
    assert!(
        merged.starts_with(&mine[..mine.find("kind").expect("there")]),
        "{merged}"
    );
    assert!(
        merged.contains(&format!("server: https://{}", serve.api())),
        "{merged}"
    );
    if let Some(kubectl) = kubectl() {
        let output = Command::new(kubectl)
            .args(["--context", "serve", "get", "ns"])
            .env("KUBECONFIG", &path)
            .env("HOME", serve.home())
            .output()
            .expect("kubectl runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    edit("--remove");
    let left = std::fs::read_to_string(&path).expect("there");
    assert!(
        !left.contains("name: serve") && left.contains("name: a\n"),
        "{left}"
    );
    let file = serve.kubeconfig().to_owned();
    let mode = std::fs::metadata(&file)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        edit("--print"),
        std::fs::read_to_string(&file).expect("there")
    );
    serve.signal("TERM");
    assert_eq!(serve.wait().0.code(), Some(0));
}

#[test]
fn objects_are_shown_in_every_form() {
    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    std::fs::write(serve.home().join("a1.yaml"), SERVICE).expect("written");
    let ask = |line: &str| expect(kubectl, &serve, &line.split(' ').collect::<Vec<_>>());
    assert!(ask("create -f a1.yaml").contains("service.serving.knative.dev/a1 created"));
    assert!(ask("wait --for=condition=Ready ksvc/a1 --timeout=100s").contains("condition met"));
    assert_eq!(
        ask("get ksvc a1 -o name"),
        "service.serving.knative.dev/a1\n"
    );
    assert_eq!(
        ask("get ksvc a1 -o jsonpath={.status.latestReadyRevisionName}"),
        "a1-00001"
    );
    assert!(ask("get ksvc a1 -o yaml").contains("\nkind: Service\n"));
    let json: serde_json::Value = serde_json::from_str(&ask("get ksvc -o json")).expect("JSON");
    assert_eq!(
        (&json["kind"], &json["items"][0]["kind"]),
        (&"List".into(), &"Service".into())
    );
    assert_eq!(ask("get ksvc"), ask("get ksvc -o wide"));
    let everywhere = ask("get ksvc -A");
    assert!(
        everywhere.starts_with("NAMESPACE") && everywhere.contains("\ndefault "),
        "{everywhere}"
    );
    let selected = "get ksvc -o name --field-selector";
    assert_eq!(
        ask(&format!("{selected} metadata.name=a1")).lines().count(),
        1
    );
    assert!(!ask(&format!("{selected} metadata.name=a2")).contains("a2"));
    assert!(ask("get rev -l serving.knative.dev/service=a1").contains("a1-00001"));
    assert!(ask("get configurations,routes").contains("route.serving.knative.dev/a1"));

    assert!(ask("annotate ksvc a1 x/y=z").contains("annotated"));
    assert!(ask("label ksvc a1 k=v").contains("labeled"));
    let template = "jsonpath={.metadata.annotations.x/y},{.metadata.labels.k}";
    assert_eq!(ask(&format!("get ksvc a1 -o {template}")), "z,v");
    let patch = r#"[{"op":"replace","path":"/spec/template/spec/timeoutSeconds","value":7}]"#;
    assert!(ask(&format!("patch ksvc a1 --type json -p {patch}")).contains("patched"));
    assert_eq!(
        ask("get ksvc a1 -o jsonpath={.spec.template.spec.timeoutSeconds}"),
        "7"
    );
    // Knative keeps who made it, and so refuses a manifest that does not name them.
    let refused = refuse(kubectl, &serve, &["replace", "-f", "a1.yaml"]);
    assert!(
        refused.contains(
            "annotation value is immutable: metadata.annotations.serving.knative.dev/creator"
        ),
        "{refused}"
    );
    let stored = ask("get ksvc a1 -o yaml").replace("timeoutSeconds: 7", "timeoutSeconds: 300");
    std::fs::write(serve.home().join("a1.yaml"), stored).expect("written");
    assert!(ask("replace -f a1.yaml").contains("replaced"));
    assert_eq!(
        ask("get ksvc a1 -o jsonpath={.spec.template.spec.timeoutSeconds}"),
        "300"
    );
    assert!(ask("cluster-info").contains("is running at https://127.0.0.1:"));

    let mut waiting = Command::new(kubectl)
        .args(["wait", "--for=delete", "ksvc/a1", "--timeout=100s"])
        .env("KUBECONFIG", serve.kubeconfig())
        .env("HOME", serve.home())
        .spawn()
        .expect("kubectl runs");
    assert!(ask("delete ksvc a1 --wait").contains("\"a1\" deleted"));
    assert!(waiting.wait().expect("it ends").success());
    assert!(ask("get rev").contains("No resources found"));
}

#[test]
fn a_watch_prints_each_change() {
    use std::io::{BufRead, BufReader};

    let Some(kubectl) = kubectl() else { return };
    let serve = host();
    std::fs::write(serve.home().join("a1.yaml"), SERVICE).expect("written");
    expect(kubectl, &serve, &["create", "-f", "a1.yaml"]);
    let mut watching = Command::new(kubectl)
        .args(["get", "ksvc", "-w", "--request-timeout=100s"])
        .env("KUBECONFIG", serve.kubeconfig())
        .env("HOME", serve.home())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    let header = lines.next().expect("a line").expect("text");
    assert!(
        header.starts_with("NAME") && header.ends_with("REASON"),
        "{header}"
    );
    let is_ready = |line: &str| line.contains("a1-00001") && line.contains("True");
    let mut found = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| is_ready(&line));
    assert!(found, "it becomes ready before the watch ends");
    let patch = "{\"spec\":{\"template\":{\"spec\":{\"containerConcurrency\":5}}}}";
    let change = ["patch", "ksvc", "a1", "--type", "merge", "-p", patch];
    expect(kubectl, &serve, &change);
    found = lines
        .map_while(Result::ok)
        .any(|line| line.matches("a1-00002").count() == 2 && line.contains("True"));
    assert!(found, "the change is told before the watch ends");
    watching.kill().expect("it still runs");
    watching.wait().expect("it ends");
}
