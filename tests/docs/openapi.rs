//! docs/openapi.json is the same as the API description that the program serves.

use std::fs;

use serde_json::Value;

const PAGE: &str = "docs/openapi.json";

#[test]
fn openapi_document_equals_the_served_one() {
    let expected = outhook::api::openapi();
    let kept = fs::read_to_string(PAGE).unwrap_or_default();
    if kept == expected {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PAGE, expected).expect("the file can be written");
        return;
    }
    let line = kept.lines().zip(expected.lines()).take_while(|(kept, expected)| kept == expected).count();
    panic!(
        "{PAGE} differs from the code, from line {} on\n`UPDATE_DOCS=1 cargo test --test docs` rewrites it",
        line + 1,
    );
}

#[test]
fn operations_and_responses_are_described_and_references_resolve() {
    let document: Value = serde_json::from_str(&outhook::api::openapi()).unwrap();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = ["get", "post", "put", "patch", "delete"];
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| methods.contains(&key.as_str())) {
            operations += 1;
            for key in ["operationId", "summary", "tags"] {
                assert!(!operation[key].is_null(), "{method} {path} has no {key}");
            }
            for (status, response) in operation["responses"].as_object().unwrap() {
                let described = response["$ref"].is_string() || response["description"].is_string();
                assert!(described, "{method} {path}: {status} has no description");
            }
        }
    }
    assert!(operations >= 12, "{operations}");
    assert_references_lead(&document, &document);
}

#[track_caller]
fn assert_references_lead(value: &Value, document: &Value) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                let place = reference.strip_prefix('#').and_then(|place| document.pointer(place));
                assert!(place.is_some(), "{reference} has no target");
            }
            object.values().for_each(|inside| assert_references_lead(inside, document));
        }
        Value::Array(array) => array.iter().for_each(|inside| assert_references_lead(inside, document)),
        _ => {}
    }
}
