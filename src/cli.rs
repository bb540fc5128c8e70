//! The commands of the program, one per file, and what they share: the configuration, the exit codes, and how errors
//! are shown.

pub mod apply;
pub mod change;
mod check;
pub mod clients;
mod dead_letters;
mod definitions;
#[cfg(feature = "dev")]
mod dev;
mod endpoints;
pub mod explain;
mod failure;
pub mod get;
mod listing;
mod messages;
pub mod preview;
#[cfg(feature = "dev")]
mod receive;
mod replay;
mod run;
pub mod secrets;
mod text;
mod time_arg;
mod topics;
mod wait_notice;

use std::fmt::Display;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};

pub use self::failure::CommandFailure;
use crate::app;
use crate::config::{self, Config};
use crate::definition::{SecretError, SecretReference, Stamp};

/// Sends row changes in Kafka topics as webhooks.
#[derive(Debug, Parser)]
#[command(name = "outhook", version, after_help = guide(), max_term_width = 110)]
struct Arguments {
    /// Configuration file. Default: the file that OUTHOOK_CONFIG names, else ./outhook.toml
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    #[cfg(feature = "dev")]
    Dev(dev::Args),
    #[cfg(feature = "dev")]
    Receive(receive::Args),
    Check(check::Args),
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    Apply(apply::Args),
    #[command(subcommand)]
    Clients(clients::Clients),
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    Get(get::Args),
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    #[command(subcommand)]
    Messages(messages::Messages),
    #[command(subcommand)]
    Endpoints(endpoints::Endpoints),
    Replay(Box<replay::Args>),
    Preview(preview::Args),
    Explain(explain::Args),
}

/// The help's last part: what to type, by purpose.
fn guide() -> String {
    let (dev, receive) = if cfg!(feature = "dev") { (DEV, RECEIVE) } else { ("", "") };
    format!("{dev}To start:\n{receive}{GUIDE}")
}

const DEV: &str = "To try, without a broker:\n  outhook dev\n\n";
const RECEIVE: &str = "  outhook receive                    print messages: a local test endpoint\n";

const GUIDE: &str = "  outhook check                      check configuration, broker and topics
  outhook apply -f webhooks.yaml     define which changes are sent where
  outhook run                        send webhooks, serve the API
  outhook clients create --name me   create credentials for the API

To find out:
  outhook explain --change row.json  why a row change fires or does not
  outhook preview --change row.json  the message that a row change sends
  outhook messages list              sent messages and their results
  outhook endpoints list             failing endpoints, waiting calls
  outhook dead-letters list          calls that failed for good, and why

To send again:
  outhook messages resend ID         a message
  outhook endpoints retry-now --all  waiting calls, without their delay
  outhook dead-letters redrive ID    a dead letter
  outhook replay --help              messages of past row changes

Environment variables override keys of outhook.toml: OUTHOOK__KAFKA__BROKERS
sets kafka.brokers.

Exit codes: 0 done; 1 failed; 2 bad arguments or configuration; 3 stopped before
the end.";

/// Capabilities of standard error.
#[derive(Debug, Clone, Copy)]
struct Terminal {
    /// It is a terminal, so a person may be reading.
    is_terminal: bool,
    colours: bool,
}

impl Terminal {
    /// Uses colours on a terminal, unless NO_COLOR is set and not empty (no-color.org).
    fn detect_stderr() -> Self {
        let is_one = std::io::stderr().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_terminal: is_one, colours: is_one && !unwanted }
    }

    /// Shows the progress of a command if a person may be reading.
    fn show_progress(self, progress: impl Display) {
        if self.is_terminal {
            // If standard error is closed, nobody wants the progress.
            let _ = write!(std::io::stderr(), "{progress}");
        }
    }

    /// Clears the progress before other output.
    fn clear_progress(self) {
        self.show_progress("\r\x1b[K");
    }
}

