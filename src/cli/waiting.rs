//! Says what a command waits for, once that takes longer than its user expects.
//!
//! It goes to standard error whether that is a terminal or not: the log of a job that seems to hang is where it is
//! looked for. Standard output has only the command's result.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write as _};
use std::pin::pin;
use std::time::Duration;

/// Shorter waits are not worth a line.
const QUIET: Duration = Duration::from_secs(1);

/// Does the work, and says what it waits for if it is not done soon.
pub(super) async fn told<W: Future>(what: impl Display, work: W) -> W::Output {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(QUIET) => {}
    }
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{what}");
    work.await
}

/// The same for a write of definitions.
pub(super) async fn told_of_write<W: Future>(brokers: &str, work: W) -> W::Output {
    let what = format_args!(
        "waiting for Kafka at {brokers} to take the definitions; a cluster's first transaction takes some seconds, \
         while Kafka creates its topic __transaction_state"
    );
    told(what, work).await
}
