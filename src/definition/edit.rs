//! Decides what an API request changes in the definitions. Pure: each decision comes with the records that carry it
//! out.

use std::fmt;

use super::rules::{self, EventSlots, Policy, SeenFields, Violation};
pub use super::shapes::{EventWanted, WebhookRequest};
use super::{
    Client, DefinitionKey, DeliverySettings, Event, LogRecord, OldSecret, PendingDefinitions, Secret, Stamp, TokenKey,
    Usage, Webhook,
};
use crate::definition::hidden_text::RetainedText;
use crate::definition::retained_secrets;
use crate::id::{AccountId, ClientId, EventId, TableId, WebhookId};

/// Context of a request: the account, and what the decision depends on.
pub struct RequestContext<'t> {
    pub account: &'t AccountId,
    pub policy: &'t Policy,
    pub stamp: &'t Stamp,
    /// Fields of a table that the stream has shown.
    pub seen_fields: &'t SeenFields<'t>,
    /// Fills its argument with random bytes, for ids and secrets.
    pub random: &'t dyn Fn(&mut [u8]),
}

/// Why a request does not change the definitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The definition does not exist, or belongs to another account. Both look the same to the caller.
    #[error("there is no {0}")]
    NotFound(MissingDefinition),
    #[error(transparent)]
    Refused(#[from] Violation),
}

/// A definition that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingDefinition {
    Webhook(String),
    Event { webhook: String, event: String },
    Client(ClientId),
}

/// Result of a decision: the records that carry it out, and its outcome.
pub type Decision<T> = Result<(Vec<LogRecord>, T), EditError>;

impl fmt::Display for MissingDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MissingDefinition::Webhook(id) => write!(f, "webhook {id:?}"),
            MissingDefinition::Event { webhook, event } => write!(f, "event {event:?} of webhook {webhook:?}"),
            MissingDefinition::Client(id) => write!(f, "API client {id}"),
        }
    }
}

/// Creates a webhook with a random secret.
///
/// # Errors
/// The first rule that the request breaks.
pub fn create_webhook(
    draft: &PendingDefinitions<'_>,
    request: &WebhookRequest,
    terms: &RequestContext<'_>,
) -> Decision<Webhook> {
    if request.enabled == Some(false) {
        return Err(Violation::NothingToDisable.into());
    }
    rules::check_secret_not_chosen(request.secret.as_ref(), None)?;
    let missing = |field| Violation::Missing { field };
    let webhook = Webhook {
        id: unused_id(terms.random, WebhookId::from_random, |id| draft.webhook(id).is_none()),
        account: terms.account.clone(),
        name: request.name.clone().ok_or(missing("Name"))?,
        description: request.description.clone(),
        urls: request.outgoing_urls.clone().ok_or(missing("OutgoingUrls"))?,
        call_throttling: call_throttling(request, terms)?.flatten(),
        secret: Secret::from_random(random_bytes(terms.random)),
        old_secret: None,
        handling: merge_delivery_settings(request, &DeliverySettings::default()).0,
        enabled: true,
        stopped: None,
        version: 1,
        created: terms.stamp.clone(),
        modified: None,
    };
    rules::webhook(&webhook, terms.policy)?;
    rules::destinations(&webhook, terms.policy)?;
    rules::unique_name(&webhook, draft)?;
    terms.policy.limits.check(draft, terms.account, None, Usage::of_webhook(&webhook))?;
    Ok((vec![check_record_size(LogRecord::webhook(&webhook))?], webhook))
}

