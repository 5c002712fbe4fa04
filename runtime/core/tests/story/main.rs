//! The life of a Service, through all four reconcilers, with a store and a data plane in memory.

mod world;

use serde_json::json;
use serve_core::keys;
use serve_core::kind::Kind;
use world::World;

const ROUTE_BEHIND: &str =
    "Unknown OutOfDate: The Route is still working to reflect the latest desired specification.";
const CONFIGURATION_BEHIND: &str = "Unknown OutOfDate: The Configuration is still working to reflect the latest desired specification.";
const NOT_MIGRATED: &str =
    "Unknown TrafficNotMigrated: Traffic is not yet migrated to the latest revision.";
const NOT_CONFIGURED: &str = "Unknown IngressNotConfigured: Ingress has not yet been reconciled.";
const PROGRAMMING: &str = "Unknown Uninitialized: Waiting for load balancer to be ready";
const PENDING: &str = "Unknown : ";
const READY: &str = "True : ";

/// A world with Service `h1` ready at its first Revision.
fn with_h1() -> World {
    let mut world = World::new();
    world.create_service(
        "h1",
        &json!({"template": world::template("one"), "traffic": [{"latestRevision": true, "percent": 100}]}),
    );
    world.settle();
    world.ready_messages("h1");
    world
}

/// [`with_h1`] and a second Revision.
fn with_two_revisions() -> World {
    let mut world = with_h1();
    world.edit_service("h1", |spec| spec["template"] = world::template("two"));
    world.settle();
    world.ready_messages("h1");
    world
}

#[test]
fn a_new_service_becomes_ready_in_the_steps_that_kn_prints() {
    let mut world = World::new();
    world.create_service(
        "h1",
        &json!({"template": world::template("one"), "traffic": [{"latestRevision": true, "percent": 100}]}),
    );
    world.settle();
    assert_eq!(
        world.ready_messages("h1"),
        [
            ROUTE_BEHIND,
            "Unknown RevisionMissing: Configuration \"h1\" is waiting for a Revision to become ready.",
            NOT_CONFIGURED,
            PROGRAMMING,
            READY,
        ]
    );

    let service = world.value(Kind::Service, "h1");
    let mut status = service["status"].clone();
    status
        .as_object_mut()
        .expect("an object")
        .remove("conditions");
    assert_eq!(
        status,
        json!({
            "observedGeneration": 1,
            "url": "http://h1.default.localhost:8080",
            "address": {"url": "http://h1.default.svc.cluster.local"},
            "traffic": [{"revisionName": "h1-00001", "latestRevision": true, "percent": 100}],
            "latestCreatedRevisionName": "h1-00001",
            "latestReadyRevisionName": "h1-00001",
        })
    );
    let revision = world.value(Kind::Revision, "h1-00001");
    assert_eq!(revision["metadata"]["generation"], 1);
    assert_eq!(
        revision["metadata"]["labels"][keys::ROUTING_STATE_LABEL],
        "active"
    );
    assert_eq!(
        revision["status"]["containerStatuses"][0]["imageDigest"],
        "x@sha256:00"
    );
    for (kind, name, types) in [
        (Kind::Service, "h1", "ConfigurationsReady Ready RoutesReady"),
        (Kind::Configuration, "h1", "Ready"),
        (
            Kind::Route,
            "h1",
            "AllTrafficAssigned CertificateProvisioned IngressReady Ready",
        ),
        (
            Kind::Revision,
            "h1-00001",
            "Active ContainerHealthy Ready ResourcesAvailable",
        ),
    ] {
        let conditions = world.conditions(kind, name);
        let shown: Vec<_> = conditions.iter().map(|c| c.kind.as_str()).collect();
        assert_eq!(shown.join(" "), types);
        assert!(
            conditions
                .iter()
                .all(|c| c.status == serve_core::conditions::ConditionStatus::True)
        );
    }
    assert_eq!(
        world.hosts("h1"),
        [
            "h1.default.svc.cluster.local ClusterLocal h1-00001=100",
            "h1.default.svc ClusterLocal h1-00001=100",
            "h1.default ClusterLocal h1-00001=100",
            "h1.default.localhost Public h1-00001=100",
        ]
    );
    let events = world.events();
    for event in [
        "Service h1: Normal Created Created Configuration \"h1\"",
        "Service h1: Normal Created Created Route \"h1\"",
        "Configuration h1: Normal Created Created Revision \"h1-00001\"",
        "Revision h1-00001: Normal RevisionReady Revision becomes ready upon all resources being ready",
        "Configuration h1: Normal ConfigurationReady Configuration becomes ready",
        "Configuration h1: Normal LatestReadyUpdate LatestReadyRevisionName updated to \"h1-00001\"",
        "Route h1: Normal Created Created placeholder service \"h1\"",
        "Route h1: Normal Created Created Ingress \"h1\"",
    ] {
        let count = events.iter().filter(|e| *e == event).count();
        assert_eq!(count, 1, "{event} in {events:#?}");
    }
    assert_eq!(events.len(), 8, "{events:#?}");
}

