//! Why a command failed, as people see it: `error: …`, its causes, and `help: …` for the mend.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use super::text::lines;
use crate::config;

/// The exit code of what fails while it is done.
const FAILED: u8 = 1;
/// The exit code of bad arguments, as clap has it, and of a bad configuration.
const UNUSABLE: u8 = 2;

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
    /// A failure with its causes.
    pub fn of(error: &dyn Error) -> Self {
        Self { code: FAILED, messages: vec![FailureMessage::of(error)] }
    }

    /// Says how to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(last) = self.messages.last_mut() {
            last.help = Some(help.into());
        }
        self
    }

    /// Shows it on standard error and gives the exit code.
    pub fn report(&self, colours: bool) -> ExitCode {
        // Nobody is left to tell if standard error is gone too.
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
    /// Many errors tell their source in their own text; only what is new is a cause of its own.
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
            let help = "name another with --config, or write it: docs/configuration.md has every key and an example";
            vec![FailureMessage { help: Some(help.to_owned()), ..FailureMessage::of(error) }]
        }
        config::Error::Unreadable { .. } => vec![FailureMessage::of(error)],
    };
    CommandFailure { code: UNUSABLE, messages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the broker is away")]
    struct Away(#[source] std::io::Error);

    #[test]
    fn shows_the_causes_that_the_error_does_not_tell_itself() {
        let failure = CommandFailure::from(Away(std::io::Error::other("connection refused"))).help("start it");
        assert_eq!(failure.text(false), "error: the broker is away\n  because: connection refused\nhelp: start it\n");
        assert!(failure.text(true).starts_with("\x1b[1;31merror:\x1b[0m the broker"));
    }
}
