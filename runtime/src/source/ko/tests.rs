use std::fs;

use super::*;

/// A program of a module with a package of its own, as users have them.
const PROGRAM: &str = r#"package main

import (
	"fmt"
	"net/http"

	"example.com/app/greeting"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, greeting.Text) })
	http.ListenAndServe(":8080", nil)
}
"#;

fn ko(scratch: &Path) -> Ko {
    let limits = Limits {
        time: Duration::from_secs(600),
        memory_bytes: 8 << 30,
    };
    Ko {
        scratch: scratch.join("scratch"),
        limits,
    }
}

/// A module with the program in `cmd/app`.
fn module() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
        fs::write(path, text).expect("written");
    };
    write("go.mod", "module example.com/app\n\ngo 1.21\n");
    write(
        "greeting/greeting.go",
        "package greeting\n\nconst Text = \"hi\"\n",
    );
    write("cmd/app/main.go", PROGRAM);
    directory
}

/// Whether Go is here. Without it these tests are skipped loudly, but not where CI runs them.
fn has_go() -> bool {
    let found = std::process::Command::new("go")
        .arg("version")
        .output()
        .is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "CI must have Go");
    if !found {
        eprintln!("SKIPPED: Go is not installed");
    }
    found
}

#[tokio::test]
async fn a_package_is_built_by_path_and_by_directory_and_nothing_is_written_beside_it() {
    if !has_go() {
        return;
    }
    let module = module();
    let scratch = tempfile::tempdir().expect("a directory");
    let ko = ko(scratch.path());
    let by_path = ko
        .build("example.com/app/cmd/app", module.path(), Protocol::Http1)
        .await
        .expect("built");
    let by_directory = ko
        .build("./cmd/app", module.path(), Protocol::Http1)
        .await
        .expect("built");
    assert_eq!(by_path, by_directory);
    assert!(by_path.starts_with(b"\0asm\x01\0\0\0"));
    let handler = b"wasi:http/incoming-handler@0.2.0#handle";
    assert!(by_path.windows(handler.len()).any(|bytes| bytes == handler));
    let mut left: Vec<_> = fs::read_dir(module.path())
        .expect("listed")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    left.sort();
    assert_eq!(left, ["cmd", "go.mod", "greeting"]);
}

#[tokio::test]
async fn what_the_compiler_says_is_shown_with_file_and_line() {
    if !has_go() {
        return;
    }
    let module = module();
    let scratch = tempfile::tempdir().expect("a directory");
    fs::write(
        module.path().join("cmd/app/main.go"),
        PROGRAM.replace("greeting.Text", "nothing"),
    )
    .expect("written");
    let error = ko(scratch.path())
        .build("./cmd/app", module.path(), Protocol::Http1)
        .await
        .expect_err("wrong");
    let text = error.to_string();
    assert!(text.contains("go build failed"), "{text}");
    assert!(
        text.contains("main.go:11:") && text.contains("undefined: nothing"),
        "{text}"
    );
}

#[tokio::test]
async fn packages_that_are_no_programs_are_refused() {
    if !has_go() {
        return;
    }
    let module = module();
    let scratch = tempfile::tempdir().expect("a directory");
    let ko = ko(scratch.path());
    let error = ko
        .build("./greeting", module.path(), Protocol::Http1)
        .await
        .expect_err("no program");
    assert_eq!(
        error.to_string(),
        "package \"example.com/app/greeting\" is named greeting, not main, so it is no program"
    );
    let error = ko
        .build("./cmd/app", scratch.path(), Protocol::Http1)
        .await
        .expect_err("no such folder");
    assert!(
        matches!(error, Error::NoModule(_) | Error::Start(_)),
        "{error}"
    );
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_ended() {
    if !has_go() {
        return;
    }
    let module = module();
    let scratch = tempfile::tempdir().expect("a directory");
    let mut ko = ko(scratch.path());
    ko.limits.time = Duration::ZERO;
    let error = ko
        .build("./cmd/app", module.path(), Protocol::Http1)
        .await
        .expect_err("no time");
    assert!(matches!(error, Error::Timeout(_)), "{error}");
}
