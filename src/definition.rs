//! Webhooks, events and tables as people define them: validated, compiled once, held as one state that a log of
//! records builds. Pure: no clock, no I/O.

pub mod authentication;
mod client;
mod draft;
pub mod edit;
mod endpoint;
mod event;
mod field_type;
pub mod guard;
pub mod handling;
mod hidden;
mod kept;
mod keyring;
mod order;
pub mod plan;
mod record;
mod reference;
pub mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod secret;
mod secret_text;
mod state;
mod table;
pub mod template;
mod tls;
mod usage;
mod webhook;
pub mod yaml;

pub use self::authentication::Authentication;
pub use self::client::{Client, TokenKey};
pub use self::draft::Draft;
pub use self::endpoint::{BadUrl, Endpoint};
pub use self::event::{Event, Payload};
pub use self::field_type::{FieldType, UnknownFieldType};
pub use self::handling::{Handling, MAX_HEADER};
pub use self::hidden::HiddenText;
pub use self::keyring::{BadKey, CannotOpen, Keyring};
pub use self::order::{BadOrder, Order};
pub use self::record::{BadReason, BadRecord, Key, LogRecord, VERSION};
pub use self::reference::Reference;
pub use self::secret::{BadSecret, Secret};
pub use self::secret_text::without_secrets;
pub use self::state::{Applied, Changes, Definitions, TableKey};
pub use self::table::{Table, TableField};
pub use self::tls::{Tls, TlsSettings, authorities};
pub use self::usage::Usage;
pub use self::webhook::{OldSecret, Stamp, Webhook};
