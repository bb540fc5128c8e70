//! Output of a replay: progress and problems on standard error, and a summary at its end.

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::json;

use super::selection::Selection;
use super::{Args, ReplayError, ReplayOutcome, StopCause};
use crate::cli::Terminal;
use crate::cli::text::printable;
use crate::kafka::topic_reader::Spans;
use crate::redelivery::UnacknowledgedCall;
use crate::redelivery::replay::{OffsetRanges, Page, ReplayCounts};

/// Max problems that are printed one by one.
const MAX_PRINTED_PROBLEMS: usize = 10;
/// Exit code of a stop before the end.
const EXIT_STOPPED: u8 = 3;

/// Counts and printed problems so far.
pub(in crate::cli::replay) struct ReplayProgress<'a> {
    args: &'a Args,
    terminal: Terminal,
    counts: ReplayCounts,
    /// Calls that are too large for the retry topic.
    too_large_calls: u64,
    problem_count: usize,
    /// Whether a part of the requested replay is missing.
    is_incomplete: bool,
}

impl<'a> ReplayProgress<'a> {
    pub fn new(args: &'a Args, terminal: Terminal) -> Self {
        Self {
            args,
            terminal,
            counts: ReplayCounts::default(),
            too_large_calls: 0,
            problem_count: 0,
            is_incomplete: false,
        }
    }

    /// Warns of events that are skipped, and of webhooks without events.
    pub fn warn_skipped(&mut self, chosen: &Selection) {
        for (event, why) in chosen.skipped_events() {
            self.warn(&format!("event {event} is skipped: {why}"));
        }
        for webhook in &chosen.without_events {
            self.warn(&format!("webhook {webhook} has no events"));
        }
    }

    /// Warns of offsets whose records are gone.
    pub fn warn_deleted(&mut self, offsets: i64) {
        if offsets > 0 {
            self.warn(&format!("the first {offsets} offsets are gone: the topic's retention deleted them"));
        }
    }

    pub fn print_start(&self, chosen: &Selection, spans: &Spans) {
        let events: Vec<_> = chosen.ready().map(|event| event.to_string()).collect();
        let ranges = OffsetRanges(spans.clone());
        let (topic, count) = (&self.args.topic, ranges.count());
        if count == 0 {
            eprintln!("topic {topic} has nothing in this range");
        } else {
            eprintln!("replaying {count} offsets of topic {topic}, {ranges}, for event {}", events.join(", "));
        }
    }

    pub fn print_stopping(&self, signal: &str) {
        self.terminal.clear_progress();
        eprintln!("{signal}: stopping when the current calls are acknowledged; a second signal stops immediately");
    }

    /// Counts the calls that are too large for the retry topic. Returns the first call that failed for another
    /// reason.
    pub fn count_refused(&mut self, unwritten: Vec<UnacknowledgedCall>) -> Option<UnacknowledgedCall> {
        let (too_large, failed): (Vec<_>, Vec<_>) = unwritten.into_iter().partition(UnacknowledgedCall::is_too_large);
        self.too_large_calls += too_large.len() as u64;
        for unwritten in too_large {
            self.print_problem(&unwritten.to_string());
            self.is_incomplete = true;
        }
        failed.into_iter().next()
    }

    /// Adds a finished page and shows the progress.
    pub fn page(&mut self, page: &Page) {
        self.terminal.clear_progress();
        self.counts += page.counts;
        self.is_incomplete |= page.counts.too_large > 0;
        page.problems.iter().for_each(|trouble| self.print_problem(trouble));
        self.terminal.show_progress(format_args!("{}, continuing", self.summary()));
    }

