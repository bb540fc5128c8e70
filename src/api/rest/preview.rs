//! Previews: the exact message that an event sends for a row change, and why events fire or do not.

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

/// How large the messages of a preview may be together, but for the first.
const MOST_BYTES: usize = 1024 * 1024;

/// A row change to show a message of: one that is given, or the newest one of the event's table.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PreviewRequest {
    /// A row change in the outhook format. Left out: the newest one of the table that this instance has read.
    #[schema(value_type = Option<Object>, example = json!({"table": "MyCustomers", "operation": "insert", "after": {"First_Name": "Ann"}}))]
    change: Option<Value>,
    /// For a preview of a draft: the event, as it would be created.
    event: Option<EventWanted>,
    /// For an explanation without a change: the table whose newest change is explained.
    table: Option<String>,
}

/// What an event does with a row change.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Preview)]
pub(super) struct PreviewAnswer {
    /// Whether it would be sent. Messages are shown also if not.
    fires: bool,
    /// Why, or why not.
    reason: String,
    messages: Vec<PreviewedMessage>,
    /// What may not be as it is meant: a table or field that was never seen, for instance.
    warnings: Vec<String>,
}

/// A message to one URL.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Message)]
pub(super) struct PreviewedMessage {
    message_id: String,
    call_id: String,
    url: String,
    /// The body exactly as it is sent, but for the secret, which is shown as whsec_….
    #[schema(value_type = Object)]
    body: Box<RawValue>,
}

/// Why one event fires or does not.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Explanation)]
pub(super) struct Explained {
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
    request_body = PreviewRequest, responses((status = 200, description = "What would be sent, and why.", body = PreviewAnswer)))]
pub(super) async fn of_event(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((webhook, event)): Path<(String, String)>,
    asked: PreviewBody,
) -> Result<Json<PreviewAnswer>, ApiError> {
    let (webhook, event) = api.store.with(|definitions| {
        let draft = PendingDefinitions::on(definitions);
        let event = edit::event(&draft, (&webhook, &event), &caller.account)?.clone();
        Ok::<_, ApiError>((edit::webhook(&draft, &webhook, &caller.account)?.clone(), event))
    })?;
    in_background(api, caller.account, move |api, account| api.preview(account, &webhook, &event, &asked))
        .await
        .map(Json)
}

/// Show the message that an event would send if it were created.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/preview", tag = "Previews",
    operation_id = "previewDraft", params(("webhookId" = String, Path)), request_body = PreviewRequest,
    responses((status = 200, description = "What would be sent, and why.", body = PreviewAnswer)))]
pub(super) async fn of_draft(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    asked: PreviewBody,
) -> Result<Json<PreviewAnswer>, ApiError> {
    let webhook = api.store.with(|definitions| {
        Ok::<_, ApiError>(edit::webhook(&PendingDefinitions::on(definitions), &webhook, &caller.account)?.clone())
    })?;
    let wanted = asked
        .request
        .event
        .as_ref()
        .ok_or_else(|| ApiError::body("Event is required: the event as it would be created"))?;
    let refused = |refusal| ApiError::body(format!("Event: {refusal}"));
    let event =
        edit::wanted_event(EventId::from_random([0; 6]), webhook.id, wanted, &webhook.created).map_err(refused)?;
    api.fields_known().await;
    in_background(api, caller.account, move |api, account| {
        api.known_names(&event, account).map_err(refused)?;
        api.preview(account, &webhook, &event, &asked)
    })
    .await
    .map(Json)
}

/// Say of each event of a webhook why it fires for a row change, or why not.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/explain", tag = "Previews", operation_id = "explain",
    params(("webhookId" = String, Path)), request_body = PreviewRequest,
    responses((status = 200, description = "Each event of the webhook.", body = [Explained])))]
