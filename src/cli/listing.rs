//! Listing of a topic that is read backwards from its end: options that select records, a search that shows its
//! progress on a terminal when it takes long, and output as a table or as JSON lines.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Terminal;
use super::text::table;
use super::time_arg::moment;
use crate::id::{AccountId, EventId, MessageId, WebhookId};
use crate::kafka::topic_reader::{self, Page, PageLimits, TopicCursor};

/// Time of reading after which the search shows its progress.
const PROGRESS_DELAY: Duration = Duration::from_secs(5);
/// Max records found and max bytes read in one page.
const MAX_FOUND_PER_PAGE: usize = 10_000;
const MAX_BYTES_PER_PAGE: u64 = 256 * 1024 * 1024;

/// Options that select by account, webhook, event and message.
#[derive(Debug, clap::Args)]
pub struct RecordSelectorArgs {
    /// Only records of this account.
    #[arg(long)]
    pub account: Option<AccountId>,
    /// Only records of this webhook.
    #[arg(long, value_name = "ID")]
    pub webhook: Option<WebhookId>,
    /// Only records of this event.
    #[arg(long, value_name = "ID")]
    pub event: Option<EventId>,
    /// Only records of this message.
    #[arg(long, value_name = "ID")]
    pub message: Option<MessageId>,
}

/// Options that select by time.
#[derive(Debug, clap::Args)]
pub struct TimeRangeArgs {
    /// Only records written since this time: 2026-11-24T15:00:00Z, 2026-11-24 (UTC), or an age such as 90m or 2d.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Only records written before this time, in the same forms.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub until: Option<Timestamp>,
}

/// Options for the number of records and the form of the output.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Max records to list, from the newest.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Prints one JSON object per line, with the keys of the REST API.
    #[arg(long)]
    json: bool,
}

/// Record of a list.
pub(super) trait ListItem {
    /// Plural name of the records.
    const PLURAL_NAME: &'static str;
    /// Columns of the table.
    const TABLE_HEADER: &'static [&'static str];

    fn row(&self) -> Vec<String>;

    fn json(&self) -> String;
}

/// Source of the records, page by page.
pub(super) trait PageSource {
    type Found: ListItem;

    async fn page(
        &mut self,
        cursor: Option<TopicCursor>,
        bounds: PageLimits,
    ) -> Result<Page<Self::Found>, topic_reader::Error>;
}

/// Prints records page by page as JSON, or all together as a table, whose column widths need all rows.
pub(super) async fn list<P: PageSource, E>(mut search: PagedSearch<P>, args: &ListArgs) -> Result<(), E>
where
    E: From<topic_reader::Error> + From<io::Error>,
{
    let limit = args.limit as usize;
    let mut listed = Vec::new();
    let mut printed = 0;
    while printed + listed.len() < limit
        && let Some(found) = search.next(limit - printed - listed.len()).await?
    {
        if args.json {
            printed += found.len();
            let lines: String = found.iter().map(|found| found.json() + "\n").collect();
            io::stdout().write_all(lines.as_bytes())?;
        } else {
            listed.extend(found);
        }
    }
    if args.json {
        return Ok(());
    }
    if listed.is_empty() {
        writeln!(io::stdout(), "no {}", P::Found::PLURAL_NAME)?;
    } else {
        let rows: Vec<_> = listed.iter().map(ListItem::row).collect();
        io::stdout().write_all(table(P::Found::TABLE_HEADER, &rows).as_bytes())?;
    }
    if !search.is_at_end() {
        // If standard error is closed, the reader does not want this line.
        let _ = writeln!(io::stderr(), "these are the newest {limit}; there may be more, which a higher --limit shows");
    }
    Ok(())
}

/// Search through a whole topic. It shows its progress on a terminal when it takes long.
pub(super) struct PagedSearch<P> {
    pages: P,
    from: Option<TopicCursor>,
    is_finished: bool,
    scanned: u64,
    terminal: Terminal,
    started: Instant,
}

impl<P: PageSource> PagedSearch<P> {
    pub fn new(pages: P, terminal: Terminal) -> Self {
        Self { pages, from: None, is_finished: false, scanned: 0, terminal, started: Instant::now() }
    }

    /// Next page of up to `count` records, which may be empty before the end. None at the end.
    pub async fn next(&mut self, count: usize) -> Result<Option<Vec<P::Found>>, topic_reader::Error> {
        if self.is_finished {
            return Ok(None);
        }
        if self.is_long() {
            self.terminal.show_progress(format_args!("{} records searched, continuing", self.scanned));
        }
        let bounds = PageLimits {
            max_found: count.min(MAX_FOUND_PER_PAGE),
            max_bytes: MAX_BYTES_PER_PAGE,
            max_time: PROGRESS_DELAY,
        };
        let page = self.pages.page(self.from.take(), bounds).await;
        if self.is_long() {
            self.terminal.clear_progress();
        }
        let Page { found, next_cursor: next, scanned } = page?;
        self.scanned += scanned;
        (self.is_finished, self.from) = (next.is_none(), next);
        Ok(Some(found))
    }

    /// All records, but at most `max`.
    pub async fn read_all(&mut self, max: usize) -> Result<Vec<P::Found>, topic_reader::Error> {
        let mut all = Vec::new();
        while all.len() < max
            && let Some(found) = self.next(max - all.len()).await?
        {
            all.extend(found);
        }
        Ok(all)
    }

    /// Whether the whole topic was searched.
    pub fn is_at_end(&self) -> bool {
        self.is_finished
    }

    /// Whether the search has taken so long that its progress is shown.
    fn is_long(&self) -> bool {
        self.started.elapsed() >= PROGRESS_DELAY
    }
}
