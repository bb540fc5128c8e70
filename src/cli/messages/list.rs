//! `outhook messages list`: lists messages by URL with their newest attempts, as a table or as JSON lines.

use std::collections::HashSet;

use serde::Serialize;

use super::super::Terminal;
use super::super::listing::{ListArgs, ListItem, PageSource, PagedSearch, RecordSelectorArgs, TimeRangeArgs, list};
use super::{AttemptPages, MessagesError, text};
use crate::api::AttemptView;
use crate::id::{CallId, MessageId};
use crate::kafka::topic_reader::{self, Page, PageLimits, TopicCursor};
use crate::message_log::{EntryFilter, LogEntry, MessageLogReader, StatusFilter, newest_per_call};

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
    record_selector: RecordSelectorArgs,
    /// Only attempts with this status. Failed selects WillRetry and Exhausted.
    #[arg(long, value_name = "Delivered|WillRetry|Exhausted|Cancelled|Failed")]
    status: Option<StatusFilter>,
    #[command(flatten)]
    time_range: TimeRangeArgs,
    #[command(flatten)]
    list: ListArgs,
}

pub(super) async fn run(args: Args, log: &MessageLogReader, terminal: Terminal) -> Result<(), MessagesError> {
    let RecordSelectorArgs { account, webhook, event, message } = args.record_selector;
    let TimeRangeArgs { since, until } = args.time_range;
    let status = args.status.unwrap_or_default().0;
    let filter = EntryFilter { account, webhook, event, message, statuses: status, since, until };
    let calls = CallPages { attempts: AttemptPages { filter, reader: log }, seen_calls: HashSet::new() };
    list(PagedSearch::new(calls, terminal), &args.list).await
}

/// Pages of the newest attempt of each call.
struct CallPages<'l> {
    attempts: AttemptPages<'l>,
    /// Calls found so far. An attempt that is read later is older.
    seen_calls: HashSet<(MessageId, Option<CallId>)>,
}

impl PageSource for CallPages<'_> {
    type Found = LogEntry;

    async fn page(
        &mut self,
        from: Option<TopicCursor>,
        bounds: PageLimits,
    ) -> Result<Page<LogEntry>, topic_reader::Error> {
        let mut page = self.attempts.page(from, bounds).await?;
        page.found = newest_per_call(page.found);
        page.found.retain(|entry| self.seen_calls.insert((entry.message, entry.call)));
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
    attempt: AttemptView,
}

impl ListItem for LogEntry {
    const PLURAL_NAME: &'static str = "messages";
    const TABLE_HEADER: &'static [&'static str] = &text::TABLE_HEADER;

    fn row(&self) -> Vec<String> {
        text::row(self)
    }

    fn json(&self) -> String {
        let (account, webhook_id) = (self.account.as_str(), self.webhook.as_str());
        let shown = AttemptJson { account, webhook_id, attempt: AttemptView::of(self) };
        serde_json::to_string(&shown).expect("an attempt has only texts and numbers")
    }
}
