//! The file and the overrides as one TOML document that knows where each value came from.
//!
//! Overrides are parsed behind a padding as long as everything before them, so that their positions follow
//! the file's: a position alone then says whether the file or which variable it belongs to.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::ConfigProblem;
use super::reader::{ValueReader, inside};
use super::{ENVIRONMENT_PREFIX, properties, secrets};

/// Keys and values, with their places.
pub(super) struct ConfigDocument<'i> {
    /// A table.
    root: Spanned<DeValue<'i>>,
    places: KeyLocations,
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

    /// A list, a section or a text in quotes where the value reads as TOML's, else the text itself: what else it may
    /// spell, such as a number, is seen once it is known what is wanted, so that a password of digits stays what it is.
    fn value(&self) -> Spanned<DeValue<'_>> {
        let text_start = self.start + SNIPPET_KEY.len() + 1;
        let text = &self.snippet[text_start..];
        let as_text = || Spanned::new(text_start..self.snippet.len(), DeValue::String(Cow::Borrowed(text)));
        if properties::holds(&self.keys) {
            return as_text();
        }
        match DeTable::parse(&self.snippet).map(Spanned::into_inner) {
            // More than one key: the value has lines of its own, and is no single value.
            Ok(mut table) if table.len() == 1 => match table.remove(SNIPPET_KEY) {
                Some(value) if value.get_ref().is_array() || value.get_ref().is_table() || value.get_ref().is_str() => {
                    value
                }
                _ => as_text(),
            },
            _ => as_text(),
        }
    }
}

impl<'i> ConfigDocument<'i> {
    pub(super) fn parse(path: &Path, text: &'i str, overrides: &'i [Override]) -> Result<Self, ConfigProblem> {
        let variables = overrides.iter().map(|set| (set.start, set.variable.clone())).collect();
        let mut places =
            KeyLocations { path: path.display().to_string(), lines: line_starts(text), variables, nodes: Vec::new() };
        let mut root = DeTable::parse(text).map_err(|error| places.syntax_error(&error))?;
        for (position, set) in overrides.iter().enumerate() {
            if let Some(first) = overrides[..position].iter().find(|other| other.keys == set.keys) {
                let (key, other) = (set.keys.join("."), &first.variable);
                let message = format!("{key} is set by {other} too");
                return Err(ConfigProblem {
                    place: set.variable.clone(),
                    key,
                    message,
                    help: Some(format!("remove {other} or {}", set.variable)),
                });
            }
            put(root.get_mut(), &set.keys, set.value()).map_err(|parent| ConfigProblem {
                place: set.variable.clone(),
                key: set.keys.join("."),
                message: format!("{} is set, but {parent} is no section", set.keys.join(".")),
                help: Some(format!("set the whole of {parent} as one TOML value")),
            })?;
        }
        places.note_table("", root.get_ref());
        Ok(Self { root: Spanned::new(root.span(), DeValue::Table(root.into_inner())), places })
    }

    /// Reads the document into a type.
    pub(super) fn read<'de, T: Deserialize<'de>>(&self) -> Result<T, ConfigProblem> {
        ValueReader { places: &self.places, key: String::new(), value: &self.root }.read()
    }

    /// Whether something stands at a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.places.nodes.iter().any(|node| node.key == key)
    }

    /// Adds the place of a problem's key, or of the nearest section around it.
    pub(super) fn locate(&self, problem: &mut ConfigProblem) {
        let mut key = problem.key.as_str();
        loop {
            if let Some(node) = self.places.nodes.iter().find(|node| node.key == key) {
                problem.place = self.places.of(node.start);
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
    let path = &secrets::of_file(variable).unwrap_or(variable)[ENVIRONMENT_PREFIX.len()..];
    let mut keys: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
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
pub(super) struct KeyLocations {
    /// The file, as errors call it.
    path: String,
    /// Where each line of the file starts, in bytes.
    lines: Vec<usize>,
    /// Variables with the positions where they start; the file is before the first.
    variables: Vec<(usize, String)>,
    nodes: Vec<DocumentNode>,
}

struct DocumentNode {
    key: String,
    start: usize,
}

impl KeyLocations {
    /// Whether a variable holds what stands at a position.
    pub(super) fn is_variable(&self, position: usize) -> bool {
        self.variables.first().is_some_and(|(start, _)| *start <= position)
    }

    pub(super) fn of(&self, position: usize) -> String {
        if let Some((_, variable)) = self.variables.iter().rev().find(|(start, _)| *start <= position) {
            return variable.clone();
        }
        let line = self.lines.partition_point(|start| *start <= position).max(1);
        format!("{}:{line}:{}", self.path, position - self.lines[line - 1] + 1)
    }

    fn syntax_error(&self, error: &toml::de::Error) -> ConfigProblem {
        ConfigProblem {
            place: self.of(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: format!("this is no TOML: {}", error.message()),
            help: Some("a line is name = value, with texts in quotes, or [section]: https://toml.io".to_owned()),
        }
    }

    fn note_table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = inside(section, name.get_ref());
            self.nodes.push(DocumentNode { key: key.clone(), start: name.span().start });
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
        self.nodes.push(DocumentNode { key, start: value.span().start });
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}
