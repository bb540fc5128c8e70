//! The parts of `outhook dev` around the program: an embedded broker, sample tables with a stream of changes, a
//! receiver that checks every message, and the display.
//!
//! The crate uses nothing of the program. So the oracle shares no code with what it checks, and the program can be
//! built without this crate. Values of the program, such as message ids, are passed as plain values and functions.

mod broker;
mod display;
pub mod endpoint;
mod feed;
mod latency;
mod log_buffer;
mod oracle;
mod receiver;
mod recent_messages;
mod report;
mod sample;
mod show;
mod steady_rate;

pub use self::broker::{Broker, CHANGES, CHANGES_PARTITIONS, Door};
pub use self::display::{Ready, Style};
pub use self::feed::{Feed, MessagesOf};
pub use self::log_buffer::Notes;
pub use self::oracle::{Oracle, Tally};
pub use self::receiver::Receiver;
pub use self::recent_messages::Glimpses;
pub use self::report::{DevReport, Percentiles, Summary};
pub use self::sample::{Change, SOURCES, SampleEvent};
pub use self::show::{Show, Sights};
