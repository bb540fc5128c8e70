//! What a message's body is made of: one flat list of steps, whether it comes from a template or is the
//! default payload. What is the same in every message of an event is text by now, so that most of a body is
//! copied, not built.

use std::fmt;

use crate::definition::template::{
    DEFAULT_HEAD, Fixed, Member, OUT_HOOK, Op, Reference, Template, TemplateError, Varying,
};
use crate::definition::{Event, Payload, Table, Webhook};
use crate::json;

/// A body, ready to be written for any row change. Its `Debug` shows nothing of it: it holds the secret.
pub struct Body {
    steps: Vec<Step>,
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
        let binder = Binder { webhook, event };
        let hidden = Hidden::of(table);
        let steps = match &event.payload {
            Payload::Default => binder.default_payload(Step::AllFields(hidden)),
            Payload::Fields(fields) => {
                let shown = fields.iter().filter(|name| !hidden.has(name));
                binder.default_payload(Step::ChosenFields(shown.map(|name| Chosen::new(name)).collect()))
            }
            Payload::Template(text) => binder.bind(Template::compile(text)?.ops()),
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

/// Puts in what is known of an event before any row changes.
struct Binder<'d> {
    webhook: &'d Webhook,
    event: &'d Event,
}

impl Binder<'_> {
    fn default_payload(&self, data: Step) -> Vec<Step> {
        let mut steps = Vec::new();
        text(&mut steps, "{");
        let head = OUT_HOOK[..DEFAULT_HEAD].iter();
        for (key, op) in head.filter(|(key, _)| *key != "secret" || !self.webhook.handling.omit_secret) {
            text(&mut steps, &format!("\"{key}\":\""));
            self.bind_one(op, &mut steps);
            text(&mut steps, "\",");
        }
        text(&mut steps, "\"data\":[{");
        steps.push(data);
        text(&mut steps, "}]}");
        steps
    }

    fn bind(&self, ops: &[Op]) -> Vec<Step> {
        let mut steps = Vec::new();
        ops.iter().for_each(|op| self.bind_one(op, &mut steps));
        steps
    }

    fn bind_one(&self, op: &Op, steps: &mut Vec<Step>) {
        match op {
            Op::Text(literal) => text(steps, literal),
            Op::Fixed(fixed) => {
                let mut escaped = String::new();
                json::escape(self.fixed(*fixed), &mut escaped);
                text(steps, &escaped);
            }
            Op::Value(reference) => steps.push(Step::Value(reference.clone())),
            Op::Spliced(reference) => steps.push(Step::Spliced(reference.clone())),
            Op::Varying(varying) => steps.push(Step::Varying(*varying)),
            Op::Object(members) => {
                let bound =
                    |member: &Member<Op>| Member { key: self.bind(&member.key), value: self.bind(&member.value) };
                steps.push(Step::Object(members.iter().map(bound).collect()));
            }
        }
    }

    fn fixed(&self, fixed: Fixed) -> &str {
        match fixed {
            Fixed::EventId => self.event.id.as_str(),
            Fixed::WebhookId => self.webhook.id.as_str(),
            Fixed::AccountId => self.webhook.account.as_str(),
            Fixed::Secret => self.webhook.secret.expose(),
            Fixed::EventType => self.event.operation.event_type(),
            Fixed::ObjectName => &self.event.object_name,
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
