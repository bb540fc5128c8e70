//! Where each key and value of the configuration is: in a line of the file or in an environment variable.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::ConfigProblem;

/// The location of each key and value.
pub(super) struct KeyLocations {
    /// The file's name in errors.
    path: String,
    /// Start of each line of the file, in bytes.
    lines: Vec<usize>,
    /// Variables with their start positions. The file is before the first.
    variables: Vec<(usize, String)>,
    nodes: Vec<DocumentNode>,
}

struct DocumentNode {
    key: String,
    start: usize,
}

impl KeyLocations {
    /// The locations in a file with this text, without its keys yet. `variables` are the overrides with their start
    /// positions, behind the file.
    pub(super) fn of_file(path: String, text: &str, variables: Vec<(usize, String)>) -> Self {
        Self { path, lines: line_starts(text), variables, nodes: Vec::new() }
    }

    /// The position of a key.
    pub(super) fn position_of(&self, key: &str) -> Option<usize> {
        self.nodes.iter().find(|node| node.key == key).map(|node| node.start)
    }

    /// Whether a position is in a variable.
    pub(super) fn is_variable(&self, position: usize) -> bool {
        self.variables.first().is_some_and(|(start, _)| *start <= position)
    }

    /// The location of a position, as errors show it.
    pub(super) fn of(&self, position: usize) -> String {
        if let Some((_, variable)) = self.variables.iter().rev().find(|(start, _)| *start <= position) {
            return variable.clone();
        }
        let line = self.lines.partition_point(|start| *start <= position).max(1);
        format!("{}:{line}:{}", self.path, position - self.lines[line - 1] + 1)
    }

    pub(super) fn syntax_error(&self, error: &toml::de::Error) -> ConfigProblem {
        ConfigProblem {
            location: self.of(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            message: format!("invalid TOML: {}", error.message()),
            help: Some("each line is name = value, with texts in quotes, or [section]: https://toml.io".to_owned()),
        }
    }

    /// Adds the keys of a section, and of everything below it.
    pub(super) fn add_table(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = join_key(section, name.get_ref());
            self.nodes.push(DocumentNode { key: key.clone(), start: name.span().start });
            self.add_value(key, value);
        }
    }

    fn add_value(&mut self, key: String, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(&key, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add_value(format!("{key}[{index}]"), item);
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

/// The key of a name inside a section.
pub(super) fn join_key(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}
