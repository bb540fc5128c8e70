//! `outhook dead-letters list`: the newest first, as a table or as JSON lines.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::Terminal;
use super::super::moment::moment;
use super::{DeadLettersError, text};
use crate::api::LetterShown;
use crate::id::{AccountId, EventId, MessageId, WebhookId};
use crate::journal::{Bounds, Cursor, Page};
use crate::settle::{Filter, Kind, Letter, Letters, Redriven, UrlPrefix};

/// How long is read before it is told how far it is.
const TIME: Duration = Duration::from_secs(5);
/// How long it may take to find out what was redriven of them.
const MARKERS: Duration = Duration::from_secs(60);
/// How many letters are taken at once, and how many bytes are read for them.
const FOUND: usize = 10_000;
const BYTES: u64 = 256 * 1024 * 1024;

/// What is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outhook dead-letters list --since 2h
  outhook dead-letters list --webhook 3f0zq9 --class status_5xx --limit 1000
  outhook dead-letters list --endpoint https://crm.example.com --json | jq -r .MessageId
  outhook dead-letters show 2:1044

Classes say how the last attempt ended: docs/delivery.md has all of them. Reading changes nothing.")]
pub struct Args {
    #[command(flatten)]
    filter: FilterArgs,
    /// How many at most, the newest of all.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Prints a JSON object a line, with the keys of the REST API.
    #[arg(long)]
    json: bool,
}

/// Which dead letters are meant: those that all of it is true of.
#[derive(Debug, clap::Args)]
pub struct FilterArgs {
    /// Only of this webhook.
    #[arg(long, value_name = "ID")]
    webhook: Option<WebhookId>,
    /// Only of this event.
    #[arg(long, value_name = "ID")]
    event: Option<EventId>,
    /// Only for this endpoint: scheme, host and port, and as much of the path as is given.
    #[arg(long, value_name = "URL")]
    endpoint: Option<UrlPrefix>,
    /// Only of this class: status_5xx, timeout, gone, undecodable and so on.
    #[arg(long)]
    class: Option<String>,
    /// Only those written since: 2026-11-24T15:00:00Z, 2026-11-24, or how long ago, such as 90m or 2d.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only those written before: likewise.
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only of this message: one letter for each URL that did not take it.
    #[arg(long, value_name = "ID")]
    message: Option<MessageId>,
    /// Only of this account.
    #[arg(long)]
    account: Option<String>,
    /// Only calls, only records of which no message could be made, or the markers of letters that were redriven.
    #[arg(long, value_name = "call|record|redriven")]
    kind: Option<Kind>,
}

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        let FilterArgs { webhook, event, endpoint, class, since, until, message, account, kind } = args;
        let account = account.map(AccountId::from);
        Self { kind, class, account, webhook, event, message, endpoint, since, until }
    }
}

/// Prints them page by page as JSON, or all together as a table whose columns fit.
pub(super) async fn run(args: Args, letters: &Letters, terminal: Terminal) -> Result<(), DeadLettersError> {
    let limit = args.limit as usize;
    let mut search = Search::new(args.filter.into(), letters, terminal);
    let mut listed = Vec::new();
    let mut printed = 0;
    while printed + listed.len() < limit
        && let Some(found) = search.next(limit - printed - listed.len()).await?
    {
        if args.json {
            printed += found.len();
            io::stdout().write_all(json_lines(&found).as_bytes())?;
        } else {
            listed.extend(found);
        }
    }
    if args.json {
        return Ok(());
    }
    io::stdout().write_all(text::table(&listed).as_bytes())?;
    if !search.is_at_end() {
        eprintln!("the newest {limit}; there may be more: --limit shows them");
    }
    Ok(())
}

fn json_lines(letters: &[Letter]) -> String {
    let line = |letter| serde_json::to_string(&LetterShown::of(letter)).expect("a letter has only texts and numbers");
    letters.iter().map(|letter| line(letter) + "\n").collect()
}

/// A search through the whole topic, of which a terminal is told when it takes long.
pub(super) struct Search<'l> {
    filter: Filter,
    letters: &'l Letters,
    redriven: Redriven,
    from: Option<Cursor>,
    at_end: bool,
    looked_at: u64,
    terminal: Terminal,
    started: Instant,
}

impl<'l> Search<'l> {
    pub fn new(filter: Filter, letters: &'l Letters, terminal: Terminal) -> Self {
        let redriven = Redriven::among(&filter);
        Self { filter, letters, redriven, from: None, at_end: false, looked_at: 0, terminal, started: Instant::now() }
    }

    /// Up to so many more; there may be none of them yet. None at the end.
    pub async fn next(&mut self, count: usize) -> Result<Option<Vec<Letter>>, DeadLettersError> {
        if self.at_end {
            return Ok(None);
        }
        self.tell();
        let bounds = Bounds { found: count.min(FOUND), bytes: BYTES, time: TIME };
        let page = self.letters.page(self.filter.clone(), self.from.take(), bounds).await;
        self.clear();
        let Page { mut found, next, looked_at } = page?;
        self.redriven.mark(&mut found, self.letters, MARKERS).await?;
        self.looked_at += looked_at;
        (self.at_end, self.from) = (next.is_none(), next);
        Ok(Some(found))
    }

    /// Whether everything was looked at.
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// The line stays while it is read on, and leaves no trace in what is printed.
    fn tell(&self) {
        if self.terminal.is_one && self.started.elapsed() >= TIME {
            eprint!("looked at {} dead letters, and goes on", self.looked_at);
        }
    }

    fn clear(&self) {
        if self.terminal.is_one && self.started.elapsed() >= TIME {
            eprint!("\r\x1b[K");
        }
    }
}
