//! `outhook dev`: the whole program on one machine, with a broker, sample tables and a receiver of its own.
//!
//! The sample knows by itself which messages each of its changes must send; the receiver verifies them and
//! the oracle ticks them off. What is judged is the program as `outhook run` runs it: nothing here reaches
//! into it but through its configuration, its topics and its endpoints.

mod broker;
mod definitions;
mod dice;
mod display;
mod feed;
mod glimpse;
mod latency;
mod oracle;
mod pace;
mod receiver;
mod report;
mod sample;
mod show;

use std::time::Duration;

pub use self::definitions::NotApplied;
pub use self::display::{Ready, Style};
pub use self::report::{Percentiles, Report, Summary};
pub use self::oracle::Tally;

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sample changes a second; 0 for none.
    pub rate: u32,
    /// How long sample changes are made; None is until a signal.
    pub duration: Option<Duration>,
    /// The first of three ports: broker, API, receiver. None takes free ones.
    pub ports: Option<u16>,
    /// What decides the sample changes.
    pub seed: u64,
    pub style: Style,
}