pub(super) async fn explain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    asked: PreviewBody,
) -> Result<Json<Vec<Explained>>, ApiError> {
    let (webhook, events) = api.store.with(|definitions| {
        let webhook = edit::webhook(&PendingDefinitions::on(definitions), &webhook, &caller.account)?.clone();
        let events: Vec<Event> = definitions.events_of(webhook.id).cloned().collect();
        Ok::<_, ApiError>((webhook, events))
    })?;
    let explained = in_background(api, caller.account, move |api, account| {
        let table = asked.request.table.as_deref().map(|table| (table, None));
        api.record(account, table, &asked)?.change(account, |change| {
            let verdicts = matching::explain(change, events.iter().map(|event| (&webhook, event)));
            let explained = |(event, verdict): (&Event, matching::EventVerdict)| Explained {
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

/// Makes a preview apart from the threads on which messages go out.
async fn in_background<T: Send + 'static>(
    api: Arc<Api>,
    account: AccountId,
    make: impl FnOnce(&Api, &AccountId) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = api.shares.preview(&account).await?;
    let made = tokio::task::spawn_blocking(move || {
        // Held until it is done: who asked may be gone before.
        let _place = place;
        make(&api, &account)
    });
    made.await.expect("a preview does not panic")
}

/// A request, and its change as it was sent.
pub(super) struct PreviewBody {
    request: PreviewRequest,
    change: Option<Box<RawValue>>,
}

impl<S: Sync> FromRequest<S> for PreviewBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = body::read(request).await?;
        let request = body::parse(&bytes).map_err(ApiError::body)?;
        Ok(Self { request, change: body::raw(&bytes, "Change") })
    }
}

/// A record to read a row change from.
struct SampleRecord {
    sample: Arc<Sample>,
    settings: Arc<Settings>,
}

impl SampleRecord {
    /// Hands its row change on, which has to be of the caller's account.
    fn change<T>(&self, account: &AccountId, then: impl FnOnce(&RowChange<'_>) -> T) -> Result<T, ApiError> {
        let input: Input<'_> = self.sample.input();
        let decoded = Decoder::new(self.settings.clone(), WholeTables::default()).decode(&input);
        match decoded.map_err(|error| ApiError::body(format!("Change: {error}")))? {
            Decoded::Change(change) if change.account == account.as_str() => Ok(then(&change)),
            Decoded::Change(change) => {
                let message = format!(
                    "Change: its account is {:?}, and the client's is {account:?}: leave it out",
                    change.account
                );
                Err(ApiError::body(message))
            }
            Decoded::Ignored(kind) => {
                Err(ApiError::body(format!("Change: the record is no row change and fires nothing: {}", kind.as_str())))
            }
        }
    }
}

impl Api {
    /// The record of the change that is given, or else the newest one of a table, if possible of that operation.
    fn record(
        &self,
        account: &AccountId,
        table: Option<(&str, Option<Operation>)>,
        asked: &PreviewBody,
    ) -> Result<SampleRecord, ApiError> {
        if let Some(change) = &asked.change {
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
            ApiError::body("Change or Table is required: a row change, or the table whose newest one is meant")
        })?;
        let newest = self.catalogue.newest(account.as_str(), table, operation);
        let found = newest.and_then(|sample| {
            Some((self.decoding)(&sample.topic)).flatten().map(|settings| SampleRecord { sample, settings })
        });
        found.ok_or_else(|| {
            let message = format!("this instance has kept no row change of {table:?}: give one as Change");
            ApiError::new(StatusCode::NOT_FOUND, "ObjectNotFound", message)
        })
    }

    fn preview(
        &self,
        account: &AccountId,
        webhook: &Webhook,
        event: &Event,
        asked: &PreviewBody,
    ) -> Result<PreviewAnswer, ApiError> {
        let record = self.record(account, Some((&event.object_name, Some(event.operation))), asked)?;
        let mut renderer = Renderer::new(self.attachment_url.clone());
        let table = self.store.with(|definitions| definitions.table(account, &event.object_name).cloned());
        let warnings = self.warnings(account, event, table.as_ref());
        record.change(account, |change| {
            let verdict = matching::explain(change, [(webhook, event)]).pop();
            let messages = preview(&mut renderer, webhook, event, table.as_ref(), change, MOST_BYTES)
                .map_err(|error| ApiError::body(format!("the message can't be made: {error}")))?;
            let shown = messages.iter().map(|message| PreviewedMessage {
                message_id: message.id.to_string(),
                call_id: message.call.to_string(),
                url: message.target.endpoints[message.endpoint].url.to_string(),
                body: masked(&message.body, webhook),
            });
            let reason = verdict.as_ref().map_or(String::new(), |verdict| verdict.reason.to_string());
            let fires = verdict.is_some_and(|verdict| matches!(verdict.reason, Reason::Fires(_)));
            let left_out = webhook.urls.len().saturating_sub(messages.len());
            let warning =
                format!("the messages to {left_out} more URLs are left out: together they are too large to be shown");
            let warnings = warnings.into_iter().chain((left_out > 0).then_some(warning)).collect();
            Ok(PreviewAnswer { fires, reason, messages: shown.collect(), warnings })
        })?
    }

    /// Checks an event as its creation would.
    fn known_names(&self, event: &Event, account: &AccountId) -> Result<(), Violation> {
        let seen = |account: &AccountId, table: &str| super::seen(&self.catalogue, &self.stats, account, table);
        self.store
            .with(|all| edit::known_names(&PendingDefinitions::on(all), (event, None), account, (&self.policy, &seen)))
    }

    /// What an event names that is not declared and that the stream never showed, and what it names in vain.
    fn warnings(&self, account: &AccountId, event: &Event, declared: Option<&Table>) -> Vec<String> {
        let table = &event.object_name;
        let seen = self.catalogue.fields(account.as_str(), table);
        if seen.is_none() && declared.is_none() {
            return vec![format!(
                "no row change of table {table:?} was ever seen: is the name spelt as in the stream?"
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

/// A body without the webhook's secret.
fn masked(body: &[u8], webhook: &Webhook) -> Box<RawValue> {
    let text = String::from_utf8_lossy(body).replace(webhook.secret.expose(), "whsec_…");
    RawValue::from_string(text).expect("a body is JSON, and a secret in it stands in a text")
}
