//! Why a definition is refused.

use super::sizes::MAX_RECORD;
use crate::definition::address_guard::AddressRefused;
use crate::definition::template::TemplateError;
use crate::definition::{BadSecret, BadUrl, UnknownFieldType};
use crate::id::{AccountId, EventId, WebhookId};
use crate::vocabulary::{Operation, UnknownEventSource};

/// Why a definition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{field} is required")]
    Missing { field: &'static str },
    #[error("{field} has {length} {unit}, and at most {most} are allowed")]
    TooLong { field: &'static str, length: usize, most: usize, unit: &'static str },
    #[error("{field} has an empty name in it")]
    EmptyName { field: &'static str },
    #[error("{field} has {value:?} twice")]
    Duplicate { field: &'static str, value: String },
    #[error("OutgoingUrls: {0}")]
    Url(#[from] BadUrl),
    #[error(
        "OutgoingUrls: {0:?} is http, so messages and their secret can be read in transit: use https, or allow \
         http in the configuration"
    )]
    Http(String),
    #[error("CallThrottling is 0, so no call could be made: give the calls per second, or omit it for no limit")]
    ZeroCallThrottling,
    #[error(
        "CallThrottling is {calls}: give calls per second from 1 to {most}, which is the same as no limit \
         (limits.call_throttling in the configuration)"
    )]
    CallThrottling { calls: i64, most: u32 },
    #[error("nothing to change: send at least one of {keys}")]
    NoChanges { keys: String },
    #[error("Enabled is false, but a new webhook has no events yet: create its events with Enabled false")]
    NothingToDisable,
    #[error("the definition has {bytes} bytes as JSON, and at most {MAX_RECORD} are allowed: make it smaller")]
    TooLarge { bytes: usize },
    #[error(
        "the secret was replaced a short time ago, and the old one is still valid because receivers may need it: wait \
         until it expires, or send OverlapSeconds 0 to end it immediately"
    )]
    OldSecretStillValid,
    #[error(
        "the {owner} would have {wanted} {things}, and at most {most} are allowed: delete what is not needed, or have \
         the limit raised in the configuration (definitions.{key})"
    )]
    LimitExceeded { owner: &'static str, wanted: usize, most: usize, things: &'static str, key: &'static str },
    #[error("{field} is {value}: {expected}")]
    DeliverySetting { field: &'static str, value: String, expected: &'static str },
    #[error("Headers has {name:?}: {expected}")]
    Header { name: String, expected: &'static str },
    #[error(
        "{field}: {url:?} leads to {}, which is {}, so it would never be called: give another host, or have its \
         network allowed in the configuration (delivery.allow_addresses)",
        .refused.address(), .refused.kind()
    )]
    Address { field: &'static str, url: String, refused: AddressRefused },
    #[error(
        "{secret} is not given, and the present one would go to {origin}, which is new in {field}: give it again, \
         or use only the schemes, hosts and ports that it goes to now"
    )]
    RetainedSecretToNewOrigin { secret: String, field: &'static str, origin: String },
    #[error("{field}: {reason}")]
    InvalidPart { field: &'static str, reason: String },
    #[error("Secret: {0}")]
    Secret(#[from] BadSecret),
    #[error(
        "Secret can't be chosen: omit it. It is generated and returned when a webhook is created, and regenerateSecret \
         replaces it"
    )]
    SecretGiven,
    #[error("Name {name:?} is taken in account {account:?}, by webhook {other}")]
    NameTaken { name: String, account: AccountId, other: WebhookId },
    #[error("EventType {0:?} is unknown: use table.recordInsert, table.recordUpdate or table.recordDelete")]
    EventType(String),
    #[error("ObjectFields is only for table.recordUpdate, and EventType is {}: omit it", .0.event_type())]
    FieldsWithoutUpdate(Operation),
    #[error("EventSources: {0}")]
    EventSource(#[from] UnknownEventSource),
    #[error(
        "{field}: table {table:?} has no field {name:?}{}: its declaration does not name it, and the stream has not \
         shown it yet; correct the name, or add the field to the declaration (Tables in the file of outhook apply)",
        nearest_hint(.nearest)
    )]
    UnknownField { field: &'static str, table: String, name: String, nearest: Option<String> },
    #[error(
        "ObjectName: table {table:?} is not declared{}, and definitions.unknown_tables = \"refuse\" allows events only \
         on declared tables; correct the name, or declare the table (Tables in the file of outhook apply)",
        nearest_hint(.nearest)
    )]
    UnknownTable { table: String, nearest: Option<String> },
    #[error("CustomPayloadFields and CustomPayloadTemplate exclude each other: omit one of them")]
    TwoPayloads,
    #[error("CustomPayloadTemplate: {0}")]
    Template(#[from] TemplateError),
    #[error("Type: {0}")]
    FieldType(#[from] UnknownFieldType),
    #[error("the webhook has a {} event on {table:?} already, {other}: there can be only one", .operation.event_type())]
    SlotTaken { operation: Operation, table: String, other: EventId },
    #[error(
        "the webhook has a table.recordUpdate event on {table:?} already, {other}, and one of them is for all \
         fields: there can be one for all fields or several for selected fields (ObjectFields), not both"
    )]
    AllFieldsConflict { table: String, other: EventId },
    #[error(
        "the webhook has a table.recordUpdate event on {table:?} with the same ObjectFields already, {other}: the \
         order of the names makes no difference"
    )]
    SameFields { table: String, other: EventId },
}

impl Violation {
    /// The conflicting event, if a conflict is the reason.
    pub fn other_event(&self) -> Option<EventId> {
        match self {
            Violation::SlotTaken { other, .. }
            | Violation::AllFieldsConflict { other, .. }
            | Violation::SameFields { other, .. } => Some(*other),
            _ => None,
        }
    }
}

/// The part of a refusal that names the nearest name.
fn nearest_hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or(String::new(), |name| format!(" (the nearest is {name:?})"))
}
