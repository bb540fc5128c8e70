//! Previews: the exact message that an event sends for a row change, and why events fire or not.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Path, Request, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::Api;
use super::super::body;
use super::super::error::ApiError;
use super::super::oauth::Caller;
use crate::catalogue::Sample;
use crate::decode::{Decoded, Decoder, Format, Input, RowChange, Settings, WholeTables};
use crate::definition::edit::{self, EventWanted};
use crate::definition::rules::Violation;
use crate::definition::{Event, Payload, PendingDefinitions, Table, TableField, Webhook};
use crate::id::{AccountId, EventId};
use crate::matching::{self, Reason};
use crate::render::{Renderer, preview};
use crate::vocabulary::Operation;

/// Max total size of a preview's messages, in bytes. The first message is shown even if it is larger.
const MAX_PREVIEW_BYTES: usize = 1024 * 1024;

/// The row change to preview: the one in the request, or the newest one of the event's table.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PreviewRequest {
    /// A row change in the outhook format. Default: the newest one of the table that this instance has read.
    #[schema(value_type = Option<Object>, example = json!({"table": "MyCustomers", "operation": "insert", "after": {"First_Name": "Ann"}}))]
    change: Option<Value>,
    /// For a preview of a draft: the event, as in a request to create it.
    event: Option<EventWanted>,
    /// For explain without Change: the table whose newest row change is used.
    table: Option<String>,
}

/// What an event does with a row change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Preview)]
pub(super) struct PreviewResponse {
    /// Whether the event fires for the row change. Messages are shown even if not.
    fires: bool,
    /// Why it fires or not.
    reason: String,
    messages: Vec<PreviewedMessage>,
    /// Possible mistakes in the event, for instance a table or field that was never seen.
    warnings: Vec<String>,
}

/// A message to one URL.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PreviewedMessage {
    message_id: String,
    call_id: String,
    url: String,
    /// The body exactly as it is sent, except the secret, which is shown as whsec_….
    #[schema(value_type = Object)]
    body: Box<RawValue>,
}

/// Why one event fires or not.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Explanation)]
pub(super) struct EventExplanation {
    event_id: String,
    #[serde(rename = "Type")]
    event_type: &'static str,
    object_name: String,
    fires: bool,
    reason: String,
}

/// Show the message that an event sends for a row change.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/events/{eventId}/preview", tag = "Previews",
    operation_id = "previewEvent", params(("webhookId" = String, Path), ("eventId" = String, Path)),
    request_body = PreviewRequest,
    responses((status = 200, description = "The messages, and why it fires or not.", body = PreviewResponse)))]
pub(super) async fn of_event(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, event)): Path<(String, String)>,
    body: PreviewBody,
) -> Result<Json<PreviewResponse>, ApiError> {
    let (webhook, event) = api.store.with(|definitions| {
        let draft = PendingDefinitions::new(definitions);
        let event = edit::event(&draft, (&webhook, &event), &caller.account)?.clone();
        Ok::<_, ApiError>((edit::webhook(&draft, &webhook, &caller.account)?.clone(), event))
    })?;
    run_blocking(api, caller.account, move |api, account| api.preview(account, &webhook, &event, &body)).await.map(Json)
}

/// Show the message that an event would send if it were created.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/preview", tag = "Previews",
    operation_id = "previewDraft", params(("webhookId" = String, Path)), request_body = PreviewRequest,
    responses((status = 200, description = "The messages, and why it fires or not.", body = PreviewResponse)))]
pub(super) async fn of_draft(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    body: PreviewBody,
) -> Result<Json<PreviewResponse>, ApiError> {
    let webhook = api.webhook(&webhook, &caller)?;
    let event_request = body
        .request
        .event
        .as_ref()
        .ok_or_else(|| ApiError::body("Event is required: the event as it would be created"))?;
    let refused = |refusal| ApiError::body(format!("Event: {refusal}"));
    let event = edit::build_event(EventId::from_random([0; 6]), webhook.id, event_request, &webhook.created)
        .map_err(refused)?;
    api.wait_for_catalogue().await;
    run_blocking(api, caller.account, move |api, account| {
        api.known_names(&event, account).map_err(refused)?;
        api.preview(account, &webhook, &event, &body)
    })
    .await
    .map(Json)
}

