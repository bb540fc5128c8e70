//! Webhooks and events as requests ask for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::definition::{Authentication, HiddenText, MessageOrder, TlsSettings};

/// A webhook as it is asked for. When it is created, Name and OutgoingUrls are required; when it is changed, what
/// is left out stays as it is, and at least one thing must be given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "PascalCase")]
#[schema(as = WebhookRequest)]
pub struct WebhookRequest {
    /// Unique in the account, at most 255 characters.
    #[schema(required, nullable = false, min_length = 1, max_length = 255, example = "Customers")]
    pub name: Option<String>,
    /// May be long and have newlines.
    #[schema(max_length = 10_000)]
    pub description: Option<String>,
    /// Where messages go: https, none twice.
    #[schema(required, nullable = false, min_items = 1, max_items = 100,
        example = json!(["https://crm.example.com/hooks/customers"]))]
    pub outgoing_urls: Option<Vec<String>>,
    /// The most calls a second, over the whole group: up to the installation's limits.call_throttling, 1000000 unless set,
    /// which is the same as no limit. Left out: no limit.
    #[schema(minimum = 1, maximum = 4_294_967_295_i64)]
    pub call_throttling: Option<i64>,
    /// Ours: how long an attempt may take, in seconds. null: as the installation has it.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 120)]
    pub timeout: Option<Option<u32>>,
    /// Ours: the wait before each retry, in seconds, 30 days in sum. null: as the installation has it.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Vec<u32>>, max_items = 50, example = json!([0, 5, 30, 60]))]
    pub retry_schedule: Option<Option<Vec<u32>>>,
    /// Ours: headers that each request has, by name, such as an API key of the receiver. The value … keeps the one
    /// that is there. null: none.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({"X-Api-Key": "…"}))]
    pub headers: Option<Option<BTreeMap<String, HiddenText>>>,
    /// Ours: what is sent as the Authorization header. Excludes one in Headers. null: none.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Authentication>)]
    pub authentication: Option<Option<Authentication>>,
    /// Ours: TLS of the webhook's own. null: the installation's.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<TlsSettings>)]
    pub tls: Option<Option<TlsSettings>>,
    /// Ours: whether the default payload holds the secret, as Caspio's does. null: true.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    pub payload_secret: Option<Option<bool>>,
    /// Ours: whether messages about one row go out in the order of the row's changes (RowKey), or in none (None, the
    /// same as null). The case of its letters is forgiven.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<MessageOrder>)]
    pub order: Option<Option<MessageOrder>>,
    /// Only when it is changed: makes all events of the webhook Active or Inactive.
    pub enabled: Option<bool>,
    /// None that is asked for: it is made. In a change it may be the one that is there, as legacy lists have it.
    #[schema(ignore)]
    pub secret: Option<HiddenText>,
}

/// An event as it is asked for; a change replaces the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "PascalCase")]
#[schema(as = EventRequest)]
pub struct EventWanted {
    /// table.recordInsert, table.recordUpdate or table.recordDelete; the case of its letters is forgiven. `Type`, as
    /// answers have it, is understood too.
    #[serde(alias = "Type")]
    #[schema(required, nullable = false, example = "table.recordUpdate")]
    pub event_type: Option<String>,
    /// The table.
    #[schema(required, nullable = false, min_length = 1, max_length = 255, example = "MyCustomers")]
    pub object_name: Option<String>,
    /// Only for table.recordUpdate: the fields whose change fires the event. Left out or empty: any field.
    #[schema(max_items = 1000)]
    pub object_fields: Option<Vec<String>>,
    /// Datasheet (or Datasheets), DataPages, DataParts, Extensions, RESTAPIs, TriggeredActions, Tasks. Left out or
    /// empty: all of them.
    pub event_sources: Option<Vec<String>>,
    /// The fields that the default payload holds. Left out or empty: all, future ones too.
    #[schema(max_items = 1000)]
    pub custom_payload_fields: Option<Vec<String>>,
    /// The payload as a template; excludes CustomPayloadFields.
    #[schema(max_length = 262_144)]
    pub custom_payload_template: Option<String>,
    /// Left out: true, unless Status says Inactive.
    pub enabled: Option<bool>,
    /// Active or Inactive, as answers have it; Enabled comes first.
    pub status: Option<String>,
}

/// Tells a null, which is given, from what is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
