//! Services that Knative's own validator was asked about, with its answers.
//!
//! `data/validation-cases.jsonl` has one case a line: an object and the errors that Knative found
//! in it after defaulting, or null when it found none.

use serde::Deserialize;
use serde_json::Value;
use serve_core::api::admit::{Rejection, Request, admit};
use serve_core::object::Object;
use serve_core::settings::Settings;

const CASES: &str = include_str!("data/validation-cases.jsonl");

#[derive(Deserialize)]
struct Case {
    name: String,
    object: Value,
    error: Option<String>,
}

#[track_caller]
fn check(case: Case, settings: &Settings) {
    let request = Request {
        user: "tester",
        settings,
        dry_run: false,
    };
    let object = Object::from_value(case.object).expect("each case can be decoded");
    let found = match admit(&request, None, object) {
        Ok(_) => None,
        Err(Rejection::Validation(errors)) => Some(errors.to_string()),
        Err(other) => panic!("{}: {other}", case.name),
    };
    assert_eq!(found, case.error, "{}", case.name);
}

#[test]
fn services_are_refused_with_the_words_of_knative() {
    let settings = Settings::default();
    let mut count = 0;
    for line in CASES.lines() {
        check(serde_json::from_str(line).expect("a case"), &settings);
        count += 1;
    }
    assert_eq!(count, 42);
}