#[test]
fn a_changed_template_makes_the_next_revision() {
    let mut world = with_h1();
    world.edit_service("h1", |spec| spec["template"] = world::template("two"));
    world.settle();
    assert_eq!(
        world.ready_messages("h1"),
        [
            CONFIGURATION_BEHIND,
            PENDING,
            NOT_MIGRATED,
            NOT_CONFIGURED,
            PROGRAMMING,
            READY
        ]
    );
    assert_eq!(world.names(Kind::Revision), ["h1-00001", "h1-00002"]);
    let service = world.value(Kind::Service, "h1");
    assert_eq!(service["status"]["latestReadyRevisionName"], "h1-00002");
    assert_eq!(service["status"]["observedGeneration"], 2);
    assert_eq!(world.routing_state("h1-00001"), "reserve");
    assert_eq!(world.routing_state("h1-00002"), "active");
    let old = world.value(Kind::Revision, "h1-00001");
    assert_eq!(
        old["metadata"]["annotations"].get(keys::ROUTES_ANNOTATION),
        None
    );
}

#[test]
fn traffic_is_moved_back_and_split() {
    let mut world = with_two_revisions();
    world.edit_service("h1", |spec| {
        spec["traffic"] =
            json!([{"revisionName": "h1-00001", "latestRevision": false, "percent": 100}]);
    });
    world.settle();
    assert_eq!(
        world.ready_messages("h1"),
        [ROUTE_BEHIND, NOT_CONFIGURED, PROGRAMMING, READY]
    );
    assert_eq!(world.names(Kind::Revision), ["h1-00001", "h1-00002"]);
    assert_eq!(world.routing_state("h1-00001"), "active");
    assert_eq!(world.routing_state("h1-00002"), "reserve");
    let configuration = world.value(Kind::Configuration, "h1");
    assert_eq!(configuration["metadata"]["generation"], 2);
    assert_eq!(
        configuration["metadata"]["annotations"][keys::ROUTES_ANNOTATION],
        "h1"
    );

    world.edit_service("h1", |spec| {
        spec["traffic"] = json!([
            {"revisionName": "h1-00001", "latestRevision": false, "percent": 20, "tag": "old"},
            {"latestRevision": true, "percent": 80},
            {"revisionName": "h1-00001", "latestRevision": false, "percent": 0, "tag": "quiet"},
        ]);
    });
    world.settle();
    assert_eq!(
        world.ready_messages("h1"),
        [ROUTE_BEHIND, NOT_CONFIGURED, PROGRAMMING, READY]
    );
    let service = world.value(Kind::Service, "h1");
    assert_eq!(
        service["status"]["traffic"],
        json!([
            {"tag": "old", "revisionName": "h1-00001", "latestRevision": false, "percent": 20,
             "url": "http://old-h1.default.localhost:8080"},
            {"revisionName": "h1-00002", "latestRevision": true, "percent": 80},
            {"tag": "quiet", "revisionName": "h1-00001", "latestRevision": false, "percent": 0,
             "url": "http://quiet-h1.default.localhost:8080"},
        ])
    );
    assert_eq!(
        world.public_hosts("h1"),
        [
            "h1.default.localhost Public h1-00001=20 h1-00002=80",
            "old-h1.default.localhost Public h1-00001=100",
            "quiet-h1.default.localhost Public h1-00001=100",
        ]
    );
    assert_eq!(world.routing_state("h1-00002"), "active");
    assert_eq!(world.names(Kind::Revision), ["h1-00001", "h1-00002"]);
}

