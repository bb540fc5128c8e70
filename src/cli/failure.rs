//! Failure of a command, as people see it: `error: …`, its causes, and `help: …` with the fix.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use super::text::lines;
use crate::config;

/// Exit code of a command that fails while it runs.
const EXIT_FAILED: u8 = 1;
/// Exit code of bad arguments, the same as clap's, and of a bad configuration.
const EXIT_BAD_CONFIG: u8 = 2;

/// Why a command failed.
#[derive(Debug)]
pub struct CommandFailure {
    code: u8,
    messages: Vec<FailureMessage>,
}

#[derive(Debug)]
struct FailureMessage {
    error: String,
    causes: Vec<String>,
    help: Option<String>,
}

impl CommandFailure {
    /// Failure by an error, with its causes.
    pub fn of(error: &dyn Error) -> Self {
        Self { code: EXIT_FAILED, messages: vec![FailureMessage::of(error)] }
    }

    /// Adds a help text that says how to fix it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        if let Some(last) = self.messages.last_mut() {
            last.help = Some(help.into());
        }
        self
    }

    /// Prints the failure to standard error and returns the exit code.
    pub fn report(&self, colours: bool) -> ExitCode {
        // If standard error is closed too, there is no other place to report to.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), self.text(colours).as_bytes());
        ExitCode::from(self.code)
    }

    fn text(&self, colours: bool) -> String {
        let (red, cyan, plain) = if colours { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        let mut text = String::new();
        for FailureMessage { error, causes, help } in &self.messages {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{red}error:{plain} {}", lines(error.trim_end()));
            for cause in causes {
                let _ = writeln!(text, "  because: {}", lines(cause));
            }
            if let Some(help) = help {
                let _ = writeln!(text, "{cyan}help:{plain} {}", lines(help));
            }
        }
        text
    }
}

impl FailureMessage {
    /// Collects the causes of an error, without those that its own text already contains.
    fn of(error: &dyn Error) -> Self {
        let text = error.to_string();
        let mut causes: Vec<String> = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) && !causes.iter().any(|known| known.contains(&cause_text)) {
                causes.push(cause_text);
            }
            source = cause.source();
        }
        Self { error: text, causes, help: None }
    }
}

impl<E: Error + 'static> From<E> for CommandFailure {
    fn from(error: E) -> Self {
        match (&error as &dyn Error).downcast_ref::<config::Error>() {
            Some(error) => of_config(error),
            None => Self::of(&error),
        }
    }
}

fn of_config(error: &config::Error) -> CommandFailure {
    let messages = match error {
        config::Error::Invalid(problems) => problems
            .iter()
            .map(|problem| FailureMessage {
                error: problem.to_string(),
                causes: Vec::new(),
                help: problem.help.clone(),
            })
            .collect(),
        config::Error::Missing { .. } => {
            let help =
                "name another file with --config, or create it: docs/configuration.md has every key and an example";
            vec![FailureMessage { help: Some(help.to_owned()), ..FailureMessage::of(error) }]
        }
        config::Error::Unreadable { .. } => vec![FailureMessage::of(error)],
    };
    CommandFailure { code: EXIT_BAD_CONFIG, messages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the broker is away")]
    struct Away(#[source] std::io::Error);

    #[test]
    fn failure_text_appends_causes_missing_from_the_message() {
        let failure = CommandFailure::from(Away(std::io::Error::other("connection refused"))).with_help("start it");
        assert_eq!(failure.text(false), "error: the broker is away\n  because: connection refused\nhelp: start it\n");
        assert!(failure.text(true).starts_with("\x1b[1;31merror:\x1b[0m the broker"));
    }
}
