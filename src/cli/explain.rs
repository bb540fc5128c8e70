//! `outhook explain`: for a row change, definition by definition, why it fires or does not.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::change::{self, ChangeError};
use super::text::lines;
use crate::config::Config;
use crate::decode::RowChange;
use crate::definition::{Event, Webhook};
use crate::matching;

/// Say for a row change, definition by definition, why it fires or does not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File with the definitions (YAML); without it those in Kafka are used.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub change: change::RecordArgs,
}

/// The text that the command prints; the caller has loaded the definitions.
///
/// # Errors
/// There is no row change.
pub fn run(args: &Args, config: Option<&Config>, definitions: &[(Webhook, Event)]) -> Result<String, ChangeError> {
    args.change.read(config, |change| text(change, definitions))
}

/// The verdicts of all definitions of the change's account, one a line.
pub fn text(change: &RowChange<'_>, definitions: &[(Webhook, Event)]) -> String {
    let mut text = format!("{} in table {:?} of account {:?}\n", change.operation, change.table, change.account);
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
