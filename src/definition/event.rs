//! An event as stored: which row changes fire it, and what is sent.

use serde::{Deserialize, Serialize};

use super::Stamp;
use crate::id::{EventId, WebhookId};
use crate::vocabulary::Operation;

/// Which row changes fire a message, and what is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub webhook: WebhookId,
    #[serde(with = "operation_as_event_type")]
    pub operation: Operation,
    /// The event type as the request spelled it, if its letter case differs. Answers repeat it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_as_given: Option<String>,
    pub object_name: String,
    /// The fields whose change fires an update event. Empty is all fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub object_fields: Vec<String>,
    /// As given. Empty is all sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_sources: Vec<String>,
    #[serde(default, skip_serializing_if = "Payload::is_default")]
    pub payload: Payload,
    pub enabled: bool,
    /// 1 at creation, and one more with each change.
    #[serde(default = "super::webhook::first")]
    pub version: u32,
    pub created: Stamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Stamp>,
}

/// Content of a message's body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// The default payload with all present and future fields.
    #[default]
    Default,
    /// The default payload with these fields.
    Fields(Vec<String>),
    /// A template, as given.
    Template(String),
}

impl Payload {
    pub fn is_default(&self) -> bool {
        matches!(self, Payload::Default)
    }

    /// The fields or the template, as CustomPayloadFields and CustomPayloadTemplate have them.
    pub fn parts(self) -> (Option<Vec<String>>, Option<String>) {
        match self {
            Payload::Default => (None, None),
            Payload::Fields(fields) => (Some(fields), None),
            Payload::Template(template) => (None, Some(template)),
        }
    }
}

mod operation_as_event_type {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::vocabulary::Operation;

    pub fn serialize<S: Serializer>(operation: &Operation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(operation.event_type())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Operation, D::Error> {
        let text = String::deserialize(deserializer)?;
        Operation::from_event_type(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is not an event type: use table.recordInsert, table.recordUpdate or table.recordDelete"
            ))
        })
    }
}
