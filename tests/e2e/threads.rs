//! What each kind of thread may take from the others.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;

use crate::client::get;
use crate::hello::{service, workspace, write};
use crate::process::Serve;

/// The niceness of the threads of a process, by what their names begin with.
fn niceness(pid: u32) -> BTreeMap<String, Vec<i32>> {
    let mut found = BTreeMap::<_, Vec<i32>>::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
        let stat = std::fs::read_to_string(thread.expect("listed").path().join("stat"));
        // A thread may have ended since.
        let Ok(stat) = stat else { continue };
        let (name, fields) = stat.split_once(") ").expect("a name in brackets");
        let name = name.split_once('(').expect("a name in brackets").1;
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        // The 19th field; the first two are before the bracket.
        let nice = fields.split(' ').nth(16).expect("a niceness");
        let nice = nice.parse().expect("a number");
        found.entry(name.to_owned()).or_default().push(nice);
    }
    found
}

#[test]
fn threads_that_serve_requests_go_before_those_of_the_control_plane() {
    let directory = workspace();
    let mut serve = Serve::start(&write(&directory, "h1.yaml", &service("h1", "x")));
    serve.event("ready");
    assert_eq!(get(serve.public(), "h1.default.localhost").status, 200);
    let found = niceness(serve.pid());
    let of = |name: &str| {
        found
            .get(name)
            .unwrap_or_else(|| panic!("{name}: {found:?}"))
    };
    // Of the thread that started the others: whoever runs the tests may have given way to all.
    let own = of("serve")[0];
    assert!(
        of("serve-data").iter().all(|nice| *nice == own),
        "{found:?}"
    );
    assert!(
        of("serve-control").iter().all(|nice| *nice > own),
        "{found:?}"
    );
}
