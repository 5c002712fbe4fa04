use super::*;

const SERVICE: &str = "apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: h1
spec:
  template:
    spec:
      containers:
      - image: ./app.wasm
        env:
        - name: TARGET
          value: \"Go Sample v1\"
";

fn read(text: &str) -> Result<Vec<Document>, Vec<Diagnostic>> {
    parse(Path::new("app.yaml"), text)
}

#[track_caller]
fn check_wrong(text: &str, want: &[&str]) {
    let diagnostics = read(text).expect_err("it is wrong");
    let shown: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(shown, want);
}

#[track_caller]
fn names(text: &str) -> Vec<String> {
    let documents = read(text).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    documents
        .iter()
        .map(|document| document.object.key().to_string())
        .collect()
}

#[test]
fn a_service_is_read() {
    let documents = read(SERVICE).expect("it is right");
    let [document] = documents.as_slice() else {
        panic!("one document")
    };
    let Object::Service(service) = &document.object else {
        panic!("a Service")
    };
    let container = &service.spec.template.spec.containers[0];
    assert_eq!(container.image, "./app.wasm");
    assert_eq!(container.env[0].value.as_deref(), Some("Go Sample v1"));
}

#[test]
fn places_of_fields_are_known() {
    let document = read(SERVICE).expect("it is right").remove(0);
    let place = |field| document.diagnostic(field, "wrong").to_string();
    assert_eq!(
        place("spec.template.spec.containers[0].env[0].value"),
        "app.yaml:12:11: wrong"
    );
    assert_eq!(
        place("spec.template.spec.containers[0].args"),
        "app.yaml:9:9: wrong"
    );
    assert_eq!(place("spec.traffic"), "app.yaml:5:1: wrong");
    assert_eq!(place(""), "app.yaml:1:1: wrong");
}

#[test]
fn documents_lists_and_json_are_read() {
    let other = SERVICE.replace("h1", "h2");
    assert_eq!(
        names(&format!("---\n{SERVICE}---\n{other}---\n")),
        ["h1", "h2"]
    );
    let indented = SERVICE.replace('\n', "\n  ");
    assert_eq!(
        names(&format!("apiVersion: v1\nkind: List\nitems:\n- {indented}")),
        ["h1"]
    );
    let json = r#"{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata":
        {"name": "j1", "creationTimestamp": null}, "spec": {"template": {"spec": {"containers":
        [{"name": "", "image": "x", "resources": {}}]}}}, "status": {}}"#;
    assert_eq!(names(json), ["j1"], "as kn writes it");
}

#[test]
fn unknown_fields_are_all_named_with_their_places() {
    let text = SERVICE
        .replace("image:", "imagee:")
        .replace("value:", "valeu:");
    check_wrong(
        &text,
        &[
            "app.yaml:9:9: unknown field \"spec.template.spec.containers[0].imagee\"",
            "app.yaml:12:11: unknown field \"spec.template.spec.containers[0].env[0].valeu\"",
        ],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_place() {
    let text = SERVICE.replace("\"Go Sample v1\"", "1");
    let diagnostics = read(&text).expect_err("a number");
    let [diagnostic] = diagnostics.as_slice() else {
        panic!("one: {diagnostics:?}")
    };
    assert_eq!((diagnostic.line, diagnostic.column), (12, 11));
    assert!(
        diagnostic
            .message
            .starts_with("spec.template.spec.containers[0].env[0].value: "),
        "{diagnostic}"
    );
}

#[test]
fn what_is_no_object_of_ours_is_named() {
    check_wrong("", &["app.yaml: the file has no objects"]);
    check_wrong(
        "- a\n",
        &["app.yaml:1:1: expected an object with apiVersion and kind"],
    );
    check_wrong(
        "apiVersion: apps/v1\nkind: Deployment\n",
        &["app.yaml:2:1: no matches for kind \"Deployment\" in version \"apps/v1\""],
    );
    check_wrong(
        "kind: Service\n",
        &["app.yaml:1:1: apiVersion: Required value"],
    );
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    let diagnostics = read("a: [1\nb: }").expect_err("broken");
    assert_eq!(diagnostics[0].line, 2, "{diagnostics:?}");
    assert!(
        diagnostics[0].message.starts_with("not valid YAML: "),
        "{diagnostics:?}"
    );
    let diagnostics = read("a: 1\na: 2\n").expect_err("a key twice");
    assert!(
        diagnostics[0].message.contains("duplicate"),
        "{diagnostics:?}"
    );
}

#[test]
fn files_made_to_hurt_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let alias = format!("*a{}, ", n - 1).repeat(9);
        bomb.push_str(&format!("a{n}: &a{n} [{alias}]\n"));
    }
    let deep = "[".repeat(10_000);
    let many = "- 1\n".repeat(100_000);
    let large = " ".repeat(MAX_BYTES + 1);
    for text in [bomb, deep, many, large] {
        assert!(read(&text).is_err());
    }
}

#[test]
fn octal_numbers_are_read_as_kubernetes_does() {
    let text = SERVICE.replace(
        "      containers:",
        "      volumes:\n      - name: v\n        secret: {secretName: s, defaultMode: 0644}\n      containers:",
    );
    let documents = read(&text).expect("it is right");
    let Object::Service(service) = &documents[0].object else {
        panic!("a Service")
    };
    let secret = service.spec.template.spec.volumes[0]
        .secret
        .as_ref()
        .expect("a secret");
    assert_eq!(
        serde_json::to_value(secret).expect("JSON")["defaultMode"],
        420
    );
}

#[test]
fn a_limit_is_told_with_what_to_do() {
    let many = "---\nkind: Service\n".repeat(MAX_DOCUMENTS + 1);
    let wrong = parse(Path::new("a.yaml"), &many).expect_err("too many");
    assert_eq!(wrong[0].message, "more than 256 documents; divide the file");
    let deep = format!("a: {}1{}", "[".repeat(100), "]".repeat(100));
    let wrong = parse(Path::new("a.yaml"), &deep).expect_err("too deep");
    assert_eq!(wrong[0].message, "nested deeper than 64 levels");
}
