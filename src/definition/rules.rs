//! The rules that a definition must keep. They are checked only here.
//!
//! [`webhook`], [`event`] and [`table()`] check a definition alone. [`unique_name`] and [`EventSlots`] check it
//! against others. Each refusal names the request field as users write it, the value, and the fix.

mod fields;
mod limits;
mod sizes;
mod violation;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub use self::fields::{SeenFields, UnknownTablePolicy, known_fields, unknown_table};
pub use self::limits::DefinitionLimits;
pub use self::sizes::{
    MAX_DESCRIPTION, MAX_FIELDS, MAX_FIELDS_BYTES, MAX_NAME, MAX_RECORD, MAX_TEMPLATE, MAX_URL, MAX_URLS,
};
pub use self::violation::Violation;
use super::authentication::TOKEN_URL_FIELD;
use super::template::Template;
use super::{
    Authentication, Endpoint, Event, HiddenText, Payload, PendingDefinitions, Secret, Table, TableField, Webhook,
};
use crate::definition::address_guard::AddressGuard;
use crate::id::EventId;
use crate::vocabulary::{EventSource, Operation};

/// The rules that an installation configures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether outgoing URLs may be http.
    pub allow_http: bool,
    pub limits: DefinitionLimits,
    pub unknown_tables: UnknownTablePolicy,
    /// Which addresses may be dialled.
    pub address_guard: AddressGuard,
}

/// Parses an event type.
///
/// # Errors
/// [`Violation::EventType`].
pub fn operation(event_type: &str) -> Result<Operation, Violation> {
    Operation::from_event_type(event_type).ok_or_else(|| Violation::EventType(event_type.to_owned()))
}

/// Parses a throttle limit. The highest allowed value gives None: it is the same as no limit.
///
/// # Errors
/// [`Violation::CallThrottling`].
pub fn call_throttling(calls: i64, limits: &DefinitionLimits) -> Result<Option<u32>, Violation> {
    let most = limits.max_call_throttling;
    match u32::try_from(calls) {
        Ok(calls) if calls == most => Ok(None),
        Ok(calls) if (1..most).contains(&calls) => Ok(Some(calls)),
        _ => Err(Violation::CallThrottling { calls, most }),
    }
}

/// Builds a payload from the two alternatives. An empty list or text counts as not given.
///
/// # Errors
/// [`Violation::TwoPayloads`].
pub fn payload(fields: Option<Vec<String>>, template: Option<String>) -> Result<Payload, Violation> {
    match (fields.filter(|fields| !fields.is_empty()), template.filter(|template| !template.is_empty())) {
        (None, None) => Ok(Payload::Default),
        (Some(fields), None) => Ok(Payload::Fields(fields)),
        (None, Some(template)) => Ok(Payload::Template(template)),
        (Some(_), Some(_)) => Err(Violation::TwoPayloads),
    }
}

/// Checks that a request does not choose a webhook's secret, because the choice would be ignored. The present secret
/// may be sent back.
///
/// # Errors
/// [`Violation::SecretGiven`].
pub fn check_secret_not_chosen(given: Option<&HiddenText>, present: Option<&Secret>) -> Result<(), Violation> {
    let is_unchanged = |given: &HiddenText| present.is_some_and(|present| present.expose() == given.0);
    if given.is_none_or(is_unchanged) { Ok(()) } else { Err(Violation::SecretGiven) }
}