/// Runs the whole program, from the arguments to the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let terminal = Terminal::detect_stderr();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return CommandFailure::of(&error).report(terminal.colours),
    };
    let outcome = runtime.block_on(execute(arguments, terminal));
    // A command that has its result does not wait for a thread that hangs on a broker.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| failure.report(terminal.colours))
}

async fn execute(arguments: Arguments, terminal: Terminal) -> Result<ExitCode, CommandFailure> {
    let file = config_file(arguments.config);
    let load = || Config::load(&file, std::env::vars_os());
    let load_to_run = || Config::load_for(&file, std::env::vars_os(), &app::problems);
    match arguments.command {
        Command::Run(_) => run::run(load_to_run()?, terminal).await,
        #[cfg(feature = "dev")]
        Command::Dev(args) => dev::run(args).await,
        #[cfg(feature = "dev")]
        Command::Receive(args) => receive::run(args).await,
        Command::Check(args) => check::run(args, &load_to_run()?).await,
        Command::Topics(command) => topics::run(command, &load()?).await,
        Command::Apply(args) => Ok(apply::run(args, &load()?).await?),
        Command::Clients(command) => Ok(clients::run(command, &load()?).await?),
        Command::Secrets(command) => Ok(secrets::run(command, &load()?).await?),
        Command::DeadLetters(command) => Ok(dead_letters::run(command, &load()?, terminal).await?),
        Command::Messages(command) => Ok(messages::run(command, &load()?, terminal).await?),
        Command::Endpoints(command) => endpoints::run(command, &load()?).await,
        Command::Replay(args) => Ok(replay::run(*args, &load()?, terminal).await?),
        Command::Get(args) => {
            let config = load()?;
            Ok(get::run(args, &config.definitions, &config.kafka.client()).await?)
        }
        Command::Preview(args) => {
            let config = allow_missing_config(load(), args.file.as_deref())?;
            let definitions = definitions::load(args.file.as_deref(), config.as_ref()).await?;
            print(&preview::run(&args, config.as_ref(), &definitions)?)
        }
        Command::Explain(args) => {
            let config = allow_missing_config(load(), args.file.as_deref())?;
            let definitions = definitions::load(args.file.as_deref(), config.as_ref()).await?;
            print(&explain::run(&args, config.as_ref(), &definitions.events)?)
        }
    }
}

/// Accepts a missing configuration if the definitions come from a file.
fn allow_missing_config(
    config: Result<Config, config::Error>,
    file: Option<&Path>,
) -> Result<Option<Config>, config::Error> {
    match config {
        Err(config::Error::Missing { .. }) if file.is_some() => Ok(None),
        config => config.map(Some),
    }
}

/// Path of the configuration: --config, else OUTHOOK_CONFIG, else outhook.toml.
fn config_file(named: Option<PathBuf>) -> config::ConfigFile {
    match named.or_else(|| std::env::var_os("OUTHOOK_CONFIG").map(PathBuf::from)) {
        Some(path) => config::ConfigFile::Named(path),
        None => config::ConfigFile::Default(PathBuf::from("outhook.toml")),
    }
}

/// Reads the bytes of a file; `-` is standard input.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file as UTF-8 text; `-` is standard input.
fn read_text(path: &Path) -> std::io::Result<String> {
    let not_text = |error: std::string::FromUtf8Error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    String::from_utf8(read(path)?).map_err(not_text)
}

/// Reads a definition's secret from the environment or from a file.
fn read_secret(reference: SecretReference<'_>) -> Result<String, SecretError> {
    match reference {
        SecretReference::Variable(name) => std::env::var(name).map_err(|_| SecretError::Variable(name.to_owned())),
        SecretReference::File(path) => config::read_secret_file(path),
    }
}

/// Stamp of who changed something, and when: the time in RFC 3339 with 7 decimals, as the API writes it.
fn stamp(by: &str) -> Stamp {
    Stamp::new(Timestamp::now(), by)
}

/// Fills `bytes` with random values.
fn random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("every supported system provides random bytes");
}

fn print(text: &str) -> Result<ExitCode, CommandFailure> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
