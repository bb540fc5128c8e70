//! Report of `outhook check`, one finding per line.

use std::fmt;

use super::super::text::lines;

/// Findings of a check.
#[derive(Default)]
pub(super) struct CheckReport {
    lines: Vec<ReportLine>,
    /// Steps that `run` would take.
    plan: Vec<String>,
}

struct ReportLine {
    verdict: CheckVerdict,
    subject: &'static str,
    text: String,
    mend: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckVerdict {
    Right,
    Warning,
    Wrong,
}

impl CheckReport {
    pub fn right(&mut self, subject: &'static str, text: String) {
        self.lines.push(ReportLine { verdict: CheckVerdict::Right, subject, text, mend: None });
    }

    /// Adds a finding that does not prevent a run.
    pub fn warning(&mut self, subject: &'static str, text: String) {
        self.lines.push(ReportLine { verdict: CheckVerdict::Warning, subject, text, mend: None });
    }

    pub fn wrong(&mut self, subject: &'static str, text: String, mend: String) {
        self.lines.push(ReportLine { verdict: CheckVerdict::Wrong, subject, text, mend: Some(mend) });
    }

    pub fn planned(&mut self, text: String) {
        self.plan.push(text);
    }

    pub fn is_wrong(&self) -> bool {
        self.count(CheckVerdict::Wrong) > 0
    }

    fn count(&self, verdict: CheckVerdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ReportLine { verdict, subject, text, mend } in &self.lines {
            let verdict = match verdict {
                CheckVerdict::Right => "right",
                CheckVerdict::Warning => "warning",
                CheckVerdict::Wrong => "wrong",
            };
            writeln!(f, "{verdict:<9}{subject:<15}{}", lines(text))?;
            if let Some(mend) = mend {
                writeln!(f, "{:24}to fix it: {}", "", lines(mend))?;
            }
        }
        for step in &self.plan {
            writeln!(f, "run would {}", lines(step))?;
        }
        match (self.count(CheckVerdict::Wrong), self.count(CheckVerdict::Warning)) {
            (0, 0) => writeln!(f, "no problems found"),
            (wrong, warnings) => writeln!(f, "{wrong} wrong, {warnings} with a warning"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_wrong_and_how_to_mend_it() {
        let mut report = CheckReport::default();
        report.right("broker", "b:9092 answers\u{1b}[2J".to_owned());
        report.warning("source", "no topic matches cdc.* yet".to_owned());
        report.planned("create the topic x".to_owned());
        assert!(!report.is_wrong(), "a warning does not prevent a run");
        report.wrong("topic", "x is wrong".to_owned(), "make it right".to_owned());
        assert!(report.is_wrong());
        let expected = "\
right    broker         b:9092 answers [2J
warning  source         no topic matches cdc.* yet
wrong    topic          x is wrong
                        to fix it: make it right
run would create the topic x
1 wrong, 1 with a warning
";
        assert_eq!(report.to_string(), expected);
    }
}
