//! Webhooks, events and tables as users define them: validated, compiled once, and held as one state that a log of
//! records builds. Pure: no clock, no I/O.

pub mod address_guard;
pub mod authentication;
mod client;
mod compiled_tls;
pub mod delivery_settings;
pub mod edit;
mod endpoint;
mod event;
mod field_type;
mod hidden_text;
mod keyring;
mod order;
mod pending;
pub mod plan;
mod record;
mod reference;
mod retained_secrets;
pub mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod secret;
mod secret_text;
mod shapes;
mod state;
mod table;
pub mod template;
mod tls;
mod usage;
mod webhook;
pub mod yaml;

pub use self::authentication::Authentication;
pub use self::client::{Client, TokenKey};
pub use self::compiled_tls::CompiledTls;
pub use self::delivery_settings::{DeliverySettings, MAX_HEADER_VALUE};
pub use self::endpoint::{BadUrl, Endpoint};
pub use self::event::{Event, Payload};
pub use self::field_type::{FieldType, UnknownFieldType};
pub use self::keyring::{BadKey, Keyring, OpenError};
pub use self::order::{BadOrder, MessageOrder};
pub use self::pending::PendingDefinitions;
pub use self::record::{BadReason, BadRecord, DefinitionKey, LogRecord, VERSION};
pub use self::reference::{SecretError, SecretReference};
pub use self::secret::{BadSecret, Secret};
pub use self::secret_text::redact_secrets;
pub use self::shapes::CallSettings;
pub use self::state::{ApplyOutcome, DefinitionChanges, Definitions, TableKey};
pub use self::table::{Table, TableField};
pub use self::tls::{AuthoritiesError, TlsSettings, authorities};
pub use self::usage::Usage;
pub use self::webhook::{OldSecret, Stamp, Webhook};
pub use crate::definition::hidden_text::HiddenText;
