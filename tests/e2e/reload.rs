//! Editing files while `serve` runs.

use std::path::Path;

use serde_json::Value;

use crate::client::get;
use crate::hello::{service, workspace, write};
use crate::process::{PATIENCE, Serve, wait_for};

/// Asks until the answer is this, and panics with the last one when it never is.
#[track_caller]
fn answers(serve: &Serve, host: &str, want: &str) {
    let mut last = String::new();
    let answered = wait_for(PATIENCE, || {
        last = get(serve.public(), host).body;
        (last == want).then_some(())
    });
    assert!(
        answered.is_some(),
        "{host} answers {last:?}, not {want:?}\n{}",
        serve.log()
    );
}

fn replace(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("read");
    assert!(text.contains(from), "no {from:?} in {text}");
    // As editors do: a new file under a name beside it, renamed over.
    let beside = path.with_extension("new~");
    std::fs::write(&beside, text.replace(from, to)).expect("written");
    std::fs::rename(beside, path).expect("renamed");
}

#[test]
fn a_changed_environment_makes_the_next_revision() {
    let directory = workspace();
    let manifest = write(&directory, "h1.yaml", &service("h1", "Go Sample v1"));
    let mut serve = Serve::start(&manifest);
    assert_eq!(serve.event("ready")["revision"], "h1-00001");
    replace(&manifest, "v1\"", "v2\"");
    let reloaded = serve.event("reloaded");
    assert_eq!(
        (&reloaded["name"], &reloaded["revision"]),
        (&"h1".into(), &"h1-00002".into())
    );
    assert_eq!(
        get(serve.public(), "h1.default.localhost").body,
        "Hello Go Sample v2!\n"
    );
}

#[test]
fn changed_code_makes_the_next_revision() {
    let directory = workspace();
    let mut serve = Serve::start(&write(&directory, "h1.yaml", &service("h1", "x")));
    serve.event("ready");
    replace(
        &directory.path().join("hello.wat"),
        "\"Hello \"",
        "\"Salut \"",
    );
    assert_eq!(serve.event("reloaded")["revision"], "h1-00002");
    assert_eq!(
        get(serve.public(), "h1.default.localhost").body,
        "Salut x!\n"
    );
}

#[test]
fn the_reference_story_step_by_step() {
    let directory = workspace();
    let manifest = write(&directory, "h1.yaml", &service("h1", "v1"));
    let mut serve = Serve::start(&manifest);
    serve.event("ready");
    replace(&manifest, "\"v1\"", "\"v2\"");
    assert_eq!(serve.event("reloaded")["revision"], "h1-00002");
    answers(&serve, "h1.default.localhost", "Hello v2!\n");

    // All traffic back to the first revision, by name.
    let mut text = std::fs::read_to_string(&manifest).expect("read");
    text.push_str("  traffic:\n  - revisionName: h1-00001\n    percent: 100\n");
    std::fs::write(&manifest, &text).expect("written");
    serve.event("reloaded");
    answers(&serve, "h1.default.localhost", "Hello v1!\n");

    // 20/80, and each under a tag of its own.
    let split = text.replace(
        "percent: 100\n",
        "percent: 20\n    tag: old\n  - latestRevision: true\n    percent: 80\n    tag: new\n",
    );
    std::fs::write(&manifest, split).expect("written");
    serve.event("reloaded");
    answers(&serve, "old-h1.default.localhost", "Hello v1!\n");
    answers(&serve, "new-h1.default.localhost", "Hello v2!\n");
    const REQUESTS: u32 = 10_000;
    let mut old = 0_u32;
    let mut client = crate::client::Client::connect(serve.public());
    for _ in 0..REQUESTS {
        client.send(b"GET / HTTP/1.1\r\nHost: h1.default.localhost\r\n\r\n");
        match client.response().body.as_str() {
            "Hello v1!\n" => old += 1,
            "Hello v2!\n" => {}
            other => panic!("{other:?} is of neither revision"),
        }
    }
    // Chi-square with one degree of freedom; 10.83 is passed by one honest run in a thousand.
    let (got, want) = (f64::from(old), f64::from(REQUESTS) * 0.2);
    let square = (got - want).powi(2) / want + (got - want).powi(2) / (want * 4.0);
    assert!(
        square < 15.0,
        "{old} of {REQUESTS} went to the old revision"
    );
}

