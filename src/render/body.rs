//! Writes a body: runs its steps over a row change.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use super::{AttachmentUrl, MAX_MESSAGE_BYTES, TooLarge};
use crate::decode::{Field, RowChange};
use crate::definition::template::MessageParameter;
use crate::id::{CallId, MessageId};
use crate::json::{self, JsonKind};
use crate::rules::{BodyStep, CompiledMember, Rule};

/// The writer of one body.
pub(super) struct BodyWriter<'a> {
    pub(super) out: &'a mut String,
    /// Max size of `out`, in bytes.
    pub(super) limit: usize,
    pub(super) rule: &'a Rule,
    pub(super) change: &'a RowChange<'a>,
    pub(super) id: MessageId,
    pub(super) call: CallId,
    pub(super) attachment_url: Option<&'a AttachmentUrl>,
}

impl BodyWriter<'_> {
    /// Runs steps.
    ///
    /// # Errors
    /// The body exceeds the limit. Rendering stops there: a template that repeats a large field must not use more
    /// memory than its message may have.
    pub(super) fn write_steps(&mut self, steps: &[BodyStep]) -> Result<(), TooLarge> {
        for step in steps {
            self.step(*step)?;
            if self.out.len() > self.limit {
                return Err(TooLarge { at_least: self.out.len() + (MAX_MESSAGE_BYTES - self.limit) });
            }
        }
        Ok(())
    }

    fn step(&mut self, step: BodyStep) -> Result<(), TooLarge> {
        let body = &self.rule.body;
        match step {
            BodyStep::Text(text) => self.out.push_str(body.text(text)),
            BodyStep::Value(name) => match self.change.sent_value(body.text(name)) {
                Some(value) => self.out.push_str(&value.json),
                None => self.out.push_str("null"),
            },
            BodyStep::AttachmentUrl(name) => self.write_attachment_url_value(body.text(name)),
            BodyStep::Spliced(name) => {
                if let Some(value) = self.change.sent_value(body.text(name)) {
                    splice(&value.json, self.out);
                }
            }
            BodyStep::SplicedAttachmentUrl(name) => {
                self.write_attachment_url(body.text(name));
            }
            BodyStep::MissingFields => write_missing(self.change, self.out),
            BodyStep::SplicedMissingFields => {
                let mut list = String::new();
                write_missing(self.change, &mut list);
                json::escape(&list, self.out);
            }
            BodyStep::EventParameter(fixed) => json::escape(self.rule.fixed(fixed), self.out),
            BodyStep::MessageParameter(varying) => self.write_varying(varying),
            BodyStep::Object(members) => return self.object(body.members(members)),
            BodyStep::AllFields if body.hidden_fields().is_empty() => self.write_all_fields(|_| true),
            BodyStep::AllFields => self.write_all_fields(|field| !body.hidden_fields().has(&field.name)),
            BodyStep::SelectedFields => self.chosen_fields(),
        }
        Ok(())
    }

    fn write_varying(&mut self, varying: MessageParameter) {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        match varying {
            MessageParameter::MessageId => self.out.push_str(self.id.0.hyphenated().encode_lower(&mut text)),
            MessageParameter::CallId => self.out.push_str(self.call.0.hyphenated().encode_lower(&mut text)),
            MessageParameter::EventDate => self.change.event_date.write(self.out),
            MessageParameter::Sequence => {
                write!(self.out, "{}", self.change.sequence).expect("writing to memory does not fail")
            }
        }
    }

    fn write_attachment_url_value(&mut self, field: &str) {
        let start = self.out.len();
        self.out.push('"');
        if self.write_attachment_url(field) {
            self.out.push('"');
        } else {
            self.out.truncate(start);
            self.out.push_str("null");
        }
    }

    /// Writes an attachment's URL. Returns false without a URL pattern, or if the field has no value.
    fn write_attachment_url(&mut self, field: &str) -> bool {
        let value = self.change.sent_value(field).filter(|value| JsonKind::of(&value.json) != JsonKind::Null);
        let (Some(url), Some(value)) = (self.attachment_url, value) else { return false };
        url.write(&self.change.account, &self.change.table, field, value, self.out);
        true
    }

    /// Generic over the choice of fields, so that writing every field needs no check of its name.
    fn write_all_fields(&mut self, is_shown: impl Fn(&Field<'_>) -> bool) {
        let mut separator = "\"";
        for (field, value) in self.change.sent_fields().filter(|(field, _)| is_shown(field)) {
            self.out.push_str(separator);
            field.write_name(self.out);
            self.out.push_str("\":");
            self.out.push_str(&value.json);
            separator = ",\"";
        }
    }

    /// Writes a field that the row does not have as null. Omits a field whose value the source did not send.
    fn chosen_fields(&mut self) {
        let mut first = true;
        for field in self.rule.body.selected_fields() {
            let json = match self.change.sent_value(&field.name) {
                Some(value) => &*value.json,
                None if self.change.trimmed || self.is_in_row(&field.name) => continue,
                None => "null",
            };
            if !first {
                self.out.push(',');
            }
            first = false;
            self.out.push_str(&field.key);
            self.out.push_str(json);
        }
    }

    fn is_in_row(&self, field: &str) -> bool {
        self.change.sent_row().is_some_and(|row| row.get(field).is_some())
    }

    /// Writes an object whose keys hold parameters. Of members whose keys turn out equal, the last one counts.
    fn object(&mut self, members: &[CompiledMember]) -> Result<(), TooLarge> {
        let keys = self.keys(members)?;
        let mut seen = HashSet::new();
        let mut counts: Vec<bool> = keys.iter().rev().map(|key| seen.insert(canonical(key))).collect();
        counts.reverse();
        let mut separator = "{\"";
        for ((member, key), _) in members.iter().zip(&keys).zip(counts).filter(|(_, counts)| *counts) {
            self.out.push_str(separator);
            self.out.push_str(key);
            self.out.push_str("\":");
            self.write_steps(self.rule.body.steps_in(member.value))?;
            separator = ",\"";
        }
        self.out.push('}');
        Ok(())
    }

    /// The keys of an object's members, as written between quotes. Their total size is limited to the remaining size
    /// of the body.
    fn keys(&self, members: &[CompiledMember]) -> Result<Vec<String>, TooLarge> {
        let mut limit = self.limit.saturating_sub(self.out.len());
        let mut keys = Vec::with_capacity(members.len());
        for member in members {
            let mut key = String::new();
            BodyWriter { out: &mut key, limit, ..*self }.write_steps(self.rule.body.steps_in(member.key))?;
            limit -= key.len();
            keys.push(key);
        }
        Ok(keys)
    }
}

/// The normal form of a key: two texts may spell one key with different escapes.
fn canonical(key: &str) -> Cow<'_, str> {
    if !key.contains('\\') {
        return Cow::Borrowed(key);
    }
    json::unescape(&format!("\"{key}\"")).map_or(Cow::Borrowed(key), |text| Cow::Owned(text.into_owned()))
}

/// Appends the names of the fields whose value neither row has, as a JSON array.
fn write_missing(change: &RowChange<'_>, out: &mut String) {
    let mut separator = "\"";
    out.push('[');
    for field in change.missing_fields() {
        out.push_str(separator);
        field.write_name(out);
        out.push('"');
        separator = ",\"";
    }
    out.push(']');
}

/// Appends a value's text as written inside a JSON string. The text of a string value is valid there unchanged.
fn splice(json: &str, out: &mut String) {
    match JsonKind::of(json) {
        JsonKind::Null => {}
        JsonKind::String => out.push_str(json::between_quotes(json)),
        JsonKind::Bool | JsonKind::Number => out.push_str(json),
        JsonKind::Array | JsonKind::Object => json::escape(json, out),
    }
}
