//! Records as text: a table of many, or the lines of one.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

pub(super) const WRITE_EXPECT: &str = "writing to memory does not fail";

/// Formats a table: a head, and one line per row. Each column is as wide as its widest cell.
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

/// Text of a cell; `-` if there is no value.
pub(super) fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Replaces control characters and line breaks by spaces, because a cause may quote a receiver or a record.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(controls_terminal) { text.replace(controls_terminal, " ").into() } else { text.into() }
}

/// Replaces control characters in a text of several lines.
pub(super) fn lines(text: &str) -> String {
    text.replace(|character: char| controls_terminal(character) && !matches!(character, '\n' | '\t'), " ")
}

/// Whether a character controls the terminal, or the direction of other characters.
fn controls_terminal(character: char) -> bool {
    let changes_direction =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || changes_direction
}

/// Writes an indented line with a name and its value, if there is a value.
pub(super) fn line(text: &mut String, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        writeln!(text, "  {name:10}  {value}").expect(WRITE_EXPECT);
    }
}

/// Scheme, host and port of a URL.
pub(super) fn url_origin(url: &str) -> Option<&str> {
    let host = url.find("://")? + "://".len();
    let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
    Some(&url[..end])
}

/// Place of a row change's record: topic and partition:offset.
pub(super) fn position_text(topic: &str, partition: i32, offset: i64) -> String {
    format!("{} {partition}:{offset}", printable(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_replaced() {
        assert_eq!(printable("a\u{1b}[2J\n\u{9b}b\u{202e}c\u{7f}é"), "a [2J  b c é");
        assert_eq!(lines("a\r\n\tb\u{1b}"), "a \n\tb ");
        assert_eq!(printable("plain"), "plain");
    }
}
