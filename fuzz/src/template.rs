//! A payload template: its text → a program → the body of a message.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::sync::{Arc, LazyLock};

use outhook::decode::{Decoded, Decoder, Format, Input, RowChange, Settings, WholeTables};
use outhook::definition::template::{
    DynamicMember, EventParameter, MessageParameter, OUT_HOOK_PARAMETERS, RowReference, Template, TemplateError,
    TemplateOp,
};
use outhook::definition::{Event, Payload, Webhook};
use outhook::json::{self, JsonKind};
use outhook::render::{MAX_MESSAGE_BYTES, Renderer};
use outhook::rules::{Rule, Target};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::split;

/// Max length of an error: it shows an excerpt of the template.
const MAX_ERROR: usize = 400;
/// Start of a webhook's secret. A body has it only if its template asks for it.
const SECRET: &str = "whsec_BwcH";
/// A row for templates that come without one.
const ROW: &str =
    r#"{"Name":"Ann \"A\" \ud83d","Total":12.50,"Empty":null,"List":[1,{"a":"b"}],"Yes":true,"File":"/a b/ü.png"}"#;
/// A field of a quarter of the largest message. Only a template that names it gets it.
const LARGE: &str = "Large";

static WEBHOOK: LazyLock<(Webhook, Arc<Target>)> = LazyLock::new(|| {
    let webhook: Webhook = serde_json::from_str(
        r#"{"id":"abc123","account":"acme","name":"A","urls":["https://a.example/","https://b.example/"],
            "secret":"whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","created":{"at":"","by":""}}"#,
    )
    .expect("the webhook is valid");
    let target = Arc::new(Target::of(&webhook).expect("its URLs are valid"));
    (webhook, target)
});

/// The bytes are a template, a line `---`, and a row as JSON. Without a row there is a usual one.
///
/// - An error is short, and its place is in the template.
/// - A program that is written as a template compiles to the same program.
/// - A body is valid JSON, without a key twice that the row did not have twice, within the largest message. Otherwise
///   it is refused.
/// - Rendering is repeatable. The calls of a message differ only in the call's id.
/// - A body has the webhook's secret only if the template asks for it.
pub fn template(bytes: &[u8]) {
    let (template, row) = split(bytes, b"\n---\n");
    let (Ok(text), Ok(row)) = (std::str::from_utf8(template), std::str::from_utf8(row)) else { return };
    match Template::compile(text) {
        Err(error) => check_error(text, &error),
        Ok(compiled) => {
            let written = written(compiled.ops());
            let again = Template::compile(&written).unwrap_or_else(|error| panic!("{error} in {written}"));
            assert_eq!(again, compiled, "{written}");
            check_bodies(text, &compiled, row);
        }
    }
}

fn check_error(text: &str, error: &TemplateError) {
    let shown = error.to_string();
    assert!(shown.chars().count() <= MAX_ERROR, "{} characters", shown.chars().count());
    assert!(!error.expected.is_empty() && !error.found.is_empty());
    let line = text.split('\n').nth(error.line - 1).expect("the error's line is in the template");
    assert!((1..=line.chars().count() + 1).contains(&error.column), "{shown}");
}

