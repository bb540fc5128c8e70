//! `outhook dead-letters list`: lists letters, newest first, as a table or as JSON lines.

use std::time::Duration;

use super::super::Terminal;
use super::super::listing::{ListArgs, ListItem, PageSource, PagedSearch, RecordSelectorArgs, TimeRangeArgs, list};
use super::{DeadLettersError, text};
use crate::api::DeadLetterView;
use crate::dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterKind, DeadLetterReader, UrlPrefix};
use crate::kafka::topic_reader::{self, Page, PageLimits, TopicCursor};
use crate::redelivery::RedriveMarkers;

/// Max time to find out which of the letters were redriven.
const MARKERS_TIMEOUT: Duration = Duration::from_secs(60);

/// Options of the list.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outhook dead-letters list --since 2h
  outhook dead-letters list --webhook 3f0zq9 --class status_5xx --limit 1000
  outhook dead-letters list --endpoint https://crm.example.com --since 2h
  outhook dead-letters list --json | jq -r .MessageId
  outhook dead-letters show 2:1044

A class says how the last attempt ended; docs/delivery.md lists the classes.
Reading changes nothing.")]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// Options that select dead letters. All of them must match.
#[derive(Debug, clap::Args)]
pub struct FilterArgs {
    #[command(flatten)]
    record_selector: RecordSelectorArgs,
    /// Only letters of this endpoint: scheme, host and port, and optionally the beginning of the path.
    #[arg(long, value_name = "URL")]
    endpoint: Option<UrlPrefix>,
    /// Only letters of this class: status_5xx, timeout, gone, undecodable and so on.
    #[arg(long)]
    class: Option<String>,
    #[command(flatten)]
    time_range: TimeRangeArgs,
    /// Only calls, only records that could not be processed, or only the markers of redriven letters.
    #[arg(long, value_name = "call|record|redriven")]
    kind: Option<DeadLetterKind>,
}

impl From<FilterArgs> for DeadLetterFilter {
    fn from(args: FilterArgs) -> Self {
        let FilterArgs { record_selector, endpoint, class, time_range: TimeRangeArgs { since, until }, kind } = args;
        let RecordSelectorArgs { account, webhook, event, message } = record_selector;
        Self { kind, class, account, webhook, event, message, endpoint, since, until }
    }
}

pub(super) async fn run(args: Args, letters: &DeadLetterReader, terminal: Terminal) -> Result<(), DeadLettersError> {
    list(search(args.filter.into(), letters, terminal), &args.list).await
}

pub(super) fn search(
    filter: DeadLetterFilter,
    letters: &DeadLetterReader,
    terminal: Terminal,
) -> PagedSearch<DeadLetterPages<'_>> {
    let redriven = RedriveMarkers::for_letters(&filter);
    PagedSearch::new(DeadLetterPages { filter, reader: letters, redrive_markers: redriven }, terminal)
}

/// Pages of matching letters, each with the time of its redrive.
pub(super) struct DeadLetterPages<'l> {
    filter: DeadLetterFilter,
    reader: &'l DeadLetterReader,
    redrive_markers: RedriveMarkers,
}

impl PageSource for DeadLetterPages<'_> {
    type Found = DeadLetter;

    async fn page(
        &mut self,
        from: Option<TopicCursor>,
        bounds: PageLimits,
    ) -> Result<Page<DeadLetter>, topic_reader::Error> {
        let mut page = self.reader.page(self.filter.clone(), from, bounds).await?;
        self.redrive_markers.set_redriven(&mut page.found, self.reader, MARKERS_TIMEOUT).await?;
        Ok(page)
    }
}

impl ListItem for DeadLetter {
    const PLURAL_NAME: &'static str = "dead letters";
    const TABLE_HEADER: &'static [&'static str] = &text::TABLE_HEADER;

    fn row(&self) -> Vec<String> {
        text::row(self)
    }

    fn json(&self) -> String {
        serde_json::to_string(&DeadLetterView::of(self)).expect("a letter has only texts and numbers")
    }
}
