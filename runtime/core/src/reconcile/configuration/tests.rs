use serde_json::{Value, json};

use super::*;
use crate::object::Object;

const THEN: Timestamp = Timestamp::from_unix_seconds(100);
const NOW: Timestamp = Timestamp::from_unix_seconds(200);

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

/// Configuration `c` at `generation`, with a template named `template` if that is not empty.
fn at(generation: i64, template: &str) -> Configuration {
    parse(json!({
        "metadata": {"name": "c", "namespace": "ns", "uid": "c-uid", "generation": generation},
        "spec": {"template": {
            "metadata": {"name": template},
            "spec": {"containers": [{"image": format!("image-{generation}")}]},
        }},
    }))
}

fn revision(name: &str, generation: i64, ready: &str) -> Revision {
    parse(json!({
        "metadata": {
            "name": name, "namespace": "ns", "generation": 1,
            "labels": {
                "serving.knative.dev/configuration": "c",
                "serving.knative.dev/configurationGeneration": generation.to_string(),
            },
            "ownerReferences": [{
                "apiVersion": "serving.knative.dev/v1", "kind": "Configuration", "name": "c",
                "uid": "c-uid", "controller": true,
            }],
        },
        "spec": {"containers": [{"image": format!("image-{generation}")}]},
        "status": {
            "observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": ready, "message": format!("{name} says")}],
        },
    }))
}

fn run(
    configuration: &Configuration,
    revisions: &[Revision],
    now: Timestamp,
) -> Plan<ConfigurationStatus> {
    let revisions: Vec<_> = revisions.iter().collect();
    super::configuration(
        &View {
            configuration,
            revisions: &revisions,
        },
        now,
    )
}

/// `created ready | Ready`, after all writes were carried out.
fn outcome(configuration: &Configuration, revisions: &[Revision]) -> String {
    let mut configuration = configuration.clone();
    let mut revisions = revisions.to_vec();
    let plan = run(&configuration, &revisions, NOW);
    for write in plan.writes {
        let Write::Create(Object::Revision(mut revision)) = write else {
            panic!("only Revisions are made");
        };
        revision.metadata.generation = 1;
        revisions.push(*revision);
    }
    if let Some(status) = plan.status {
        configuration.status = status;
    }
    assert!(
        run(&configuration, &revisions, NOW).is_empty(),
        "planned twice"
    );
    let status = configuration.status;
    let ready = conditions::find(&status.conditions, READY).expect("Ready is always there");
    format!(
        "{} {} | {:?} {} {}",
        status.latest_created_revision_name,
        status.latest_ready_revision_name,
        ready.status,
        ready.reason,
        ready.message
    )
}

/// The Configuration at `generation` with the status it had when `ready` was the latest.
fn with_ready(generation: i64, template: &str, ready: &str) -> Configuration {
    let mut configuration = at(generation, template);
    configuration.status = parse(json!({
        "observedGeneration": generation,
        "latestCreatedRevisionName": ready,
        "latestReadyRevisionName": ready,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": THEN}],
    }));
    configuration
}

struct Case {
    name: &'static str,
    given: (Configuration, Vec<Revision>),
    want: &'static str,
}

#[track_caller]
fn check(case: &Case) {
    let (configuration, revisions) = &case.given;
    assert_eq!(
        outcome(configuration, revisions),
        case.want,
        "{}",
        case.name
    );
}

#[test]
fn the_status_follows_the_newest_revision() {
    let (one, two) = (
        revision("c-00001", 1, "True"),
        revision("c-00002", 2, "True"),
    );
    let failed = revision("c-00003", 3, "False");
    let cases = vec![
        Case {
            name: "none yet",
            given: (at(1, ""), vec![]),
            want: "c-00001  | Unknown  ",
        },
        Case {
            name: "a pending one",
            given: (at(1, ""), vec![revision("c-00001", 1, "Unknown")]),
            want: "c-00001  | Unknown  ",
        },
        Case {
            name: "a ready one",
            given: (at(1, ""), vec![one.clone()]),
            want: "c-00001 c-00001 | True  ",
        },
        Case {
            name: "a failed one",
            given: (at(3, ""), vec![failed.clone()]),
            want: "c-00003  | False RevisionFailed Revision \"c-00003\" failed with message: c-00003 says.",
        },
        Case {
            name: "a new generation",
            given: (with_ready(2, "", "c-00001"), vec![one.clone()]),
            want: "c-00002 c-00001 | Unknown  ",
        },
        Case {
            name: "the newest failed, an older one became ready",
            given: (
                with_ready(3, "", "c-00001"),
                vec![one.clone(), two.clone(), failed.clone()],
            ),
            want: "c-00003 c-00002 | False RevisionFailed Revision \"c-00003\" failed with message: c-00003 says.",
        },
        Case {
            name: "the newest is pending, an older one became ready",
            given: (
                with_ready(3, "", "c-00001"),
                vec![one.clone(), two.clone(), revision("c-00003", 3, "Unknown")],
            ),
            want: "c-00003 c-00002 | Unknown  ",
        },
        Case {
            name: "the latest ready one failed, an older one is still ready",
            given: (
                with_ready(2, "", "c-00002"),
                vec![one.clone(), revision("c-00002", 2, "False")],
            ),
            want: "c-00002 c-00002 | False RevisionFailed Revision \"c-00002\" failed with message: c-00002 says.",
        },
        Case {
            name: "the current one was deleted",
            given: (with_ready(2, "", "c-00002"), vec![one.clone()]),
            want: "c-00002 c-00001 | Unknown  ",
        },
        Case {
            name: "the only one was deleted",
            given: (with_ready(1, "", "c-00001"), vec![]),
            want: "c-00001 c-00001 | Unknown  ",
        },
        Case {
            name: "an older ready one was deleted while the newest fails",
            given: (with_ready(3, "", "c-00002"), vec![one, failed]),
            want: "c-00003 c-00001 | False RevisionFailed Revision \"c-00003\" failed with message: c-00003 says.",
        },
    ];
    for case in cases {
        check(&case);
    }
}

