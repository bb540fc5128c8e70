//! Webhooks and events as users write and read them: in requests, in files and in answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use super::reference::SecretText;
use super::{Authentication, DeliverySettings, HiddenText, MessageOrder, TlsSettings};

/// Defines the shapes of a webhook from one table of its call settings. A row has the documentation of a setting in
/// requests, its key, field and type, its documentation in answers, and attributes of its fields in answers and files.
/// serde's `flatten` could share the fields too, but an error in a flattened value has no line and no path.
macro_rules! webhook_shapes {
    ($(
        $(#[$($request:tt)*])*
        $key:ident $field:ident: $type:ty => $shown:tt
        $(answers #[$($answer:tt)*] files #[$($file:tt)*])?;
    )*) => {
        /// A webhook in a request. Creation requires Name and OutgoingUrls. A change needs at least one field, and
        /// omitted fields stay as they are.
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
            /// Max calls per second over the whole group, up to the installation's limits.call_throttling (default
            /// 1000000), which is the same as no limit. Omitted: no limit.
            #[schema(minimum = 1, maximum = 4_294_967_295_i64)]
            pub call_throttling: Option<i64>,
            /// Only in a change: makes all events of the webhook Active or Inactive.
            pub enabled: Option<bool>,
            $(
                $(#[$($request)*])*
                #[serde(deserialize_with = "given")]
                pub $field: Option<Option<$type>>,
            )*
            /// A request can't choose the secret: it is generated. A change may send back the present one, because
            /// legacy lists contain it.
            #[schema(ignore)]
            pub secret: Option<HiddenText>,
        }

        /// A webhook in a file, identified by account and name. A setting that the file omits is reset to its default,
        /// except a secret, which is kept.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "PascalCase")]
        pub struct WebhookEntry {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub account: Option<String>,
            pub name: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub description: Option<String>,
            pub outgoing_urls: Vec<String>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub call_throttling: Option<u32>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub secret: Option<SecretText>,
            // A secret in these may be a reference too.
            $(
                $(#[$($file)*])?
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub enabled: Option<bool>,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub events: Vec<Spanned<EventEntry>>,
        }

        /// Our extensions: the call settings of a webhook. A field is present only if it is set.
        #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
        #[serde(rename_all = "PascalCase")]
        #[schema(as = HandlingShown)]
        pub struct CallSettings {
            $(
                #[doc = $shown]
                $(#[$($answer)*])?
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl WebhookRequest {
            /// The call settings after the request. Those that it omits are the present ones, and null resets.
            pub(super) fn settings_over(&self, present: CallSettings) -> CallSettings {
                CallSettings { $($field: self.$field.clone().unwrap_or(present.$field),)* }
            }
        }

        impl WebhookEntry {
            pub(super) fn settings(&self) -> CallSettings {
                CallSettings { $($field: self.$field.clone(),)* }
            }

            /// An entry with only these settings.
            pub(super) fn with_settings(settings: CallSettings) -> Self {
                Self { $($field: settings.$field,)* ..Self::default() }
            }
        }

        impl CallSettings {
            /// The keys of all call settings.
            pub const KEYS: &[&str] = &[$(stringify!($key),)*];

            /// The value of each of [`Self::KEYS`] as JSON, or None if it is not set.
            pub fn values(&self) -> Vec<Option<String>> {
                vec![$(json(&self.$field),)*]
            }
        }
    };
}

webhook_shapes! {
    /// Ours: timeout of an attempt, in seconds. null: the installation's default.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 120)]
    Timeout timeout: u32 => "Max duration of an attempt, in seconds.";

    /// Ours: delay before each retry, in seconds, at most 30 days in total. null: the installation's default.
    #[schema(value_type = Option<Vec<u32>>, max_items = 50, example = json!([0, 5, 30, 60]))]
    RetrySchedule retry_schedule: Vec<u32> => "The wait before each retry, in seconds.";

    /// Ours: additional headers of each request, by name, such as an API key of the receiver. The value … keeps the
    /// present one. null: none.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({"X-Api-Key": "…"}))]
    Headers headers: BTreeMap<String, HiddenText> => "Headers of each request, with hidden values."
    answers #[schema(value_type = BTreeMap<String, String>, required = false)]
    files #[serde(deserialize_with = "not_null")];

    /// Ours: sets the Authorization header of each request. Excludes one in Headers. null: none.
    #[schema(value_type = Option<Authentication>)]
    Authentication authentication: Authentication => "The Authorization header, with its secret hidden.";

    /// Ours: the webhook's own TLS settings. null: the installation's.
    #[schema(value_type = Option<TlsSettings>)]
    Tls tls: TlsSettings => "TLS settings of the webhook, with the key hidden.";

    /// Ours: whether the default payload holds the secret, as Caspio's does. null: true.
    #[schema(value_type = Option<bool>)]
    PayloadSecret payload_secret: bool => "False if the default payload omits the secret.";

    /// Ours: the order of messages. RowKey sends messages about one row in the order of the row's changes. None, the
    /// same as null, has no order. Letter case is ignored.
    #[schema(value_type = Option<MessageOrder>)]
    Order order: MessageOrder => "The order in which messages are sent, if there is one.";
}

impl WebhookRequest {
    /// The keys that a change may have, separated by commas.
    pub(super) fn keys() -> String {
        let omitted = serde_json::to_string(&Self::default()).expect("names and nulls are JSON");
        // All values are null, so each text in quotes is a key.
        let keys = omitted.split('"').skip(1).step_by(2).filter(|key| *key != "Secret");
        keys.collect::<Vec<_>>().join(", ")
    }
}

impl From<DeliverySettings> for CallSettings {
    fn from(settings: DeliverySettings) -> Self {
        let DeliverySettings { timeout, retry, headers, authentication, tls, omit_secret, order } = settings;
        Self {
            timeout,
            retry_schedule: retry,
            headers: Some(headers).filter(|headers| !headers.is_empty()),
            authentication,
            tls,
            payload_secret: omit_secret.then_some(false),
            order: Some(order).filter(|order| !order.is_none()),
        }
    }
}

impl From<CallSettings> for DeliverySettings {
    fn from(settings: CallSettings) -> Self {
        let CallSettings { timeout, retry_schedule, headers, authentication, tls, payload_secret, order } = settings;
        Self {
            timeout,
            retry: retry_schedule,
            headers: headers.unwrap_or_default(),
            authentication,
            tls,
            omit_secret: payload_secret == Some(false),
            order: order.unwrap_or_default(),
        }
    }
}

fn json(value: &Option<impl Serialize>) -> Option<String> {
    value.as_ref().map(|value| serde_json::to_string(value).expect("names, numbers and texts are JSON"))
}

/// Distinguishes null, which counts as given, from an omitted field.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Refuses null: a key without a value may be a mistake in the indentation of what follows.
fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
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

/// An event in a file, identified within its webhook by type, table and set of fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct EventEntry {
    pub event_type: String,
    pub object_name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub object_fields: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_sources: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_payload_fields: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_payload_template: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}
