//! What a user who did something wrong is told, and with which exit code.

use std::net::TcpListener;
use std::path::Path;

use crate::process::{Ended, run};

const MANIFEST: u8 = 3;
const TAKEN: u8 = 5;

#[track_caller]
fn check(ended: &Ended, code: u8, parts: &[&str]) {
    assert_eq!(ended.code, Some(i32::from(code)), "{}", ended.stderr);
    for part in parts {
        assert!(
            ended.stderr.contains(part),
            "no {part:?} in: {}",
            ended.stderr
        );
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

/// Runs a manifest with this text beside a file `app.wasm` with these bytes.
fn serve(manifest: &str, app: Option<&[u8]>) -> Ended {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.yaml");
    std::fs::write(&path, manifest).expect("written");
    if let Some(bytes) = app {
        std::fs::write(directory.path().join("app.wasm"), bytes).expect("written");
    }
    run(&[
        path.to_str().expect("a path in UTF-8"),
        "--listen",
        "127.0.0.1:0",
    ])
}

const SERVICE: &str = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  name: app\n\
                       spec:\n  template:\n    spec:\n      containers:\n      - image: ./app.wasm\n";

#[test]
fn no_such_file() {
    let ended = run(&["./no-such.yaml"]);
    check(
        &ended,
        MANIFEST,
        &["manifest \"./no-such.yaml\"", "No such file"],
    );
}

#[test]
fn not_yaml() {
    let ended = serve("a: [1\nb: }", None);
    check(&ended, MANIFEST, &["app.yaml:2:", "not valid YAML"]);
}

#[test]
fn not_a_service() {
    let ended = serve(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: x\n",
        None,
    );
    check(&ended, MANIFEST, &["app.yaml:", "Deployment", "apps/v1"]);
}

#[test]
fn unknown_field() {
    let ended = serve(&SERVICE.replace("image:", "imagee:"), None);
    check(
        &ended,
        MANIFEST,
        &[
            "app.yaml:9:9: unknown field \"spec.template.spec.containers[0].imagee\"\n",
            "\n 9 |       - imagee: ./app.wasm\n   :         ^^^|^^\n",
            "`-- spec.template.spec.containers[0].imagee\n",
        ],
    );
    assert!(
        ended.stderr.is_ascii(),
        "this is no terminal: {}",
        ended.stderr
    );
}

#[test]
fn a_check_shows_all_mistakes_where_they_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("app.yaml");
    let text = SERVICE.replace(
        "containers:\n",
        "containerConcurrency: -1\n      containers:\n",
    );
    std::fs::write(
        &path,
        format!("{text}        ports:\n        - name: grpc\n"),
    )
    .expect("written");
    std::fs::write(
        directory.path().join("app.wasm"),
        include_bytes!("../guests/hello.wat"),
    )
    .expect("written");
    let ended = run(&["check", path.to_str().expect("a path in UTF-8")]);
    check(
        &ended,
        MANIFEST,
        &[
            "app.yaml:8:7: expected 0 <= -1 <= 1000: spec.template.spec.containerConcurrency\n",
            "\n  8 |       containerConcurrency: -1\n    :       ^^^^^^^^^^|^^^^^^^^^\n",
            "app.yaml:11:9: Port name grpc is not allowed: spec.template.spec.containers[0].ports\n",
            "11 |         ports:\n    :         ^^|^^\n",
        ],
    );
}

#[test]
fn invalid_service() {
    let text = SERVICE.replace("containers:\n", "timeoutSeconds: 601\n      containers:\n");
    let ended = serve(&text, Some(include_bytes!("../guests/hello.wat")));
    check(
        &ended,
        MANIFEST,
        &[
            "app.yaml:8:",
            "expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds",
        ],
    );
}

#[test]
fn missing_image_file() {
    let ended = serve(SERVICE, None);
    check(
        &ended,
        MANIFEST,
        &["app.yaml:9:", "image \"./app.wasm\"", "No such file"],
    );
}

#[test]
fn not_wasm() {
    let ended = serve(SERVICE, Some(b"\x7fELF\x02\x01\x01"));
    check(&ended, MANIFEST, &["app.yaml:9:", "image \"./app.wasm\""]);
}

#[test]
fn port_taken() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("bound").to_string();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello.yaml");
    let ended = run(&[
        example.to_str().expect("a path in UTF-8"),
        "--listen",
        &address,
    ]);
    check(&ended, TAKEN, &["listening on", &address, "in use"]);
}

#[test]
fn no_arguments() {
    let ended = run(&[]);
    check(&ended, 2, &["Usage: serve"]);
}

#[test]
fn an_unknown_setting() {
    let ended = run(&["x.yaml", "--set", "ingress.lisen=off"]);
    check(&ended, 2, &["did you mean \"ingress.listen\"?"]);
}
