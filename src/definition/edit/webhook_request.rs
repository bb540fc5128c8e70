//! Webhooks and events as requests describe them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::definition::{Authentication, HiddenText, MessageOrder, TlsSettings};

/// A webhook in a request. Creation requires Name and OutgoingUrls. A change needs at least one field, and omitted
/// fields stay as they are.
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
    /// The URLs that messages go to: https, without duplicates.
    #[schema(required, nullable = false, min_items = 1, max_items = 100,
        example = json!(["https://crm.example.com/hooks/customers"]))]
    pub outgoing_urls: Option<Vec<String>>,
    /// Max calls per second over the whole group, up to the installation's limits.call_throttling (default 1000000),
    /// which is the same as no limit. Omitted: no limit.
    #[schema(minimum = 1, maximum = 4_294_967_295_i64)]
    pub call_throttling: Option<i64>,
    /// Ours: timeout of an attempt, in seconds. null: the installation's default.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 120)]
    pub timeout: Option<Option<u32>>,
    /// Ours: delay before each retry, in seconds, at most 30 days in total. null: the installation's default.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Vec<u32>>, max_items = 50, example = json!([0, 5, 30, 60]))]
    pub retry_schedule: Option<Option<Vec<u32>>>,
    /// Ours: additional headers of each request, by name, such as an API key of the receiver. The value … keeps the
    /// present one. null: none.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({"X-Api-Key": "…"}))]
    pub headers: Option<Option<BTreeMap<String, HiddenText>>>,
    /// Ours: sets the Authorization header of each request. Excludes one in Headers. null: none.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<Authentication>)]
    pub authentication: Option<Option<Authentication>>,
    /// Ours: the webhook's own TLS settings. null: the installation's.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<TlsSettings>)]
    pub tls: Option<Option<TlsSettings>>,
    /// Ours: whether the default payload holds the secret, as Caspio's does. null: true.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<bool>)]
    pub payload_secret: Option<Option<bool>>,
    /// Ours: the order of messages. RowKey sends messages about one row in the order of the row's changes. None, the
    /// same as null, has no order. Letter case is ignored.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<MessageOrder>)]
    pub order: Option<Option<MessageOrder>>,
    /// Only in a change: makes all events of the webhook Active or Inactive.
    pub enabled: Option<bool>,
    /// A request can't choose the secret: it is generated. A change may send back the present one, because legacy
    /// lists contain it.
    #[schema(ignore)]
    pub secret: Option<HiddenText>,
}

/// An event in a request. A change replaces the whole event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "PascalCase")]
#[schema(as = EventRequest)]
pub struct EventWanted {
    /// table.recordInsert, table.recordUpdate or table.recordDelete. Letter case is ignored. `Type`, the name in
    /// answers, is accepted too.
    #[serde(alias = "Type")]
    #[schema(required, nullable = false, example = "table.recordUpdate")]
    pub event_type: Option<String>,
    /// Name of the table.
    #[schema(required, nullable = false, min_length = 1, max_length = 255, example = "MyCustomers")]
    pub object_name: Option<String>,
    /// Only for table.recordUpdate: the fields whose change fires the event. Omitted or empty: any field.
    #[schema(max_items = 1000)]
    pub object_fields: Option<Vec<String>>,
    /// Datasheet (or Datasheets), DataPages, DataParts, Extensions, RESTAPIs, TriggeredActions, Tasks. Omitted or
    /// empty: all of them.
    pub event_sources: Option<Vec<String>>,
    /// The fields of the default payload. Omitted or empty: all, future ones too.
    #[schema(max_items = 1000)]
    pub custom_payload_fields: Option<Vec<String>>,
    /// The payload as a template. Excludes CustomPayloadFields.
    #[schema(max_length = 262_144)]
    pub custom_payload_template: Option<String>,
    /// Omitted: true, unless Status is Inactive.
    pub enabled: Option<bool>,
    /// Active or Inactive, as in answers. Enabled takes precedence.
    pub status: Option<String>,
}

/// Distinguishes null, which counts as given, from an omitted field.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