#[test]
fn a_name_in_the_template_is_used_if_it_is_free_or_ours() {
    let ready = |name: &str, generation| revision(name, generation, "True");
    let mut foreign = ready("c-mine", 2);
    foreign.metadata.owner_references[0].uid = "other".to_owned();
    let mut changed = ready("c-mine", 1);
    changed.spec.containers[0].image = "image-2".to_owned();
    let taken = "  | False RevisionFailed Revision creation failed with message: revisions.serving.knative.dev \"c-mine\" already exists.";
    for case in [
        Case {
            name: "free",
            given: (at(2, "c-mine"), vec![]),
            want: "c-mine  | Unknown  ",
        },
        Case {
            name: "ours",
            given: (at(2, "c-mine"), vec![ready("c-mine", 2)]),
            want: "c-mine c-mine | True  ",
        },
        Case {
            name: "ours of an older generation with the same spec",
            given: (at(2, "c-mine"), vec![changed]),
            want: "c-mine c-mine | True  ",
        },
        Case {
            name: "ours again after another one",
            given: (
                with_ready(3, "c-mine", "c-00002"),
                vec![
                    Revision {
                        spec: at(3, "").spec.template.spec,
                        ..ready("c-mine", 1)
                    },
                    ready("c-00002", 2),
                ],
            ),
            want: "c-mine c-mine | True  ",
        },
        Case {
            name: "ours with another spec",
            given: (at(2, "c-mine"), vec![ready("c-mine", 1)]),
            want: taken,
        },
        Case {
            name: "another's",
            given: (at(2, "c-mine"), vec![foreign]),
            want: taken,
        },
    ] {
        check(&case);
    }
}

/// A Service was deleted and made again while its Revisions were still being deleted.
#[test]
fn revisions_of_an_earlier_configuration_are_not_ours() {
    let mut old = revision("c-00001", 1, "True");
    old.metadata.owner_references[0].uid = "earlier".to_owned();
    check(&Case {
        name: "taken",
        given: (at(1, ""), vec![old]),
        want: "  | False RevisionFailed Revision creation failed with message: revisions.serving.knative.dev \"c-00001\" already exists.",
    });
}

#[test]
fn events_tell_each_change_once() {
    let events = |configuration: &Configuration, revisions: &[Revision]| -> Vec<String> {
        let plan = run(configuration, revisions, NOW);
        let line = |e: Event| format!("{} {} {}", e.severity.as_str(), e.reason, e.message);
        plan.events.into_iter().map(line).collect()
    };
    assert_eq!(
        events(&at(1, ""), &[]),
        ["Normal Created Created Revision \"c-00001\""]
    );
    assert_eq!(
        events(&at(1, ""), &[revision("c-00001", 1, "True")]),
        [
            "Normal ConfigurationReady Configuration becomes ready",
            "Normal LatestReadyUpdate LatestReadyRevisionName updated to \"c-00001\"",
        ]
    );
    let failed = [
        revision("c-00002", 2, "False"),
        revision("c-00001", 1, "True"),
    ];
    let mut configuration = with_ready(2, "", "c-00001");
    assert_eq!(
        events(&configuration, &failed),
        ["Warning LatestCreatedFailed Latest created revision \"c-00002\" has failed"]
    );
    configuration.status = run(&configuration, &failed, NOW).status.expect("it failed");
    assert_eq!(events(&configuration, &failed), [""; 0]);
    assert_eq!(
        events(&with_ready(2, "", "c-00002"), &failed),
        ["Warning LatestReadyFailed Latest ready revision \"c-00002\" has failed"]
    );
}

#[test]
fn a_view_needs_the_revision_with_the_next_name() {
    assert_eq!(next_revision_names(&at(7, "")), ["c-00007"]);
    assert_eq!(next_revision_names(&at(7, "c-mine")), ["c-mine"]);
}
