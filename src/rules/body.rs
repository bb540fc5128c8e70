//! A compiled message body: one flat list of steps, for a template and for the default payload. Steps refer to the
//! texts that are the same in every message of an event and do not contain them. All default payloads can therefore
//! share one list: there may be a million.

mod flat_body;

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::definition::template::{
    DEFAULT_PAYLOAD_PARAMETERS, EventParameter, MessageParameter, OUT_HOOK_PARAMETERS, Template, TemplateError,
    TemplateOp,
};
use crate::definition::{Event, Payload, Table, Webhook};
use crate::json;
use crate::rules::body::flat_body::FlatBody;

/// A compiled body, which can be rendered for any row change.
#[derive(Clone)]
pub struct CompiledBody {
    parts: Arc<BodyParts>,
}

/// The parts that bodies may share. A template's steps and texts are close together in a few blocks of memory: they
/// take a few times the template's own bytes, for any template.
struct BodyParts {
    flat: FlatBody,
    hidden_fields: HiddenFields,
    selected_fields: Box<[SelectedField]>,
    uses_call_id: bool,
}

/// One step of writing a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyStep {
    /// JSON text, written unchanged.
    Text(BodySpan),
    /// The field of this name as a whole value, which keeps its JSON type.
    Value(BodySpan),
    /// The URL of the attachment that the field names, as a whole value.
    AttachmentUrl(BodySpan),
    /// The field's text, inside a string.
    Spliced(BodySpan),
    /// The URL of the attachment that the field names, inside a string.
    SplicedAttachmentUrl(BodySpan),
    /// The list of the fields whose value the source did not send.
    MissingFields,
    /// The same list, inside a string.
    SplicedMissingFields,
    /// Text inside a string, the same in every message of an event.
    EventParameter(EventParameter),
    /// Text inside a string, different in each message.
    MessageParameter(MessageParameter),
    /// An object of these members, some of whose keys are known only when it is written.
    Object(BodySpan),
    /// The members of the default payload's data: every field of the row that is not hidden.
    AllFields,
    /// The members of the default payload's data: the chosen fields.
    SelectedFields,
}

/// A member of an object whose keys are known only when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompiledMember {
    /// The steps that write the text between the key's quotes.
    pub key: BodySpan,
    /// The steps that write the value.
    pub value: BodySpan,
}

/// The range of a text, of steps or of members in their body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodySpan {
    start: u32,
    end: u32,
}

/// Fields that default payloads omit: those declared as passwords. Most tables have none.
#[derive(Debug, Default)]
pub struct HiddenFields {
    /// Sorted.
    names: Box<[Box<str>]>,
}

/// A field that a definition chose for the default payload.
pub struct SelectedField {
    pub name: Box<str>,
    /// Its key as written: quoted, escaped, with the colon.
    pub key: Box<str>,
}

impl CompiledBody {
    /// Compiles the body of an event. `table` is the declaration of the event's table, if there is one.
    ///
    /// # Errors
    /// The event's template breaks the grammar.
    pub fn compile(webhook: &Webhook, event: &Event, table: Option<&Table>) -> Result<CompiledBody, TemplateError> {
        static DEFAULT: LazyLock<CompiledBody> =
            LazyLock::new(|| default_payload(true, BodyStep::AllFields, HiddenFields::default(), Box::default()));
        let hidden = HiddenFields::of(table);
        let with_secret = !webhook.handling.omit_secret;
        Ok(match &event.payload {
            Payload::Default if with_secret && hidden.is_empty() => DEFAULT.clone(),
            Payload::Default => default_payload(with_secret, BodyStep::AllFields, hidden, Box::default()),
            Payload::Fields(fields) => {
                let shown =
                    fields.iter().filter(|name| !hidden.has(name)).map(|name| SelectedField::new(name)).collect();
                default_payload(with_secret, BodyStep::SelectedFields, hidden, shown)
            }
            Payload::Template(text) => {
                CompiledBody::of(FlatBody::of(Template::compile(text)?.ops()), HiddenFields::default(), Box::default())
            }
        })
    }

    fn of(flat: FlatBody, hidden: HiddenFields, chosen: Box<[SelectedField]>) -> Self {
        let uses_call_id = flat.has(BodyStep::MessageParameter(MessageParameter::CallId));
        Self { parts: Arc::new(BodyParts { flat, hidden_fields: hidden, selected_fields: chosen, uses_call_id }) }
    }

    /// The steps that write the body.
    pub fn steps(&self) -> &[BodyStep] {
        self.parts.flat.main()
    }

    /// Steps of a member.
    pub fn steps_in(&self, span: BodySpan) -> &[BodyStep] {
        self.parts.flat.steps(span)
    }

    /// The members of an object.
    pub fn members(&self, span: BodySpan) -> &[CompiledMember] {
        self.parts.flat.members(span)
    }

    /// A literal text, or a field's name.
    pub fn text(&self, span: BodySpan) -> &str {
        self.parts.flat.text(span)
    }

    /// The fields that the default payload omits.
    pub fn hidden_fields(&self) -> &HiddenFields {
        &self.parts.hidden_fields
    }

    /// The fields of the default payload, if the definition chose them.
    pub fn selected_fields(&self) -> &[SelectedField] {
        &self.parts.selected_fields
    }

    /// Whether the body differs between the calls of a message.
    pub fn uses_call_id(&self) -> bool {
        self.parts.uses_call_id
    }
}

impl HiddenFields {
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

impl fmt::Debug for CompiledBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

impl SelectedField {
    fn new(name: &str) -> Self {
        let mut key = String::from("\"");
        json::escape(name, &mut key);
        key.push_str("\":");
        Self { name: name.into(), key: key.into() }
    }
}

/// The default payload, with this step for its data.
fn default_payload(
    with_secret: bool,
    data: BodyStep,
    hidden: HiddenFields,
    chosen: Box<[SelectedField]>,
) -> CompiledBody {
    let mut ops = Vec::new();
    let mut text = String::from("{");
    let head = OUT_HOOK_PARAMETERS[..DEFAULT_PAYLOAD_PARAMETERS].iter();
    for (key, op) in head.filter(|(key, _)| with_secret || *key != "secret") {
        text.push_str(&format!("\"{key}\":\""));
        ops.extend([TemplateOp::Text(std::mem::take(&mut text)), op.clone()]);
        text.push_str("\",");
    }
    text.push_str("\"data\":[{");
    ops.push(TemplateOp::Text(text));
    CompiledBody::of(FlatBody::wrap_step(&ops, data, "}]}"), hidden, chosen)
}
