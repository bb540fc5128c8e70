//! Limits on an account's definitions: every instance holds all definitions in memory.

use super::Violation;
use crate::definition::{PendingDefinitions, Usage};
use crate::id::AccountId;

/// Limits of an account and of a webhook. They apply to what requests add. Definitions that an operator applies, and
/// existing ones, are not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionLimits {
    /// Max webhooks, events, and bytes of their texts per account.
    pub per_account: Usage,
    /// Max events per webhook.
    pub events_per_webhook: usize,
    /// Max calls per second of a webhook. It is not enforced as a throttle: a webhook without a limit shows this
    /// value.
    pub max_call_throttling: u32,
}

impl Default for DefinitionLimits {
    fn default() -> Self {
        let per_account = Usage { webhooks: 100_000, events: 200_000, bytes: 32 * 1024 * 1024 };
        Self { per_account, events_per_webhook: 10_000, max_call_throttling: 1_000_000 }
    }
}

impl DefinitionLimits {
    /// Checks that an account may add a definition, or replace the one before. Making a definition smaller is always
    /// allowed.
    ///
    /// # Errors
    /// [`Violation::LimitExceeded`].
    pub fn check(
        &self,
        draft: &PendingDefinitions<'_>,
        account: &AccountId,
        before: Option<Usage>,
        after: Usage,
    ) -> Result<(), Violation> {
        let (before, most) = (before.unwrap_or_default(), self.per_account);
        let wanted = draft.usage(account) - before + after;
        let limits = [
            ("webhooks", "max_webhooks", before.webhooks, after.webhooks, wanted.webhooks, most.webhooks),
            ("events", "max_account_events", before.events, after.events, wanted.events, most.events),
            ("bytes of definitions", "max_account_bytes", before.bytes, after.bytes, wanted.bytes, most.bytes),
        ];
        let broken = limits.into_iter().find(|(_, _, before, after, wanted, most)| after > before && wanted > most);
        match broken {
            None => Ok(()),
            Some((things, key, _, _, wanted, most)) => {
                Err(Violation::LimitExceeded { owner: "account", wanted, most, things, key })
            }
        }
    }

    /// Checks that a webhook with `event_count` events may have one more.
    ///
    /// # Errors
    /// [`Violation::LimitExceeded`].
    pub fn check_events_of_webhook(&self, event_count: usize) -> Result<(), Violation> {
        let (most, wanted) = (self.events_per_webhook, event_count + 1);
        let full = Violation::LimitExceeded { owner: "webhook", wanted, most, things: "events", key: "max_events" };
        if wanted > most { Err(full) } else { Ok(()) }
    }
}
