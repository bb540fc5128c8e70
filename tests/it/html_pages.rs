//! The HTML pages, in a real browser.

use std::process::Command;

use harness::Site;
use serde_json::Value;

use crate::OUTHOOK;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The DOM of a page in a browser. The page loads nothing from other hosts, and causes no console messages. `None`
/// without a browser.
fn shown(url: &str) -> Option<String> {
    let page = harness::api::request("GET", url, &[], b"");
    assert_eq!((page.status, page.content_type.as_deref()), (200, Some("text/html; charset=utf-8")));
    for elsewhere in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.text.contains(elsewhere), "{elsewhere}");
    }
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom"]);
    browser.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
    let Ok(shown) = browser.output() else {
        eprintln!("NOT SHOWN without chromium: {url} in a browser");
        return None;
    };
    let said = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "{said}");
    // Violations of the content security policy, and script errors, appear on the console.
    assert!(!said.contains("CONSOLE"), "{said}");
    Some(String::from_utf8_lossy(&shown.stdout).into_owned())
}

#[test]
fn html_pages_show_every_operation_without_external_resources() {
    let site = Site::new(OUTHOOK, 1);
    let instance = site.start();
    let start = shown(&format!("{}/", instance.base()));
    assert!(start.is_none_or(|dom| dom.contains("Read and try the API")));
    let document = harness::api::request("GET", &format!("{}/openapi.json", instance.base()), &[], b"").body;
    let Some(dom) = shown(&format!("{}/docs", instance.base())) else { return };
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(dom.contains(&format!(">{path}<")), "{path} is not in the page:\n{dom}");
        for operation in METHODS.iter().map(|method| &item[method]).filter(|operation| **operation != Value::Null) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(dom.contains(&format!("id=\"{id}\"")), "{id} is not in the page");
            operations += 1;
        }
    }
    assert!(operations >= 12, "{operations}");
}
