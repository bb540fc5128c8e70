//! The difference between a file and the state: what applying the file would create, change and delete.

mod planner;

use std::fmt;

use serde_saphyr::Location;

use self::planner::Planner;
use super::rules::{Policy, SeenFields, Violation};
use super::yaml::DefinitionFile;
use super::{DefinitionKey, Definitions, Event, LogRecord, SecretError, SecretReference, Stamp, Table, Webhook};
use crate::id::{AccountId, EventId};

/// What applying a file depends on, apart from the file and the state.
pub struct ApplyContext<'t> {
    /// The account of webhooks and tables that do not name one. Without it, they are refused.
    pub account: Option<&'t AccountId>,
    /// Whether definitions that the file does not name are deleted, in the accounts that it names.
    pub prune: bool,
    pub policy: &'t Policy,
    /// Fields of a table that the stream has shown.
    pub seen_fields: &'t SeenFields<'t>,
    pub stamp: &'t Stamp,
    /// Reads the secret that a reference names.
    pub read_secret: &'t dyn Fn(SecretReference<'_>) -> Result<String, SecretError>,
    /// Fills its argument with random bytes, for ids and secrets.
    pub random: &'t dyn Fn(&mut [u8]),
}

/// What applying a file does.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Without unchanged webhooks.
    pub webhooks: Vec<WebhookPlan>,
    /// Without unchanged declared tables.
    pub tables: Vec<Change<Table>>,
    /// Number of webhooks, events and tables that the file does not name and that stay, in the accounts that it
    /// names.
    pub unnamed_count: usize,
}

/// What happens to a webhook and its events.
#[derive(Debug, PartialEq)]
pub struct WebhookPlan {
    pub webhook: Change<Webhook>,
    /// Whether its secret is newly generated and was not shown yet.
    pub secret_generated: bool,
    pub events: Vec<Change<Event>>,
}

/// What happens to a definition.
#[derive(Debug, PartialEq)]
pub enum Change<T> {
    Keep(T),
    Create(T),
    Update { before: T, after: T },
    Delete(T),
}

/// Everything in a file that can't be applied.
#[derive(Debug, thiserror::Error)]
pub struct Problems(pub Vec<FileProblem>);

/// Something in a file that can't be applied.
#[derive(Debug, thiserror::Error)]
#[error("line {}, column {}: {subject}: {reason}", .location.line(), .location.column())]
pub struct FileProblem {
    location: Location,
    subject: String,
    reason: ProblemReason,
}

/// Why something in a file can't be applied.
#[derive(Debug, thiserror::Error)]
enum ProblemReason {
    #[error(transparent)]
    Rule(#[from] Violation),
    #[error("{refusal} (the file's event on line {line} would be {other})")]
    ConflictInFile { refusal: Violation, other: EventId, line: u64 },
    #[error(
        "Account is missing, and the configured sources have several: name it here, or for all entries with --account"
    )]
    NoAccount,
    #[error("the file has it on line {0} already")]
    Duplicate(u64),
    #[error("{field}: {reason}")]
    Secret { field: &'static str, reason: SecretError },
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let line_break = if i == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

impl Problems {
    /// Whether some problems may disappear once the fields that the stream has shown are known.
    pub fn may_end_with_seen_fields(&self) -> bool {
        self.0.iter().any(|problem| matches!(problem.reason, ProblemReason::Rule(Violation::UnknownField { .. })))
    }
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.webhooks.is_empty() && self.tables.is_empty()
    }

    /// The records that carry out the plan. They must be written in one transaction.
    pub fn records(&self) -> Vec<LogRecord> {
        let table = |change: &Change<Table>| change.record(LogRecord::table, |table| DefinitionKey::Table(table.id));
        let mut records: Vec<LogRecord> = self.tables.iter().filter_map(table).collect();
        for plan in &self.webhooks {
            records.extend(plan.webhook.record(LogRecord::webhook, |webhook| DefinitionKey::Webhook(webhook.id)));
            records.extend(
                plan.events.iter().filter_map(|e| e.record(LogRecord::event, |event| DefinitionKey::Event(event.id))),
            );
        }
        records
    }
}

impl<T> Change<T> {
    fn record(&self, write: impl FnOnce(&T) -> LogRecord, key: impl FnOnce(&T) -> DefinitionKey) -> Option<LogRecord> {
        match self {
            Change::Keep(_) => None,
            Change::Create(after) | Change::Update { after, .. } => Some(write(after)),
            Change::Delete(gone) => Some(LogRecord::deletion(key(gone))),
        }
    }

    fn is_unchanged(&self) -> bool {
        matches!(self, Change::Keep(_))
    }
}

impl<T: Clone + PartialEq> Change<T> {
    /// The change from the present definition to `after`. `touch` stamps an update.
    fn between(before: Option<&T>, mut after: T, touch: impl FnOnce(&mut T)) -> Self {
        match before {
            None => Change::Create(after),
            Some(before) if *before == after => Change::Keep(after),
            Some(before) => {
                touch(&mut after);
                Change::Update { before: before.clone(), after }
            }
        }
    }
}

/// Plans what applying a file does.
///
/// # Errors
/// All problems of the file, each with its location.
pub fn plan(definitions: &Definitions, file: &DefinitionFile, terms: &ApplyContext<'_>) -> Result<Plan, Problems> {
    let mut planner = Planner::new(definitions, terms);
    // Tables come first, because events are checked against the tables as they will be.
    for entry in &file.tables {
        planner.table(entry);
    }
    for entry in &file.webhooks {
        planner.webhook(entry);
    }
    planner.plan_unnamed_webhooks();
    planner.plan_unnamed_tables();
    planner.finish()
}

#[cfg(test)]
mod tests;
