//! Report of `outhook check`, one finding per line.

use std::fmt;

use super::super::text::lines;

/// Findings of a check.
#[derive(Default)]
pub(super) struct CheckReport {
    lines: Vec<ReportLine>,
    /// Steps that `run` would take.
    planned_steps: Vec<String>,
}

struct ReportLine {
    verdict: CheckVerdict,
    subject: &'static str,
    text: String,
    fix: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CheckVerdict {
    Correct,
    Warning,
    Error,
}

impl CheckReport {
    pub fn add_ok(&mut self, subject: &'static str, text: String) {
        self.lines.push(ReportLine { verdict: CheckVerdict::Correct, subject, text, fix: None });
    }

    /// Adds a finding that does not prevent a run.
    pub fn warning(&mut self, subject: &'static str, text: String) {
        self.lines.push(ReportLine { verdict: CheckVerdict::Warning, subject, text, fix: None });
    }

    pub fn add_error(&mut self, subject: &'static str, text: String, fix: String) {
        self.lines.push(ReportLine { verdict: CheckVerdict::Error, subject, text, fix: Some(fix) });
    }

    pub fn add_planned_step(&mut self, text: String) {
        self.planned_steps.push(text);
    }

    pub fn has_errors(&self) -> bool {
        self.count(CheckVerdict::Error) > 0
    }

    fn count(&self, verdict: CheckVerdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ReportLine { verdict, subject, text, fix } in &self.lines {
            let verdict = match verdict {
                CheckVerdict::Correct => "right",
                CheckVerdict::Warning => "warning",
                CheckVerdict::Error => "wrong",
            };
            writeln!(f, "{verdict:<9}{subject:<15}{}", lines(text))?;
            if let Some(fix) = fix {
                writeln!(f, "{:24}to fix it: {}", "", lines(fix))?;
            }
        }
        for step in &self.planned_steps {
            writeln!(f, "run would {}", lines(step))?;
        }
        match (self.count(CheckVerdict::Error), self.count(CheckVerdict::Warning)) {
            (0, 0) => writeln!(f, "no problems found"),
            (wrong, warnings) => writeln!(f, "{wrong} wrong, {warnings} with a warning"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_report_lists_findings_with_their_fixes() {
        let mut report = CheckReport::default();
        report.add_ok("broker", "b:9092 answers\u{1b}[2J".to_owned());
        report.warning("source", "no topic matches cdc.* yet".to_owned());
        report.add_planned_step("create the topic x".to_owned());
        assert!(!report.has_errors(), "a warning does not prevent a run");
        report.add_error("topic", "x is wrong".to_owned(), "make it right".to_owned());
        assert!(report.has_errors());
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