/// Explain for each event of a webhook why it fires for a row change or not.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/explain", tag = "Previews", operation_id = "explain",
    params(("webhookId" = String, Path)), request_body = PreviewRequest,
    responses((status = 200, description = "Each event of the webhook.", body = [EventExplanation])))]
pub(super) async fn explain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    body: PreviewBody,
) -> Result<Json<Vec<EventExplanation>>, ApiError> {
    let (webhook, events) = api.store.with(|definitions| {
        let webhook = edit::webhook(&PendingDefinitions::new(definitions), &webhook, &caller.account)?.clone();
        let events: Vec<Event> = definitions.events_of(webhook.id).cloned().collect();
        Ok::<_, ApiError>((webhook, events))
    })?;
    let explained = run_blocking(api, caller.account, move |api, account| {
        let table = body.request.table.as_deref().map(|table| (table, None));
        api.record(account, table, &body)?.with_row_change(account, |change| {
            let verdicts = matching::explain(change, events.iter().map(|event| (&webhook, event)));
            let explained = |(event, verdict): (&Event, matching::EventVerdict)| EventExplanation {
                event_id: event.id.to_string(),
                event_type: event.operation.event_type(),
                object_name: event.object_name.clone(),
                fires: verdict.fires(),
                reason: verdict.reason.to_string(),
            };
            events.iter().zip(verdicts).map(explained).collect()
        })
    });
    explained.await.map(Json)
}

/// Makes a preview on a blocking thread, so that it does not delay the threads that send messages.
async fn run_blocking<T: Send + 'static>(
    api: Arc<Api>,
    account: AccountId,
    make: impl FnOnce(&Api, &AccountId) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let permit = api.account_limits.preview(&account).await?;
    let made = tokio::task::spawn_blocking(move || {
        // The preview keeps its permit until it ends, even if the client disconnects before.
        let _permit = permit;
        make(&api, &account)
    });
    made.await.expect("a preview does not panic")
}

/// A request, and the raw text of its row change.
pub(super) struct PreviewBody {
    request: PreviewRequest,
    raw_change: Option<Box<RawValue>>,
}

impl<S: Sync> FromRequest<S> for PreviewBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = body::read(request).await?;
        let request = body::parse(&bytes)?;
        Ok(Self { request, raw_change: body::raw(&bytes, "Change") })
    }
}

/// A record that contains the row change to preview.
struct SampleRecord {
    sample: Arc<Sample>,
    settings: Arc<Settings>,
}

impl SampleRecord {
    /// Decodes the row change and passes it to `then`. It must be of the caller's account.
    fn with_row_change<T>(&self, account: &AccountId, then: impl FnOnce(&RowChange<'_>) -> T) -> Result<T, ApiError> {
        let input: Input<'_> = self.sample.input();
        let decoded = Decoder::new(self.settings.clone(), WholeTables::default()).decode(&input);
        match decoded.map_err(|error| ApiError::body(format!("Change: {error}")))? {
            Decoded::Change(change) if change.account == account.as_str() => Ok(then(&change)),
            Decoded::Change(change) => {
                let message = format!(
                    "Change: its account is {:?}, but the client's is {account:?}: omit the account",
                    change.account
                );
                Err(ApiError::body(message))
            }
            Decoded::Ignored(kind) => {
                Err(ApiError::body(format!("Change: it is not a row change, so it fires no event: {}", kind.as_str())))
            }
        }
    }
}

impl Api {
    /// The record of the request's row change, or else the newest record of the table, if possible of the operation.
    fn record(
        &self,
        account: &AccountId,
        table: Option<(&str, Option<Operation>)>,
        body: &PreviewBody,
    ) -> Result<SampleRecord, ApiError> {
        if let Some(change) = &body.raw_change {
            let sample = Sample {
                topic: "preview".into(),
                partition: 0,
                offset: 0,
                timestamp_ms: Timestamp::now().as_millisecond(),
                key: None,
                value: change.get().as_bytes().to_vec(),
                headers: Vec::new(),
            };
            let settings = Settings { account: account.clone(), ..Settings::new(Format::Outhook) };
            return Ok(SampleRecord { sample: Arc::new(sample), settings: Arc::new(settings) });
        }
        let (table, operation) = table.ok_or_else(|| {
            ApiError::body("Change or Table is required: a row change, or the table whose newest row change is used")
        })?;
        let newest = self.catalogue.newest(account.as_str(), table, operation);
        let found = newest.and_then(|sample| {
            Some((self.decoder_settings)(&sample.topic)).flatten().map(|settings| SampleRecord { sample, settings })
        });
        found.ok_or_else(|| {
            let message = format!("this instance holds no row change of table {table:?}: send one as Change");
            ApiError::new(StatusCode::NOT_FOUND, "ObjectNotFound", message)
        })
    }

