//! A row change that somebody gives on the command line, read as a source of records would read it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::value::Error as BadWord;
use serde::de::{DeserializeOwned, IntoDeserializer};

use crate::config::{Config, SourceConfig};
use crate::decode::{
    self, DecodeError, Decoded, Decoder, EventSourceRule, Format, Ignored, Input, RowChange, RowsSent, Settings,
    SnapshotRows, TableNaming, UnknownChange, WholeTables,
};
use crate::id::AccountId;
use crate::vocabulary::EventSource;

/// The record to read a row change from, and how its source would read it.
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// File with the record's value as it stands in Kafka; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub change: PathBuf,
    /// The record's key, as text.
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// A header of the record, such as the one that an event source is read from; given again for each.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    /// The record's format, outhook or debezium. Without this option, and for all settings below, it is as in the
    /// configured source that reads --topic, or in the only one.
    #[arg(long, value_parser = word::<Format>)]
    pub format: Option<Format>,
    /// The account of a change that names none.
    #[arg(long)]
    pub account: Option<String>,
    /// What made a change that names no source: Datasheet, DataPages, DataParts, Extensions, RESTAPIs,
    /// TriggeredActions or Tasks.
    #[arg(long, value_name = "SOURCE")]
    pub event_source: Option<EventSource>,
    /// What a Debezium table is called in definitions: table, schema.table or database.table.
    #[arg(long, value_name = "NAMING", value_parser = word::<TableNaming>)]
    pub table_name: Option<TableNaming>,
    /// What an update without its old row does: fire or skip.
    #[arg(long, value_name = "SETTING", value_parser = word::<UnknownChange>)]
    pub unknown_change: Option<UnknownChange>,
    /// What a snapshot's rows do: ignore or insert.
    #[arg(long, value_name = "SETTING", value_parser = word::<SnapshotRows>)]
    pub snapshot: Option<SnapshotRows>,
    /// Whether a delete's old row is whole, or that is to be learnt: whole or learn.
    #[arg(long, value_name = "SETTING", value_parser = word::<RowsSent>)]
    pub rows: Option<RowsSent>,
    /// The record's topic: message ids are made from a record's place where its change has no identity of
    /// its own.
    #[arg(long)]
    pub topic: Option<String>,
    /// The record's partition.
    #[arg(long, default_value_t = 0)]
    pub partition: i32,
    /// The record's offset.
    #[arg(long, default_value_t = 0)]
    pub offset: i64,
    /// Kafka's timestamp of the record, in milliseconds since 1970: the event date of a change that has no
    /// time of its own, and part of its place.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub timestamp: i64,
}

/// Why there is no row change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("can't read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    // It may be a secret without its name.
    #[error("the value of --header number {0} has no =: write it as name=value")]
    Header(usize),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the record is no row change and fires nothing: {}", .0.as_str())]
    Ignored(Ignored),
}

impl RecordArgs {
    /// Reads the record and hands its row change on, with the keys beside it that say nothing.
    ///
    /// # Errors
    /// The file can't be read, the record can't be decoded, or it is none that fires.
    pub fn read<T>(
        &self,
        config: Option<&Config>,
        then: impl FnOnce(&RowChange<'_>, &[String]) -> T,
    ) -> Result<T, ChangeError> {
        let value =
            super::read(&self.change).map_err(|error| ChangeError::Read { path: self.change.clone(), error })?;
        let headers = self.headers()?;
        let input = Input {
            topic: self.topic.as_deref().unwrap_or("preview"),
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp,
            key: self.key.as_deref().map(str::as_bytes),
            value: Some(&value),
            headers: &headers,
        };
        let settings = self.settings(config);
        let unknown = decode::unknown_keys(settings.format, &value);
        match Decoder::new(Arc::new(settings), WholeTables::default()).decode(&input)? {
            Decoded::Change(change) => Ok(then(&change, &unknown)),
            Decoded::Ignored(ignored) => Err(ChangeError::Ignored(ignored)),
        }
    }

    fn headers(&self) -> Result<Vec<(&str, &[u8])>, ChangeError> {
        let headers = self.headers.iter().enumerate();
        let pairs = headers.map(|(at, header)| match header.split_once('=') {
            Some((name, value)) => Ok((name, value.as_bytes())),
            None => Err(ChangeError::Header(at + 1)),
        });
        pairs.collect()
    }

    /// The settings of the record's source, with what the arguments say laid over them.
    fn settings(&self, config: Option<&Config>) -> Settings {
        let of_source = config.and_then(|config| match (&self.topic, config.sources.as_slice()) {
            (None, [only]) => Some(only.settings()),
            (topic, _) => topic.as_deref().and_then(|topic| config.source_of(topic)).map(SourceConfig::settings),
        });
        let mut settings = of_source.unwrap_or_else(|| Settings::new(Format::Outhook));
        let Self { format, account, event_source, table_name, unknown_change, snapshot, rows, .. } = self;
        set(&mut settings.format, *format);
        set(&mut settings.account, account.as_deref().map(AccountId::from));
        set(&mut settings.event_source, event_source.map(|source| Some(EventSourceRule::Constant(source))));
        set(&mut settings.table_name, *table_name);
        set(&mut settings.unknown_change, *unknown_change);
        set(&mut settings.snapshot, *snapshot);
        set(&mut settings.rows, *rows);
        settings
    }
}

fn set<T>(setting: &mut T, to: Option<T>) {
    if let Some(to) = to {
        *setting = to;
    }
}

/// Reads a setting as the configuration file spells it.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, BadWord> {
    T::deserialize(text.into_deserializer())
}
