//! Any template of the grammar over any row renders valid JSON, equal to the result of a slow oracle over
//! `serde_json::Value`.

use proptest::prelude::*;
use serde_json::{Map, Value as Json};

use super::*;

/// A template, before it is written as text.
#[derive(Debug, Clone)]
enum Tree {
    Scalar(&'static str),
    Text(Vec<Piece>),
    Array(Vec<Tree>),
    Object(Vec<(Vec<Piece>, Tree)>),
}

#[derive(Debug, Clone)]
enum Piece {
    Literal(String),
    Field(String),
    EventId,
    Secret,
}

/// How a template is written as text: its quotes, and the white space between its tokens.
struct Hand {
    quote: char,
    space: &'static str,
}

impl Hand {
    fn tree(&self, tree: &Tree) -> String {
        let Hand { space, .. } = self;
        match tree {
            Tree::Scalar(scalar) => (*scalar).to_owned(),
            Tree::Text(pieces) => self.text(pieces),
            Tree::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.tree(item)).collect();
                format!("[{space}{}{space}]", items.join(&format!("{space},{space}")))
            }
            Tree::Object(members) => {
                let member = |(key, value): &(Vec<Piece>, Tree)| {
                    format!("{}{space}:{space}{}", self.text(key), self.tree(value))
                };
                let members: Vec<String> = members.iter().map(member).collect();
                format!("{{{space}{}{space}}}", members.join(&format!("{space},{space}")))
            }
        }
    }

    fn text(&self, pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => self.escaped(text).replace("[@", "\\u005b@"),
            Piece::Field(name) => {
                format!("[@field:{}]", self.escaped(name).replace(']', "\\u005D").replace('/', "\\/"))
            }
            Piece::EventId => "[@out-hook:eventId]".to_owned(),
            Piece::Secret => "[@out-hook:secret]".to_owned(),
        };
        format!("{0}{1}{0}", self.quote, pieces.iter().map(piece).collect::<String>())
    }

    /// Escapes only what the grammar requires.
    fn escaped(&self, text: &str) -> String {
        let mut out = String::new();
        for character in text.chars() {
            match character {
                '\n' | '\t' | '\r' => out.push(character),
                c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
                '\\' => out.push_str("\\\\"),
                c if c == self.quote => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out
    }
}

/// The result of a template over a row, computed with trees.
fn oracle(tree: &Tree, row: &[(String, Json)]) -> Json {
    let field =
        |name: &str| row.iter().rev().find(|(known, _)| known == name).map_or(Json::Null, |(_, json)| json.clone());
    let text = |pieces: &[Piece]| -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::EventId => "4040va".to_owned(),
            Piece::Secret => SECRET.to_owned(),
            Piece::Field(name) => match field(name) {
                Json::Null => String::new(),
                Json::String(text) => text,
                other => other.to_string(),
            },
        };
        pieces.iter().map(piece).collect()
    };
    match tree {
        Tree::Scalar(scalar) => serde_json::from_str(scalar).unwrap(),
        Tree::Text(pieces) => match pieces.as_slice() {
            [Piece::Field(name)] => field(name),
            pieces => Json::String(text(pieces)),
        },
        Tree::Array(items) => items.iter().map(|item| oracle(item, row)).collect(),
        Tree::Object(members) => {
            let members = members.iter().map(|(key, value)| (text(key), oracle(value, row)));
            Json::Object(members.collect::<Map<String, Json>>())
        }
    }
}

/// Names and texts with characters that could break out of a string.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        " ",
        "'",
        "\"",
        "\\",
        "[@field:a]",
        "[@",
        "]",
        "[",
        "/",
        ".",
        "\n",
        "\u{0}",
        "\u{2028}",
        "ключ",
        "🚀",
        "\\u0041",
    ]);
    prop_oneof![prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat()), "[ab]", any::<String>()]
}

fn not_empty() -> impl Strategy<Value = String> {
    hostile().prop_filter("names of fields and literals are not empty", |name| !name.is_empty())
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let piece = prop_oneof![
        2 => not_empty().prop_map(Piece::Literal),
        3 => not_empty().prop_map(Piece::Field),
        1 => Just(Piece::EventId),
        1 => Just(Piece::Secret),
    ];
    prop::collection::vec(piece, 0..3)
}

