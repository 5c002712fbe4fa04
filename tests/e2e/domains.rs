//! Domains of DomainMappings on the public listener, from files and from clients of the API.

use std::path::Path;

use serde_json::Value;

use crate::api::{expect, host, kn, kubectl};
use crate::client::get;
use crate::hello::{service, workspace, write};
use crate::process::{PATIENCE, Serve, wait_for};

const AUTOMATIC: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: config-network
  namespace: knative-serving
data:
  autocreate-cluster-domain-claims: \"true\"
";

fn mapping(domain: &str, service: &str) -> String {
    format!(
        "apiVersion: serving.knative.dev/v1beta1\nkind: DomainMapping\nmetadata:\n  name: {domain}\n\
         spec:\n  ref:\n    apiVersion: serving.knative.dev/v1\n    kind: Service\n    \
         name: {service}\n"
    )
}

fn claim(domain: &str, namespace: &str) -> String {
    format!(
        "apiVersion: networking.internal.knative.dev/v1alpha1\nkind: ClusterDomainClaim\n\
         metadata:\n  name: {domain}\nspec:\n  namespace: {namespace}\n"
    )
}

/// Waits until a domain has this answer on the public listener.
#[track_caller]
fn answers(serve: &Serve, domain: &str, status: u16, body: &str) {
    let mut last = None;
    let is_so = wait_for(PATIENCE, || {
        let response = get(serve.public(), domain);
        let is_so = response.status == status && (status != 200 || response.body == body);
        last = Some(response);
        is_so.then_some(())
    });
    assert!(is_so.is_some(), "{domain}: {last:?}\n{}", serve.log());
}

#[test]
fn a_domain_of_a_file_is_served_and_goes_with_it() {
    let directory = workspace();
    let files = directory.path().join("run");
    std::fs::create_dir(&files).expect("made");
    std::fs::rename(directory.path().join("hello.wat"), files.join("hello.wat")).expect("moved");
    let put = |name: &str, text: &str| {
        write(&directory, "aside", text);
        std::fs::rename(directory.path().join("aside"), files.join(name)).expect("renamed");
    };
    put("h1.yaml", &service("h1", "one"));
    put("claim.yaml", &claim("shop.example", "default"));
    put("mapping.yaml", &mapping("shop.example", "h1"));
    let home = tempfile::tempdir().expect("a directory");
    let mut serve = Serve::start_in(home.path(), &files, &[]);
    serve.event("ready");
    answers(&serve, "shop.example", 200, "Hello one!\n");
    answers(&serve, "Shop.Example:8080", 200, "Hello one!\n");
    answers(&serve, "other.example", 404, "");

    // Without its claim it still leads to where it led, as on a cluster.
    let gone = |name: &str| std::fs::remove_file(files.join(name)).expect("removed");
    gone("claim.yaml");
    assert_eq!(serve.event("deleted")["kind"], "ClusterDomainClaim");
    answers(&serve, "shop.example", 200, "Hello one!\n");

    // A claim is made for a new one where that is allowed.
    put("mapping2.yaml", &mapping("shop2.example", "h1"));
    put("settings.yaml", AUTOMATIC);
    answers(&serve, "shop2.example", 200, "Hello one!\n");

    // A claim that was made for it is no file's, and stays when the files are run again.
    serve.signal("TERM");
    serve.event("stopped");
    assert_eq!(serve.wait().0.code(), Some(0));
    let mut serve = Serve::start_in(home.path(), &files, &[]);
    serve.event("ready");
    answers(&serve, "shop2.example", 200, "Hello one!\n");
    gone("mapping2.yaml");
    let deleted = serve.event("deleted");
    assert_eq!(
        (&deleted["kind"], &deleted["name"]),
        (&"DomainMapping".into(), &"shop2.example".into()),
        "{deleted}"
    );
    answers(&serve, "shop2.example", 404, "");
    answers(&serve, "shop.example", 200, "Hello one!\n");
    gone("mapping.yaml");
    answers(&serve, "shop.example", 404, "");
}

/// `kubectl` and a host.
struct Kubectl {
    kubectl: &'static Path,
    serve: Serve,
}

impl Kubectl {
    fn ask(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        expect(self.kubectl, &self.serve, &words)
    }

    fn create(&self, text: &str, line: &str) {
        std::fs::write(self.serve.home().join("new.yaml"), text).expect("written");
        self.ask(&format!("create -f new.yaml {line}"));
    }