/// Changes the given fields of a webhook. Enabled sets the status of all of its events.
///
/// # Errors
/// The webhook does not exist, the request changes nothing, or the first rule that it breaks.
pub fn change_webhook(
    draft: &PendingDefinitions<'_>,
    id: &str,
    request: &WebhookRequest,
    terms: &RequestContext<'_>,
) -> Decision<Webhook> {
    let before = webhook(draft, id, terms.account)?;
    rules::check_secret_not_chosen(request.secret.as_ref(), Some(&before.secret))?;
    if *request == (WebhookRequest { secret: request.secret.clone(), ..WebhookRequest::default() }) {
        return Err(Violation::NoChanges { keys: WebhookRequest::keys() }.into());
    }
    let (handling, retained) = merge_delivery_settings(request, &before.handling);
    let mut webhook = Webhook { handling, ..before.clone() };
    set(&mut webhook.name, &request.name);
    set(&mut webhook.urls, &request.outgoing_urls);
    webhook.description = request.description.clone().or(webhook.description);
    set(&mut webhook.call_throttling, &call_throttling(request, terms)?);
    // A definition file can disable a webhook as a whole. A request that enables its events enables the webhook too.
    if request.enabled == Some(true) {
        webhook.enabled = true;
        webhook.stopped = None;
    }
    rules::webhook(&webhook, terms.policy)?;
    if request.outgoing_urls.is_some() || request.authentication.is_some() {
        rules::destinations(&webhook, terms.policy)?;
    }
    retained_secrets::check(&retained, before, &webhook)?;
    rules::unique_name(&webhook, draft)?;
    terms.policy.limits.check(draft, terms.account, Some(Usage::of_webhook(before)), Usage::of_webhook(&webhook))?;
    terms.stamp.touch(&mut webhook.version, &mut webhook.modified);
    let mut records = vec![check_record_size(LogRecord::webhook(&webhook))?];
    for event in draft.events_of(webhook.id) {
        if let Some(enabled) = request.enabled.filter(|enabled| *enabled != event.enabled) {
            let mut event = Event { enabled, ..event.clone() };
            terms.stamp.touch(&mut event.version, &mut event.modified);
            records.push(LogRecord::event(&event));
        }
    }
    Ok((records, webhook))
}

/// Disables a webhook, and with it all of its events, because a receiver answered that it wants no more calls.
/// `cause` is the reason to show. Returns no records if the webhook is disabled, deleted, or changed since `version`:
/// then the answer was not about its current definition.
pub fn disable_webhook(
    draft: &PendingDefinitions<'_>,
    id: WebhookId,
    version: u32,
    cause: &str,
    stamp: &Stamp,
) -> Vec<LogRecord> {
    let Some(webhook) = draft.webhook(id).filter(|webhook| webhook.enabled && webhook.version == version) else {
        return Vec::new();
    };
    let mut webhook = Webhook { enabled: false, stopped: Some(cause.to_owned()), ..webhook.clone() };
    stamp.touch(&mut webhook.version, &mut webhook.modified);
    vec![LogRecord::webhook(&webhook)]
}

/// Deletes a webhook with its events.
///
/// # Errors
/// The webhook does not exist.
pub fn delete_webhook(draft: &PendingDefinitions<'_>, id: &str, account: &AccountId) -> Decision<()> {
    let id = webhook(draft, id, account)?.id;
    let events = draft.events_of(id).map(|event| DefinitionKey::Event(event.id));
    Ok((events.chain([DefinitionKey::Webhook(id)]).map(LogRecord::deletion).collect(), ()))
}

/// Replaces a webhook's secret at `now`. Messages are signed with the old secret too until `until`. Both are seconds
/// since 1970.
///
/// # Errors
/// The webhook does not exist. Or an overlap is requested while the old secret of an earlier replacement is still
/// valid: some receivers may know only that one.
pub fn regenerate_secret(
    draft: &PendingDefinitions<'_>,
    id: &str,
    (now, until): (i64, Option<i64>),
    terms: &RequestContext<'_>,
) -> Decision<Webhook> {
    let mut webhook = webhook(draft, id, terms.account)?.clone();
    if until.is_some() && webhook.old_secret.as_ref().is_some_and(|old| now < old.until) {
        return Err(Violation::OldSecretStillValid.into());
    }
    let old = std::mem::replace(&mut webhook.secret, Secret::from_random(random_bytes(terms.random)));
    webhook.old_secret = until.map(|until| OldSecret { secret: old, until });
    terms.stamp.touch(&mut webhook.version, &mut webhook.modified);
    Ok((vec![LogRecord::webhook(&webhook)], webhook))
}

