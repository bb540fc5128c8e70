//! A change's position in its database's log: its identity when the connector publishes it again, and its place in
//! the order of its row's changes.
//!
//! A position is used only if the connector writes the same position for the same change after a restart, and for no
//! other change. Vitess has no such position, because its `vgtid` belongs to a transaction and includes the current
//! positions of other shards. CockroachDB has none, because it has only the time.
//! <https://debezium.io/documentation/reference/stable/connectors/index.html>

use super::key::RecordKey;
use super::source::{Source, SourceField, number, push, text};
use crate::decode::{Identity, Input, Row, Sequence};
use crate::vocabulary::Operation;

/// The databases whose changes keep their identity when Debezium publishes them again.
pub const DATABASES_WITH_STABLE_IDENTITY: [&str; 8] =
    ["PostgreSQL", "MySQL", "MariaDB", "SQL Server", "Db2", "Informix", "Oracle", "Spanner"];

/// The kind of log, by connector.
enum ConnectorLog {
    Postgres,
    Binlog,
    SqlServer,
    Db2,
    Informix,
    Oracle,
    Spanner,
    Unknown,
}

impl<'a> Source<'a> {
    fn log(&self) -> ConnectorLog {
        match self.connector() {
            r#""postgresql""# => ConnectorLog::Postgres,
            r#""mysql""# | r#""mariadb""# => ConnectorLog::Binlog,
            r#""sqlserver""# => ConnectorLog::SqlServer,
            r#""db2""# => ConnectorLog::Db2,
            r#""informix""# => ConnectorLog::Informix,
            r#""oracle""# => ConnectorLog::Oracle,
            r#""spanner""# => ConnectorLog::Spanner,
            _ => ConnectorLog::Unknown,
        }
    }

    /// The change's identity when it is published again: its position in the database's log, its table, the operation
    /// and the row. None if the position or the row is not known.
    pub(super) fn identity(&self, op: &str, key: &RecordKey<'_>, row: &Row<'_>) -> Option<Identity<'a>> {
        let snapshot = op == "r";
        if snapshot && matches!(key, RecordKey::Absent) {
            return None;
        }
        let mut identity = String::with_capacity(128);
        let mut push_all = |parts: &[SourceField<'_>]| parts.iter().for_each(|&part| push(&mut identity, part));
        push_all(&[self.connector, self.name, self.db, self.schema, self.table]);
        match self.log() {
            ConnectorLog::Postgres if self.lsn.is_some() => push_all(&[self.lsn]),
            // Rows of an incremental snapshot have only the position of the last commit.
            ConnectorLog::Postgres if snapshot => push_all(&[self.sequence, self.ts_ns]),
            ConnectorLog::Binlog if self.file.is_some() && self.pos.is_some() => {
                push_all(&[self.server_id, self.file, self.pos, self.row]);
            }
            ConnectorLog::SqlServer | ConnectorLog::Db2 | ConnectorLog::Informix
                if self.commit_lsn.is_some() && (snapshot || self.change_lsn.is_some()) =>
            {
                push_all(&[self.commit_lsn, self.change_lsn, self.event_serial_no]);
            }
            // Many changes share an SCN. The commit's SCN is not used: it is that of the redo thread's last commit.
            ConnectorLog::Oracle
                if self.scn.is_some() && (snapshot || self.rs_id.is_some() || self.lcr_position.is_some()) =>
            {
                push_all(&[self.scn, self.redo_thread, self.rs_id, self.ssn, self.lcr_position]);
            }
            ConnectorLog::Spanner if self.server_transaction_id.is_some() && self.sequence.is_some() => {
                let number = [self.record_sequence_prefix, self.sequence, self.mod_number];
                push_all(&[self.server_transaction_id]);
                push_all(&number);
            }
            _ => return None,
        }
        identity.push_str(op);
        identity.push(' ');
        key.push_to(&mut identity, row);
        Some(Identity::Debezium(identity))
    }

    /// The change's position in the order of its row's changes. A row of a snapshot sorts before all changes that are
    /// read from the log.
    pub(super) fn sequence(&self, op: &str, operation: Operation, input: &Input<'_>) -> Sequence {
        let after_delete = operation != Operation::Delete;
        let sequence = match self.log() {
            ConnectorLog::Postgres => {
                self.positions().map(|(commit, lsn)| Sequence::Postgres { commit, lsn, after_delete })
            }
            ConnectorLog::Binlog => self.binlog(),
            other => self.log_position(&other, op == "r").map(|(commit, change, minor)| Sequence::Log {
                commit,
                change,
                minor,
                after_delete,
            }),
        };
        sequence.unwrap_or(Sequence::Offset { partition: input.partition, offset: input.offset })
    }

    /// PostgreSQL's `sequence`: the position of the last commit, null before the first, and that of the change.
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

    /// Position that orders a row's changes, the coarsest part first: a transaction's changes of a row sort before
    /// those of the next transaction that commits.
    fn log_position(&self, log: &ConnectorLog, snapshot: bool) -> Option<(u128, u128, u64)> {
        // Rows of a snapshot have only a commit's position.
        let own = |part: SourceField<'_>, read: fn(SourceField<'_>) -> Option<u128>| match text(part) {
            None if snapshot => Some(0),
            _ => read(part),
        };
        Some(match log {
            ConnectorLog::SqlServer | ConnectorLog::Db2 => (
                hexadecimal(self.commit_lsn)?,
                own(self.change_lsn, hexadecimal)?,
                number(self.event_serial_no).unwrap_or(0),
            ),
            ConnectorLog::Informix => (decimal(self.commit_lsn)?, own(self.change_lsn, decimal)?, 0),
            // XStream's positions do not sort as text.
            ConnectorLog::Oracle if self.lcr_position.is_some() => return None,
            ConnectorLog::Oracle => (decimal(self.scn)?, own(self.rs_id, hexadecimal)?, number(self.ssn).unwrap_or(0)),
            ConnectorLog::Spanner => {
                let prefix = hexadecimal(self.record_sequence_prefix).unwrap_or(0);
                let number_in_transaction: u64 = text(self.sequence)?.parse().ok()?;
                let record = prefix.checked_mul(1 << 64)?.checked_add(number_in_transaction.into())?;
                (number(self.ts_ns)?, record, number(self.mod_number)?)
            }
            ConnectorLog::Postgres | ConnectorLog::Binlog | ConnectorLog::Unknown => return None,
        })
    }
}

/// Parses text such as `00000027:00000ac0:0002` or ` 0x000024.00004a1e.0010 `, whose parts have fixed widths.
fn hexadecimal(part: SourceField<'_>) -> Option<u128> {
    let text = text(part)?;
    let digits = text.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    u128::from_str_radix(&digits.replace([':', '.'], ""), 16).ok()
}

fn decimal(part: SourceField<'_>) -> Option<u128> {
    text(part)?.parse().ok()
}

#[cfg(test)]
mod tests;
