//! Records as text: a table of many, and lines of one.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

pub(super) const WRITES: &str = "writing to memory does not fail";

/// A line a row, under a head; the columns are as wide as their widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let mut widths = vec![0; head.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(*row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &&Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A cell, which has something in it.
pub(super) fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A text in one line that a terminal takes for nothing but text: a cause may quote what a receiver or a record said.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(steers) { text.replace(steers, " ").into() } else { text.into() }
}

/// The same of a text in several lines.
pub(super) fn lines(text: &str) -> String {
    text.replace(|character: char| steers(character) && !matches!(character, '\n' | '\t'), " ")
}

/// Whether a character does something to a terminal, or to the order in which others are shown.
fn steers(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns
}

/// A line of what is known, under what it is of.
pub(super) fn line(text: &mut String, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        writeln!(text, "  {name:10}  {value}").expect(WRITES);
    }
}

/// Scheme, host and port of a URL.
pub(super) fn endpoint(url: &str) -> Option<&str> {
    let host = url.find("://")? + "://".len();
    let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
    Some(&url[..end])
}

/// Where a row change's record stands: topic and partition:offset.
pub(super) fn place(topic: &str, partition: i32, offset: i64) -> String {
    format!("{} {partition}:{offset}", printable(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\n\u{9b}b\u{202e}c\u{7f}é"), "a [2J  b c é");
        assert_eq!(lines("a\r\n\tb\u{1b}"), "a \n\tb ");
        assert_eq!(printable("plain"), "plain");
    }
}