#[test]
fn a_missing_revision_fails_the_service_and_leaves_the_traffic() {
    let mut world = with_h1();
    let hosts = world.hosts("h1");
    world.edit_service("h1", |spec| {
        spec["traffic"] =
            json!([{"revisionName": "foobar", "latestRevision": false, "percent": 100}]);
    });
    world.settle();
    let missing = "False RevisionMissing: Revision \"foobar\" referenced in traffic not found.";
    assert_eq!(world.ready_messages("h1"), [ROUTE_BEHIND, missing]);
    let service = world.value(Kind::Service, "h1");
    assert_eq!(service["status"]["traffic"][0]["revisionName"], "h1-00001");
    assert_eq!(world.hosts("h1"), hosts);
    assert_eq!(world.routing_state("h1-00001"), "active");

    world.edit_service("h1", |spec| {
        spec["traffic"] = json!([{"latestRevision": true, "percent": 100}]);
    });
    world.settle();
    assert_eq!(world.ready_messages("h1"), [ROUTE_BEHIND, READY]);
}

#[test]
fn a_service_that_never_had_a_good_target_comes_to_rest() {
    let mut world = World::new();
    world.create_service(
        "h1",
        &json!({"template": world::template("one"),
               "traffic": [{"revisionName": "nope", "latestRevision": false, "percent": 100}]}),
    );
    world.settle();
    let messages = world.ready_messages("h1");
    assert_eq!(
        messages.last().map(String::as_str),
        Some("False RevisionMissing: Revision \"nope\" referenced in traffic not found.")
    );
    let service = world.value(Kind::Service, "h1");
    assert_eq!(service["status"]["latestReadyRevisionName"], "h1-00001");
    assert_eq!(service["status"].get("traffic"), None);
}

#[test]
fn another_services_revision_is_refused() {
    let mut world = with_h1();
    world.create_service(
        "h2",
        &json!({"template": world::template("x"),
               "traffic": [{"revisionName": "h1-00001", "latestRevision": false, "percent": 100}]}),
    );
    world.settle();
    assert_eq!(
        world.ready_messages("h2").last().map(String::as_str),
        Some(
            "False RevisionNotOwned: Revision \"h1-00001\" belongs to Service \"h1\", not Service \"h2\"."
        )
    );
}

#[test]
fn a_failed_revision_keeps_the_traffic_where_it_was() {
    let mut world = with_h1();
    world.fail_next_start("ExitCode1", "Container failed with: boom");
    world.edit_service("h1", |spec| spec["template"] = world::template("two"));
    world.settle();
    assert_eq!(
        world.ready_messages("h1"),
        [
            CONFIGURATION_BEHIND,
            PENDING,
            "False RevisionFailed: Revision \"h1-00002\" failed with message: Container failed with: boom.",
        ]
    );
    let service = world.value(Kind::Service, "h1");
    assert_eq!(service["status"]["latestCreatedRevisionName"], "h1-00002");
    assert_eq!(service["status"]["latestReadyRevisionName"], "h1-00001");
    assert_eq!(service["status"]["traffic"][0]["revisionName"], "h1-00001");
    assert!(world.events().contains(
        &"Configuration h1: Warning LatestCreatedFailed Latest created revision \"h1-00002\" has failed"
            .to_owned()
    ));

    world.edit_service("h1", |spec| spec["template"] = world::template("three"));
    world.settle();
    assert_eq!(
        world.ready_messages("h1").last().map(String::as_str),
        Some(READY)
    );
    let service = world.value(Kind::Service, "h1");
    assert_eq!(service["status"]["latestReadyRevisionName"], "h1-00003");
}

#[test]
fn a_first_revision_that_fails_fails_the_service() {
    let mut world = World::new();
    world.fail_next_start("ExitCode7", "Container failed with: boom");
    world.create_service(
        "h1",
        &json!({"template": world::template("one"), "traffic": [{"latestRevision": true, "percent": 100}]}),
    );
    world.settle();
    let messages = world.ready_messages("h1");
    assert_eq!(
        messages.last().map(String::as_str),
        Some("False RevisionMissing: Configuration \"h1\" does not have any ready Revision.")
    );
    assert!(messages.contains(
        &"False RevisionFailed: Revision \"h1-00001\" failed with message: Container failed with: boom."
            .to_owned()
    ));
}