/// Checks a webhook alone.
///
/// # Errors
/// The first rule that the webhook breaks.
pub fn webhook(webhook: &Webhook, policy: &Policy) -> Result<(), Violation> {
    name("Account", webhook.account.as_str())?;
    name("Name", &webhook.name)?;
    let description = webhook.description.as_deref().unwrap_or_default();
    check_max_length("Description", description.chars().count(), MAX_DESCRIPTION, "characters")?;
    if webhook.urls.is_empty() {
        return Err(Violation::Missing { field: "OutgoingUrls" });
    }
    check_max_length("OutgoingUrls", webhook.urls.len(), MAX_URLS, "URLs")?;
    for url in &webhook.urls {
        check_max_length("A URL in OutgoingUrls", url.len(), MAX_URL, "bytes")?;
        if !Endpoint::parse(url)?.https && !policy.allow_http {
            return Err(Violation::Http(url.clone()));
        }
    }
    check_unique_urls(&webhook.urls)?;
    if webhook.call_throttling == Some(0) {
        return Err(Violation::ZeroCallThrottling);
    }
    webhook.handling.check(policy.allow_http)
}

/// Checks that no URL names an address that would never be dialled. Only for URLs that are being written: an existing
/// webhook can still be changed and disabled after the configuration has become stricter.
///
/// # Errors
/// [`Violation::Address`].
pub fn destinations(webhook: &Webhook, policy: &Policy) -> Result<(), Violation> {
    let urls = webhook.urls.iter().map(|url| ("OutgoingUrls", url.as_str()));
    let token_url = webhook.handling.authentication.as_ref().and_then(Authentication::token_url);
    for (field, url) in urls.chain(token_url.map(|url| (TOKEN_URL_FIELD, url))) {
        let host = Endpoint::parse(url)?.host;
        let check = policy.address_guard.check_host(&host);
        check.map_err(|refused| Violation::Address { field, url: url.to_owned(), refused })?;
    }
    Ok(())
}

/// Checks that no other webhook of the account has the name.
///
/// # Errors
/// [`Violation::NameTaken`].
pub fn unique_name(webhook: &Webhook, among: &PendingDefinitions<'_>) -> Result<(), Violation> {
    match among.webhooks_named(&webhook.account, &webhook.name).find(|other| other.id != webhook.id) {
        None => Ok(()),
        Some(other) => {
            Err(Violation::NameTaken { name: webhook.name.clone(), account: webhook.account.clone(), other: other.id })
        }
    }
}

/// Checks an event alone.
///
/// # Errors
/// The first rule that the event breaks.
pub fn event(event: &Event) -> Result<(), Violation> {
    name("ObjectName", &event.object_name)?;
    if event.operation != Operation::Update && !event.object_fields.is_empty() {
        return Err(Violation::FieldsWithoutUpdate(event.operation));
    }
    fields("ObjectFields", &event.object_fields)?;
    for source in &event.event_sources {
        source.parse::<EventSource>()?;
    }
    check_unique_names("EventSources", &event.event_sources)?;
    match &event.payload {
        Payload::Default => Ok(()),
        Payload::Fields(names) => fields("CustomPayloadFields", names),
        Payload::Template(text) => {
            check_max_length("CustomPayloadTemplate", text.len(), MAX_TEMPLATE, "bytes")?;
            Template::compile(text)?;
            Ok(())
        }
    }
}

/// Checks a declared table. [`table_field`] checks each of its fields before.
///
/// # Errors
/// The first rule that the table breaks.
pub fn table(table: &Table) -> Result<(), Violation> {
    name("Account", table.account.as_str())?;
    name("Name", &table.name)?;
    check_max_length("Fields", table.fields.len(), MAX_FIELDS, "fields")?;
    let bytes = |field: &TableField| {
        let texts = [field.label.as_deref(), field.description.as_deref()];
        field.name.len() + texts.into_iter().flatten().map(str::len).sum::<usize>()
    };
    check_max_length(
        "Fields",
        table.fields.iter().map(bytes).sum(),
        MAX_FIELDS_BYTES,
        "bytes of names, labels and descriptions",
    )
}

/// Checks one field of a declared table.
///
/// # Errors
/// The first rule that the field breaks.
pub fn table_field(field: &TableField) -> Result<(), Violation> {
    name("Name", &field.name)?;
    let characters = |text: &Option<String>| text.as_deref().map_or(0, |text| text.chars().count());
    check_max_length("Label", characters(&field.label), MAX_NAME, "characters")?;
    check_max_length("Description", characters(&field.description), MAX_DESCRIPTION, "characters")
}

