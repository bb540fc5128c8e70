//! The commands of the program, one a file, and what they have in common: the configuration, the exit codes,
//! how errors are shown.

pub mod apply;
pub mod change;
mod check;
pub mod clients;
mod dead_letters;
mod definitions;
mod dev;
mod endpoints;
pub mod explain;
mod failure;
pub mod get;
mod listing;
mod messages;
pub mod preview;
mod receive;
mod replay;
mod run;
pub mod secrets;
mod text;
mod time_arg;
mod topics;
mod waiting;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};

pub use self::failure::CommandFailure;
use crate::app;
use crate::config::{self, Config};
use crate::definition::{SecretReference, Stamp};

/// Row changes in Kafka become webhooks.
#[derive(Debug, Parser)]
#[command(name = "outhook", version, after_help = GUIDE, max_term_width = 110)]
struct Arguments {
    /// The configuration. Without this option it is what OUTHOOK_CONFIG names, else outhook.toml here
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Dev(dev::Args),
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

const GUIDE: &str = "\
To try, without a broker:
  outhook dev

To start:
  outhook receive                    an endpoint on this machine that shows what it is sent
  outhook check                      what is configured, what is there, what run would do
  outhook apply -f webhooks.yaml     say which row changes are sent where
  outhook run                        send them, and serve the API
  outhook clients create --name me   who may use the API

To find out:
  outhook explain --change row.json  why a row change fires or does not
  outhook preview --change row.json  the message it sends
  outhook messages list              what became of each message; show tells its attempts, resend sends it again
  outhook dead-letters list          what was given up, and why; redrive sends it out again
  outhook endpoints list             which endpoints work, which fail, and what waits for them; retry-now tries them

To send again:
  outhook replay --topic orders --from 2d --webhook 3f0zq9   what past row changes make; --help says more

Every key of outhook.toml can be set in the environment: OUTHOOK__KAFKA__BROKERS is kafka.brokers.
Exit codes: 0 done; 1 failed; 2 bad arguments or configuration; 3 stopped before all was done.";

/// What standard error is.
#[derive(Debug, Clone, Copy)]
struct Terminal {
    /// A person may be reading.
    is_one: bool,
    colours: bool,
}

impl Terminal {
    /// Colours on a terminal, unless NO_COLOR says otherwise (no-color.org).
    fn of_stderr() -> Self {
        let is_one = std::io::stderr().is_terminal();
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_one, colours: is_one && !unwanted }
    }
}

/// The whole program: arguments to exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let terminal = Terminal::of_stderr();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return CommandFailure::of(&error).report(terminal.colours),
    };
    let outcome = runtime.block_on(execute(arguments, terminal));
    // A command that has its result waits for no thread that is stuck with a broker.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| failure.report(terminal.colours))
}

async fn execute(arguments: Arguments, terminal: Terminal) -> Result<ExitCode, CommandFailure> {
    let file = config_file(arguments.config);
    let load = || Config::load(&file, std::env::vars_os());
    let load_to_run = || Config::load_for(&file, std::env::vars_os(), &app::problems);
    match arguments.command {
        Command::Run(_) => run::run(load_to_run()?, terminal).await,
        Command::Dev(args) => dev::run(args).await,
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
            let config = beside_file(load(), args.file.as_deref())?;
            let definitions = definitions::load(args.file.as_deref(), config.as_ref()).await?;
            print(&preview::run(&args, config.as_ref(), &definitions)?)
        }
        Command::Explain(args) => {
            let config = beside_file(load(), args.file.as_deref())?;
            let definitions = definitions::load(args.file.as_deref(), config.as_ref()).await?;
            print(&explain::run(&args, config.as_ref(), &definitions.events)?)
        }
    }
}

/// A configuration that may be missing when the definitions come from a file.
fn beside_file(config: Result<Config, config::Error>, file: Option<&Path>) -> Result<Option<Config>, config::Error> {
    match config {
        Err(config::Error::Missing { .. }) if file.is_some() => Ok(None),
        config => config.map(Some),
    }
}

/// Where the configuration is.
fn config_file(named: Option<PathBuf>) -> config::ConfigFile {
    match named.or_else(|| std::env::var_os("OUTHOOK_CONFIG").map(PathBuf::from)) {
        Some(path) => config::ConfigFile::Named(path),
        None => config::ConfigFile::Default(PathBuf::from("outhook.toml")),
    }
}

/// A file's bytes; `-` is standard input.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text.
fn read_text(path: &Path) -> std::io::Result<String> {
    let not_text = |error: std::string::FromUtf8Error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    String::from_utf8(read(path)?).map_err(not_text)
}

/// A secret of a definition that stands in the environment or in a file.
fn elsewhere(reference: SecretReference<'_>) -> Result<String, String> {
    match reference {
        SecretReference::Variable(name) => {
            std::env::var(name).map_err(|_| format!("there is no environment variable {name} with a text"))
        }
        SecretReference::File(path) => config::in_file(path),
    }
}

/// When a command did something, and who: the time in RFC 3339 with 7 decimals, as the API writes it.
fn stamp(by: &str) -> Stamp {
    Stamp::new(Timestamp::now(), by)
}

/// Fills bytes at random.
fn random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("every system that this runs on gives random bytes");
}

fn print(text: &str) -> Result<ExitCode, CommandFailure> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
