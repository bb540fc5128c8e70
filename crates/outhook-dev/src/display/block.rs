//! The block that is redrawn in place: each frame moves up to the block's first line and overwrites it.

use std::fmt::Write as _;

use super::text::{Paint, clock, count, cut, latency, wrapped};
use crate::oracle::Finding;
use crate::oracle::Judgement;
use crate::recent_messages::{Glimpse, KEPT};
use crate::report::DevReport;

/// Undoes [`frame`]: turns on wrapping, shows the cursor.
pub(super) const GIVE_BACK: &str = "\x1b[?7h\x1b[?25h";

/// Hides the cursor, and turns wrapping off: a character may be wider on the terminal than counted, and its line must
/// stay one line. Terminals that support `?2026` show everything between the two codes as one update.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l\x1b[?7l";
const END: &str = "\x1b[?7h\x1b[?2026l";

/// The bytes that redraw the block over its `drawn` lines, with notes above it, on a terminal of `width` columns.
/// Notes are wrapped, because the end of a warning may matter. Lines of the block are cut.
pub(super) fn frame(drawn: usize, notes: &str, lines: &[String], width: usize) -> String {
    let mut frame = String::from(BEGIN);
    if drawn > 0 {
        let _ = write!(frame, "\x1b[{drawn}A");
    }
    frame.push('\r');
    let notes = notes.lines().flat_map(|note| wrapped(note, width));
    for line in notes.chain(lines.iter().map(|line| cut(line, width))) {
        // Clear before the write: after a line of full width the clear would erase the last character.
        frame.push_str("\x1b[K");
        frame.push_str(&line);
        frame.push('\n');
    }
    frame.push_str("\x1b[J");
    frame.push_str(END);
    frame
}

/// The block's lines; their number is constant.
pub(super) fn lines(report: &DevReport, addresses: &str, glimpses: &[Glimpse], paint: Paint) -> Vec<String> {
    let DevReport { tally, latency: percentiles, .. } = report;
    let rule = "─".repeat(70);
    let cell = |name: &str, value: String| format!("{name:<15}{value:>9}");
    let fault = |name: &str, value: u64| {
        let cell = format!("{name} {}", count(value));
        if value == 0 { paint.green(&cell) } else { paint.red(&cell) }
    };
    let mut lines =
        vec![paint.dim(&format!("── {} ── Ctrl-C drains, then prints a summary {rule}", clock(report.elapsed)))];
    lines.extend(addresses.lines().map(str::to_owned));
    lines.extend([
        String::new(),
        format!(
            "  {}  {}  {}",
            cell("changes/s", count(report.changes_per_second)),
            cell("messages/s", count(report.messages_per_second)),
            cell("outstanding", count(report.outstanding as u64)),
        ),
        format!(
            "  {}  {}  {}",
            cell("changes", count(report.changes)),
            cell("delivered", count(tally.delivered)),
            cell("failed attempts", count(report.failed_attempts)),
        ),
        format!(
            "  {}  {}  {}",
            cell("latency p50", latency(percentiles.p50)),
            cell("p95", latency(percentiles.p95)),
            cell("p99", latency(percentiles.p99)),
        ),
        format!(
            "  {}   {}   {}   {}   {}",
            fault("lost", tally.lost),
            fault("duplicates", tally.duplicates),
            fault("bad signatures", tally.bad_signatures),
            fault("unexpected", tally.uncalled_for),
            paint.dim(&format!("others {}", count(tally.others))),
        ),
        String::new(),
    ]);
    let height = lines.len() + KEPT;
    lines.extend(glimpses.iter().map(|glimpse| glimpse_line(glimpse, paint)));
    lines.resize(height, String::new());
    lines
}

fn glimpse_line(glimpse: &Glimpse, paint: Paint) -> String {
    let judgement = match glimpse.judgement {
        Judgement::Found(Finding::Delivered(took)) => format!("{:>10}", latency(Some(took))),
        Judgement::Found(Finding::Other) => format!("{:>10}", "other"),
        Judgement::Found(Finding::Duplicate) => paint.red(" DUPLICATE"),
        Judgement::Found(Finding::UncalledFor) => paint.red("UNEXPECTED"),
        Judgement::BadSignature => paint.red("   BAD SIG"),
    };
    let (time, path) = (glimpse.at.strftime("%H:%M:%S"), &glimpse.path);
    format!("  {} {judgement}  {} {}", paint.dim(&time.to_string()), paint.bold(&format!("{path:<10}")), glimpse.text)
}
