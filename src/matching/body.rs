//! What a message's body is made of: one flat list of steps, whether it comes from a template or is the
//! default payload. The steps name what is the same in every message of an event and do not hold it, so that all
//! default payloads share theirs: there may be a million.

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::definition::template::{
    DEFAULT_HEAD, Fixed, Member, OUT_HOOK, Op, Reference, Template, TemplateError, Varying,
};
use crate::definition::{Event, Payload, Table, Webhook};
use crate::json;

/// A body, ready to be written for any row change.
pub struct Body {
    steps: Arc<[Step]>,
    uses_call_id: bool,
}

/// One step of writing a body.
pub enum Step {
    /// JSON text, written as it stands.
    Text(String),
    /// A field as a whole value: it keeps its JSON type.
    Value(Reference),
    /// A field's text inside a string.
    Spliced(Reference),
    /// Text inside a string that is the same in every message of an event.
    Fixed(Fixed),
    /// Text inside a string that each message has its own of.
    Varying(Varying),
    /// An object of which some keys are known only when it is written.
    Object(Vec<Member<Step>>),
    /// The members of the default payload's data: every field of the row that is not hidden.
    AllFields(Hidden),
    /// The members of the default payload's data: these fields.
    ChosenFields(Vec<Chosen>),
}

/// Fields that no default payload holds: those that are declared as passwords. Most tables have none.
#[derive(Debug, Default)]
pub struct Hidden {
    /// Sorted.
    names: Box<[Box<str>]>,
}

/// A field that a definition chose for the default payload.
pub struct Chosen {
    pub name: Box<str>,
    /// Its key as it is written: quoted, escaped, with the colon.
    pub key: Box<str>,
}

impl Body {
    /// `table` is the declaration of the event's table, if there is one.
    ///
    /// # Errors
    /// The event's template breaks the grammar.
    pub fn compile(webhook: &Webhook, event: &Event, table: Option<&Table>) -> Result<Body, TemplateError> {
        static DEFAULT: LazyLock<Arc<[Step]>> =
            LazyLock::new(|| default_payload(true, Step::AllFields(Hidden::default())).into());
        let hidden = Hidden::of(table);
        let with_secret = !webhook.handling.omit_secret;
        let steps = match &event.payload {
            Payload::Default if with_secret && hidden.is_empty() => DEFAULT.clone(),
            Payload::Default => default_payload(with_secret, Step::AllFields(hidden)).into(),
            Payload::Fields(fields) => {
                let shown = fields.iter().filter(|name| !hidden.has(name)).map(|name| Chosen::new(name));
                default_payload(with_secret, Step::ChosenFields(shown.collect())).into()
            }
            Payload::Template(text) => steps_of(Template::compile(text)?.ops()).into(),
        };
        Ok(Body { uses_call_id: use_call_id(&steps), steps })
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether each call of a message has a body of its own.
    pub fn uses_call_id(&self) -> bool {
        self.uses_call_id
    }
}

impl Hidden {
    fn of(table: Option<&Table>) -> Self {
        let mut names: Vec<Box<str>> = table.into_iter().flat_map(Table::passwords).map(Box::from).collect();
        names.sort_unstable();
        Self { names: names.into() }
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn has(&self, field: &str) -> bool {
        self.names.binary_search_by(|name| (**name).cmp(field)).is_ok()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

impl Chosen {
    fn new(name: &str) -> Self {
        let mut key = String::from("\"");
        json::escape(name, &mut key);
        key.push_str("\":");
        Self { name: name.into(), key: key.into() }
    }
}

fn use_call_id(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Varying(Varying::CallId) => true,
        Step::Object(members) => members.iter().any(|m| use_call_id(&m.key) || use_call_id(&m.value)),
        _ => false,
    })
}

/// The default payload's steps, with these of its data.
fn default_payload(with_secret: bool, data: Step) -> Vec<Step> {
    let mut steps = Vec::new();
    text(&mut steps, "{");
    let head = OUT_HOOK[..DEFAULT_HEAD].iter();
    for (key, op) in head.filter(|(key, _)| with_secret || *key != "secret") {
        text(&mut steps, &format!("\"{key}\":\""));
        push(&mut steps, op);
        text(&mut steps, "\",");
    }
    text(&mut steps, "\"data\":[{");
    steps.push(data);
    text(&mut steps, "}]}");
    steps
}

fn steps_of(ops: &[Op]) -> Vec<Step> {
    let mut steps = Vec::new();
    ops.iter().for_each(|op| push(&mut steps, op));
    steps
}

fn push(steps: &mut Vec<Step>, op: &Op) {
    match op {
        Op::Text(literal) => text(steps, literal),
        Op::Fixed(fixed) => steps.push(Step::Fixed(*fixed)),
        Op::Value(reference) => steps.push(Step::Value(reference.clone())),
        Op::Spliced(reference) => steps.push(Step::Spliced(reference.clone())),
        Op::Varying(varying) => steps.push(Step::Varying(*varying)),
        Op::Object(members) => {
            let member = |member: &Member<Op>| Member { key: steps_of(&member.key), value: steps_of(&member.value) };
            steps.push(Step::Object(members.iter().map(member).collect()));
        }
    }
}

/// Adds text to the steps, merged with text that stands before it.
fn text(steps: &mut Vec<Step>, text: &str) {
    match steps.last_mut() {
        Some(Step::Text(last)) => last.push_str(text),
        _ => steps.push(Step::Text(text.to_owned())),
    }
}