    pub fn finish(self, outcome: ReplayOutcome) -> Result<ExitCode, ReplayError> {
        self.terminal.clear_progress();
        let ReplayOutcome { remaining: left, stop_cause: stopped } = outcome;
        let mut stdout = io::stdout();
        if self.args.json { writeln!(stdout, "{}", self.json(&left)) } else { writeln!(stdout, "{}", self.summary()) }?;
        if let Some(stopped) = &stopped {
            let by = if let StopCause::Signal(signal) = stopped { format!(" by {signal}") } else { String::new() };
            eprintln!("stopped{by} before its end; to continue, run:\n  {}", self.args.continue_command(&left));
        }
        match stopped {
            Some(StopCause::Error(error)) => Err(error),
            Some(StopCause::Signal(_)) => Ok(ExitCode::from(EXIT_STOPPED)),
            None if self.is_incomplete => Ok(ExitCode::FAILURE),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    fn summary(&self) -> String {
        let ReplayCounts { records, fired, messages, calls, undecodable, too_large } = self.counts;
        let sent = if self.args.dry_run { "calls that would be sent" } else { "calls sent" };
        let mut text = format!(
            "records read: {records}, fired: {fired}, messages: {messages}, {sent}: {}",
            calls - self.too_large_calls
        );
        for (count, what) in [
            (undecodable, "undecodable"),
            (too_large, "too large to be sent"),
            (self.too_large_calls, "too large for the retry topic"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {what}: {count}"));
            }
        }
        text
    }

    fn json(&self, left: &Spans) -> serde_json::Value {
        let ReplayCounts { records, fired, messages, calls, undecodable, too_large } = self.counts;
        json!({
            "Records": records,
            "Fired": fired,
            "Messages": messages,
            "Calls": calls - self.too_large_calls,
            "Written": !self.args.dry_run,
            "Undecodable": undecodable,
            "TooLarge": too_large + self.too_large_calls,
            "Left": (!left.is_empty()).then(|| OffsetRanges(left.clone()).to_string()),
        })
    }

    fn print_problem(&mut self, text: &str) {
        self.problem_count += 1;
        match self.problem_count {
            ..=MAX_PRINTED_PROBLEMS => eprintln!("{}", printable(text)),
            number if number == MAX_PRINTED_PROBLEMS + 1 => eprintln!("more problems follow; they are only counted"),
            _ => {}
        }
    }

    fn warn(&mut self, text: &str) {
        self.is_incomplete = true;
        eprintln!("warning: {}", printable(text));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cli::replay::tests::args;
    use crate::decode::{EventDate, Sequence};
    use crate::deliver::WriteCount;
    use crate::id::{CallId, MessageId, RecordPosition};
    use crate::kafka::{ErrorCode, KafkaError};
    use crate::settle::StoredCall;

    fn unwritten(offset: i64, code: ErrorCode) -> UnacknowledgedCall {
        let call = StoredCall {
            account: "acme".into(),
            webhook: "abc123".parse().unwrap(),
            event: "def456".parse().unwrap(),
            message: MessageId(Uuid::from_u128(1)),
            call: CallId(Uuid::from_u128(2)),
            url: "https://b.example/".into(),
            endpoint: (0, 1),
            event_date: EventDate { at: "2026-11-24T10:00:00Z".parse().unwrap(), fraction_digits: 0 },
            sequence: Sequence::Binlog { file: 1, pos: 2, row: 3 },
            source_position: RecordPosition { topic: "orders".into(), partition: 0, offset },
            appended_ms: 0,
            first_due_ms: 0,
            attempts: 0,
            deferrals: 0,
            write_count: WriteCount::FIRST,
            row_key: None,
        };
        UnacknowledgedCall { call, cause: KafkaError::MessageProduction(code) }
    }

    #[test]
    fn oversized_calls_are_counted_and_the_first_other_write_error_returned() {
        let args = args("outhook --topic orders --from 0 --webhook 3f0zq9");
        let mut told = ReplayProgress::new(&args, Terminal { is_terminal: false, colours: false });
        let (large, late) = (ErrorCode::MessageSizeTooLarge, ErrorCode::MessageTimedOut);
        let first = told.count_refused(vec![unwritten(1, large), unwritten(2, late), unwritten(3, late)]).unwrap();
        assert_eq!((first.call.source_position.offset, told.too_large_calls, told.is_incomplete), (2, 1, true));
        assert!(told.count_refused(vec![unwritten(4, large)]).is_none());
    }
}