/// A template that compiles to these steps.
fn written(ops: &[TemplateOp]) -> String {
    let mut text = String::new();
    for op in ops {
        match op {
            // In JSON text `[@` can only be inside a string.
            TemplateOp::Text(json) => text.push_str(&json.replace("[@", "\\u005b@")),
            TemplateOp::Value(reference) => write!(text, "\"{}\"", parameter(reference)).expect("a String takes all"),
            TemplateOp::Spliced(reference) => text.push_str(&parameter(reference)),
            TemplateOp::EventParameter(_) | TemplateOp::MessageParameter(_) => text.push_str(&out_hook(op)),
            TemplateOp::Object(members) => {
                let member =
                    |member: &DynamicMember| format!("\"{}\":{}", written(&member.key), written(&member.value));
                write!(text, "{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
                    .expect("a String takes all");
            }
        }
    }
    text
}

fn parameter(reference: &RowReference) -> String {
    let escaped = |name: &str| {
        let json = serde_json::Value::from(name).to_string();
        json[1..json.len() - 1].replace(']', "\\u005d").replace('/', "\\/").replace("[@", "\\u005b@")
    };
    match reference {
        RowReference::Field(name) => format!("[@field:{}]", escaped(name)),
        RowReference::AttachmentUrl(name) => format!("[@field:{}/]", escaped(name)),
        RowReference::MissingFields => "[@out-hook:missing]".to_owned(),
    }
}

fn out_hook(op: &TemplateOp) -> String {
    let (name, _) = OUT_HOOK_PARAMETERS.iter().find(|(_, known)| known == op).expect("each parameter has a name");
    format!("[@out-hook:{name}]")
}

/// Whether a step is in a program.
fn has(ops: &[TemplateOp], wanted: &TemplateOp) -> bool {
    ops.iter().any(|op| match op {
        TemplateOp::Object(members) => {
            members.iter().any(|member| has(&member.key, wanted) || has(&member.value, wanted))
        }
        op => op == wanted,
    })
}

fn check_bodies(text: &str, template: &Template, row: &str) {
    let large = template.fields().contains(&LARGE);
    let large = large.then(|| format!(r#"{{"{LARGE}":"{}"}}"#, "x".repeat(MAX_MESSAGE_BYTES / 4)));
    let row = large.as_deref().unwrap_or(if row.is_empty() { ROW } else { row });
    let record = format!(r#"{{"table":"Orders","operation":"update","before":{{"Old":"1"}},"after":{row}}}"#);
    let Some(bodies) = bodies(text, &record) else { return };
    assert_eq!(Some(&bodies), self::bodies(text, &record).as_ref(), "rendering is repeatable");
    for body in &bodies {
        let Some(body) = body else { continue };
        assert!(body.len() <= MAX_MESSAGE_BYTES);
        serde_json::from_str::<&RawValue>(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        if row == ROW || row.matches(['{', '[']).count() == 1 {
            assert!(has_distinct_keys(body), "{body}");
        }
        if !has(template.ops(), &TemplateOp::EventParameter(EventParameter::Secret))
            && !text.contains(SECRET)
            && !row.contains(SECRET)
        {
            assert!(!body.contains(SECRET), "{body}");
        }
    }
    if !has(template.ops(), &TemplateOp::MessageParameter(MessageParameter::CallId)) {
        assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

/// The bodies of an event's calls, None for one that is too large. None if the record is not a change.
fn bodies(template: &str, record: &str) -> Option<Vec<Option<String>>> {
    let (webhook, target) = &*WEBHOOK;
    let event = event(template);
    let rule = Rule::compile(webhook, &event, target).expect("the template is compiled before");
    let settings = Settings { account: "acme".into(), ..Settings::new(Format::Outhook) };
    let headers: Vec<(&str, &[u8])> = Vec::new();
    let input = Input {
        topic: "changes",
        partition: 0,
        offset: 1,
        timestamp_ms: 1_709_212_455_123,
        key: None,
        value: Some(record.as_bytes()),
        headers: &headers,
    };
    let mut decoder = Decoder::new(Arc::new(settings), WholeTables::default());
    let Ok(Decoded::Change(change)) = decoder.decode(&input) else { return None };
    Some(rendered(&rule, &change))
}

fn event(template: &str) -> Event {
    let mut event: Event = serde_json::from_str(
        r#"{"id":"def456","webhook":"abc123","operation":"table.recordUpdate","object_name":"Orders","enabled":true,
            "created":{"at":"","by":""}}"#,
    )
    .expect("the event is valid");
    event.payload = Payload::Template(template.to_owned());
    event
}

fn rendered(rule: &Rule, change: &RowChange<'_>) -> Vec<Option<String>> {
    let pattern = "https://files.example/{account}/{table}/{field}/{value}".parse().expect("the pattern is valid");
    let mut renderer = Renderer::new(Some(pattern));
    let messages = renderer.render(rule, change);
    messages
        .map(|message| match message {
            Ok(message) => Some(String::from_utf8(message.body.to_vec()).expect("a body is UTF-8")),
            Err(too_large) => {
                assert!(too_large.at_least > MAX_MESSAGE_BYTES);
                None
            }
        })
        .collect()
}

/// Whether no object in a valid JSON text has a key twice. It reads one level at a time, because serde_json limits the
/// levels of a tree, and a template may have as many.
fn has_distinct_keys(json: &str) -> bool {
    match JsonKind::of(json) {
        JsonKind::Object => {
            let Members(members) = serde_json::from_str(json).expect("the body is valid JSON");
            let mut seen = HashSet::new();
            members.iter().all(|(key, value)| {
                let key = json::unescape(key.get()).unwrap_or(key.get().into());
                seen.insert(key) && has_distinct_keys(value.get())
            })
        }
        JsonKind::Array => {
            let items: Vec<&RawValue> = serde_json::from_str(json).expect("the body is valid JSON");
            items.iter().all(|item| has_distinct_keys(item.get()))
        }
        JsonKind::Null | JsonKind::Bool | JsonKind::Number | JsonKind::String => true,
    }
}

/// The members of an object, keys included as JSON text: they may have an escaped unpaired surrogate.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
