//! What a template compiles to: steps that are run one after another, literal text merged.

use crate::json;

/// One step of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// JSON text, written as it stands.
    Text(String),
    /// A field as a whole value: it keeps its JSON type.
    Value(RowReference),
    /// A field's text inside a string.
    Spliced(RowReference),
    /// Text inside a string that is the same in every message of an event.
    Fixed(Fixed),
    /// Text inside a string that each message has its own of.
    Varying(Varying),
    /// An object of which some keys are known only when it is written. All others are plain text.
    Object(Vec<DynamicMember>),
}

/// A member of an object whose keys are known only when it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicMember {
    /// Writes what stands between the key's quotes.
    pub key: Vec<Op>,
    /// Writes the value.
    pub value: Vec<Op>,
}

/// What of a row a parameter stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowReference {
    /// `[@field:Name]`
    Field(Box<str>),
    /// `[@field:Name/]`: the URL of the attachment that the field names.
    AttachmentUrl(Box<str>),
    /// `[@out-hook:missing]`: a list of the fields of which the source did not send the value.
    Missing,
}

/// Parameters that are known as soon as the event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    EventId,
    WebhookId,
    AccountId,
    Secret,
    EventType,
    ObjectName,
}

/// Parameters that each message has its own of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Varying {
    MessageId,
    EventDate,
    CallId,
    Sequence,
}

/// The parameters of `[@out-hook:…]` by name. The first [`DEFAULT_HEAD`] are those of the default payload, in the
/// order of Caspio's page "Creating and Managing Events".
pub const OUT_HOOK: [(&str, Op); 11] = [
    ("eventId", Op::Fixed(Fixed::EventId)),
    ("messageId", Op::Varying(Varying::MessageId)),
    ("webhookId", Op::Fixed(Fixed::WebhookId)),
    ("accountId", Op::Fixed(Fixed::AccountId)),
    ("secret", Op::Fixed(Fixed::Secret)),
    ("eventDate", Op::Varying(Varying::EventDate)),
    ("eventType", Op::Fixed(Fixed::EventType)),
    ("objectName", Op::Fixed(Fixed::ObjectName)),
    ("callId", Op::Varying(Varying::CallId)),
    ("sequence", Op::Varying(Varying::Sequence)),
    ("missing", Op::Spliced(RowReference::Missing)),
];

/// How many of [`OUT_HOOK`] a default payload begins with.
pub const DEFAULT_HEAD: usize = 8;

/// Adds the fields that steps name.
pub(super) fn collect_fields<'o>(ops: &'o [Op], into: &mut Vec<&'o str>) {
    for op in ops {
        match op {
            Op::Value(RowReference::Field(name) | RowReference::AttachmentUrl(name))
            | Op::Spliced(RowReference::Field(name) | RowReference::AttachmentUrl(name)) => into.push(name),
            Op::Object(members) => members.iter().for_each(|member| {
                collect_fields(&member.key, into);
                collect_fields(&member.value, into);
            }),
            Op::Text(_) | Op::Value(RowReference::Missing) | Op::Spliced(RowReference::Missing) => {}
            Op::Fixed(_) | Op::Varying(_) => {}
        }
    }
}

/// A program under construction.
#[derive(Default)]
pub(super) struct Builder {
    ops: Vec<Op>,
}

impl Builder {
    pub(super) fn text(&mut self, text: &str) {
        self.last_text().push_str(text);
    }

    /// A character of a string, escaped.
    pub(super) fn character(&mut self, character: char) {
        json::escape(character.encode_utf8(&mut [0; 4]), self.last_text());
    }

    fn last_text(&mut self) -> &mut String {
        if !matches!(self.ops.last(), Some(Op::Text(_))) {
            self.ops.push(Op::Text(String::new()));
        }
        let Some(Op::Text(text)) = self.ops.last_mut() else { unreachable!("a text was just pushed") };
        text
    }

    pub(super) fn push(&mut self, op: Op) {
        match op {
            Op::Text(text) => self.text(&text),
            op => self.ops.push(op),
        }
    }

    pub(super) fn append(&mut self, ops: Vec<Op>) {
        ops.into_iter().for_each(|op| self.push(op));
    }

    pub(super) fn finish(self) -> Vec<Op> {
        self.ops
    }
}
