//! Disables a webhook when its receiver no longer wants calls.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, warn};

use super::{Store, WriteError};
use crate::definition::{PendingDefinitions, Stamp, edit};
use crate::id::WebhookId;

/// Wait after the first failed try. It doubles up to `MAX_RETRY_DELAY`.
const INITIAL_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(60);

impl Store {
    /// Disables this version of a webhook on all instances, and stores `cause` with it. Retries until the change is
    /// written. A webhook that has changed meanwhile stays as it is.
    pub async fn disable_webhook(&self, webhook: WebhookId, version: u32, cause: String) {
        let mut wait = INITIAL_RETRY_DELAY;
        loop {
            let (stamp, cause) = (Stamp::new(Timestamp::now(), "Outhook"), cause.clone());
            let written = self.write(move |draft: &PendingDefinitions<'_>| {
                let records = edit::disable_webhook(draft, webhook, version, &cause, &stamp);
                Ok::<_, std::convert::Infallible>((records, ()))
            });
            match written.await {
                Ok(()) => return warn!(%webhook, "the webhook is disabled until it is enabled again"),
                Err(WriteError::NotWritten(reason)) => {
                    error!(%webhook, "the webhook can't be disabled in the definitions now, retrying: {reason}");
                }
                Err(WriteError::Refused(never)) => match never {},
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(MAX_RETRY_DELAY),
                () = self.stop.token().cancelled() => return,
            }
        }
    }
}
