//! `outhook run`: sends row changes until a signal stops it.

use std::pin::pin;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{CommandFailure, Terminal};
use crate::app::App;
use crate::config::Config;
use crate::lifecycle::{self, Signals};
use crate::source::LeaveResult;
use crate::telemetry::{self, Metrics};
use crate::topics;

/// The exit code of a stop that left records uncommitted.
const EXIT_UNCOMMITTED: u8 = 3;

/// Sends row changes to webhooks until SIGTERM, SIGINT (Ctrl-C) or SIGHUP.
///
/// On a signal it stops reading, waits up to drain.deadline for calls under way, commits, and exits with code 0, or
/// with 3 if the deadline passed first. Records that are not committed are read again after the next start. A second
/// signal stops it immediately.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Before the first run: outhook check.
While it runs: GET /health/ready and /metrics on listen.address.")]
pub struct Args {}

pub(super) async fn run(config: Config, terminal: Terminal) -> Result<ExitCode, CommandFailure> {
    config.require_sources()?;
    lifecycle::abort_on_panic();
    telemetry::start_logs(&config.log, terminal.is_terminal, terminal.colours)?;
    let metrics = Metrics::start()?;
    let mut signals = Signals::listen()?;
    for topic in topics::ensure(&config).await? {
        info!(topic, "topic created");
    }
    let app = App::build(&config, metrics).await?;
    let sources: Vec<String> = config.sources.iter().map(ToString::to_string).collect();
    info!(address = %app.address(), group = config.kafka.group, ?sources, "outhook {} runs", env!("CARGO_PKG_VERSION"));

    let stop = CancellationToken::new();
    let mut running = pin!(app.run(stop.cancelled()));
    let signal = tokio::select! {
        ended = &mut running => return Ok(log_end(ended?)),
        signal = signals.next() => signal,
    };
    info!("{signal}: draining for up to {:?}; a second signal stops immediately", config.drain.deadline);
    stop.cancel();
    tokio::select! {
        ended = running => Ok(log_end(ended?)),
        signal = signals.next() => {
            warn!("{signal} again: stopped immediately; uncommitted records are read again");
            #[expect(clippy::disallowed_methods, reason = "dropping the consumer would leave the group properly, and that takes time")]
            std::process::exit(EXIT_UNCOMMITTED.into());
        }
    }
}

/// Logs how the run ended, and returns the exit code.
fn log_end(left: LeaveResult) -> ExitCode {
    match left {
        LeaveResult { unsettled: 0, all_committed: true } => {
            info!("drained: everything that was read is settled and committed");
            return ExitCode::SUCCESS;
        }
        LeaveResult { unsettled: 0, all_committed: false } => {
            warn!("settled, but some commits failed: the uncommitted records are read again");
        }
        LeaveResult { unsettled, .. } => {
            warn!("deadline passed: {unsettled} records left uncommitted; they are read again")
        }
    }
    ExitCode::from(EXIT_UNCOMMITTED)
}
