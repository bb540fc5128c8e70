//! `outhook dev`: tries Outhook without a broker and without a configuration.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use outhook_dev::Style;

use super::CommandFailure;
use crate::dev::{self, Options};
use crate::lifecycle;

/// Runs a demo on this machine, without a broker and without a configuration.
///
/// The demo has an embedded broker, sample tables with an endless stream of changes, webhooks, and a receiver. The
/// receiver verifies every message and detects lost and duplicate messages.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sample changes per second. With 0, only changes that other producers write are sent
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    rate: u32,

    /// Stops after this time, such as 10s or 2m, and prints a summary. The exit code is 0 only if no message was
    /// lost, duplicated or badly signed and, unless --rate is 0, at least one was delivered
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,

    /// First of three ports, in this order: broker, API with metrics, receiver. The broker's port is a bootstrap
    /// port: it refers clients to the embedded broker's own port, which is always a free one. Default: free ports
    #[arg(long, value_name = "FIRST", value_parser = clap::value_parser!(u16).range(1..=65_533))]
    ports: Option<u16>,

    /// Seed of the sample changes: the same seed gives the same rows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Prints only JSON lines: the addresses, a report every second, the summary
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, CommandFailure> {
    lifecycle::abort_on_panic();
    let Args { rate, duration, ports, seed, json } = args;
    let summary = dev::run(Options { rate, duration, ports, seed, style: style(json) }).await?;
    Ok(if summary.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Selects JSON if requested, else the style that standard output can show.
fn style(json: bool) -> Style {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let obeys = std::io::stdout().is_terminal() && set("TERM").is_some_and(|term| term != "dumb");
    match (json, obeys) {
        (true, _) => Style::Json,
        (false, true) => Style::Block { colours: set("NO_COLOR").is_none() },
        (false, false) => Style::Lines,
    }
}

/// A text that is not a duration over zero.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a duration: write it as 10s or 1m30s")]
struct BadDuration(String);

/// Parses `10s`, `1m 30s` and so on, and refuses zero.
fn duration(text: &str) -> Result<Duration, BadDuration> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.filter(|duration| !duration.is_zero()).ok_or_else(|| BadDuration(text.to_owned()))
}
