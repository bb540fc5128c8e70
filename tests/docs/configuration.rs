//! The keys in docs/configuration.md.
//!
//! Each section is a struct, each key is a field, and the key's text is the field's doc comment. The comment ends
//! with `Required.`, with `Default VALUE.`, which the test compares with the real default, or with `Default: words.`

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use outhook::config::Config;
use syn::{Attribute, Expr, Field, Fields, Item, Lit, Meta, Type};

use crate::{assert_listed, cell};

const PAGE: &str = "docs/configuration.md";

/// The smallest valid configuration. It ends with its only source, so keys of a source can be appended.
const SMALLEST: &str = "kafka.brokers = \"b:9092\"\n[[sources]]\ntopics = [\"t\"]\nformat = \"outhook\"\n";

/// A section of the configuration.
struct Section {
    name: String,
    /// Whether the section can occur several times.
    several: bool,
    text: String,
    keys: Vec<Key>,
}

/// A key of a section.
struct Key {
    name: String,
    text: String,
    default: Default,
}

enum Default {
    Required,
    None,
    Words(String),
    Value(String),
}

#[test]
fn documented_keys_match_the_code() {
    let mut list = String::new();
    for section in sections() {
        let heading = if section.several { format!("[[{}]]", section.name) } else { format!("[{}]", section.name) };
        write!(list, "\n### `{heading}`\n\n{}\n\n| key | default | what it is |\n|---|---|---|\n", section.text)
            .unwrap();
        for key in section.keys {
            let default = match key.default {
                Default::Required => "required".to_owned(),
                Default::None => String::new(),
                Default::Words(words) => words,
                Default::Value(value) => format!("`{value}`"),
            };
            writeln!(list, "| `{}` | {} | {} |", key.name, cell(&default), cell(&key.text)).unwrap();
        }
    }
    list.push('\n');
    assert_listed(PAGE, "keys", &list);
}

#[test]
fn documented_defaults_match_the_code() {
    let mut sections = sections();
    // The smallest configuration ends inside its only source, so the keys of sources come first.
    sections.sort_by_key(|section| !section.several);
    let mut text = SMALLEST.to_owned();
    let mut values = 0;
    for section in sections {
        if !section.several {
            writeln!(text, "[{}]", section.name).unwrap();
        }
        for key in section.keys {
            if let Default::Value(value) = key.default {
                writeln!(text, "{} = {}", key.name, toml_value(&value)).unwrap();
                values += 1;
            }
        }
    }
    let text = text.replace("kafka.brokers = \"b:9092\"\n", "").replace("[kafka]\n", "[kafka]\nbrokers = \"b:9092\"\n");
    assert!(values > 20, "{text}");
    assert_eq!(parse(&text), parse(SMALLEST));
}

#[test]
fn configuration_examples_in_the_docs_parse() {
    let page = fs::read_to_string(PAGE).expect("the page is there");
    let examples: Vec<&str> = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        parse(example);
    }
}

#[track_caller]
fn parse(text: &str) -> Config {
    Config::parse(Path::new("example.toml"), text, Vec::new()).unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

/// A default as TOML: durations, words and addresses become strings.
fn toml_value(value: &str) -> String {
    // `16777216 (16 MiB)`: the part in parentheses is for people.
    let value = value.split(" (").next().unwrap_or(value);
    if toml::from_str::<toml::Table>(&format!("x = {value}")).is_ok() { value.to_owned() } else { format!("{value:?}") }
}

fn sections() -> Vec<Section> {
    let config = find_struct(&[PathBuf::from("src/config.rs")], "Config").expect("src/config.rs has Config");
    config.iter().map(section).collect()
}

fn section(field: &Field) -> Section {
    let (path, several) = type_path(&field.ty);
    let name = field.ident.as_ref().expect("sections have names").to_string();
    let (module, type_name) = path.rsplit_once("::").unwrap_or(("config", &path));
    let keys = find_struct(&files_of(module), type_name)
        .unwrap_or_else(|| panic!("{path}, the type of [{name}], was not found"));
    let keys = keys.iter().map(|field| key(&name, field)).collect();
    Section { text: doc(&field.attrs), name, several, keys }
}

fn key(section: &str, field: &Field) -> Key {
    let name = field.ident.as_ref().expect("keys have names").to_string();
    let doc = doc(&field.attrs);
    let (text, default) = split_default(&doc).unwrap_or_else(|| {
        panic!("{section}.{name}: its comment must end with `Default VALUE.`, `Default: words.` or `Required.`")
    });
    Key { name, text: text.to_owned(), default }
}

/// Splits a comment into the text before its last sentence, and the default that this sentence declares.
fn split_default(doc: &str) -> Option<(&str, Default)> {
    if let Some(text) = doc.strip_suffix(" Required.") {
        return Some((text, Default::Required));
    }
    let (text, default) = doc.strip_suffix('.')?.rsplit_once(" Default")?;
    let default = match default.strip_prefix(": ") {
        Some(words) => Default::Words(words.to_owned()),
        None if default.trim() == "none" => Default::None,
        None => Default::Value(default.trim().to_owned()),
    };
    Some((text, default))
}

/// The last name of a type, with the module before it, and whether the type is in a `Vec`.
fn type_path(ty: &Type) -> (String, bool) {
    let Type::Path(path) = ty else { panic!("a section is a struct") };
    let last = path.path.segments.last().expect("a path has a segment");
    if let ("Vec", syn::PathArguments::AngleBracketed(inner)) = (last.ident.to_string().as_str(), &last.arguments)
        && let Some(syn::GenericArgument::Type(inner)) = inner.args.first()
    {
        return (type_path(inner).0, true);
    }
    let names: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    (names.join("::"), false)
}

/// The files of a module: its root file and those in its folder.
fn files_of(module: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from("src").join(module);
    let mut files = vec![folder.with_extension("rs")];
    files.extend(fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files
}

fn find_struct(files: &[PathBuf], name: &str) -> Option<Fields> {
    files.iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.items.into_iter().find_map(|item| match item {
            Item::Struct(item) if item.ident == name => Some(item.fields),
            _ => None,
        })
    })
}

/// A doc comment as one line.
fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}
