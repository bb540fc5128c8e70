//! What docs/ lists is what the code has: keys of the configuration, metrics and the API's operations, each with its
//! text from where it is declared. `UPDATE_DOCS=1 cargo test --test docs` writes the lists anew.

mod configuration;
mod links;
mod metrics;
mod openapi;

use std::fs;

/// Holds the list between `<!-- name -->` and `<!-- /name -->` in a page to what it should be, or writes it.
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
        "the {name} in {page} are not those of the code\nfirst that is missing: {}\nfirst that is stale:   {}\n\
         `UPDATE_DOCS=1 cargo test --test docs` writes them anew",
        first.unwrap_or("none"),
        stale.unwrap_or("none"),
    );
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
