//! `outhook dead-letters list`: lists letters, newest first, as a table or as JSON lines.

use std::time::Duration;

use super::super::Terminal;
use super::super::listing::{ListArgs, ListItem, PagedSearch, Pages, WhenArgs, WhoseArgs, list};
use super::{DeadLettersError, text};
use crate::api::LetterShown;
use crate::dead_letters::{Letter, LetterFilter, LetterKind, Letters, UrlPrefix};
use crate::kafka::topic_reader::{self, Bounds, Page, TopicCursor};
use crate::redelivery::RedriveMarkers;

/// Max time to find out which of the letters were redriven.
const MARKERS: Duration = Duration::from_secs(60);

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
    whose: WhoseArgs,
    /// Only letters of this endpoint: scheme, host and port, and optionally the beginning of the path.
    #[arg(long, value_name = "URL")]
    endpoint: Option<UrlPrefix>,
    /// Only letters of this class: status_5xx, timeout, gone, undecodable and so on.
    #[arg(long)]
    class: Option<String>,
    #[command(flatten)]
    when: WhenArgs,
    /// Only calls, only records that could not be processed, or only the markers of redriven letters.
    #[arg(long, value_name = "call|record|redriven")]
    kind: Option<LetterKind>,
}

impl From<FilterArgs> for LetterFilter {
    fn from(args: FilterArgs) -> Self {
        let FilterArgs { whose, endpoint, class, when: WhenArgs { since, until }, kind } = args;
        let WhoseArgs { account, webhook, event, message } = whose;
        Self { kind, class, account, webhook, event, message, endpoint, since, until }
    }
}

pub(super) async fn run(args: Args, letters: &Letters, terminal: Terminal) -> Result<(), DeadLettersError> {
    list(search(args.filter.into(), letters, terminal), &args.list).await
}

pub(super) fn search(filter: LetterFilter, letters: &Letters, terminal: Terminal) -> PagedSearch<LetterPages<'_>> {
    let redriven = RedriveMarkers::among(&filter);
    PagedSearch::new(LetterPages { filter, letters, redriven }, terminal)
}

/// Pages of matching letters, each with the time of its redrive.
pub(super) struct LetterPages<'l> {
    filter: LetterFilter,
    letters: &'l Letters,
    redriven: RedriveMarkers,
}

impl Pages for LetterPages<'_> {
    type Found = Letter;

    async fn page(&mut self, from: Option<TopicCursor>, bounds: Bounds) -> Result<Page<Letter>, topic_reader::Error> {
        let mut page = self.letters.page(self.filter.clone(), from, bounds).await?;
        self.redriven.mark(&mut page.found, self.letters, MARKERS).await?;
        Ok(page)
    }
}

impl ListItem for Letter {
    const WHAT: &'static str = "dead letters";
    const HEAD: &'static [&'static str] = &text::HEAD;

    fn row(&self) -> Vec<String> {
        text::row(self)
    }

    fn json(&self) -> String {
        serde_json::to_string(&LetterShown::of(self)).expect("a letter has only texts and numbers")
    }
}