fn tree() -> impl Strategy<Value = Tree> {
    let scalar = prop::sample::select(vec!["1.50", "-0", "1e300", "9223372036854775807", "true", "null"]);
    let leaf = prop_oneof![scalar.prop_map(Tree::Scalar), pieces().prop_map(Tree::Text)];
    let inner = leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::Array),
            prop::collection::vec((pieces(), inner), 0..5).prop_map(Tree::Object),
        ]
    });
    prop::collection::vec((pieces(), inner), 0..5).prop_map(Tree::Object)
}

fn json() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        hostile().prop_map(Json::from),
        prop::collection::vec(hostile().prop_map(Json::from), 0..3).prop_map(Json::from),
        (hostile(), any::<i32>()).prop_map(|(key, number)| Json::Object(Map::from_iter([(key, number.into())]))),
    ]
}

/// The field names of a template, so that rows have some of them.
fn names(tree: &Tree, found: &mut Vec<String>) {
    let mut of = |pieces: &[Piece]| {
        found.extend(pieces.iter().filter_map(|piece| match piece {
            Piece::Field(name) => Some(name.clone()),
            _ => None,
        }));
    };
    match tree {
        Tree::Scalar(_) => {}
        Tree::Text(pieces) => of(pieces),
        Tree::Array(items) => items.iter().for_each(|item| names(item, found)),
        Tree::Object(members) => {
            members.iter().for_each(|(key, _)| of(key));
            members.iter().for_each(|(_, value)| names(value, found));
        }
    }
}

fn tree_and_row() -> impl Strategy<Value = (Tree, Vec<(String, Json)>)> {
    tree().prop_flat_map(|tree| {
        let mut known = vec!["a".to_owned()];
        names(&tree, &mut known);
        let row = prop::collection::vec((prop::sample::select(known), json()), 0..8);
        (Just(tree), row)
    })
}

proptest! {
    #[test]
    fn any_template_over_any_row_agrees_with_the_oracle(
        (tree, row) in tree_and_row(),
        quote in prop::sample::select(vec!['\'', '"']),
        space in prop::sample::select(vec!["", " ", "\n\t"]),
    ) {
        let text = Hand { quote, space }.tree(&tree);
        let fields: Vec<(String, String)> = row.iter().map(|(name, json)| (name.clone(), json.to_string())).collect();
        let borrowed: Vec<(&str, &str)> = fields.iter().map(|(name, json)| (name.as_str(), json.as_str())).collect();
        let body = body(&template(&text), &update(super::row(&borrowed)));
        let parsed: Json = serde_json::from_str(&body).map_err(|error| TestCaseError::fail(format!("{error}: {body}")))?;
        prop_assert_eq!(parsed, oracle(&tree, &row), "{} gives {}", text, body);
    }

    #[test]
    fn a_default_payload_holds_the_row(row in prop::collection::btree_map(hostile(), json(), 0..6)) {
        let fields: Vec<(String, String)> = row.iter().map(|(name, json)| (name.clone(), json.to_string())).collect();
        let borrowed: Vec<(&str, &str)> = fields.iter().map(|(name, json)| (name.as_str(), json.as_str())).collect();
        let body = body(&rule(Payload::Default), &update(super::row(&borrowed)));
        let parsed: Json = serde_json::from_str(&body).map_err(|error| TestCaseError::fail(format!("{error}: {body}")))?;
        let expected: Map<String, Json> = row.into_iter().collect();
        prop_assert_eq!(&parsed["data"][0], &Json::Object(expected));
    }

    #[test]
    fn event_dates_agree_with_jiff(seconds in -377_000_000_000_i64..253_000_000_000, nanos in 0..1_000_000_000_i32) {
        let at = jiff::Timestamp::new(seconds, 0).unwrap() + jiff::SignedDuration::new(0, nanos);
        prop_assert_eq!(EventDate { at, fraction_digits: 9 }.to_string(), format!("{at:.9}"));
    }

    #[test]
    fn sequences_as_text_keep_their_order(a in any::<[u64; 2]>(), b in any::<[u64; 2]>(), x in any::<bool>(), y in any::<bool>()) {
        let sequence = |[commit, lsn]: [u64; 2], after_delete| Sequence::Postgres { commit, lsn, after_delete };
        let (a, b) = (sequence(a, x), sequence(b, y));
        prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
    }
}
