//! `kn` against `serve up`: the story that its users know from a cluster.

use crate::api::{expect, host, kn};

const IMAGE: &str = "docker.io/xiexianbin/knative-helloworld-go:latest";

#[test]
fn the_story_of_a_service() {
    let Some(kn) = kn() else { return };
    let serve = host();
    let ask = |arguments: &[&str]| expect(kn, &serve, arguments);

    let created = ask(&[
        "service",
        "create",
        "h1",
        "--image",
        IMAGE,
        "--env",
        "TARGET=v1",
    ]);
    // What is said before depends on how soon kn watches.
    for line in [
        "Creating service 'h1' in namespace 'default':",
        "Ready to serve.",
        "Service 'h1' created to latest revision 'h1-00001' is available at URL:",
        "http://h1.default.example.com",
    ] {
        assert!(created.contains(line), "{line:?} is missing in\n{created}");
    }
    let list = ask(&["service", "list"]);
    assert!(
        list.contains("h1-00001") && list.contains("3 OK / 3"),
        "{list}"
    );
    let described = ask(&["service", "describe", "h1"]);
    assert!(
        described.contains("100%  @latest (h1-00001) [1]"),
        "{described}"
    );

    let updated = ask(&["service", "update", "h1", "--env", "TARGET=v2"]);
    assert!(updated.contains("h1-00002"), "{updated}");
    ask(&["service", "update", "h1", "--traffic", "h1-00001=100"]);
    let split = [
        "service",
        "update",
        "h1",
        "--traffic",
        "h1-00001=20,h1-00002=80",
    ];
    ask(&split);
    let revisions = ask(&["revision", "list", "-s", "h1"]);
    assert!(
        revisions.contains("20%") && revisions.contains("80%"),
        "{revisions}"
    );
    assert!(ask(&["route", "list"]).contains("http://h1.default.example.com"));

    let exported = ask(&["service", "export", "h1", "-o", "json"]);
    std::fs::write(serve.home().join("h1.json"), exported).expect("written");
    ask(&["service", "delete", "h1", "--wait"]);
    assert!(ask(&["service", "list"]).contains("No services found."));
    ask(&["service", "import", "h1.json"]);
    let applied = ask(&[
        "service",
        "apply",
        "h1",
        "--image",
        IMAGE,
        "--env",
        "TARGET=v3",
    ]);
    assert!(!applied.contains("No changes"), "{applied}");
    ask(&["service", "delete", "h1"]);
}
