//! Webhooks and events as people define them: validated, compiled once, held as one state that a log of
//! records builds. Pure: no clock, no I/O.

mod endpoint;
mod event;
mod rules;
mod secret;
mod state;
pub mod template;
mod webhook;
mod yaml;

pub use self::endpoint::{BadUrl, Endpoint};
pub use self::event::{Event, Payload};
pub use self::secret::Secret;
pub use self::state::{Definitions, TableKey};
pub use self::webhook::{Stamp, Webhook};
