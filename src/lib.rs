//! Outhook: row changes in Kafka become webhooks.
//!
//! The journey of a row change, in the order of the modules below: a record comes from its partition
//! (`source`), becomes a row change (`decode`), is held against the definitions (`matching`), turned into
//! messages (`render`), sent (`deliver`) and, when nothing is left to do, settled (`settle`) so that its
//! offset can be committed. On its way the `catalogue` sees it, `stats` sums what became of it, and the
//! `message_log` says it of each attempt, and `endpoints` tells how each endpoint stands over the group. `pipeline`
//! is the only module that knows this order; `app` the only one that constructs. `replay` reads records of the past
//! once more.

pub mod id;
pub mod json;
pub mod kafka;
pub mod lifecycle;
pub mod message_log;
pub mod receipt;
pub mod telemetry;
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
pub mod dev;

pub mod cli;
