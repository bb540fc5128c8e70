//! `outhook dead-letters redrive`: sends letters again, and reports the result of each.
//!
//! First it finds all selected letters, newest first, and keeps only the order in which they are to be sent. Then it
//! reads them again in that order, with their bodies, and sends them.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::super::Terminal;
use super::super::text::lines;
use super::DeadLettersError;
use super::list::FilterArgs;
use crate::dead_letters::{DeadLetterFilter, DeadLetterId, DeadLetterReader};
use crate::kafka::topic_reader::PageLimits;
use crate::redelivery::{RedriveMarkers, RedriveOptions, RedriveOutcomes, RedrivePlan, Redriver, SkipReason};

/// Bounds of one page of the search for letters.
const PAGE_LIMITS: PageLimits =
    PageLimits { max_found: 10_000, max_bytes: 256 * 1024 * 1024, max_time: Duration::from_secs(10) };
/// Max letters, and max bytes of bodies, that are read and sent before the next ones are read.
const BATCH_LIMITS: (usize, u64) = (1_000, 32 * 1024 * 1024);
/// Max letters that one lookup by id reads.
const MAX_IDS_PER_LOOKUP: usize = 32;
/// Time limit of the search and of the writes: practically none, because no HTTP request waits for the end.
const UNLIMITED_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Options that select letters without ids: all of them, or conditions.
const FILTER_OPTIONS: [&str; 10] =
    ["all", "account", "webhook", "event", "message", "endpoint", "class", "since", "until", "kind"];

/// Options of the redrive.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outhook dead-letters redrive --endpoint https://crm.example.com --dry-run
  outhook dead-letters redrive --webhook 3f0zq9 --class status_5xx
  outhook dead-letters redrive 2:1044 2:1050

A call is sent with its message id and its body, to its webhook's current URL,
with the whole retry schedule. Select letters by ids, by at least one condition,
or with --all. A redrive can be repeated safely: it skips letters that were
redriven before.

The oldest letters are sent first. For a webhook in row order, the calls of one
redrive arrive in the order of each row's changes, but behind calls that have
arrived since.")]
pub struct Args {
    /// Ids of dead letters, such as 2:1044.
    #[arg(value_name = "ID", required_unless_present_any = FILTER_OPTIONS, conflicts_with_all = FILTER_OPTIONS)]
    ids: Vec<DeadLetterId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// All dead letters.
    #[arg(long)]
    all: bool,
    /// Also letters that were redriven before.
    #[arg(long)]
    again: bool,
    /// Sends nothing, and only says what would be sent.
    #[arg(long)]
    dry_run: bool,
    /// Name to record as the author of the redrive.
    #[arg(long, value_name = "NAME", default_value = "outhook dead-letters redrive")]
    by: String,
    /// Prints one JSON object per letter, and the summary on standard error.
    #[arg(long)]
    json: bool,
}

/// Runs the command. `definitions` is the end offset of the definitions topic.
pub(super) async fn run(
    args: Args,
    letters: &DeadLetterReader,
    redrive: &Redriver,
    definitions: i64,
    terminal: Terminal,
) -> Result<ExitCode, DeadLettersError> {
    let Args { mut ids, filter, all: _, again, dry_run, by, json } = args;
    let order = RedriveOptions {
        include_redriven: again,
        dry_run,
        definitions_offset: definitions,
        requested_by: by,
        marker_scan_timeout: UNLIMITED_TIME,
        write_timeout: UNLIMITED_TIME,
    };
    let filter = DeadLetterFilter::from(filter);
    let mut redriven = RedriveMarkers::for_letters(&filter);
    let mut progress = RedriveProgress {
        dry_run,
        json,
        terminal,
        redriven_count: 0,
        skipped_by_reason: BTreeMap::new(),
        has_failures: false,
    };
    let plan = if ids.is_empty() {
        find_matching(letters, &mut redriven, &filter, &order, &progress).await?
    } else {
        ids.sort_unstable();
        ids.dedup();
        find_by_ids(letters, &ids, &mut progress).await?
    };
    let (max_letters, max_bytes) = BATCH_LIMITS;
    for ids in plan.batches(max_letters, max_bytes) {
        let found = letters.read_many(&ids, PAGE_LIMITS.max_time).await?;
        let found_ids: HashSet<_> = found.iter().map(|found| found.letter.id).collect();
        progress.report_missing(ids.into_iter().filter(|id| !found_ids.contains(id)))?;
        progress.report_outcomes(&redrive.send(found, letters, &mut redriven, &order).await?)?;
    }
    Ok(progress.print_summary()?)
}

