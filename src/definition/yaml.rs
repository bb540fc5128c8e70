//! Definitions as users keep them in git: a YAML file with the names of the REST API.

mod file_error;
mod table;

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_path_to_error::Track;
use serde_saphyr::{Location, Spanned};

pub use self::table::{FieldEntry, TableEntry};
pub use super::reference::SecretText;
pub use super::shapes::{EventEntry, WebhookEntry};
use super::{Definitions, Event, Table, Webhook};
pub use crate::definition::yaml::file_error::InvalidFile;
use crate::id::AccountId;

/// A file of webhooks with their events, and of declared tables.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DefinitionFile {
    pub webhooks: Vec<Spanned<WebhookEntry>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Spanned<TableEntry>>,
}

/// Prefix of top-level keys that Outhook ignores: users define anchors there that other parts of the file refer to.
const USER_KEY_PREFIX: &str = "x-";

impl<'de> Deserialize<'de> for DefinitionFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = DefinitionFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DefinitionFile, A::Error> {
        let (mut webhooks, mut tables) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "Webhooks" => webhooks = Some(map.next_value()?),
                "Tables" => tables = Some(map.next_value()?),
                own if own.starts_with(USER_KEY_PREFIX) => {
                    map.next_value::<IgnoredAny>()?;
                }
                unknown => return Err(A::Error::unknown_field(unknown, &["Webhooks", "Tables"])),
            }
        }
        // Each list may be missing or empty, but a file without either is a mistake.
        if webhooks.is_none() && tables.is_none() {
            return self.visit_unit();
        }
        Ok(DefinitionFile { webhooks: webhooks.unwrap_or_default(), tables: tables.unwrap_or_default() })
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<DefinitionFile, E> {
        Err(E::custom(file_error::EMPTY_FILE))
    }
}

impl DefinitionFile {
    /// # Errors
    /// The text is empty or not YAML, a key is unknown, missing or duplicate, or a value has the wrong type.
    pub fn parse(text: &str) -> Result<DefinitionFile, InvalidFile> {
        // The operator wrote the file, so its size and nesting need no limits.
        let options = serde_saphyr::options! { with_snippet: false, budget: None };
        let mut track = Track::new();
        let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
            DefinitionFile::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track))
        });
        read.map_err(|error| InvalidFile::new(&error, &track.path()))
    }

    /// The definitions of one account, or of all, as a file. Applying the file changes nothing.
    pub fn of(definitions: &Definitions, account: Option<&AccountId>, show_secrets: bool) -> DefinitionFile {
        let mut webhooks: Vec<_> = match account {
            Some(account) => definitions.webhooks_of(account).collect(),
            None => definitions.webhooks().collect(),
        };
        webhooks.sort_by_key(|webhook| (&webhook.account, &webhook.name));
        let entry = |webhook: &&Webhook| WebhookEntry::of(webhook, definitions.events_of(webhook.id), show_secrets);
        let mut tables: Vec<&Table> = match account {
            Some(account) => definitions.tables_of(account).collect(),
            None => definitions.declared().collect(),
        };
        tables.sort_by_key(|table| (&table.account, &table.name));
        DefinitionFile {
            webhooks: webhooks.iter().map(entry).map(without_location).collect(),
            tables: tables.into_iter().map(TableEntry::of).map(without_location).collect(),
        }
    }

    /// The file as YAML text.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("a file holds nothing but texts, numbers, lists and maps with text keys")
    }
}

impl WebhookEntry {
    fn of<'d>(webhook: &Webhook, events: impl Iterator<Item = &'d Event>, show_secret: bool) -> Self {
        let settings = if show_secret { webhook.handling.clone() } else { webhook.handling.with_hidden_values() };
        Self {
            account: Some(webhook.account.as_str().to_owned()),
            name: webhook.name.clone(),
            description: webhook.description.clone(),
            outgoing_urls: webhook.urls.clone(),
            call_throttling: webhook.call_throttling,
            secret: show_secret.then(|| SecretText(webhook.secret.expose().to_owned())),
            enabled: (!webhook.enabled).then_some(false),
            events: events.map(EventEntry::of).map(without_location).collect(),
            ..Self::with_settings(settings.into())
        }
    }
}

impl EventEntry {
    fn of(event: &Event) -> Self {
        let (fields, template) = event.payload.clone().parts();
        Self {
            event_type: event.operation.event_type().to_owned(),
            object_name: event.object_name.clone(),
            object_fields: event.object_fields.clone(),
            event_sources: event.event_sources.clone(),
            custom_payload_fields: fields,
            custom_payload_template: template,
            enabled: (!event.enabled).then_some(false),
        }
    }
}

/// Wraps an entry that was not read from a file and so has no location.
fn without_location<T>(entry: T) -> Spanned<T> {
    Spanned::new(entry, Location::UNKNOWN, Location::UNKNOWN)
}

#[cfg(test)]
mod tests;
