//! The file and the overrides as one TOML document that knows where each value came from.
//!
//! Overrides are parsed behind a padding as long as everything before them, so that their positions follow
//! the file's: a position alone then says whether the file or which variable it belongs to.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::problem::{Problem, explain};
use super::{ENVIRONMENT_PREFIX, properties};

/// Keys and values, with their places.
pub(super) struct Document<'i> {
    root: Spanned<DeTable<'i>>,
    places: Places,
}

/// A variable of the environment that sets a key.
pub(super) struct Override {
    variable: String,
    keys: Vec<String>,
    /// The position of the value, behind the file and the overrides before it.
    start: usize,
    /// Padding up to `start`, then `v=` and the value.
    snippet: String,
}

/// What a snippet's value is called.
const SNIPPET_KEY: &str = "v";

impl Override {
    /// Variables whose names start with the prefix, in the order of their names, behind a file of so many
    /// bytes.
    pub(super) fn all(mut variables: Vec<(String, String)>, file_len: usize) -> Vec<Self> {
        variables.sort();
        let mut end = file_len;
        let place = |(variable, value): (String, String)| {
            let padding = "\n".repeat(end + 1);
            let snippet = format!("{padding}{SNIPPET_KEY}={value}");
            let start = padding.len();
            end = snippet.len();
            Self { keys: key_path(&variable), variable, start, snippet }
        };
        variables.into_iter().map(place).collect()
    }

    /// TOML where the value reads as TOML, else the text itself. A client property is always text, so that
    /// a password of digits stays what it is.
    fn value(&self) -> Spanned<DeValue<'_>> {
        let text_start = self.start + SNIPPET_KEY.len() + 1;
        let text = &self.snippet[text_start..];
        let as_text = || Spanned::new(text_start..self.snippet.len(), DeValue::String(Cow::Borrowed(text)));
        if properties::holds(&self.keys) {
            return as_text();
        }
        match DeTable::parse(&self.snippet).map(Spanned::into_inner) {
            // More than one key: the value has lines of its own, and is no single value.
            Ok(mut table) if table.len() == 1 => table.remove(SNIPPET_KEY).unwrap_or_else(as_text),
            _ => as_text(),
        }
    }
}

impl<'i> Document<'i> {
    pub(super) fn parse(path: &Path, text: &'i str, overrides: &'i [Override]) -> Result<Self, Problem> {
        let variables = overrides.iter().map(|set| (set.start, set.variable.clone())).collect();
        let mut places =
            Places { path: path.display().to_string(), lines: line_starts(text), variables, nodes: Vec::new() };
        let mut root = DeTable::parse(text).map_err(|error| places.syntax_error(&error))?;
        for set in overrides {
            put(root.get_mut(), &set.keys, set.value()).map_err(|parent| Problem {
                place: set.variable.clone(),
                key: set.keys.join("."),
                message: format!("{} is set, but {parent} is no section", set.keys.join(".")),
                help: Some(format!("set the whole of {parent} as one TOML value")),
            })?;
        }
        places.note_table("", root.get_ref());
        Ok(Self { root, places })
    }

    /// Reads the document into a type.
    pub(super) fn read<T: Deserialize<'i>>(&self) -> Result<T, Problem> {
        T::deserialize(Deserializer::from(self.root.clone())).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let key = self.places.key_at(&span).unwrap_or("the configuration");
            let (message, help) = explain(key, error.message());
            Problem { place: self.places.of(span.start), key: key.to_owned(), message, help }
        })
    }

    /// Adds the place of a problem's key, or of the nearest section around it.
    pub(super) fn locate(&self, problem: &mut Problem) {
        let mut key = problem.key.as_str();
        loop {
            if let Some(node) = self.places.nodes.iter().find(|node| node.key == key) {
                problem.place = self.places.of(node.span.start);
                return;
            }
            let Some(end) = key.rfind(['.', '[']) else { return };
            key = &key[..end];
        }
    }
}

/// `OUTHOOK__KAFKA__CLIENT_ID` to `kafka`, `client_id`. A name under `kafka.properties` has dots where the
/// variable has underscores, as librdkafka spells its settings.
fn key_path(variable: &str) -> Vec<String> {
    let mut keys: Vec<String> = variable[ENVIRONMENT_PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
    if properties::holds(&keys) {
        keys[2] = keys[2].replace('_', ".");
    }
    keys
}

/// Puts a value at its path, making the sections on the way.
///
/// # Errors
/// The path leads through the key that comes back, which is no section.
fn put<'i>(root: &mut DeTable<'i>, keys: &'i [String], value: Spanned<DeValue<'i>>) -> Result<(), String> {
    let span = value.span();
    let name = |key: &'i String| Spanned::new(span.clone(), Cow::Borrowed(key.as_str()));
    let (last, sections) = keys.split_last().expect("splitting a text gives at least one part");
    let mut table = root;
    for (depth, section) in sections.iter().enumerate() {
        let empty = || Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
        match table.entry(name(section)).or_insert_with(empty).get_mut() {
            DeValue::Table(inner) => table = inner,
            _ => return Err(keys[..=depth].join(".")),
        }
    }
    // Removed first: an insert over a key keeps the old key, and with it the old place.
    table.remove(last.as_str());
    table.insert(name(last), value);
    Ok(())
}

/// What stands where.
struct Places {
    /// The file, as errors call it.
    path: String,
    /// Where each line of the file starts, in bytes.
    lines: Vec<usize>,
    /// Variables with the positions where they start; the file is before the first.
    variables: Vec<(usize, String)>,
    nodes: Vec<Node>,
}

struct Node {
    key: String,
    span: Range<usize>,
}

impl Places {
    fn of(&self, position: usize) -> String {
        if let Some((_, variable)) = self.variables.iter().rev().find(|(start, _)| *start <= position) {
            return variable.clone();
        }
        let line = self.lines.partition_point(|start| *start <= position).max(1);
        format!("{}:{line}:{}", self.path, position - self.lines[line - 1] + 1)
    }

    fn syntax_error(&self, error: &toml::de::Error) -> Problem {
        Problem {
            place: self.of(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: format!("this is no TOML: {}", error.message()),
            help: None,
        }
    }

    fn note_table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key =
                if section.is_empty() { name.get_ref().to_string() } else { format!("{section}.{}", name.get_ref()) };
            self.nodes.push(Node { key: key.clone(), span: name.span() });
            self.note_value(key, value);
        }
    }

    fn note_value(&mut self, key: String, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.note_table(&key, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.note_value(format!("{key}[{index}]"), item);
                }
            }
            _ => {}
        }
        self.nodes.push(Node { key, span: value.span() });
    }

    /// The key of the smallest thing around a position, the inner one where two are as large.
    fn key_at(&self, span: &Range<usize>) -> Option<&str> {
        self.nodes
            .iter()
            .filter(|node| node.span.start <= span.start && span.end <= node.span.end)
            .min_by_key(|node| (node.span.len(), Reverse(node.key.len())))
            .map(|node| node.key.as_str())
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}