/// Finds all letters that match the filter.
async fn find_matching(
    letters: &DeadLetterReader,
    redriven: &mut RedriveMarkers,
    filter: &DeadLetterFilter,
    order: &RedriveOptions,
    progress: &RedriveProgress,
) -> Result<RedrivePlan, DeadLettersError> {
    let (mut plan, mut from) = (RedrivePlan::default(), None);
    loop {
        let mut page = letters.page(filter.clone(), from, PAGE_LIMITS).await?;
        page.found.iter().for_each(|letter| plan.add(letter));
        progress.terminal.clear_progress();
        progress.terminal.show_progress(format_args!("{} found, searching for more", plan.count()));
        if !order.include_redriven {
            // From the newest back: if there are too many markers, the markers of the newest letters are kept.
            redriven.set_redriven(&mut page.found, letters, order.marker_scan_timeout).await?;
        }
        from = page.next_cursor;
        if from.is_none() {
            return Ok(plan);
        }
    }
}

/// Finds the letters with these ids, and reports the missing ones.
async fn find_by_ids(
    letters: &DeadLetterReader,
    ids: &[DeadLetterId],
    progress: &mut RedriveProgress,
) -> Result<RedrivePlan, DeadLettersError> {
    let mut plan = RedrivePlan::default();
    for ids in ids.chunks(MAX_IDS_PER_LOOKUP) {
        let found = letters.read_by_ids(ids, PAGE_LIMITS.max_time).await?;
        let missing = ids.iter().zip(&found).filter(|(_, found)| found.is_none());
        progress.report_missing(missing.map(|(id, _)| *id))?;
        found.iter().flatten().for_each(|found| plan.add(&found.letter));
    }
    Ok(plan)
}

/// Counts and output so far.
struct RedriveProgress {
    dry_run: bool,
    json: bool,
    terminal: Terminal,
    redriven_count: u64,
    /// Number of skipped letters by reason.
    skipped_by_reason: BTreeMap<&'static str, u64>,
    has_failures: bool,
}

impl RedriveProgress {
    fn report_missing(&mut self, ids: impl Iterator<Item = DeadLetterId>) -> io::Result<()> {
        self.report_outcomes(&ids.map(|id| (id, Err(SkipReason::Missing))).collect())
    }

    fn report_outcomes(&mut self, outcomes: &RedriveOutcomes) -> io::Result<()> {
        self.terminal.clear_progress();
        let mut text = String::new();
        for (id, outcome) in outcomes {
            match outcome {
                Ok(()) => self.redriven_count += 1,
                Err(reason) => {
                    *self.skipped_by_reason.entry(reason.label()).or_default() += 1;
                    self.has_failures |= reason.is_failure();
                }
            }
            let reason = outcome.as_ref().err();
            if self.json {
                let reason = reason.map(ToString::to_string);
                let redriven = outcome.is_ok() && !self.dry_run;
                let line = json!({"Id": id.to_string(), "Redriven": redriven, "Reason": reason});
                writeln!(text, "{line}").expect("writing to memory does not fail");
            } else if let Some(reason) = reason {
                writeln!(text, "{id}  skipped: {reason}").expect("writing to memory does not fail");
            }
        }
        io::stdout().write_all(lines(&text).as_bytes())?;
        self.terminal.show_progress(format_args!("{}, continuing", self.summary()));
        Ok(())
    }

    fn print_summary(self) -> io::Result<ExitCode> {
        self.terminal.clear_progress();
        let summary = self.summary();
        if self.json {
            writeln!(io::stderr(), "{summary}")?
        } else {
            writeln!(io::stdout(), "{summary}")?
        }
        Ok(if self.has_failures { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn summary(&self) -> String {
        let done = if self.dry_run { "would be redriven" } else { "redriven" };
        let mut text =
            format!("{} {done}, {} skipped", self.redriven_count, self.skipped_by_reason.values().sum::<u64>());
        for (number, (reason, count)) in self.skipped_by_reason.iter().enumerate() {
            let before = if number == 0 { ": " } else { ", " };
            write!(text, "{before}{count} {reason}").expect("writing to memory does not fail");
        }
        text
    }
}