/// Creates an event.
///
/// # Errors
/// The webhook does not exist, or the first rule that the event breaks.
pub fn create_event(
    draft: &PendingDefinitions<'_>,
    in_webhook: &str,
    request: &EventWanted,
    terms: &RequestContext<'_>,
) -> Decision<Event> {
    let webhook = webhook(draft, in_webhook, terms.account)?.id;
    let id = unused_id(terms.random, EventId::from_random, |id| draft.event(id).is_none());
    let event = check_event(draft, build_event(id, webhook, request, terms.stamp)?, None, terms)?;
    terms.policy.limits.check_events_of_webhook(draft.events_of(webhook).count())?;
    terms.policy.limits.check(draft, terms.account, None, Usage::of_event(&event))?;
    Ok((vec![check_record_size(LogRecord::event(&event))?], event))
}

/// Replaces an event. Only its id, its webhook and its creation stamp stay.
///
/// # Errors
/// The event does not exist, or the first rule that the new one breaks.
pub fn replace_event(
    draft: &PendingDefinitions<'_>,
    (in_webhook, id): (&str, &str),
    request: &EventWanted,
    terms: &RequestContext<'_>,
) -> Decision<Event> {
    let before = event(draft, (in_webhook, id), terms.account)?;
    let mut after = build_event(before.id, before.webhook, request, &before.created)?;
    after.version = before.version;
    terms.stamp.touch(&mut after.version, &mut after.modified);
    let after = check_event(draft, after, Some(before), terms)?;
    terms.policy.limits.check(draft, terms.account, Some(Usage::of_event(before)), Usage::of_event(&after))?;
    Ok((vec![check_record_size(LogRecord::event(&after))?], after))
}

/// Deletes an event.
///
/// # Errors
/// The event does not exist.
pub fn delete_event(draft: &PendingDefinitions<'_>, path: (&str, &str), account: &AccountId) -> Decision<()> {
    let id = event(draft, path, account)?.id;
    Ok((vec![LogRecord::deletion(DefinitionKey::Event(id))], ()))
}

/// Creates an API client, and with the first one the key that signs tokens. Returns the client with its secret, which
/// is not stored anywhere.
pub fn create_client(
    draft: &PendingDefinitions<'_>,
    name: &str,
    legacy: bool,
    terms: &RequestContext<'_>,
) -> (Vec<LogRecord>, (Client, String)) {
    let id = unused_id(terms.random, ClientId::from_random, |id| draft.client(id).is_none());
    let (account, created) = (terms.account.clone(), terms.stamp.clone());
    let made = Client::new(id, account, name.to_owned(), legacy, created.clone(), random_bytes(terms.random));
    let mut records = vec![LogRecord::client(&made.0)];
    if draft.token_key().is_none() {
        records.push(LogRecord::token_key(&TokenKey { key: Secret::from_random(random_bytes(terms.random)), created }));
    }
    (records, made)
}

/// Deletes an API client. Its tokens are invalid from then on.
///
/// # Errors
/// The client does not exist.
pub fn revoke_client(draft: &PendingDefinitions<'_>, id: ClientId) -> Decision<Client> {
    let client = draft.client(id).ok_or(EditError::NotFound(MissingDefinition::Client(id)))?;
    Ok((vec![LogRecord::deletion(DefinitionKey::Client(id))], client.clone()))
}

/// Builds the event that a request describes. It is not yet checked against other events.
///
/// # Errors
/// The first rule that the event alone breaks.
pub fn build_event(
    id: EventId,
    webhook: WebhookId,
    request: &EventWanted,
    created: &Stamp,
) -> Result<Event, Violation> {
    let missing = |field| Violation::Missing { field };
    let event_type = request.event_type.as_deref().ok_or(missing("EventType"))?;
    let operation = rules::operation(event_type)?;
    let is_inactive = request.status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("inactive"));
    let event = Event {
        id,
        webhook,
        operation,
        type_as_given: (event_type != operation.event_type()).then(|| event_type.to_owned()),
        object_name: request.object_name.clone().ok_or(missing("ObjectName"))?,
        object_fields: request.object_fields.clone().unwrap_or_default(),
        event_sources: request.event_sources.clone().unwrap_or_default(),
        payload: rules::payload(request.custom_payload_fields.clone(), request.custom_payload_template.clone())?,
        enabled: request.enabled.unwrap_or(!is_inactive),
        version: 1,
        created: created.clone(),
        modified: None,
    };
    rules::event(&event)?;
    Ok(event)
}