#[test]
fn a_mistake_keeps_the_last_good_and_says_where_it_is() {
    let directory = workspace();
    let manifest = write(&directory, "h1.yaml", &service("h1", "v1"));
    let mut serve = Serve::start(&manifest);
    serve.event("ready");
    replace(&manifest, "containers:", "containres:");
    let invalid = serve.event("invalid");
    let diagnostic = invalid["diagnostic"].as_str().expect("a text");
    assert!(
        diagnostic.contains("h1.yaml:8:7: unknown field \"spec.template.spec.containres\""),
        "{diagnostic}"
    );
    answers(&serve, "h1.default.localhost", "Hello v1!\n");
    replace(&manifest, "containres:", "containers:");
    replace(&manifest, "\"v1\"", "\"v3\"");
    assert_eq!(serve.event("reloaded")["revision"], "h1-00002");
    answers(&serve, "h1.default.localhost", "Hello v3!\n");
}

#[test]
fn errors_of_knative_are_shown_for_traffic_that_cannot_be() {
    let directory = workspace();
    let manifest = write(&directory, "h1.yaml", &service("h1", "v1"));
    let mut serve = Serve::start(&manifest);
    serve.event("ready");
    let good = std::fs::read_to_string(&manifest).expect("read");
    let with = |traffic: &str| std::fs::write(&manifest, format!("{good}  traffic:\n{traffic}"));

    with("  - revisionName: h1-00009\n    percent: 100\n").expect("written");
    let failed = serve.event("failed");
    assert_eq!(failed["reason"], "RevisionMissing");
    assert_eq!(
        failed["message"],
        "Revision \"h1-00009\" referenced in traffic not found."
    );
    answers(&serve, "h1.default.localhost", "Hello v1!\n");

    with("  - latestRevision: true\n    percent: 90\n").expect("written");
    let invalid = serve.event("invalid");
    let diagnostic = invalid["diagnostic"].as_str().expect("a text");
    assert!(
        diagnostic.contains("Traffic targets sum to 90, want 100: spec.traffic"),
        "{diagnostic}"
    );
    answers(&serve, "h1.default.localhost", "Hello v1!\n");
}

#[test]
fn folders_are_followed() {
    let directory = workspace();
    write(&directory, "a.yaml", &service("a", "one"));
    let mut serve = Serve::start(directory.path());
    assert_eq!(serve.event("ready")["name"], "a");
    write(&directory, "b.yaml", &service("b", "two"));
    assert_eq!(serve.event("reloaded")["name"], "b");
    answers(&serve, "b.default.localhost", "Hello two!\n");
    std::fs::remove_file(directory.path().join("a.yaml")).expect("removed");
    let deleted: Value = serve.event("deleted");
    assert_eq!(
        (&deleted["kind"], &deleted["name"]),
        (&"Service".into(), &"a".into())
    );
    let gone = wait_for(PATIENCE, || {
        (get(serve.public(), "a.default.localhost").status == 404).then_some(())
    });
    assert!(gone.is_some(), "the host is gone");
    answers(&serve, "b.default.localhost", "Hello two!\n");
}

#[test]
fn a_bare_component_is_served() {
    let directory = workspace();
    let mut serve = Serve::start_with(&directory.path().join("hello.wat"), &["--name", "hi"]);
    assert_eq!(serve.event("ready")["name"], "hi");
    assert_eq!(
        get(serve.public(), "hi.default.localhost").body,
        "Hello World!\n"
    );
}

