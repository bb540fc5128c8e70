//! The block that is redrawn in place: each frame goes up to the block's first line and writes over it.

use std::fmt::Write as _;

use super::text::{Paint, clock, count, cut, latency, wrapped};
use crate::dev::oracle::Finding;
use crate::dev::receiver::Judgement;
use crate::dev::recent_messages::{Glimpse, KEPT};
use crate::dev::report::DevReport;

/// Undoes what [`frame`] does to the terminal: lines wrap again, and the cursor is seen.
pub(super) const GIVE_BACK: &str = "\x1b[?7h\x1b[?25h";

/// Hides the cursor, and turns wrapping off: a character may be wider on the terminal than was counted, and its line must
/// stay one line. What is between the two `?2026` is shown at once, where that is known.
const BEGIN: &str = "\x1b[?2026h\x1b[?25l\x1b[?7l";
const END: &str = "\x1b[?7h\x1b[?2026l";

/// The bytes that draw the block over the `drawn` lines of it that stand there, and notes above it, on a terminal of
/// `width` columns. Notes are wrapped, since the end of a warning may be what matters; the block's lines are cut.
pub(super) fn frame(drawn: usize, notes: &str, lines: &[String], width: usize) -> String {
    let mut frame = String::from(BEGIN);
    if drawn > 0 {
        let _ = write!(frame, "\x1b[{drawn}A");
    }
    frame.push('\r');
    let notes = notes.lines().flat_map(|note| wrapped(note, width));
    for line in notes.chain(lines.iter().map(|line| cut(line, width))) {
        // Cleared before it is written: after a line that fills the width it would take the last character.
        frame.push_str("\x1b[K");
        frame.push_str(&line);
        frame.push('\n');
    }
    frame.push_str("\x1b[J");
    frame.push_str(END);
    frame
}

/// The block's lines; always as many.
pub(super) fn lines(report: &DevReport, addresses: &str, glimpses: &[Glimpse], paint: Paint) -> Vec<String> {
    let DevReport { tally, latency: percentiles, .. } = report;
    let rule = "─".repeat(70);
    let cell = |name: &str, value: String| format!("{name:<12}{value:>10}");
    let fault = |name: &str, value: u64| {
        let cell = format!("{name} {}", count(value));
        if value == 0 { paint.green(&cell) } else { paint.red(&cell) }
    };
    let mut lines =
        vec![paint.dim(&format!("── {} ── Ctrl-C drains and ends with a summary {rule}", clock(report.elapsed)))];
    lines.extend(addresses.lines().map(str::to_owned));
    lines.extend([
        String::new(),
        format!(
            "  {}   {}   {}",
            cell("changes/s", count(report.changes_per_second)),
            cell("messages/s", count(report.messages_per_second)),
            cell("on the way", count(report.outstanding as u64)),
        ),
        format!(
            "  {}   {}   {}",
            cell("changes", count(report.changes)),
            cell("delivered", count(tally.delivered)),
            cell("failed tries", count(report.failed_attempts)),
        ),
        format!(
            "  {}   {}   {}",
            cell("latency p50", latency(percentiles.p50)),
            cell("p95", latency(percentiles.p95)),
            cell("p99", latency(percentiles.p99)),
        ),
        format!(
            "  {}   {}   {}   {}   {}",
            fault("lost", tally.lost),
            fault("duplicates", tally.duplicates),
            fault("bad signatures", tally.bad_signatures),
            fault("uncalled for", tally.uncalled_for),
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
        Judgement::Found(Finding::Delivered(took)) => format!("{:>7}", latency(Some(took))),
        Judgement::Found(Finding::Other) => format!("{:>7}", "other"),
        Judgement::Found(Finding::Duplicate) => paint.red("DOUBLED"),
        Judgement::Found(Finding::UncalledFor) => paint.red("UNASKED"),
        Judgement::BadSignature => paint.red("BAD SIG"),
    };
    let (time, path) = (glimpse.at.strftime("%H:%M:%S"), &glimpse.path);
    format!("  {} {judgement}  {} {}", paint.dim(&time.to_string()), paint.bold(&format!("{path:<10}")), glimpse.text)
}
