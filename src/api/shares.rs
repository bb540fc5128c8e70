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
const PREVIEWS: usize = 2;
/// Max previews of an account that run or wait.
const PREVIEWS_OF_ACCOUNT: usize = 8;
/// Max concurrent reads of the message log and of dead letters by an account: half of the instance's limit.
const READS_OF_ACCOUNT: usize = 2;
/// Seconds of unused writes that an account may make in a burst.
const SAVED_SECONDS: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// Current usage of all accounts. Entries are never removed: only operators create accounts, so there are few.
pub struct Shares {
    previews: Arc<Semaphore>,
    of_accounts: DashMap<AccountId, AccountShare>,
    writes: DefaultKeyedRateLimiter<AccountId>,
    writes_a_second: NonZeroU32,
}

struct AccountShare {
    previews: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

/// A permit of a share. Dropping it returns the permit.
pub(super) struct SharePermit {
    _own: OwnedSemaphorePermit,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// `writes` is the limit of an account's writes per second, averaged over [`SAVED_SECONDS`].
    pub fn new(writes: NonZeroU32) -> Self {
        let quota = Quota::per_second(writes).allow_burst(writes.saturating_mul(SAVED_SECONDS));
        Self {
            previews: Arc::new(Semaphore::new(PREVIEWS)),
            of_accounts: DashMap::new(),
            writes: RateLimiter::keyed(quota),
            writes_a_second: writes,
        }
    }

    /// Takes a permit for a preview. Waits until one of the instance's permits is free.
    ///
    /// # Errors
    /// The account already has [`PREVIEWS_OF_ACCOUNT`] previews that run or wait.
    pub(super) async fn preview(&self, account: &AccountId) -> Result<SharePermit, ApiError> {
        let own = self.of_account(account, |share| &share.previews).ok_or_else(|| {
            let message =
                format!("{PREVIEWS_OF_ACCOUNT} previews of this account are running or waiting: try again in a moment");
            ApiError::too_many(message, Duration::from_secs(1))
        })?;
        let of_all = self.previews.clone().acquire_owned().await.expect("the semaphore is never closed");
        Ok(SharePermit { _own: own, _of_all: Some(of_all) })
    }

    /// Takes a permit for a read of messages or dead letters.
    ///
    /// # Errors
    /// The account already has [`READS_OF_ACCOUNT`] such reads under way.
    fn read(&self, account: &AccountId) -> Result<SharePermit, ApiError> {
        let own = self.of_account(account, |share| &share.reads).ok_or_else(|| {
            let message =
                format!("{READS_OF_ACCOUNT} reads of this account's messages are under way: try again in a moment");
            ApiError::too_many(message, Duration::from_secs(1))
        })?;
        Ok(SharePermit { _own: own, _of_all: None })
    }

    /// Counts a write.
    ///
    /// # Errors
    /// The account has made too many writes in a short time.
    pub(super) fn write(&self, account: &AccountId) -> Result<(), ApiError> {
        self.writes.check_key(account).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            let message = format!(
                "this account may change definitions {} times a second at this instance: wait, or have the operator \
                 raise definitions.max_account_writes",
                self.writes_a_second
            );
            ApiError::too_many(message, wait.max(Duration::from_secs(1)))
        })
    }

    fn of_account(
        &self,
        account: &AccountId,
        of: impl Fn(&AccountShare) -> &Arc<Semaphore>,
    ) -> Option<OwnedSemaphorePermit> {
        let share = || AccountShare {
            previews: Arc::new(Semaphore::new(PREVIEWS_OF_ACCOUNT)),
            reads: Arc::new(Semaphore::new(READS_OF_ACCOUNT)),
        };
        let permits = of(&self.of_accounts.entry(account.clone()).or_insert_with(share)).clone();
        permits.try_acquire_owned().ok()
    }
}

impl Api {
    /// Reads messages or dead letters within an account's share. The read keeps its permit until it ends, like its
    /// thread, because it continues after the client disconnects.
    ///
    /// # Errors
    /// The account already has [`READS_OF_ACCOUNT`] such reads under way, or the read fails.
    pub(super) async fn reading<T, F>(
        self: &Arc<Self>,
        account: &AccountId,
        read: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let permit = self.shares.read(account)?;
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
    fn an_account_writes_so_often_and_no_other_waits_for_it() {
        let shares = Shares::new(NonZeroU32::new(5).unwrap());
        let (loud, quiet) = (AccountId::from("loud"), AccountId::from("quiet"));
        let written = (0..1_000).take_while(|_| shares.write(&loud).is_ok()).count();
        assert!((50..60).contains(&written), "ten seconds of five, and those that accrue meanwhile: {written}");
        let refused = shares.write(&loud).unwrap_err();
        assert!(refused.message.contains("5 times a second"), "{}", refused.message);
        assert!(refused.message.contains("definitions.max_account_writes"), "{}", refused.message);
        assert!(shares.write(&quiet).is_ok());
    }

    #[test]
    fn an_account_takes_half_of_the_reads() {
        let shares = Shares::new(NonZeroU32::MIN);
        let (loud, quiet) = (AccountId::from("loud"), AccountId::from("quiet"));
        let taken: Vec<_> = (0..READS_OF_ACCOUNT).map(|_| shares.read(&loud).unwrap()).collect();
        assert!(shares.read(&loud).is_err());
        assert!(shares.read(&quiet).is_ok());
        drop(taken);
        assert!(shares.read(&loud).is_ok());
    }
}
