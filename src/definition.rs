//! Webhooks and events as people define them: validated, compiled once, held as one state that a log of
//! records builds. Pure: no clock, no I/O.

mod endpoint;
mod event;
pub mod plan;
mod record;
pub mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod secret;
mod state;
pub mod template;
mod webhook;
pub mod yaml;

pub use self::endpoint::{BadUrl, Endpoint};
pub use self::event::{Event, Payload};
pub use self::record::{BadReason, BadRecord, Key, LogRecord, VERSION};
pub use self::secret::{BadSecret, Secret};
pub use self::state::{Applied, Changes, Definitions, TableKey};
pub use self::webhook::{Stamp, Webhook};
