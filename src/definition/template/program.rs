//! The compiled form of a template: steps that run one after another, with literal text merged.

use crate::json;

/// One step of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateOp {
    /// JSON text, written unchanged.
    Text(String),
    /// A field as a whole value: it keeps its JSON type.
    Value(RowReference),
    /// A field's text inside a string.
    Spliced(RowReference),
    /// Text inside a string that is the same in every message of an event.
    EventParameter(EventParameter),
    /// Text inside a string that differs in each message.
    MessageParameter(MessageParameter),
    /// An object with some keys that are known only when it is written. All other objects are compiled to text.
    Object(Vec<DynamicMember>),
}

/// A member of a [`TemplateOp::Object`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicMember {
    /// Writes the text between the key's quotes.
    pub key: Vec<TemplateOp>,
    /// Writes the value.
    pub value: Vec<TemplateOp>,
}

/// The part of a row that a parameter inserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowReference {
    /// `[@field:Name]`
    Field(Box<str>),
    /// `[@field:Name/]`: the URL of the attachment that the field names.
    AttachmentUrl(Box<str>),
    /// `[@out-hook:missing]`: a list of the fields whose value the source did not send.
    MissingFields,
}

/// Parameters whose values the event alone determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventParameter {
    EventId,
    WebhookId,
    AccountId,
    Secret,
    EventType,
    ObjectName,
}

/// Parameters whose values differ in each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageParameter {
    MessageId,
    EventDate,
    CallId,
    Sequence,
}

/// The parameters of `[@out-hook:…]` by name. The first [`DEFAULT_PAYLOAD_PARAMETERS`] are in the default payload, in
/// the order of Caspio's page "Creating and Managing Events".
pub const OUT_HOOK_PARAMETERS: [(&str, TemplateOp); 11] = [
    ("eventId", TemplateOp::EventParameter(EventParameter::EventId)),
    ("messageId", TemplateOp::MessageParameter(MessageParameter::MessageId)),
    ("webhookId", TemplateOp::EventParameter(EventParameter::WebhookId)),
    ("accountId", TemplateOp::EventParameter(EventParameter::AccountId)),
    ("secret", TemplateOp::EventParameter(EventParameter::Secret)),
    ("eventDate", TemplateOp::MessageParameter(MessageParameter::EventDate)),
    ("eventType", TemplateOp::EventParameter(EventParameter::EventType)),
    ("objectName", TemplateOp::EventParameter(EventParameter::ObjectName)),
    ("callId", TemplateOp::MessageParameter(MessageParameter::CallId)),
    ("sequence", TemplateOp::MessageParameter(MessageParameter::Sequence)),
    ("missing", TemplateOp::Spliced(RowReference::MissingFields)),
];

/// Number of parameters in [`OUT_HOOK_PARAMETERS`] that a default payload begins with.
pub const DEFAULT_PAYLOAD_PARAMETERS: usize = 8;

/// Adds the fields that the steps name.
pub(super) fn collect_fields<'o>(ops: &'o [TemplateOp], into: &mut Vec<&'o str>) {
    for op in ops {
        match op {
            TemplateOp::Value(RowReference::Field(name) | RowReference::AttachmentUrl(name))
            | TemplateOp::Spliced(RowReference::Field(name) | RowReference::AttachmentUrl(name)) => into.push(name),
            TemplateOp::Object(members) => members.iter().for_each(|member| {
                collect_fields(&member.key, into);
                collect_fields(&member.value, into);
            }),
            TemplateOp::Text(_)
            | TemplateOp::Value(RowReference::MissingFields)
            | TemplateOp::Spliced(RowReference::MissingFields) => {}
            TemplateOp::EventParameter(_) | TemplateOp::MessageParameter(_) => {}
        }
    }
}

/// A program under construction.
#[derive(Default)]
pub(super) struct Builder {
    ops: Vec<TemplateOp>,
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
        if !matches!(self.ops.last(), Some(TemplateOp::Text(_))) {
            self.ops.push(TemplateOp::Text(String::new()));
        }
        let Some(TemplateOp::Text(text)) = self.ops.last_mut() else { unreachable!("a text was just pushed") };
        text
    }

    pub(super) fn push(&mut self, op: TemplateOp) {
        match op {
            TemplateOp::Text(text) => self.text(&text),
            op => self.ops.push(op),
        }
    }

    pub(super) fn append(&mut self, ops: Vec<TemplateOp>) {
        ops.into_iter().for_each(|op| self.push(op));
    }

    pub(super) fn finish(self) -> Vec<TemplateOp> {
        self.ops
    }
}
