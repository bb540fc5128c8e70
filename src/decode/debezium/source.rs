//! The envelope's `source`: which table changed, when, and where that stands in the database's log.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::key::Key;
use crate::decode::json::{self, Name};
use crate::decode::{EventDate, Identity, Input, Row, Sequence, TableNaming};
use crate::vocabulary::Operation;

/// A field of `source` as JSON text; None when it is null or absent.
type Part<'a> = Option<&'a RawValue>;

/// Declares what is read of `source`, and how: of a key twice the last counts, and others are skipped.
macro_rules! source {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// What is read of `source`. Fields stay JSON text: most are only copied into the identity.
        #[derive(Default)]
        pub(super) struct Source<'a> {
            $($(#[$doc])* $field: Part<'a>,)*
        }

        impl<'de> Source<'de> {
            fn read_field<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
                match name {
                    $(stringify!($field) => self.$field = map.next_value()?,)*
                    _ => {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(())
            }
        }
    };
}

source! {
    connector,
    name,
    db,
    schema,
    table,
    ts_ms,
    ts_us,
    ts_ns,
    /// PostgreSQL: a text that holds `["lsn of the last commit","lsn"]`.
    sequence,
    lsn,
    /// MySQL and MariaDB: the binlog's coordinates.
    server_id,
    file,
    pos,
    row,
}

impl<'de> Deserialize<'de> for Source<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that says which table changed")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Source<'de>, A::Error> {
        let mut source = Source::default();
        while let Some(Name(name)) = map.next_key()? {
            source.read_field(&name, &mut map)?;
        }
        Ok(source)
    }
}

/// The connectors whose log positions are known.
enum Log {
    Postgres,
    Binlog,
    Unknown,
}

impl<'a> Source<'a> {
    fn log(&self) -> Log {
        match self.connector.map(RawValue::get) {
            Some(r#""postgresql""#) => Log::Postgres,
            Some(r#""mysql""# | r#""mariadb""#) => Log::Binlog,
            _ => Log::Unknown,
        }
    }

    /// What the table is called in definitions. MySQL has no schemas: there `schema.table` is the table alone.
    pub(super) fn table(&self, naming: TableNaming) -> Result<Cow<'a, str>, String> {
        let table = text(self.table).ok_or("`source.table` is missing: it must be the table's name")?;
        let prefix = match naming {
            TableNaming::Table => None,
            TableNaming::SchemaTable => text(self.schema),
            TableNaming::DatabaseTable => text(self.db),
        };
        Ok(prefix.map_or(table.clone(), |prefix| Cow::Owned(format!("{prefix}.{table}"))))
    }

    /// Whether the table is the one that a configuration calls `table`, `schema.table`, `database.table` or
    /// `database.schema.table`.
    pub(super) fn is_table(&self, configured: &str) -> bool {
        let Some(table) = text(self.table) else { return false };
        let Some(mut rest) = configured.strip_suffix(&*table) else { return false };
        for part in [self.schema, self.db] {
            let Some(before) = rest.strip_suffix('.') else { break };
            if let Some(part) = text(part) {
                rest = before.strip_suffix(&*part).unwrap_or(rest);
            }
        }
        rest.is_empty()
    }

    /// Names the table among those of all sources and accounts. JSON texts end where they end, so that no two
    /// lists of them make one text.
    pub(super) fn write_full_name(&self, name: &mut String, account: &str) {
        name.clear();
        for part in [self.name, self.db, self.schema, self.table] {
            push(name, part);
        }
        name.push_str(account);
    }

    /// When the change was committed; else when its record was written to Kafka. Zero is no time: connectors write it where
    /// they know none.
    pub(super) fn event_date(&self, input: &Input<'_>) -> EventDate {
        let count = |part| number(part).filter(|count| *count > 0);
        count(self.ts_ns)
            .and_then(EventDate::from_nanoseconds)
            .or_else(|| count(self.ts_us).and_then(EventDate::from_microseconds))
            .or_else(|| count(self.ts_ms).and_then(EventDate::from_milliseconds))
            .unwrap_or_else(|| EventDate::from_kafka(input.timestamp_ms))
    }

    /// The change's place in the order of its row's changes.
    pub(super) fn sequence(&self, operation: Operation, input: &Input<'_>) -> Sequence {
        let sequence = match self.log() {
            Log::Postgres => self.positions().map(|(commit, lsn)| Sequence::Postgres {
                commit,
                lsn,
                after_delete: operation != Operation::Delete,
            }),
            Log::Binlog => self.binlog(),
            Log::Unknown => None,
        };
        sequence.unwrap_or(Sequence::Offset { partition: input.partition, offset: input.offset })
    }

    /// PostgreSQL's `sequence`: the position of the last commit, null before the first, and the change's own.
    fn positions(&self) -> Option<(u64, u64)> {
        let position = |text: &str| {
            let digits = text.trim_matches(|c: char| "[]\\\" ".contains(c));
            if digits == "null" { Some(0) } else { digits.parse().ok() }
        };
        let (commit, lsn) = self.sequence?.get().split_once(',')?;
        Some((position(commit)?, position(lsn)?))
    }

    fn binlog(&self) -> Option<Sequence> {
        let file = text(self.file)?;
        let (_, file) = file.rsplit_once('.')?;
        let row = number(self.row).unwrap_or(0);
        Some(Sequence::Binlog { file: file.parse().ok()?, pos: number(self.pos)?, row })
    }

    /// What the change is known by when it is published again: its place in the database's log, its table, what
    /// was done and to which row. None where the place or the row is not known.
    pub(super) fn identity(&self, op: &str, key: &Key<'_>, row: &Row<'_>) -> Option<Identity<'a>> {
        let snapshot = op == "r";
        if snapshot && matches!(key, Key::Absent) {
            return None;
        }
        let mut identity = String::with_capacity(128);
        let mut push_all = |parts: &[Part<'_>]| parts.iter().for_each(|&part| push(&mut identity, part));
        push_all(&[self.connector, self.name, self.db, self.schema, self.table]);
        match self.log() {
            Log::Postgres if self.lsn.is_some() => push_all(&[self.lsn]),
            // The rows of an incremental snapshot have no position but the last commit's.
            Log::Postgres if snapshot => push_all(&[self.sequence, self.ts_ns]),
            Log::Binlog if self.file.is_some() && self.pos.is_some() => {
                push_all(&[self.server_id, self.file, self.pos, self.row]);
            }
            _ => return None,
        }
        identity.push_str(op);
        identity.push(' ');
        key.push_to(&mut identity, row);
        Some(Identity::Debezium(identity))
    }
}

fn push(name: &mut String, part: Part<'_>) {
    name.push_str(part.map_or("null", RawValue::get));
    name.push(' ');
}

fn text<'a>(part: Part<'a>) -> Option<Cow<'a, str>> {
    json::string(part?.get()).filter(|text| !text.is_empty())
}

fn number<N: std::str::FromStr>(part: Part<'_>) -> Option<N> {
    part?.get().parse().ok()
}
