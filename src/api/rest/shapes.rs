//! Webhooks and events as the API returns them: keys and their order as CONTRACT and the seed page have them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::definition::rules::DefinitionLimits;
use crate::definition::{CallSettings, Event, Webhook};

/// Counts for an event, or for all events of a webhook, over the last 30 days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Counts {
    /// Messages rendered.
    pub messages: u64,
    /// Calls started: one for each message and URL.
    pub calls: u64,
    /// Attempts that failed.
    pub errors: u64,
}

/// A list: a bare array, or an object with `Result` for legacy clients.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Listed<T> {
    Bare(Vec<T>),
    Legacy {
        #[serde(rename = "Result")]
        result: Vec<T>,
    },
}

impl<T> Listed<T> {
    pub fn of(items: Vec<T>, legacy: bool) -> Self {
        if legacy { Self::Legacy { result: items } } else { Self::Bare(items) }
    }
}

/// Whether the events fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(super) enum Status {
    Active,
    Inactive,
}

impl Status {
    fn of(active: bool) -> Self {
        if active { Status::Active } else { Status::Inactive }
    }
}

/// The first fields of a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WebhookHead {
    #[schema(pattern = "^[a-z0-9]{6}$", example = "3f0zq9")]
    id: String,
    name: String,
    #[schema(required)]
    description: Option<String>,
    outgoing_urls: Vec<String>,
    /// Max calls a second over the whole group. Without a throttle of the webhook: the maximum that is allowed here.
    #[schema(value_type = i64, minimum = 1, maximum = 4_294_967_295_i64)]
    call_throttling: u32,
}

/// A new webhook, with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WebhookCreated {
    #[serde(flatten)]
    head: WebhookHead,
    /// Receivers verify signatures with it. No later answer shows it.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwzDR3f3d4zvg=")]
    secret: String,
    #[schema(format = DateTime, example = "2023-05-17T12:45:27.5286883Z")]
    date_created: String,
    created_by: String,
    #[serde(flatten)]
    settings: CallSettings,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = WebhookChanged)]
pub(super) struct WebhookView {
    #[serde(flatten)]
    head: WebhookHead,
    /// Only for legacy clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    /// Active if any of its events is Active, or if it has no events.
    status: Status,
    /// Why all of its events are Inactive, if a receiver's answer (410 Gone) caused that. A PUT with Enabled true makes
    /// them Active again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    stopped_because: Option<String>,
    #[schema(format = DateTime, example = "2023-05-17T12:45:27.5286883Z")]
    date_created: String,
    created_by: String,
    #[schema(required, format = DateTime)]
    last_modified: Option<String>,
    #[schema(required)]
    modified_by: Option<String>,
    #[serde(flatten)]
    settings: CallSettings,
}

/// A webhook with its counts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Webhook)]
pub(super) struct WebhookRead {
    #[serde(flatten)]
    webhook: WebhookView,
    /// Number of its events.
    events: usize,
    #[serde(flatten)]
    pub counts: Counts,
    /// 1 after its creation; each change adds 1.
    #[schema(value_type = i64, minimum = 1)]
    version: u32,
}

/// A new event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EventCreated {
    #[schema(pattern = "^[a-z0-9]{6}$", example = "4040va")]
    id: String,
    /// The event type, spelt as in the request.
    #[serde(rename = "Type")]
    #[schema(example = "table.recordUpdate")]
    event_type: String,
    status: Status,
    #[schema(example = "MyCustomers")]
    object_name: String,
    object_fields: Vec<String>,
    /// Missing if the request had none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    event_sources: Vec<String>,
    /// Null if the request had none.
    #[schema(required)]
    custom_payload_fields: Option<Vec<String>>,
    /// As in the request; missing if the request had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    custom_payload_template: Option<String>,
    #[schema(format = DateTime, example = "2023-05-17T12:45:27.5286883Z")]
    date_created: String,
    created_by: String,
}

