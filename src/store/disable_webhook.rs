//! Disables a webhook whose receiver wants nothing any more.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, warn};

use super::{Store, WriteError};
use crate::definition::{PendingDefinitions, Stamp, edit};
use crate::id::WebhookId;

/// The wait after a try that failed, doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Store {
    /// Disables this version of a webhook, on all instances, and keeps `cause` with it. Tries until it is written; a
    /// webhook that has changed meanwhile stays as it is.
    pub async fn stop_webhook(&self, webhook: WebhookId, version: u32, cause: String) {
        let mut wait = FIRST_WAIT;
        loop {
            let (stamp, cause) = (Stamp::new(Timestamp::now(), "Outhook"), cause.clone());
            let written = self.write(move |draft: &PendingDefinitions<'_>| {
                let records = edit::stop_webhook(draft, webhook, version, &cause, &stamp);
                Ok::<_, std::convert::Infallible>((records, ()))
            });
            match written.await {
                Ok(()) => return warn!(%webhook, "the webhook is disabled until somebody enables it again"),
                Err(WriteError::Unwritten(reason)) => {
                    error!(%webhook, "the webhook can't be disabled in the definitions now: {reason}");
                }
                Err(WriteError::Refused(never)) => match never {},
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                () = self.stop.asked() => return,
            }
        }
    }
}
