//! Explains in words why a definition fires or does not fire for a row change: the same rules as
//! [`super::TableRules`], one definition at a time.

use std::fmt;
use std::sync::Arc;

use crate::decode::{RowChange, UnknownChangePolicy};
use crate::definition::{Event, Webhook};
use crate::id::{EventId, WebhookId};
use crate::matching::changed_fields::{self, Comparison};
use crate::rules::{CompileError, Rule, Target};
use crate::vocabulary::{EventSource, Operation};

/// What one definition does with a row change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventVerdict {
    pub webhook: WebhookId,
    pub event: EventId,
    pub reason: Reason,
}

/// Why a definition fires or does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    Fires(FiringReason),
    Inactive,
    WebhookDisabled,
    OtherTable {
        wanted: String,
        changed: String,
    },
    OtherOperation {
        wanted: Operation,
        actual: Operation,
    },
    SourceNotAccepted {
        accepted: Vec<String>,
        source: Option<EventSource>,
    },
    /// An update that changed no field.
    NothingChanged,
    /// None of the event's fields changed; the comparison of each field.
    NoNamedFieldChanged(Vec<(String, Comparison)>),
    /// The changed fields are unknown, and by the source's setting such events don't fire then.
    UnknownChange {
        table: String,
    },
    /// The definition is invalid; its error says what is wrong and where.
    Invalid(CompileError),
}

/// Why a definition fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FiringReason {
    /// Every insert or delete fires.
    Every(Operation),
    /// These fields changed.
    Changed(Vec<String>),
    /// The source did not send the old row, so any field may have changed.
    UnknownChange { table: String },
}

impl EventVerdict {
    pub fn fires(&self) -> bool {
        matches!(self.reason, Reason::Fires(_))
    }
}

/// Explains for each definition of the change's account, active or not, why it fires or does not.
pub fn explain<'d>(
    change: &RowChange<'_>,
    definitions: impl IntoIterator<Item = (&'d Webhook, &'d Event)>,
) -> Vec<EventVerdict> {
    definitions
        .into_iter()
        .filter(|(webhook, _)| webhook.account.as_str() == change.account)
        .map(|(webhook, event)| EventVerdict {
            webhook: webhook.id,
            event: event.id,
            reason: explain_event(change, webhook, event),
        })
        .collect()
}

fn explain_event(change: &RowChange<'_>, webhook: &Webhook, event: &Event) -> Reason {
    if !webhook.enabled {
        return Reason::WebhookDisabled;
    }
    if !event.enabled {
        return Reason::Inactive;
    }
    let compiled = Target::of(webhook).and_then(|target| Rule::compile(webhook, event, &Arc::new(target)));
    let rule = match compiled {
        Ok(rule) => rule,
        Err(error) => return Reason::Invalid(error),
    };
    if *rule.object_name != *change.table {
        return Reason::OtherTable { wanted: event.object_name.clone(), changed: change.table.to_string() };
    }
    if rule.operation != change.operation {
        return Reason::OtherOperation { wanted: rule.operation, actual: change.operation };
    }
    if !rule.sources.accept(change.source) {
        return Reason::SourceNotAccepted { accepted: event.event_sources.clone(), source: change.source };
    }
    match change.operation {
        Operation::Insert | Operation::Delete => Reason::Fires(FiringReason::Every(change.operation)),
        Operation::Update if rule.fields.is_empty() => explain_any_field(change),
        Operation::Update => explain_named_fields(change, &rule.fields),
    }
}

fn explain_any_field(change: &RowChange<'_>) -> Reason {
    if change.before.is_none() {
        return Reason::Fires(FiringReason::UnknownChange { table: change.table.to_string() });
    }
    let changed: Vec<String> = changed_fields::fields(change).map(str::to_owned).collect();
    if changed.is_empty() { Reason::NothingChanged } else { Reason::Fires(FiringReason::Changed(changed)) }
}

