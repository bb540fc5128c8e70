//! Compares the lists in docs/ with the code: configuration keys, metrics, and the API's operations, each with the
//! text of its declaration. `UPDATE_DOCS=1 cargo test --test docs` rewrites the lists.

mod configuration;
mod links;
mod metrics;
mod openapi;

use std::fs;

/// Compares the list between `<!-- name -->` and `<!-- /name -->` in a page with the expected one, or rewrites it.
#[track_caller]
fn assert_listed(page: &str, name: &str, expected: &str) {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{page}: {error}"));
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = text.find(&open).unwrap_or_else(|| panic!("{page} has no {open}")) + open.len();
    let end = text.find(&close).unwrap_or_else(|| panic!("{page} has no {close}"));
    let listed = &text[start..end];
    if listed == expected {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page, format!("{}{expected}{}", &text[..start], &text[end..])).expect("the page can be written");
        return;
    }
    let first = expected.lines().find(|line| !listed.lines().any(|found| found == *line));
    let stale = listed.lines().find(|line| !expected.lines().any(|wanted| wanted == *line));
    panic!(
        "the {name} in {page} differ from the code\nfirst missing line: {}\nfirst stale line:   {}\n\
         `UPDATE_DOCS=1 cargo test --test docs` rewrites them",
        first.unwrap_or("none"),
        stale.unwrap_or("none"),
    );
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
