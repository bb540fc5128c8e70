//! Finds phrases in comments, texts for people and documents that have a plainer term.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

/// Max width of a line with a comment. rustfmt does not wrap comments.
const WIDTH: usize = 120;

/// A phrase in lower case, and the plain term.
const PHRASES: &[(&str, &str)] = &[
    ("anew", "again"),
    ("whoever", "name who: the client, the reader, the operator"),
    ("so many", "give the number, or say what counts"),
    ("but for", "except"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("told", "reported, logged, returned"),
    ("tells", "says, reports, shows"),
    ("given up", "dead-lettered, or dropped"),
    ("gives up", "stops, or dead-letters"),
    ("looked at", "scanned, checked"),
    ("looks at", "scans, checks"),
    ("left out", "dropped, skipped, omitted"),
    ("in vain", "without success"),
    ("as good as", "nearly"),
    ("at once", "immediately, or at the same time"),
    ("to be had", "available"),
    ("comes again", "is delivered again, is read again"),
    ("of its own", "separate"),
];

/// Words before "is no" with which it is correct English.
const BEFORE_IS_NO: &[&str] = &["there", "which", "that"];

/// Words after "is no" with which it is.
const AFTER_IS_NO: &[&str] = &["longer", "more", "less", "one"];

/// Violations in Rust: comments and texts with a banned phrase, and comments that are too wide.
pub fn in_rust(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, comment) in comments(text) {
        found.extend(phrases(comment).map(|told| (line, told)));
        let width = text.lines().nth(line - 1).map_or(0, |line| line.chars().count());
        if width > WIDTH {
            found.push((line, format!("the comment is {width} columns wide, max {WIDTH}: wrap it")));
        }
    }
    let tokens: TokenStream = text.parse().unwrap_or_default();
    texts(&tokens, &mut |line, text| found.extend(phrases(&without_placeholders(text)).map(|told| (line, told))));
    found.sort();
    found.dedup();
    found
}

/// Violations in a document, except in its code.
pub fn in_markdown(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
            found.extend(phrases(&prose).map(|told| (number + 1, told)));
        }
    }
    found
}

pub fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Descriptions of the banned phrases in a line.
fn phrases(text: &str) -> impl Iterator<Item = String> {
    let words: Vec<String> = text
        .split(|character: char| !character.is_alphanumeric() && !matches!(character, '\'' | '_' | '-'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let mut found = Vec::new();
    for (phrase, plain) in PHRASES {
        let phrase_words: Vec<&str> = phrase.split(' ').collect();
        if words.windows(phrase_words.len()).any(|window| window == phrase_words.as_slice()) {
            found.push(format!("{phrase:?}: say it plainly: {plain}"));
        }
    }
    for (at, window) in words.windows(3).enumerate() {
        let [before, is, no] = window else { continue };
        let after = words.get(at + 3).map(String::as_str);
        let is_plain = BEFORE_IS_NO.contains(&before.as_str()) || AFTER_IS_NO.contains(&after.unwrap_or_default());
        if (is == "is" || is == "are") && no == "no" && !is_plain {
            found.push(format!("\"{before} {is} no\": say \"{is} not a\", or what it is instead"));
        }
    }
    found.into_iter()
}

/// Comments with their lines, both on separate lines and after code.
fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let at = match line.trim_start().starts_with("//") {
            true => line.find("//"),
            false => line.find(" // ").filter(|at| line[..*at].matches('"').count() % 2 == 0),
        };
        Some((number + 1, &line[at?..]))
    })
}

/// Calls `show` with each string literal and its line. String literals of attributes are doc comments and names,
/// which the comment check covers.
fn texts(tokens: &TokenStream, show: &mut dyn FnMut(usize, &str)) {
    for token in tokens.clone() {
        match token {
            TokenTree::Group(group) => texts(&group.stream(), show),
            TokenTree::Literal(literal) => {
                let source = literal.to_string();
                if source.starts_with('"') || source.starts_with("r\"") || source.starts_with("r#") {
                    show(literal.span().start().line, &source);
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// A format string without the names in its braces.
fn without_placeholders(text: &str) -> String {
    text.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect::<Vec<_>>().join(" ")
}

#[test]
fn phrases_match_whole_words_only() {
    let found = |text: &str| phrases(text).count();
    assert_eq!(found("The producer is made anew."), 1);
    assert_eq!(found("An account's amendments"), 0);
    assert_eq!(found("the value is no number"), 1);
    assert_eq!(found("there is no number, and it is no longer kept"), 0);
    assert_eq!(in_rust("//! Doc.\nfn f() { g(\"it was told {told}\") } // but for h\n").len(), 2);
    assert_eq!(in_rust("fn f() { g(\"{told}\") }\n"), []);
    assert_eq!(
        in_markdown("`told` is a name\n```\nanew\n```\nanew\n"),
        [(5, "\"anew\": say it plainly: again".into())]
    );
    assert_eq!(in_rust(&format!("// {}\n", "x".repeat(WIDTH))).len(), 1);
}
