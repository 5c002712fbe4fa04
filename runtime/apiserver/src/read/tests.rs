use serve_runtime::clock::Clock;

use super::*;
use crate::request::Verb;

fn store(names: &[&str]) -> Store {
    let store = Store::in_memory(Clock::System);
    for name in names {
        put(&store, name);
    }
    store
}

fn put(store: &Store, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "n", "labels": {"first": &name[..1]}}});
    let object = Object::from_value(object).expect("an object");
    store.create(object).expect("created");
}

fn objects() -> Objects {
    Objects {
        verb: Verb::List,
        kind: Kind::ConfigMap,
        namespace: None,
        name: None,
        is_status: false,
    }
}

fn ask(store: &Store, text: &str) -> Result<(Vec<String>, Value), u16> {
    let query = crate::request::query(text).map_err(|status| status.code)?;
    let style = Style {
        form: Form::Plain,
        include: Include::None,
        now: Timestamp::default(),
    };
    let list = list(store, &objects(), &query, style).map_err(|status| status.code)?;
    let names = list["items"].as_array().into_iter().flatten();
    let names = names.filter_map(|item| Some(item["metadata"]["name"].as_str()?.to_owned()));
    Ok((names.collect(), list["metadata"].clone()))
}

#[test]
fn the_parts_of_a_list_show_one_version() {
    let store = store(&["a", "b.x", "c", "d"]);
    let (names, metadata) = ask(&store, "limit=2").expect("a list");
    assert_eq!(names, ["a", "b.x"]);
    assert_eq!(metadata["remainingItemCount"], 2);
    put(&store, "bb");
    let key = ObjectKey::new("n", "c");
    store.delete(Kind::ConfigMap, &key, None).expect("deleted");
    let token = metadata["continue"].as_str().expect("more");
    let (names, rest) = ask(&store, &format!("limit=2&continue={token}")).expect("a list");
    assert_eq!(names, ["c", "d"]);
    assert_eq!(rest["resourceVersion"], metadata["resourceVersion"]);
    assert_eq!(rest["continue"], Value::Null);
    let exact = format!("resourceVersion={}&resourceVersionMatch=Exact", 3);
    assert_eq!(ask(&store, &exact).expect("a list").0, ["a", "b.x", "c"]);
}

#[test]
fn what_cannot_be_listed_is_said() {
    let store = store(&["a"]);
    for (query, code) in [
        ("continue=x", 400),
        ("continue=1.n", 400),
        ("resourceVersion=x", 400),
        ("resourceVersion=99", 504),
        ("labelSelector=a b", 400),
    ] {
        assert_eq!(ask(&store, query).expect_err(query), code, "{query}");
    }
    let (names, _) = ask(&store, "labelSelector=first=a&resourceVersion=0").expect("a list");
    assert_eq!(names, ["a"]);
}

#[test]
fn a_part_of_a_list_that_is_too_old_is_gone() {
    let store = store(&["a", "b"]);
    let (_, metadata) = ask(&store, "limit=1").expect("a list");
    let key = ObjectKey::new("n", "z");
    for _ in 0..6_000 {
        put(&store, "z");
        store.delete(Kind::ConfigMap, &key, None).expect("deleted");
    }
    let token = metadata["continue"].as_str().expect("more");
    assert_eq!(ask(&store, &format!("continue={token}")), Err(410));
}