/// An event after a change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EventChanged {
    #[serde(flatten)]
    event: EventCreated,
    #[schema(required, format = DateTime)]
    last_modified: Option<String>,
    #[schema(required)]
    modified_by: Option<String>,
}

/// An event with its counts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Event)]
pub(super) struct EventRead {
    #[serde(flatten)]
    event: EventChanged,
    /// A UUID made from account and table: all events on a table have the same.
    #[schema(format = "uuid", example = "5f0c3a4e-8a55-8d0b-9c1f-6e2b7d9a1c34")]
    object_id: String,
    #[serde(flatten)]
    counts: Counts,
    /// 1 after its creation; each change adds 1.
    #[schema(value_type = i64, minimum = 1)]
    version: u32,
}

impl WebhookHead {
    fn of(webhook: &Webhook, limits: &DefinitionLimits) -> Self {
        Self {
            id: webhook.id.to_string(),
            name: webhook.name.clone(),
            description: webhook.description.clone(),
            outgoing_urls: webhook.urls.clone(),
            call_throttling: webhook.call_throttling.unwrap_or(limits.max_call_throttling),
        }
    }
}

impl WebhookCreated {
    pub fn of(webhook: Webhook, limits: &DefinitionLimits) -> Self {
        Self {
            head: WebhookHead::of(&webhook, limits),
            secret: webhook.secret.expose().to_owned(),
            settings: webhook.handling.with_hidden_values().into(),
            date_created: webhook.created.at,
            created_by: webhook.created.by,
        }
    }
}

impl WebhookView {
    pub fn of<'e>(webhook: &Webhook, mut events: impl Iterator<Item = &'e Event>, limits: &DefinitionLimits) -> Self {
        let first = events.next();
        let any = first.is_none_or(|first| first.enabled || events.any(|event| event.enabled));
        let (last_modified, modified_by) = webhook.modified.clone().map(|stamp| (stamp.at, stamp.by)).unzip();
        Self {
            head: WebhookHead::of(webhook, limits),
            secret: None,
            status: Status::of(webhook.enabled && any),
            stopped_because: webhook.stopped.clone(),
            date_created: webhook.created.at.clone(),
            created_by: webhook.created.by.clone(),
            last_modified,
            modified_by,
            settings: webhook.handling.with_hidden_values().into(),
        }
    }
}

impl WebhookRead {
    /// Returns it with zero counts, and for legacy clients with its secret.
    pub fn of<'e>(
        webhook: &Webhook,
        events: impl Iterator<Item = &'e Event> + Clone,
        limits: &DefinitionLimits,
        legacy: bool,
    ) -> Self {
        let mut shown = WebhookView::of(webhook, events.clone(), limits);
        shown.secret = legacy.then(|| webhook.secret.expose().to_owned());
        Self { webhook: shown, events: events.count(), counts: Counts::default(), version: webhook.version }
    }
}

impl EventCreated {
    /// `webhook_enabled`: whether its webhook is enabled.
    pub fn of(event: Event, webhook_enabled: bool) -> Self {
        let (fields, template) = event.payload.parts();
        Self {
            id: event.id.to_string(),
            event_type: event.type_as_given.unwrap_or_else(|| event.operation.event_type().to_owned()),
            status: Status::of(event.enabled && webhook_enabled),
            object_name: event.object_name,
            object_fields: event.object_fields,
            event_sources: event.event_sources,
            custom_payload_fields: fields,
            custom_payload_template: template,
            date_created: event.created.at,
            created_by: event.created.by,
        }
    }
}

impl EventChanged {
    pub fn of(mut event: Event, webhook_enabled: bool) -> Self {
        let (last_modified, modified_by) = event.modified.take().map(|stamp| (stamp.at, stamp.by)).unzip();
        Self { event: EventCreated::of(event, webhook_enabled), last_modified, modified_by }
    }
}

impl EventRead {
    pub fn of(event: Event, webhook_enabled: bool, object_id: String, counts: Counts) -> Self {
        let version = event.version;
        Self { event: EventChanged::of(event, webhook_enabled), object_id, counts, version }
    }
}
