//! Reads a row change from a file, as a source would read it from its record.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::value::Error as BadWord;
use serde::de::{DeserializeOwned, IntoDeserializer};

use crate::config::{Config, SourceConfig};
use crate::decode::{
    self, DecodeError, Decoded, Decoder, EventSourceRule, Format, Ignored, Input, RowChange, RowsSent, Settings,
    SnapshotRows, TableNaming, UnknownChangePolicy, WholeTables,
};
use crate::id::AccountId;
use crate::vocabulary::EventSource;

/// Options of the record that holds the row change, and of the source that would read it.
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// File with the record's value as it is in Kafka; - reads standard input.
    #[arg(long, value_name = "FILE")]
    pub change: PathBuf,
    /// The record's key, as text.
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
    /// A header of the record, such as the one that names the event source. Can be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    /// The record's format: outhook or debezium. Default, as for the settings below: that of the configured source
    /// that reads --topic, or of the only source.
    #[arg(long, value_parser = word::<Format>)]
    pub format: Option<Format>,
    /// The account of a change that names none.
    #[arg(long)]
    pub account: Option<String>,
    /// The event source of a change that names none: Datasheet, DataPages, DataParts, Extensions, RESTAPIs,
    /// TriggeredActions or Tasks.
    #[arg(long, value_name = "SOURCE")]
    pub event_source: Option<EventSource>,
    /// The name of a Debezium table in definitions: table, schema.table or database.table.
    #[arg(long, value_name = "NAMING", value_parser = word::<TableNaming>)]
    pub table_name: Option<TableNaming>,
    /// The effect of an update without its old row: fire or skip.
    #[arg(long, value_name = "SETTING", value_parser = word::<UnknownChangePolicy>)]
    pub unknown_change: Option<UnknownChangePolicy>,
    /// The effect of a snapshot's rows: ignore or insert.
    #[arg(long, value_name = "SETTING", value_parser = word::<SnapshotRows>)]
    pub snapshot: Option<SnapshotRows>,
    /// Whether the old row of a delete is whole, or this is learned from updates: whole or learn.
    #[arg(long, value_name = "SETTING", value_parser = word::<RowsSent>)]
    pub rows: Option<RowsSent>,
    /// The record's topic. If a change has no identity, its message ids are made from the place of its record.
    #[arg(long)]
    pub topic: Option<String>,
    /// The record's partition.
    #[arg(long, default_value_t = 0)]
    pub partition: i32,
    /// The record's offset.
    #[arg(long, default_value_t = 0)]
    pub offset: i64,
    /// The record's Kafka timestamp in milliseconds since 1970: the event date of a change without a time, and a part
    /// of the record's place.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub timestamp: i64,
}

/// Why the row change can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("can't read {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    // The value is not shown, because it may be a secret without its name.
    #[error("the value of --header number {0} has no =: write it as name=value")]
    Header(usize),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the record is not a row change and fires nothing: {}", .0.as_str())]
    Ignored(Ignored),
}

impl RecordArgs {
    /// Reads the record, and passes its row change and its ignored keys to `then`.
    ///
    /// # Errors
    /// The file can't be read, the record can't be decoded, or it is not a row change.
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

    /// Settings of the record's source, overridden by the arguments.
    fn settings(&self, config: Option<&Config>) -> Settings {
        let source_settings = config.and_then(|config| match (&self.topic, config.sources.as_slice()) {
            (None, [only]) => Some(only.settings()),
            (topic, _) => topic.as_deref().and_then(|topic| config.source_of(topic)).map(SourceConfig::settings),
        });
        let mut settings = source_settings.unwrap_or_else(|| Settings::new(Format::Outhook));
        let Self { format, account, event_source, table_name, unknown_change, snapshot, rows, .. } = self;
        set(&mut settings.format, *format);
        set(&mut settings.account, account.as_deref().map(AccountId::from));
        set(&mut settings.event_source, event_source.map(|source| Some(EventSourceRule::Constant(source))));
        set(&mut settings.table_naming, *table_name);
        set(&mut settings.unknown_change, *unknown_change);
        set(&mut settings.snapshot_rows, *snapshot);
        set(&mut settings.rows_sent, *rows);
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
