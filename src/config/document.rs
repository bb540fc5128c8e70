//! The file and the overrides as one TOML document that knows the location of each value.
//!
//! Each override is parsed behind a padding as long as everything before it, so its positions follow those of the
//! file. A position alone then identifies the file or the variable that it belongs to.

use std::borrow::Cow;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key_locations::KeyLocations;
use super::problem::ConfigProblem;
use super::reader::ValueReader;
use super::{ENVIRONMENT_PREFIX, properties, secrets};

/// Keys and values with their locations.
pub(super) struct ConfigDocument<'i> {
    /// A table.
    root: Spanned<DeValue<'i>>,
    locations: KeyLocations,
}

/// An environment variable that sets a key.
pub(super) struct Override {
    variable: String,
    keys: Vec<String>,
    /// The position of the value, behind the file and the overrides before it.
    start: usize,
    /// Padding up to `start`, then `v=` and the value.
    snippet: String,
}

/// Key of the value in a snippet.
const SNIPPET_KEY: &str = "v";

impl Override {
    /// Makes overrides of variables whose names start with the prefix, sorted by name. Their positions start behind a
    /// file of `file_len` bytes.
    pub(super) fn from_variables(mut variables: Vec<(String, String)>, file_len: usize) -> Vec<Self> {
        variables.sort();
        let mut end = file_len;
        let make = |(variable, value): (String, String)| {
            let padding = "\n".repeat(end + 1);
            let snippet = format!("{padding}{SNIPPET_KEY}={value}");
            let start = padding.len();
            end = snippet.len();
            Self { keys: key_path(&variable), variable, start, snippet }
        };
        variables.into_iter().map(make).collect()
    }

    /// The value: a list, a section or a quoted text if it parses as one in TOML, else the text itself. Numbers and
    /// other scalars stay texts here and are converted only when the type of the key is known, so a password of
    /// digits stays unchanged.
    fn value(&self) -> Spanned<DeValue<'_>> {
        let text_start = self.start + SNIPPET_KEY.len() + 1;
        let text = &self.snippet[text_start..];
        let as_text = || Spanned::new(text_start..self.snippet.len(), DeValue::String(Cow::Borrowed(text)));
        if properties::is_property_path(&self.keys) {
            return as_text();
        }
        match DeTable::parse(&self.snippet).map(Spanned::into_inner) {
            // Not a single value: a value with several lines can define more keys.
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
        let mut locations = KeyLocations::of_file(path.display().to_string(), text, variables);
        let mut root = DeTable::parse(text).map_err(|error| locations.syntax_error(&error))?;
        for (position, set) in overrides.iter().enumerate() {
            if let Some(first) = overrides[..position].iter().find(|other| other.keys == set.keys) {
                let (key, other) = (set.keys.join("."), &first.variable);
                let message = format!("{key} is set by {other} too");
                return Err(ConfigProblem {
                    location: set.variable.clone(),
                    key,
                    message,
                    help: Some(format!("remove {other} or {}", set.variable)),
                });
            }
            set_value(root.get_mut(), set)?;
        }
        locations.add_table("", root.get_ref());
        Ok(Self { root: Spanned::new(root.span(), DeValue::Table(root.into_inner())), locations })
    }

    /// Deserializes the document.
    pub(super) fn read<'de, T: Deserialize<'de>>(&self) -> Result<T, ConfigProblem> {
        ValueReader { locations: &self.locations, key: String::new(), value: &self.root }.read()
    }

    /// Whether the document has a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.locations.position_of(key).is_some()
    }

    /// Sets the location of a problem: that of its key, or of the nearest section around the key.
    pub(super) fn locate(&self, problem: &mut ConfigProblem) {
        let mut key = problem.key.as_str();
        loop {
            if let Some(start) = self.locations.position_of(key) {
                problem.location = self.locations.of(start);
                return;
            }
            let Some(end) = key.rfind(['.', '[']) else { return };
            key = &key[..end];
        }
    }
}

/// The keys that a variable names: `OUTHOOK__KAFKA__CLIENT_ID` is `kafka`, `client_id`. A name under
/// `kafka.properties` has dots where the variable has underscores, because librdkafka's settings have dots.
fn key_path(variable: &str) -> Vec<String> {
    let path = &secrets::strip_file_suffix(variable).unwrap_or(variable)[ENVIRONMENT_PREFIX.len()..];
    let mut keys: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
    if properties::is_property_path(&keys) {
        keys[2] = keys[2].replace('_', ".");
    }
    keys
}

/// Sets the value of an override. Creates missing sections.
///
/// # Errors
/// A key on its path is not a section.
fn set_value<'i>(root: &mut DeTable<'i>, set: &'i Override) -> Result<(), ConfigProblem> {
    let (keys, value) = (&set.keys, set.value());
    let span = value.span();
    let name = |key: &'i String| Spanned::new(span.clone(), Cow::Borrowed(key.as_str()));
    let (last, sections) = keys.split_last().expect("splitting a text gives at least one part");
    let mut table = root;
    for (depth, section) in sections.iter().enumerate() {
        let empty = || Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
        match table.entry(name(section)).or_insert_with(empty).get_mut() {
            DeValue::Table(inner) => table = inner,
            _ => {
                let (key, parent) = (keys.join("."), keys[..=depth].join("."));
                let message = format!("{key} is set, but {parent} is not a section");
                let help = Some(format!("set all of {parent} as one TOML value"));
                return Err(ConfigProblem { location: set.variable.clone(), key, message, help });
            }
        }
    }
    // Remove the key first: inserting over it would keep the old key with its old location.
    table.remove(last.as_str());
    table.insert(name(last), value);
    Ok(())
}
