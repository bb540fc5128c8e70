//! The envelope's `source`: which table changed and when. `log_position` reads its position in the log of the database.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decode::invalid_record::InvalidRecord;
use crate::decode::json::{self, ObjectKey};
use crate::decode::{EventDate, Input, TableNaming};

/// A field of `source` as JSON text; None when it is null or absent.
pub(super) type SourceField<'a> = Option<&'a RawValue>;

/// Declares the fields of `source` and how they are read: of duplicate keys the last counts, and other keys are
/// skipped.
macro_rules! source {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// The fields of `source` that are read. They stay JSON text, because most are only copied into the identity.
        #[derive(Default)]
        pub(super) struct Source<'a> {
            $($(#[$doc])* pub(super) $field: SourceField<'a>,)*
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
    /// PostgreSQL: a string that holds `["lsn of the last commit","lsn"]`.
    sequence,
    lsn,
    /// MySQL and MariaDB: the binlog's coordinates.
    server_id,
    file,
    pos,
    row,
    /// SQL Server, Db2 and Informix.
    commit_lsn,
    change_lsn,
    /// SQL Server: distinguishes changes with the same `change_lsn`.
    event_serial_no,
    /// Oracle.
    scn,
    /// Oracle with LogMiner: the redo record and the place in it.
    rs_id,
    ssn,
    redo_thread,
    /// Oracle with XStream.
    lcr_position,
    /// Spanner: the transaction, the prefix of the record's number in it (`sequence` holds the number), and the row
    /// in the record.
    server_transaction_id,
    record_sequence_prefix,
    mod_number,
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
        while let Some(ObjectKey(name)) = map.next_key()? {
            source.read_field(&name, &mut map)?;
        }
        Ok(source)
    }
}

impl<'a> Source<'a> {
    /// The connector's name, as JSON text.
    pub(super) fn connector(&self) -> &'a str {
        self.connector.map_or("null", RawValue::get)
    }

    /// The table's name in definitions. MySQL has no schemas, so there `schema.table` is only the table.
    pub(super) fn table(&self, naming: TableNaming) -> Result<Cow<'a, str>, InvalidRecord> {
        let missing = InvalidRecord::Missing { key: "source.table", rule: "be the table's name" };
        let table = text(self.table).ok_or(missing)?;
        let prefix = match naming {
            TableNaming::Table => None,
            TableNaming::SchemaTable => text(self.schema),
            TableNaming::DatabaseTable => text(self.db),
        };
        Ok(prefix.map_or(table.clone(), |prefix| Cow::Owned(format!("{prefix}.{table}"))))
    }

    /// Whether the table is the configured one, written as `table`, `schema.table`, `database.table` or
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

    /// Writes a name of the table that is unique over all sources and accounts. JSON texts mark their own end, so two
    /// different lists of them never give the same name.
    pub(super) fn write_full_name(&self, name: &mut String, account: &str) {
        name.clear();
        for part in [self.name, self.db, self.schema, self.table] {
            push(name, part);
        }
        name.push_str(account);
    }

    /// When the change was committed; if unknown, when its record was written to Kafka. Zero counts as unknown:
    /// connectors write it when they know no time.
    pub(super) fn event_date(&self, input: &Input<'_>) -> EventDate {
        let count = |part| number(part).filter(|count| *count > 0);
        count(self.ts_ns)
            .and_then(EventDate::from_nanoseconds)
            .or_else(|| count(self.ts_us).and_then(EventDate::from_microseconds))
            .or_else(|| count(self.ts_ms).and_then(EventDate::from_milliseconds))
            .unwrap_or_else(|| EventDate::from_kafka(input.timestamp_ms))
    }
}

pub(super) fn push(name: &mut String, part: SourceField<'_>) {
    name.push_str(part.map_or("null", RawValue::get));
    name.push(' ');
}

pub(super) fn text<'a>(part: SourceField<'a>) -> Option<Cow<'a, str>> {
    json::string(part?.get()).filter(|text| !text.is_empty())
}

pub(super) fn number<N: std::str::FromStr>(part: SourceField<'_>) -> Option<N> {
    part?.get().parse().ok()
}