fn explain_named_fields(change: &RowChange<'_>, fields: &[Box<str>]) -> Reason {
    let table = || change.table.to_string();
    let compared: Vec<(String, Comparison)> =
        fields.iter().map(|field| (field.to_string(), changed_fields::compare(change, field))).collect();
    let with = |wanted| compared.iter().filter(move |(_, comparison)| *comparison == wanted);
    let changed: Vec<String> = with(Comparison::Changed).map(|(field, _)| field.clone()).collect();
    if !changed.is_empty() {
        return Reason::Fires(FiringReason::Changed(changed));
    }
    if with(Comparison::Unknown).next().is_none() {
        return Reason::NoNamedFieldChanged(compared);
    }
    match change.unknown_change {
        UnknownChangePolicy::Fire => Reason::Fires(FiringReason::UnknownChange { table: table() }),
        UnknownChangePolicy::Skip => Reason::UnknownChange { table: table() },
    }
}

impl fmt::Display for EventVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fires = if self.fires() { "fires" } else { "does not fire" };
        write!(f, "event {} of webhook {} {fires}: {}", self.event, self.webhook, self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Fires(why) => why.fmt(f),
            Reason::Inactive => f.write_str("the event is not active; set Enabled: true"),
            Reason::WebhookDisabled => f.write_str("its webhook is disabled; set Enabled: true"),
            Reason::OtherTable { wanted, changed } => {
                write!(f, "it is for table {wanted:?}, the row is in {changed:?}")
            }
            Reason::OtherOperation { wanted, actual: made } => {
                write!(f, "it is for {}, the row change is {}", wanted.event_type(), made.event_type())
            }
            Reason::SourceNotAccepted { accepted, source: Some(source) } => {
                write!(f, "the change was made by {source}, and the event accepts only {}", accepted.join(", "))
            }
            Reason::SourceNotAccepted { accepted, source: None } => {
                write!(
                    f,
                    "the event source of the change is unknown, and the event accepts only {}",
                    accepted.join(", ")
                )?;
                f.write_str("; set event_source for this source of records, or accept all event sources")
            }
            Reason::NothingChanged => f.write_str("no field's value changed"),
            Reason::NoNamedFieldChanged(compared) => {
                f.write_str("none of its fields changed:")?;
                let mut separator = " ";
                for (field, comparison) in compared {
                    write!(f, "{separator}{field:?} {comparison}")?;
                    separator = ", ";
                }
                Ok(())
            }
            Reason::UnknownChange { table } => {
                f.write_str(
                    "the old row was not sent, so it is unknown whether its fields changed, and this source has ",
                )?;
                write!(f, "unknown_change = \"skip\"; {}", FixHint(table))
            }
            Reason::Invalid(error) => write!(f, "the definition is invalid: {error}"),
        }
    }
}

impl fmt::Display for FiringReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FiringReason::Every(operation) => write!(f, "every {operation} in the table fires it"),
            FiringReason::Changed(fields) => {
                let quoted: Vec<String> = fields.iter().map(|field| format!("{field:?}")).collect();
                write!(f, "changed: {}", quoted.join(", "))
            }
            FiringReason::UnknownChange { table } => {
                write!(f, "the old row was not sent, so any field may have changed; {}", FixHint(table))
            }
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Changed => "changed",
            Comparison::Unknown => "may have changed",
            Comparison::Same => "has the same value",
            Comparison::Unavailable => "was not sent because it did not change",
            Comparison::OneSided => "is in only one of the two rows",
            Comparison::Absent => "is not in the row",
        })
    }
}

/// The fix that makes the database send the old row.
struct FixHint<'a>(&'a str);

impl fmt::Display for FixHint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |name: &str| name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
        let quoted =
            |name: &str| if plain(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) };
        let table = self.0.split('.').map(quoted).collect::<Vec<_>>().join(".");
        write!(f, "to get the old row (PostgreSQL): ALTER TABLE {table} REPLICA IDENTITY FULL")
    }
}
