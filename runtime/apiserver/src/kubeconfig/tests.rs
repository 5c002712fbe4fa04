use super::*;

fn entry() -> Entry {
    Entry {
        server: "https://127.0.0.1:6443".to_owned(),
        ca: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        token: "abc".to_owned(),
    }
}

/// As kubectl writes it, and as a person may.
const FILES: [&str; 3] = [
    "apiVersion: v1\nclusters:\n- cluster:\n    server: https://a\n  name: a\n- cluster:\n    \
     server: https://b\n  name: b\ncontexts:\n- context:\n    cluster: a\n    user: a\n  name: \
     a\ncurrent-context: a\nkind: Config\npreferences: {}\nusers:\n- name: a\n  user:\n    token: \
     x\n",
    "# mine\nkind: Config\napiVersion: v1\nusers:\n  # the only one\n  - user: {token: 'x'}\n    \
     name: \"a\"\n\nclusters:\n  - name: a\n    cluster: {server: https://a}\ncontexts:\n  - name: \
     a\n    context: {cluster: a, user: a}\ncurrent-context: 'a'   # keep\n",
    "apiVersion: v1\nclusters: []\ncontexts: null\nkind: Config\nusers:\n- name: a\n  user: {}",
];

#[test]
fn everything_else_keeps_its_bytes() {
    for text in &FILES[..2] {
        let with = merged(text, &entry()).expect("merged");
        assert!(Entry::parse(&with).is_some(), "{with}");
        for line in text.split_inclusive('\n') {
            assert!(with.contains(line), "{line:?} is lost in\n{with}");
        }
        assert_eq!(
            removed(&with).as_deref(),
            Ok(*text),
            "removing restores the bytes"
        );
        assert_eq!(removed(text).as_deref(), Ok(*text));
        assert_eq!(
            merged(&with, &entry()).as_deref(),
            Ok(&*with),
            "merging again changes nothing"
        );
    }
}

#[test]
fn empty_sections_are_filled_and_emptied() {
    let with = merged(FILES[2], &entry()).expect("merged");
    let value = read(&with).expect("YAML");
    assert_eq!(value["clusters"][0]["name"], NAME);
    assert_eq!(value["users"].as_array().map(Vec::len), Some(2));
    assert_eq!(value["current-context"], NAME);
    let without = read(&removed(&with).expect("removed")).expect("YAML");
    assert_eq!(without["clusters"], json!([]));
    assert_eq!(without["current-context"], "");
    assert_eq!(without["users"][0]["name"], "a");
}

#[test]
fn a_new_file_has_our_context_only() {
    assert_eq!(merged("", &entry()).as_deref(), Ok(&*entry().file()));
    let read = Entry::parse(&entry().file()).expect("an entry");
    assert_eq!((read.server, read.ca, read.token), {
        let entry = entry();
        (entry.server, entry.ca, entry.token)
    });
}

#[test]
fn what_cannot_be_edited_is_refused_and_stays() {
    for text in [
        "clusters: [{name: a, cluster: {server: x}}]\n",
        "{\"clusters\": [{\"name\": \"serve\", \"cluster\": {}}]}",
        "clusters:\n- &x\n  name: serve\n- *x\n",
        "- a\n",
        "a: [",
    ] {
        assert!(merged(text, &entry()).is_err(), "{text}");
    }
}

#[test]
fn the_lock_of_client_go_is_taken_and_honoured() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("kube/config");
    merge(&path, &entry()).expect("merged");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).expect("there"));
    assert_eq!(mode & 0o777, 0o600);
    let lock = directory.path().join("kube/config.lock");
    assert!(!lock.exists());
    fs::write(&lock, "").expect("written");
    assert!(matches!(remove(&path), Err(Error::Locked { .. })));
    fs::remove_file(&lock).expect("removed");
    remove(&path).expect("removed");
    assert!(Entry::parse(&fs::read_to_string(&path).expect("there")).is_none());
}
