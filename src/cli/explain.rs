//! `outhook explain`: says for each event why a row change fires it or does not.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::change::{self, ChangeError};
use super::text::lines;
use crate::config::Config;
use crate::decode::{Field, Identity, Row, RowChange};
use crate::definition::{Event, Webhook};
use crate::matching;
use crate::topics::count_text;

/// Says for each event why a row change fires it or does not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// YAML file with the definitions. Default: the definitions in Kafka.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub change: change::RecordArgs,
}

/// Returns the text that the command prints. The caller has loaded the definitions.
///
/// # Errors
/// The row change can't be read.
pub fn run(args: &Args, config: Option<&Config>, definitions: &[(Webhook, Event)]) -> Result<String, ChangeError> {
    args.change.read(config, |change, unknown| text(change, unknown, definitions))
}

/// Formats the decoded record, with `unknown` as its ignored keys, then the verdict of each definition of the
/// change's account, one per line.
pub fn text(change: &RowChange<'_>, unknown: &[String], definitions: &[(Webhook, Event)]) -> String {
    let mut text = change_text(change, unknown);
    let mut none = true;
    for (webhook, event) in definitions {
        for verdict in matching::explain(change, [(webhook, event)]) {
            none = false;
            let (name, event_type, table) = (&webhook.name, event.operation.event_type(), &event.object_name);
            writeln!(text, "{name:?}, {event_type} of {table:?}: {}", lines(&verdict.to_string()))
                .expect("writing to memory does not fail");
        }
    }
    if none {
        text.push_str("the account has no definitions\n");
    }
    text
}

fn change_text(change: &RowChange<'_>, unknown: &[String]) -> String {
    let RowChange { operation, table, account, source, event_date, identity, before, after, .. } = change;
    let source = source.map_or("not known".to_owned(), |source| source.to_string());
    let identity = match identity {
        Identity::ProducerId(id) => format!("its own, {id:?}"),
        Identity::Debezium(coordinates) => format!("Debezium's, {coordinates}"),
        Identity::RecordPosition { topic, partition, offset, .. } => {
            format!("the record's place, {topic} {partition}:{offset}")
        }
    };
    let fields = |row: &Option<Row<'_>>| match row {
        None => "none".to_owned(),
        Some(row) => {
            let name =
                |field: &Field<'_>| format!("{}{}", field.name, if field.value.available { "" } else { " (not sent)" });
            format!(
                "{} ({})",
                count_text(row.fields.len(), "field"),
                row.fields.iter().map(name).collect::<Vec<_>>().join(", ")
            )
        }
    };
    let mut text = format!("{operation} in table {table:?} of account {account:?}\n");
    let mut line = |what: &str, value: &str| text.push_str(&format!("  {what:<13}{}\n", lines(value)));
    line("source", &source);
    line("date", &event_date.to_string());
    line("identity", &identity);
    line("before", &fields(before));
    line("after", &fields(after));
    if !unknown.is_empty() {
        line("ignored keys", &unknown.join(", "));
    }
    text
}
