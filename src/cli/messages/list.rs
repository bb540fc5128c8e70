//! `outhook messages list`: lists messages by URL with their newest attempts, as a table or as JSON lines.

use std::collections::HashSet;

use serde::Serialize;

use super::super::Terminal;
use super::super::listing::{ListArgs, ListItem, PagedSearch, Pages, WhenArgs, WhoseArgs, list};
use super::{Attempts, MessagesError, text};
use crate::api::AttemptShown;
use crate::id::{CallId, MessageId};
use crate::kafka::topic_reader::{self, Bounds, Page, TopicCursor};
use crate::message_log::{EntryFilter, LogEntry, MessageLog, Statuses, newest_of_calls};

/// Options of the list.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outhook messages list --since 2h
  outhook messages list --webhook 3f0zq9 --status Failed --limit 1000
  outhook messages list --status Exhausted --json | jq -r .MessageId
  outhook messages show 5e0a3c1e-93d1-8e7b-9f0c-1d2e3f405162

A message has one line for each of its URLs, with its newest attempt there that
matches --status, --since and --until. Reading changes nothing.")]
pub struct Args {
    #[command(flatten)]
    whose: WhoseArgs,
    /// Only attempts with this status. Failed selects WillRetry and Exhausted.
    #[arg(long, value_name = "Delivered|WillRetry|Exhausted|Cancelled|Failed")]
    status: Option<Statuses>,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    list: ListArgs,
}

pub(super) async fn run(args: Args, log: &MessageLog, terminal: Terminal) -> Result<(), MessagesError> {
    let WhoseArgs { account, webhook, event, message } = args.whose;
    let WhenArgs { since, until } = args.when;
    let status = args.status.unwrap_or_default().0;
    let filter = EntryFilter { account, webhook, event, message, status, since, until };
    let calls = Calls { attempts: Attempts { filter, log }, found: HashSet::new() };
    list(PagedSearch::new(calls, terminal), &args.list).await
}

/// Pages of the newest attempt of each call.
struct Calls<'l> {
    attempts: Attempts<'l>,
    /// Calls found so far. An attempt that is read later is older.
    found: HashSet<(MessageId, Option<CallId>)>,
}

impl Pages for Calls<'_> {
    type Found = LogEntry;

    async fn page(&mut self, from: Option<TopicCursor>, bounds: Bounds) -> Result<Page<LogEntry>, topic_reader::Error> {
        let mut page = self.attempts.page(from, bounds).await?;
        page.found = newest_of_calls(page.found);
        page.found.retain(|entry| self.found.insert((entry.message, entry.call)));
        Ok(page)
    }
}

/// JSON form of an attempt with its account and webhook.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AttemptJson<'e> {
    account: &'e str,
    webhook_id: &'e str,
    #[serde(flatten)]
    attempt: AttemptShown,
}

impl ListItem for LogEntry {
    const WHAT: &'static str = "messages";
    const HEAD: &'static [&'static str] = &text::HEAD;

    fn row(&self) -> Vec<String> {
        text::row(self)
    }

    fn json(&self) -> String {
        let (account, webhook_id) = (self.account.as_str(), self.webhook.as_str());
        let shown = AttemptJson { account, webhook_id, attempt: AttemptShown::of(self) };
        serde_json::to_string(&shown).expect("an attempt has only texts and numbers")
    }
}