    /// Waits until a condition of a mapping has this reason, and returns its message.
    fn reason(&self, namespace: &str, kind: &str, reason: &str) -> String {
        let line = format!("-n {namespace} get domainmapping shop.example -o json");
        let found = wait_for(PATIENCE, || {
            let mapping: Value = serde_json::from_str(&self.ask(&line)).expect("JSON");
            let conditions = mapping["status"]["conditions"].as_array();
            let condition = conditions.into_iter().flatten().find(|c| c["type"] == kind);
            let message = condition.filter(|c| c["reason"] == reason)?["message"].as_str();
            Some(message.unwrap_or_default().to_owned())
        });
        found.unwrap_or_else(|| panic!("{}", self.ask(&line)))
    }

    fn ready(&self, namespace: &str) {
        let line = "wait --for=condition=Ready domainmapping/shop.example --timeout=100s";
        self.ask(&format!("-n {namespace} {line}"));
    }
}

#[test]
fn a_domain_of_a_client_is_served_once_it_is_claimed_and_leads_somewhere() {
    let Some(kubectl) = kubectl() else { return };
    let kubectl = Kubectl {
        kubectl,
        serve: host(),
    };
    let serve = &kubectl.serve;
    kubectl.ask("create namespace other");
    kubectl.create(&claim("shop.example", "other"), "");
    kubectl.create(&mapping("shop.example", "h1"), "");
    let told = kubectl.reason("default", "Ready", "DomainAlreadyClaimed");
    assert_eq!(
        told,
        "The domain name is already in use by another DomainMapping"
    );
    answers(serve, "shop.example", 404, "");

    kubectl.ask("delete clusterdomainclaim shop.example");
    kubectl.create(&claim("shop.example", "default"), "");
    let told = kubectl.reason("default", "ReferenceResolved", "ResolveFailed");
    assert!(told.contains("\"h1\" not found"), "{told}");
    answers(serve, "shop.example", 404, "");
    kubectl.create(&service("h1", "one"), "");
    kubectl.ready("default");
    answers(serve, "shop.example", 200, "Hello one!\n");

    // A Service that goes takes the answer along, and brings it back.
    kubectl.ask("delete ksvc h1");
    kubectl.reason("default", "Ready", "ResolveFailed");
    answers(serve, "shop.example", 404, "");
    kubectl.create(&service("h1", "again"), "");
    kubectl.ready("default");
    answers(serve, "shop.example", 200, "Hello again!\n");

    // kubectl waits until it is gone.
    kubectl.ask("delete domainmapping shop.example");
    assert_eq!(get(serve.public(), "shop.example").status, 404);
    let claims = kubectl.ask("get clusterdomainclaims -o name");
    assert!(claims.contains("shop.example"), "made by hand: {claims}");
}

#[test]
fn a_claim_that_was_made_for_a_domain_goes_with_it() {
    let Some(kubectl) = kubectl() else { return };
    let kubectl = Kubectl {
        kubectl,
        serve: host(),
    };
    let serve = &kubectl.serve;
    let on = r#"{"data":{"autocreate-cluster-domain-claims":"true"}}"#;
    let patch = [
        "-n",
        "knative-serving",
        "patch",
        "cm",
        "config-network",
        "-p",
    ];
    expect(kubectl.kubectl, serve, &[&patch[..], &[on]].concat());
    kubectl.ask("create namespace other");
    kubectl.create(&service("h1", "one"), "");
    kubectl.create(&service("h1", "two"), "-n other");
    kubectl.create(&mapping("shop.example", "h1"), "");
    kubectl.ready("default");
    answers(serve, "shop.example", 200, "Hello one!\n");
    kubectl.create(&mapping("shop.example", "h1"), "-n other");
    kubectl.reason("other", "DomainClaimed", "DomainAlreadyClaimed");
    answers(serve, "shop.example", 200, "Hello one!\n");

    // It is given up, and who waited has it.
    kubectl.ask("delete domainmapping shop.example");
    kubectl.ready("other");
    answers(serve, "shop.example", 200, "Hello two!\n");
    // Also when it goes with its namespace.
    kubectl.ask("delete namespace other");
    let is_free = || {
        let claims = kubectl.ask("get clusterdomainclaims -o name");
        (!claims.contains("shop.example")).then_some(())
    };
    assert!(wait_for(PATIENCE, is_free).is_some());
    answers(serve, "shop.example", 404, "");

    // As kn does it, too.
    let Some(kn) = kn() else { return };
    let ask = |words: &[&str]| expect(kn, serve, words);
    ask(&["domain", "create", "shop.example", "--ref", "ksvc:h1"]);
    kubectl.ready("default");
    answers(serve, "shop.example", 200, "Hello one!\n");
    ask(&["domain", "delete", "shop.example"]);
    answers(serve, "shop.example", 404, "");
    assert!(wait_for(PATIENCE, is_free).is_some());
}
