//! Texts and numbers for people, with colours only if [`Paint`] has them.

use std::fmt::Write as _;
use std::time::Duration;

use unicode_width::UnicodeWidthChar as _;

use super::Ready;
use crate::report::{DevReport, Summary};

/// Whether texts get colours.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    colours: bool,
}

impl Paint {
    pub(super) fn new(colours: bool) -> Self {
        Self { colours }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Formats a number in groups of three digits: `13,202`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a latency: `0.8 ms`, `120 ms`, `12.0 s`, or `-` for none.
pub(super) fn latency(latency: Option<Duration>) -> String {
    let Some(latency) = latency else { return "-".to_owned() };
    let millis = latency.as_secs_f64() * 1e3;
    match millis {
        0.0..9.95 => format!("{millis:.1} ms"),
        9.95..9_999.5 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1e3),
    }
}

/// Hours, minutes and seconds: `0:01:30`.
pub(super) fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Cuts a line to `columns` columns. Escape codes take no columns, and codes behind the cut are kept, so a colour
/// ends with the line.
pub(super) fn cut(line: &str, columns: usize) -> String {
    let (mut used, mut in_code) = (0, false);
    line.chars()
        .filter(|&character| {
            if in_code || character == '\x1b' {
                in_code = character != 'm';
                return true;
            }
            used += character.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// Wraps a line without escape codes to pieces of at most `columns` columns.
pub(super) fn wrapped(line: &str, columns: usize) -> Vec<String> {
    let (mut pieces, mut used) = (vec![String::new()], 0);
    for character in line.chars() {
        let width = character.width().unwrap_or(0);
        if used + width > columns {
            pieces.push(String::new());
            used = 0;
        }
        used += width;
        pieces.last_mut().expect("there is a piece from the start").push(character);
    }
    pieces
}

/// Addresses of all parts, one per line.
pub(super) fn addresses(ready: &Ready) -> String {
    let Ready { broker, changes_topic, api, metrics, receiver, .. } = ready;
    format!(
        "  broker    {broker}, topic {changes_topic}\n  api       {api}\n  metrics   {metrics}\n  \
         receiver  {receiver}, for any path\n"
    )
}

/// The first text: examples, and `addresses` unless the block shows them. No line is wider than 80 columns: a
/// terminal would break a longer line, and the commands could not be copied.
pub(super) fn welcome(ready: &Ready, addresses: &str, paint: Paint) -> String {
    let Ready { broker, changes_topic, api, account, client_id, client_secret, .. } = ready;
    let example = r#"{"table":"Orders","operation":"insert","after":{"Order_ID":7}}"#;
    let token_of = r#"sed 's/.*"access_token":"\([^"]*\).*/\1/'"#;
    let header = r#""Authorization: Bearer $token""#;
    let [title, own_change, own_webhook, rest] = [
        "Outhook with an embedded broker, sample tables and a local receiver",
        "Send your own row change",
        "Define your own webhook",
        "The same over REST, for account",
    ]
    .map(|line| paint.bold(line));
    format!(
        "{title}
Read more in README.md and docs/. Ctrl-C drains, then prints a summary.
{addresses}
{own_change}
  echo '{example}' |
    kcat -P -b {broker} -t {changes_topic}

{own_webhook}
  export OUTHOOK__KAFKA__BROKERS={broker}
  export OUTHOOK__DELIVERY__ALLOW_HTTP=true
  export OUTHOOK__DELIVERY__ALLOW_ADDRESSES='[\"127.0.0.0/8\"]'
  outhook get > webhooks.yaml        # edit it, then
  outhook apply -f webhooks.yaml

{rest} {account}
  api={api} id={client_id}
  secret={client_secret}
  token=$(curl -s $api/oauth/token -d grant_type=client_credentials \\
    -d client_id=$id -d client_secret=$secret |
    {token_of})
  curl -s $api/v3/outgoingWebhooks -H {header}

",
    )
}

/// One second as one line.
pub(super) fn line(report: &DevReport) -> String {
    let DevReport { tally, latency: percentiles, .. } = report;
    format!(
        "{} changes/s {} messages/s {} delivered {} failed attempts {} outstanding {} p50 {} p95 {} p99 {} lost {} \
         duplicates {} bad signatures {} unexpected {} others {}\n",
        clock(report.elapsed),
        report.changes_per_second,
        report.messages_per_second,
        tally.delivered,
        report.failed_attempts,
        report.outstanding,
        latency(percentiles.p50),
        latency(percentiles.p95),
        latency(percentiles.p99),
        tally.lost,
        tally.duplicates,
        tally.bad_signatures,
        tally.uncalled_for,
        tally.others,
    )
}

/// Summary of the whole run.
pub(super) fn summary(summary: &Summary, paint: Paint) -> String {
    let Summary { ok, drained, report } = summary;
    let DevReport { tally, latency: percentiles, .. } = report;
    let mut text = String::from("\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<17}{value}");
    };
    let rate = |total: u64, a_second: u64| format!("{}, {} per second", count(total), count(a_second));
    row("time", clock(report.elapsed));
    row("changes", rate(report.changes, report.changes_per_second));
    row("delivered", rate(tally.delivered, report.messages_per_second));
    let [p50, p95, p99] = [percentiles.p50, percentiles.p95, percentiles.p99].map(latency);
    row("latency", format!("p50 {p50}, p95 {p95}, p99 {p99}"));
    row("failed attempts", count(report.failed_attempts));
    row("lost", count(tally.lost));
    row("duplicates", count(tally.duplicates));
    row("bad signatures", count(tally.bad_signatures));
    row("unexpected", count(tally.uncalled_for));
    row("others", count(tally.others));
    if !drained {
        text.push_str("\n  The run ended before all work in flight was settled and committed.\n");
    }
    text.push_str(&match ok {
        true if tally.delivered == 0 => "\n  No message arrived.\n".to_owned(),
        true => paint.green("\n  Every message arrived once, with a valid signature.\n"),
        false => paint.red("\n  The run failed: see above.\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let micros = |micros| latency(Some(Duration::from_micros(micros)));
        assert_eq!(
            [0, 840, 9_900, 9_960, 120_400, 12_000_000].map(micros),
            ["0.0 ms", "0.8 ms", "9.9 ms", "10 ms", "120 ms", "12.0 s"]
        );
        assert_eq!(clock(Duration::from_secs(3_690)), "1:01:30");
    }

    #[test]
    fn lines_are_cut_by_columns_and_colours_are_reset() {
        assert_eq!(cut("abcdef", 4), "abcd");
        assert_eq!(cut("ab\x1b[1;31mcdef\x1b[0m", 4), "ab\x1b[1;31mcd\x1b[0m");
        assert_eq!(cut("日本語", 4), "日本", "each takes two columns");
        assert_eq!(wrapped("日本語ab", 5), ["日本", "語ab"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn welcome_lines_fit_a_narrow_terminal() {
        let address = |scheme: &str| format!("{scheme}127.0.0.1:65535");
        let ready = Ready {
            ready: true,
            broker: address(""),
            changes_topic: "changes",
            api: address("http://"),
            metrics: address("http://") + "/metrics",
            receiver: address("http://"),
            account: "default",
            client_id: "a".repeat(16),
            client_secret: "a".repeat(64),
        };
        for line in welcome(&ready, &addresses(&ready), Paint::new(false)).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn without_colours_there_is_no_escape_code() {
        assert_eq!(Paint::new(false).red("x"), "x");
        assert_eq!(Paint::new(true).red("x"), "\x1b[1;31mx\x1b[0m");
    }
}
