//! Definitions as a log: read to its end, followed after, written fenced.

mod config;
mod follow;
mod writer;

pub use self::config::Config;
