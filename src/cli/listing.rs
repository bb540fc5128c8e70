//! What is listed of a topic that is read from its newest end: which of it, a search that tells a terminal when it takes
//! long, and a table or JSON lines.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Terminal;
use super::text::table;
use super::time_arg::moment;
use crate::id::{AccountId, EventId, MessageId, WebhookId};
use crate::kafka::topic_reader::{self, Bounds, Page, TopicCursor};

/// How long is read before it is told how far it is.
const TIME: Duration = Duration::from_secs(5);
/// How much is taken at once, and how many bytes are read for it.
const FOUND: usize = 10_000;
const BYTES: u64 = 256 * 1024 * 1024;

/// Whose are meant.
#[derive(Debug, clap::Args)]
pub struct WhoseArgs {
    /// Only of this account.
    #[arg(long)]
    pub account: Option<AccountId>,
    /// Only of this webhook.
    #[arg(long, value_name = "ID")]
    pub webhook: Option<WebhookId>,
    /// Only of this event.
    #[arg(long, value_name = "ID")]
    pub event: Option<EventId>,
    /// Only of this message.
    #[arg(long, value_name = "ID")]
    pub message: Option<MessageId>,
}

/// Of when.
#[derive(Debug, clap::Args)]
pub struct WhenArgs {
    /// Only what was written since: 2026-11-24T15:00:00Z, 2026-11-24, or how long ago, such as 90m or 2d.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Only what was written before: likewise.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub until: Option<Timestamp>,
}

/// How many are listed, and how.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// How many at most, the newest of all.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Prints a JSON object a line, with the keys of the REST API.
    #[arg(long)]
    json: bool,
}

/// One that is listed.
pub(super) trait ListItem {
    /// What they are called.
    const WHAT: &'static str;
    /// The columns of their table.
    const HEAD: &'static [&'static str];

    fn row(&self) -> Vec<String>;

    fn json(&self) -> String;
}

/// Where they are found.
pub(super) trait Pages {
    type Found: ListItem;

    async fn page(
        &mut self,
        from: Option<TopicCursor>,
        bounds: Bounds,
    ) -> Result<Page<Self::Found>, topic_reader::Error>;
}

/// Prints them page by page as JSON, or all together as a table whose columns fit.
pub(super) async fn list<P: Pages, E>(mut search: PagedSearch<P>, args: &ListArgs) -> Result<(), E>
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
        writeln!(io::stdout(), "no {}", P::Found::WHAT)?;
    } else {
        let rows: Vec<_> = listed.iter().map(ListItem::row).collect();
        io::stdout().write_all(table(P::Found::HEAD, &rows).as_bytes())?;
    }
    if !search.is_at_end() {
        // Whoever closed it does not want to know.
        let _ = writeln!(io::stderr(), "the newest {limit}; there may be more: --limit shows them");
    }
    Ok(())
}

/// A search through the whole topic, of which a terminal is told when it takes long.
pub(super) struct PagedSearch<P> {
    pages: P,
    from: Option<TopicCursor>,
    at_end: bool,
    looked_at: u64,
    terminal: Terminal,
    started: Instant,
}

impl<P: Pages> PagedSearch<P> {
    pub fn new(pages: P, terminal: Terminal) -> Self {
        Self { pages, from: None, at_end: false, looked_at: 0, terminal, started: Instant::now() }
    }

    /// Up to so many more; there may be none of them yet. None at the end.
    pub async fn next(&mut self, count: usize) -> Result<Option<Vec<P::Found>>, topic_reader::Error> {
        if self.at_end {
            return Ok(None);
        }
        self.tell();
        let bounds = Bounds { found: count.min(FOUND), bytes: BYTES, time: TIME };
        let page = self.pages.page(self.from.take(), bounds).await;
        self.clear();
        let Page { found, next, looked_at } = page?;
        self.looked_at += looked_at;
        (self.at_end, self.from) = (next.is_none(), next);
        Ok(Some(found))
    }

    /// All of them, or so many.
    pub async fn all(&mut self, most: usize) -> Result<Vec<P::Found>, topic_reader::Error> {
        let mut all = Vec::new();
        while all.len() < most
            && let Some(found) = self.next(most - all.len()).await?
        {
            all.extend(found);
        }
        Ok(all)
    }

    /// Whether everything was looked at.
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// The line stays while it is read on, and leaves no trace in what is printed.
    fn tell(&self) {
        if self.terminal.is_one && self.started.elapsed() >= TIME {
            let _ = write!(io::stderr(), "looked at {} records, and goes on", self.looked_at);
        }
    }

    fn clear(&self) {
        if self.terminal.is_one && self.started.elapsed() >= TIME {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