    fn preview(
        &self,
        account: &AccountId,
        webhook: &Webhook,
        event: &Event,
        body: &PreviewBody,
    ) -> Result<PreviewResponse, ApiError> {
        let record = self.record(account, Some((&event.object_name, Some(event.operation))), body)?;
        let mut renderer = Renderer::new(self.attachment_url.clone());
        let table = self.store.with(|definitions| definitions.table(account, &event.object_name).cloned());
        let warnings = self.warnings(account, event, table.as_ref());
        record.with_row_change(account, |change| {
            let verdict = matching::explain(change, [(webhook, event)]).pop();
            let messages = preview(&mut renderer, webhook, event, table.as_ref(), change, MAX_PREVIEW_BYTES)
                .map_err(|error| ApiError::body(format!("the message can't be made: {error}")))?;
            let shown = messages.iter().map(|message| PreviewedMessage {
                message_id: message.id.to_string(),
                call_id: message.call_id.to_string(),
                url: message.target.endpoints[message.endpoint].url.to_string(),
                body: masked(&message.body, webhook),
            });
            let reason = verdict.as_ref().map_or(String::new(), |verdict| verdict.reason.to_string());
            let fires = verdict.is_some_and(|verdict| matches!(verdict.reason, Reason::Fires(_)));
            let omitted = webhook.urls.len().saturating_sub(messages.len());
            let warning = format!("the messages to {omitted} more URLs are not shown: in total they are too large");
            let warnings = warnings.into_iter().chain((omitted > 0).then_some(warning)).collect();
            Ok(PreviewResponse { fires, reason, messages: shown.collect(), warnings })
        })?
    }

    /// Checks the names in an event as its creation would.
    fn known_names(&self, event: &Event, account: &AccountId) -> Result<(), Violation> {
        let seen = |account: &AccountId, table: &str| super::seen_fields(&self.catalogue, &self.stats, account, table);
        self.store
            .with(|all| edit::known_names(&PendingDefinitions::new(all), (event, None), account, (&self.policy, &seen)))
    }

    /// Warnings about names in an event: tables and fields that are neither declared nor seen, and fields never sent.
    fn warnings(&self, account: &AccountId, event: &Event, declared: Option<&Table>) -> Vec<String> {
        let table = &event.object_name;
        let seen = self.catalogue.fields(account.as_str(), table);
        if seen.is_none() && declared.is_none() {
            return vec![format!(
                "no row change of table {table:?} was ever seen: check that the name is spelt as in the stream"
            )];
        }
        let selected = event.object_fields.iter().map(|field| ("ObjectFields", field));
        let sent = match &event.payload {
            Payload::Fields(fields) => fields.as_slice(),
            Payload::Default | Payload::Template(_) => &[],
        };
        let declared = |name: &str| declared.and_then(|table| table.field(name));
        let was_seen = |name: &str| seen.iter().flatten().any(|field| field.name == name);
        let named = selected.chain(sent.iter().map(|field| ("CustomPayloadFields", field)));
        let unknown = named.filter(|(_, name)| declared(name).is_none() && !was_seen(name));
        let unknown = unknown.map(|(key, name)| format!("{key}: no field {name:?} of table {table:?} was ever seen"));
        let hidden = sent.iter().filter(|name| declared(name).is_some_and(TableField::is_password));
        let hidden = hidden.map(|name| {
            format!("CustomPayloadFields: {name:?} is declared as PASSWORD, so it is not sent: only a template can")
        });
        unknown.chain(hidden).collect()
    }
}

/// The body with the webhook's secret replaced.
fn masked(body: &[u8], webhook: &Webhook) -> Box<RawValue> {
    let text = String::from_utf8_lossy(body).replace(webhook.secret.expose(), "whsec_…");
    RawValue::from_string(text).expect("a body is JSON, and a secret in it is inside a string")
}
