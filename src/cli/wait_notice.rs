//! Reports what a command waits for, if that takes longer than its user expects.
//!
//! The report goes to standard error even if that is not a terminal: users search the log of a job that seems to
//! hang. Standard output has only the command's result.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write as _};
use std::pin::pin;
use std::time::Duration;

/// Waits up to this long are not reported.
const NOTICE_DELAY: Duration = Duration::from_secs(1);

/// Does the work, and reports what it waits for if it is not done soon.
pub(super) async fn with_notice<W: Future>(what: impl Display, work: W) -> W::Output {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(NOTICE_DELAY) => {}
    }
    // If standard error is closed, there is no other place to report to.
    let _ = writeln!(io::stderr(), "{what}");
    work.await
}

/// Writes definitions, and reports if that takes long.
pub(super) async fn with_write_notice<W: Future>(brokers: &str, work: W) -> W::Output {
    let what = format_args!(
        "waiting for Kafka at {brokers} to accept the definitions; the first transaction of a cluster takes some \
         seconds, while Kafka creates its topic __transaction_state"
    );
    with_notice(what, work).await
}