/// Finds a webhook of an account.
///
/// # Errors
/// The webhook does not exist or belongs to another account.
pub fn webhook<'d>(draft: &'d PendingDefinitions<'_>, id: &str, account: &AccountId) -> Result<&'d Webhook, EditError> {
    let found = id.parse().ok().and_then(|id| draft.webhook(id)).filter(|webhook| webhook.account == *account);
    found.ok_or_else(|| EditError::NotFound(MissingDefinition::Webhook(id.to_owned())))
}

/// Finds an event of a webhook of an account.
///
/// # Errors
/// One of them does not exist or belongs to another account.
pub fn event<'d>(
    draft: &'d PendingDefinitions<'_>,
    (of, id): (&str, &str),
    account: &AccountId,
) -> Result<&'d Event, EditError> {
    let of = webhook(draft, of, account)?.id;
    let found = id.parse().ok().and_then(|id| draft.event(id)).filter(|event| event.webhook == of);
    found.ok_or_else(|| EditError::NotFound(MissingDefinition::Event { webhook: of.to_string(), event: id.to_owned() }))
}

/// Merges the delivery settings of a request into the present ones. Also returns the secrets that stay because the
/// request does not give them.
fn merge_delivery_settings(
    request: &WebhookRequest,
    before: &DeliverySettings,
) -> (DeliverySettings, Vec<RetainedText>) {
    let mut settings = DeliverySettings::from(request.settings_over(before.with_hidden_values().into()));
    let retained = settings.restore_hidden(Some(before));
    (settings, retained)
}

fn call_throttling(request: &WebhookRequest, terms: &RequestContext<'_>) -> Result<Option<Option<u32>>, Violation> {
    request.call_throttling.map(|calls| rules::call_throttling(calls, &terms.policy.limits)).transpose()
}

/// Checks that a record is small enough for Kafka. Characters that JSON escapes take several bytes in it.
fn check_record_size(record: LogRecord) -> Result<LogRecord, Violation> {
    let bytes = record.value.as_ref().map_or(0, Vec::len);
    if bytes > rules::MAX_RECORD { Err(Violation::TooLarge { bytes }) } else { Ok(record) }
}

/// Checks that an event's table may have events, and that it has the fields that the event names, as far as they are
/// known. A table or field that the event named `before` stays allowed.
///
/// # Errors
/// [`Violation::UnknownTable`] or [`Violation::UnknownField`].
pub fn known_names(
    draft: &PendingDefinitions<'_>,
    (event, before): (&Event, Option<&Event>),
    account: &AccountId,
    (policy, seen): (&Policy, &SeenFields<'_>),
) -> Result<(), Violation> {
    match draft.table(TableId::of(account, &event.object_name)) {
        Some(table) => rules::known_fields(event, before, table, seen),
        None => rules::unknown_table(event, before, || draft.committed().tables_of(account), policy),
    }
}

/// Checks an event against its table and against the other events on it.
fn check_event(
    draft: &PendingDefinitions<'_>,
    event: Event,
    before: Option<&Event>,
    terms: &RequestContext<'_>,
) -> Result<Event, Violation> {
    known_names(draft, (&event, before), terms.account, (terms.policy, terms.seen_fields))?;
    let mut slots = EventSlots::default();
    for other in draft.events_of(event.webhook) {
        if other.id != event.id && other.object_name == event.object_name {
            // Conflicts among existing events are not this event's problem.
            let _ = slots.claim(other);
        }
    }
    slots.claim(&event)?;
    Ok(event)
}

/// A random id that is not in use.
pub(super) fn unused_id<Id: Copy, const N: usize>(
    random: &dyn Fn(&mut [u8]),
    id: fn([u8; N]) -> Id,
    mut is_unused: impl FnMut(Id) -> bool,
) -> Id {
    loop {
        let id = id(random_bytes(random));
        if is_unused(id) {
            return id;
        }
    }
}

pub(super) fn random_bytes<const N: usize>(random: &dyn Fn(&mut [u8])) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

fn set<T: Clone>(field: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

#[cfg(test)]
mod tests;
