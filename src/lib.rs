//! Outhook: row changes in Kafka become webhooks.
//!
//! The modules below are in the order of a row change's journey. `source` reads a record from its partition. `decode`
//! turns it into a row change. `matching` finds the events that the row change fires. `render` makes messages of it,
//! and `deliver` sends them. `settle` settles the record when nothing is left to do, which lets its offset be
//! committed.
//!
//! On the way, `catalogue` notes the table and its fields, `stats` counts the results, `message_log` logs each
//! attempt, and `endpoints` reports the state of each endpoint over the whole group. `redelivery` sends again: dead
//! letters, logged messages, and messages of past records. `pipeline` is the only module that knows the order, and
//! `app` the only one that constructs the parts.

pub mod id;
pub mod json;
pub mod kafka;
pub mod lifecycle;
pub mod message_log;
pub mod receipt;
pub mod telemetry;
pub mod time;
pub mod vocabulary;

pub mod source;

pub mod decode;

pub mod definition;

pub mod rules;

pub mod matching;

pub mod render;

pub mod deliver;

pub mod settle;

pub mod dead_letters;

pub mod endpoints;

pub mod catalogue;

pub mod pipeline;

pub mod redelivery;

pub mod store;

pub mod stats;

pub mod api;
pub mod config;
pub mod topics;

pub mod app;
#[cfg(feature = "dev")]
pub mod dev;

pub mod cli;
