//! Limits of one account on an instance: previews, reads and writes. They keep capacity free for other accounts.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::error::ApiError;
use crate::id::AccountId;

/// Max concurrent previews of all accounts. Each may take tens of megabytes, and one core for a while.
const MAX_CONCURRENT_PREVIEWS: usize = 2;
/// Max previews of an account that run or wait.
const MAX_ACCOUNT_PREVIEWS: usize = 8;
/// Max concurrent reads of the message log and of dead letters by an account: half of the instance's limit.
const MAX_ACCOUNT_READS: usize = 2;
/// Seconds of unused writes that an account may make in a burst.
const BURST_SECONDS: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// Current usage of all accounts. Entries are never removed: only operators create accounts, so there are few.
pub struct AccountLimits {
    preview_permits: Arc<Semaphore>,
    accounts: DashMap<AccountId, AccountPermits>,
    write_limiter: DefaultKeyedRateLimiter<AccountId>,
    writes_per_second: NonZeroU32,
}

struct AccountPermits {
    preview_permits: Arc<Semaphore>,
    read_permits: Arc<Semaphore>,
}

/// A permit of a share. Dropping it returns the permit.
pub(super) struct AccountPermit {
    _account_permit: OwnedSemaphorePermit,
    _instance_permit: Option<OwnedSemaphorePermit>,
}

impl AccountLimits {
    /// `writes` is the limit of an account's writes per second. A burst may use the unused writes of [`BURST_SECONDS`].
    pub fn new(writes: NonZeroU32) -> Self {
        let quota = Quota::per_second(writes).allow_burst(writes.saturating_mul(BURST_SECONDS));
        Self {
            preview_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_PREVIEWS)),
            accounts: DashMap::new(),
            write_limiter: RateLimiter::keyed(quota),
            writes_per_second: writes,
        }
    }

    /// Takes a permit for a preview. Waits until one of the instance's permits is free.
    ///
    /// # Errors
    /// The account already has [`MAX_ACCOUNT_PREVIEWS`] previews that run or wait.
    pub(super) async fn preview(&self, account: &AccountId) -> Result<AccountPermit, ApiError> {
        let account_permit = self.acquire_account_permit(account, |share| &share.preview_permits).ok_or_else(|| {
            let message = format!(
                "{MAX_ACCOUNT_PREVIEWS} previews of this account are running or waiting: try again in a moment"
            );
            ApiError::too_many(message, Duration::from_secs(1))
        })?;
        let instance_permit =
            self.preview_permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        Ok(AccountPermit { _account_permit: account_permit, _instance_permit: Some(instance_permit) })
    }

    /// Takes a permit for a read of messages or dead letters.
    ///
    /// # Errors
    /// The account already has [`MAX_ACCOUNT_READS`] such reads under way.
    fn read(&self, account: &AccountId) -> Result<AccountPermit, ApiError> {
        let account_permit = self.acquire_account_permit(account, |share| &share.read_permits).ok_or_else(|| {
            let message =
                format!("{MAX_ACCOUNT_READS} reads of this account's messages are under way: try again in a moment");
            ApiError::too_many(message, Duration::from_secs(1))
        })?;
        Ok(AccountPermit { _account_permit: account_permit, _instance_permit: None })
    }

    /// Counts a write.
    ///
    /// # Errors
    /// The account has made too many writes in a short time.
    pub(super) fn write(&self, account: &AccountId) -> Result<(), ApiError> {
        self.write_limiter.check_key(account).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            let message = format!(
                "this account may change definitions {} times a second at this instance: wait, or have the operator \
                 raise definitions.max_account_writes",
                self.writes_per_second
            );
            ApiError::too_many(message, wait.max(Duration::from_secs(1)))
        })
    }

    fn acquire_account_permit(
        &self,
        account: &AccountId,
        of: impl Fn(&AccountPermits) -> &Arc<Semaphore>,
    ) -> Option<OwnedSemaphorePermit> {
        let share = || AccountPermits {
            preview_permits: Arc::new(Semaphore::new(MAX_ACCOUNT_PREVIEWS)),
            read_permits: Arc::new(Semaphore::new(MAX_ACCOUNT_READS)),
        };
        let permits = of(&self.accounts.entry(account.clone()).or_insert_with(share)).clone();
        permits.try_acquire_owned().ok()
    }
}

impl Api {
    /// Reads messages or dead letters within an account's share. The read keeps its permit until it ends, like its
    /// thread, because it continues after the client disconnects.
    ///
    /// # Errors
    /// The account already has [`MAX_ACCOUNT_READS`] such reads under way, or the read fails.
    pub(super) async fn run_read<T, F>(
        self: &Arc<Self>,
        account: &AccountId,
        read: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let permit = self.account_limits.read(account)?;
        let reading = read(self.clone());
        let done = tokio::spawn(async move {
            let _permit = permit;
            reading.await
        });
        done.await.expect("a read does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_write_rate_is_limited_and_other_accounts_are_unaffected() {
        let shares = AccountLimits::new(NonZeroU32::new(5).unwrap());
        let (loud, quiet) = (AccountId::from("loud"), AccountId::from("quiet"));
        let written = (0..1_000).take_while(|_| shares.write(&loud).is_ok()).count();
        assert!((50..60).contains(&written), "ten seconds of five, and those that accrue meanwhile: {written}");
        let refused = shares.write(&loud).unwrap_err();
        assert!(refused.message.contains("5 times a second"), "{}", refused.message);
        assert!(refused.message.contains("definitions.max_account_writes"), "{}", refused.message);
        assert!(shares.write(&quiet).is_ok());
    }

    #[test]
    fn account_holds_only_its_share_of_the_concurrent_reads() {
        let shares = AccountLimits::new(NonZeroU32::MIN);
        let (loud, quiet) = (AccountId::from("loud"), AccountId::from("quiet"));
        let taken: Vec<_> = (0..MAX_ACCOUNT_READS).map(|_| shares.read(&loud).unwrap()).collect();
        assert!(shares.read(&loud).is_err());
        assert!(shares.read(&quiet).is_ok());
        drop(taken);
        assert!(shares.read(&loud).is_ok());
    }
}
