//! Python's `kubernetes` dynamic client against `serve up`.

use crate::api::{expect, host, python};

#[test]
fn the_reference_story_is_told_by_a_dynamic_client() {
    let Some(python) = python() else { return };
    let serve = host();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/python/story.py");
    let told = expect(python, &serve, &[script]);
    assert!(told.ends_with("the story is told\n"), "{told}");
}
