//! The HTTP listener: what an instance serves to operators and, one day, to API clients.

mod config;
mod listener;
mod operations;

pub use self::config::Config;
pub use self::listener::{BindError, Listener};
pub use self::operations::Operations;
