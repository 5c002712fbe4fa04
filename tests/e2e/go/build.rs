//! From a manifest with a `ko://` image to an answer, or to a reason why not.

use std::path::Path;

use super::guest::{self, Form};
use crate::client::get;
use crate::process::{Ended, run_as};

const INVALID_MANIFEST: i32 = 3;

const MANIFEST: &str = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  name: app\n\
                        spec:\n  template:\n    spec:\n      containers:\n      - image: ko://./cmd/app\n";
const PROGRAM: &str = "package main\n\nimport \"net/http\"\n\nfunc main() {\n\
                       \thttp.ListenAndServe(\":8080\", nothing)\n}\n";

/// A module with a program that does not compile, and its manifest.
fn module() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    write("go.mod", "module example.com/app\n\ngo 1.24\n");
    write("cmd/app/main.go", PROGRAM);
    write("app.yaml", MANIFEST);
    directory
}

fn run(directory: &Path, variable: &str, value: &Path) -> Ended {
    let manifest = directory.join("app.yaml");
    let arguments = [
        manifest.to_str().expect("a path in UTF-8"),
        "--listen",
        "127.0.0.1:0",
        "--local-listen",
        "off",
    ];
    run_as(&arguments, |command| {
        command.env(variable, value);
    })
}

#[test]
fn the_example_answers_through_its_own_manifest() {
    let Some(build_cache) = guest::build_cache() else {
        return;
    };
    let manifest = guest::repository().join("examples/helloworld-go/service.yaml");
    let serve = guest::start(&manifest, "helloworld", build_cache);
    for _ in 0..3 {
        let response = get(serve.public(), "helloworld-go.default.localhost");
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, "Hello Go Sample v1!\n")
        );
    }
}

#[test]
fn a_port_named_h2c_gives_the_program_http_2() {
    let Some(guest) = guest::get(Form::H2c) else {
        return;
    };
    let response = guest.get("/headers");
    let seen: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
    assert_eq!(seen["proto"], "HTTP/2.0");
    assert_eq!(seen["host"], "testguest.default.localhost");
}

#[test]
fn what_the_compiler_says_is_shown_with_file_and_line() {
    let Some(build_cache) = guest::build_cache() else {
        return;
    };
    let directory = module();
    let ended = run(directory.path(), "GOCACHE", build_cache);
    assert_eq!(ended.code, Some(INVALID_MANIFEST), "{}", ended.stderr);
    for part in [
        "app.yaml:9:9: image \"ko://./cmd/app\": go build failed:\n",
        "main.go:6:31: undefined: nothing",
    ] {
        assert!(
            ended.stderr.contains(part),
            "no {part:?} in: {}",
            ended.stderr
        );
    }
}

#[test]
fn without_go_one_line_says_what_to_do() {
    let directory = module();
    // A PATH that has a shell and nothing else.
    let path = directory.path().join("bin");
    std::fs::create_dir(&path).expect("made");
    std::os::unix::fs::symlink("/bin/sh", path.join("sh")).expect("linked");
    let ended = run(directory.path(), "PATH", &path);
    assert_eq!(ended.code, Some(INVALID_MANIFEST), "{}", ended.stderr);
    let says = |line: &&str| line.contains("Go is not installed");
    assert_eq!(ended.stderr.lines().filter(says).count(), 1);
    for part in [
        "app.yaml:9:9: ",
        "Go is not installed; install Go 1.24 or newer from https://go.dev/dl",
        "examples/hello.yaml",
    ] {
        assert!(
            ended.stderr.contains(part),
            "no {part:?} in: {}",
            ended.stderr
        );
    }
}