#[test]
fn a_named_revision_stays_when_its_file_is_saved_again() {
    let directory = workspace();
    let named = service("h1", "v1").replace(
        "  template:\n",
        "  template:\n    metadata:\n      name: h1-first\n",
    );
    let manifest = write(&directory, "h1.yaml", &named);
    let mut serve = Serve::start(&manifest);
    assert_eq!(serve.event("ready")["revision"], "h1-first");
    // A label on the Service leaves the template as it is.
    replace(&manifest, "name: h1\n", "name: h1\n  labels: {team: a}\n");
    assert_eq!(serve.event("reloaded")["revision"], "h1-first");
    // A change under the same name is refused in Knative's words.
    replace(&manifest, "\"v1\"", "\"v2\"");
    let invalid = serve.event("invalid");
    let diagnostic = invalid["diagnostic"].as_str().expect("a text");
    assert!(
        diagnostic.contains("Saw the following changes without a name change"),
        "{diagnostic}"
    );
    answers(&serve, "h1.default.localhost", "Hello v1!\n");
    replace(&manifest, "h1-first", "h1-second");
    assert_eq!(serve.event("reloaded")["revision"], "h1-second");
    answers(&serve, "h1.default.localhost", "Hello v2!\n");
}

#[test]
fn values_come_from_config_maps_that_may_come_later() {
    let directory = workspace();
    let from_map = service("h1", "x").replace(
        "value: \"x\"",
        "valueFrom: {configMapKeyRef: {name: settings, key: target}}",
    );
    let map =
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {target: map}\n";
    let manifest = write(&directory, "h1.yaml", &format!("{from_map}{map}"));
    let mut serve = Serve::start(&manifest);
    serve.event("ready");
    answers(&serve, "h1.default.localhost", "Hello map!\n");

    let late = write(
        &directory,
        "late.yaml",
        &from_map.replace("h1", "h2").replace("settings", "late"),
    );
    let mut serve = Serve::start_with(
        &directory.path().join("hello.wat"),
        &[late.to_str().expect("UTF-8")],
    );
    let failed = serve.event("failed");
    assert_eq!(failed["name"], "h2");
    let message = failed["message"].as_str().expect("a text");
    assert!(
        message.contains("configmap \"late\" not found"),
        "{message}"
    );
}

#[test]
fn the_next_run_knows_the_revisions_of_the_last() {
    let directory = workspace();
    let manifest = write(&directory, "h1.yaml", &service("h1", "v1"));
    let home = tempfile::tempdir().expect("a directory");
    let mut serve = Serve::start_in(home.path(), &manifest, &[]);
    serve.event("ready");
    replace(&manifest, "\"v1\"", "\"v2\"");
    assert_eq!(serve.event("reloaded")["revision"], "h1-00002");
    serve.signal("TERM");
    assert_eq!(serve.wait().0.code(), Some(0));

    let mut text = std::fs::read_to_string(&manifest).expect("read");
    text.push_str("  traffic:\n  - revisionName: h1-00001\n    percent: 100\n");
    std::fs::write(&manifest, &text).expect("written");
    let mut serve = Serve::start_in(home.path(), &manifest, &[]);
    assert_eq!(serve.event("ready")["revision"], "h1-00002");
    answers(&serve, "h1.default.localhost", "Hello v1!\n");

    // The state belongs to one process at a time, and can be forgotten.
    let path = manifest.clone();
    let manifest = manifest.to_str().expect("a path in UTF-8");
    let second = crate::process::run_in(home.path(), &[manifest, "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, Some(5), "{}", second.stderr);
    assert!(
        second.stderr.contains("is in use by another process"),
        "{}",
        second.stderr
    );
    serve.signal("TERM");
    serve.wait();
    // Without it the revision of that name is another one.
    let mut serve = Serve::start_in(home.path(), &path, &["--fresh"]);
    assert_eq!(serve.event("ready")["revision"], "h1-00001");
    answers(&serve, "h1.default.localhost", "Hello v2!\n");
}