#[test]
fn a_revision_with_a_name_of_its_own_makes_the_route_wait() {
    let mut world = with_h1();
    let mut template = world::template("named");
    template["metadata"] = json!({"name": "h1-mine"});
    world.edit_service("h1", |spec| spec["template"] = template.clone());
    world.settle();
    assert_eq!(
        world.ready_messages("h1"),
        [
            CONFIGURATION_BEHIND,
            PENDING,
            NOT_MIGRATED,
            NOT_CONFIGURED,
            PROGRAMMING,
            READY
        ]
    );
    assert_eq!(world.names(Kind::Revision), ["h1-00001", "h1-mine"]);

    // The same name with another spec, as the validation would refuse it.
    template["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "other"}]);
    world.edit_service("h1", |spec| {
        spec["template"] = template.clone();
        spec["traffic"] =
            json!([{"revisionName": "h1-00001", "latestRevision": false, "percent": 100}]);
    });
    world.settle();
    assert_eq!(
        world.ready_messages("h1").last().map(String::as_str),
        Some(
            "False RevisionNameTaken: The revision name \"h1-mine\" is taken by a conflicting Revision, so traffic will not be migrated"
        )
    );
    let configuration = world.conditions(Kind::Configuration, "h1");
    assert_eq!(
        configuration[0].message,
        "Revision creation failed with message: revisions.serving.knative.dev \"h1-mine\" already exists."
    );
    let service = world.value(Kind::Service, "h1");
    assert_eq!(service["status"]["traffic"][0]["revisionName"], "h1-mine");
}

#[test]
fn a_deleted_current_revision_is_made_again() {
    let mut world = with_two_revisions();
    world.delete(Kind::Revision, "h1-00002");
    world.settle();
    assert_eq!(world.names(Kind::Revision), ["h1-00001", "h1-00002"]);
    assert_eq!(
        world.ready_messages("h1").last().map(String::as_str),
        Some(READY)
    );
    let service = world.value(Kind::Service, "h1");
    assert_eq!(service["status"]["latestReadyRevisionName"], "h1-00002");
    assert_eq!(service["status"]["traffic"][0]["revisionName"], "h1-00002");
}

#[test]
fn a_deleted_idle_revision_stays_deleted() {
    let mut world = with_two_revisions();
    world.delete(Kind::Revision, "h1-00001");
    world.settle();
    assert_eq!(world.names(Kind::Revision), ["h1-00002"]);
    assert_eq!(world.ready_messages("h1"), [""; 0]);
}

#[test]
fn a_deleted_revision_with_traffic_is_missed() {
    let mut world = with_two_revisions();
    world.edit_service("h1", |spec| {
        spec["traffic"] =
            json!([{"revisionName": "h1-00001", "latestRevision": false, "percent": 100}]);
    });
    world.settle();
    world.ready_messages("h1");
    world.delete(Kind::Revision, "h1-00001");
    world.settle();
    assert_eq!(
        world.ready_messages("h1").last().map(String::as_str),
        Some("False RevisionMissing: Revision \"h1-00001\" referenced in traffic not found.")
    );
}

#[test]
fn metadata_of_the_service_reaches_its_children_without_a_revision() {
    let mut world = with_h1();
    world.edit_metadata("h1", |metadata| {
        metadata.labels.insert("team".to_owned(), "a".to_owned());
        metadata
            .annotations
            .insert("note".to_owned(), "b".to_owned());
    });
    world.settle();
    for kind in [Kind::Configuration, Kind::Route] {
        let child = world.value(kind, "h1");
        assert_eq!(child["metadata"]["labels"]["team"], "a");
        assert_eq!(child["metadata"]["annotations"]["note"], "b");
        assert_eq!(child["metadata"]["generation"], 1);
    }
    assert_eq!(world.names(Kind::Revision), ["h1-00001"]);
    assert_eq!(world.ready_messages("h1"), [""; 0]);

    world.edit_metadata("h1", |metadata| {
        metadata.labels.clear();
        metadata.annotations.clear();
    });
    world.settle();
    let child = world.value(Kind::Configuration, "h1");
    assert_eq!(child["metadata"]["labels"].get("team"), None);
}

#[test]
fn a_cluster_local_service_has_no_public_host() {
    let mut world = with_h1();
    world.edit_metadata("h1", |metadata| {
        let label = keys::VISIBILITY_LABEL.to_owned();
        metadata
            .labels
            .insert(label, keys::CLUSTER_LOCAL_VISIBILITY.to_owned());
    });
    world.settle();
    let service = world.value(Kind::Service, "h1");
    assert_eq!(
        service["status"]["url"],
        "http://h1.default.svc.cluster.local"
    );
    assert_eq!(world.public_hosts("h1"), [""; 0]);
    assert_eq!(world.hosts("h1").len(), 3);
}

#[test]
fn facts_that_are_lost_in_a_restart_leave_a_ready_service_ready() {
    let mut world = with_h1();
    world.forget_facts();
    world.settle();
    assert_eq!(world.ready_messages("h1"), [""; 0]);
}