/// The slots of a webhook for events: on each table one insert event, one delete event, and either one update event
/// for all fields or any number for different sets of fields.
#[derive(Debug, Default)]
pub struct EventSlots<'e> {
    tables: HashMap<&'e str, TableSlots<'e>>,
}

#[derive(Debug, Default)]
struct TableSlots<'e> {
    insert: Option<EventId>,
    delete: Option<EventId>,
    /// By set of fields. The empty set is all fields.
    updates: BTreeMap<BTreeSet<&'e str>, EventId>,
}

impl<'e> EventSlots<'e> {
    /// Takes the slot of an event.
    ///
    /// # Errors
    /// Another event has the slot, or the table would have both an update event for all fields and one for selected
    /// fields.
    pub fn claim(&mut self, event: &'e Event) -> Result<(), Violation> {
        let table = self.tables.entry(&event.object_name).or_default();
        let only = match event.operation {
            Operation::Insert => &mut table.insert,
            Operation::Delete => &mut table.delete,
            Operation::Update => return table.claim_update(event),
        };
        if let Some(other) = *only {
            let table = event.object_name.clone();
            return Err(Violation::SlotTaken { operation: event.operation, table, other });
        }
        *only = Some(event.id);
        Ok(())
    }
}

impl<'e> TableSlots<'e> {
    fn claim_update(&mut self, event: &'e Event) -> Result<(), Violation> {
        let table = || event.object_name.clone();
        let fields: BTreeSet<&str> = event.object_fields.iter().map(String::as_str).collect();
        if let Some(other) = self.updates.get(&fields) {
            return Err(if fields.is_empty() {
                Violation::SlotTaken { operation: event.operation, table: table(), other: *other }
            } else {
                Violation::SameFields { table: table(), other: *other }
            });
        }
        // An event for all fields excludes others, so any existing event shows which kind the table has.
        if let Some((others, other)) = self.updates.first_key_value()
            && others.is_empty() != fields.is_empty()
        {
            return Err(Violation::AllFieldsConflict { table: table(), other: *other });
        }
        self.updates.insert(fields, event.id);
        Ok(())
    }
}

fn name(field: &'static str, name: &str) -> Result<(), Violation> {
    if name.trim().is_empty() {
        return Err(Violation::Missing { field });
    }
    check_max_length(field, name.chars().count(), MAX_NAME, "characters")
}

fn fields(field: &'static str, names: &[String]) -> Result<(), Violation> {
    check_max_length(field, names.len(), MAX_FIELDS, "names")?;
    check_max_length(field, names.iter().map(String::len).sum(), MAX_FIELDS_BYTES, "bytes")?;
    if names.iter().any(String::is_empty) {
        return Err(Violation::EmptyName { field });
    }
    check_unique_names(field, names)
}

/// Refuses two spellings of one URL: each message would be sent there twice.
fn check_unique_urls(urls: &[String]) -> Result<(), Violation> {
    let mut seen = HashSet::with_capacity(urls.len());
    for url in urls {
        let Endpoint { https, host, port, uri, .. } = Endpoint::parse(url)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        if !seen.insert((https, host.to_ascii_lowercase(), port, path)) {
            return Err(Violation::Duplicate { field: "OutgoingUrls", value: url.clone() });
        }
    }
    Ok(())
}

fn check_unique_names(field: &'static str, names: &[String]) -> Result<(), Violation> {
    let mut seen = HashSet::with_capacity(names.len());
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Violation::Duplicate { field, value: name.clone() }),
    }
}

fn check_max_length(field: &'static str, length: usize, most: usize, unit: &'static str) -> Result<(), Violation> {
    if length > most { Err(Violation::TooLong { field, length, most, unit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
