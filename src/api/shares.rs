//! What one account may take of an instance at a time, so that there is some left for the others.

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

/// Previews that are made at a time, over all accounts: each may take tens of megabytes, and a core for a while.
const PREVIEWS: usize = 2;
/// Previews of an account that are made or wait.
const PREVIEWS_OF_ACCOUNT: usize = 8;
/// Reads of the message log and of dead letters of an account: half of what an instance does at a time.
const READS_OF_ACCOUNT: usize = 2;
/// For how many seconds an account may save up writes that it does not make.
const SAVED_SECONDS: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// What accounts take now. An account that has asked once is remembered: only an operator makes accounts.
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

/// A place in a share; it is free again when this is dropped.
pub(super) struct SharePermit {
    _own: OwnedSemaphorePermit,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// `writes` is what an account may write each second, in the mean of [`SAVED_SECONDS`].
    pub fn new(writes: NonZeroU32) -> Self {
        let quota = Quota::per_second(writes).allow_burst(writes.saturating_mul(SAVED_SECONDS));
        Self {
            previews: Arc::new(Semaphore::new(PREVIEWS)),
            of_accounts: DashMap::new(),
            writes: RateLimiter::keyed(quota),
            writes_a_second: writes,
        }
    }

    /// A place for a preview, as soon as there is one.
    ///
    /// # Errors
    /// The account has too many that are made or wait.
    pub(super) async fn preview(&self, account: &AccountId) -> Result<SharePermit, ApiError> {
        let own = self.of_account(account, |share| &share.previews).ok_or_else(|| {
            let message =
                format!("{PREVIEWS_OF_ACCOUNT} previews of this account are being made: try again in a moment");
            ApiError::too_many(message, Duration::from_secs(1))
        })?;
        let of_all = self.previews.clone().acquire_owned().await.expect("the semaphore is never closed");
        Ok(SharePermit { _own: own, _of_all: Some(of_all) })
    }

    /// A place for a read of what was sent or given up.
    ///
    /// # Errors
    /// The account reads too much already.
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
    /// The account has made too many in a short time.
    pub(super) fn write(&self, account: &AccountId) -> Result<(), ApiError> {
        self.writes.check_key(account).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            let message = format!(
                "this account may change definitions {} times a second here: wait, or have the limit raised in the \
                 configuration (definitions.max_account_writes)",
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
        let places = of(&self.of_accounts.entry(account.clone()).or_insert_with(share)).clone();
        places.try_acquire_owned().ok()
    }
}

impl Api {
    /// Reads what was sent or given up, within an account's share. The read takes its place until it is done, as its
    /// thread does: who asked may be gone before.
    ///
    /// # Errors
    /// The account reads too much already, or what the read says.
    pub(super) async fn reading<T, F>(
        self: &Arc<Self>,
        account: &AccountId,
        read: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
    {
        let place = self.shares.read(account)?;
        let reading = read(self.clone());
        let done = tokio::spawn(async move {
            let _place = place;
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
        assert!((50..60).contains(&written), "ten seconds of five, and what comes meanwhile: {written}");
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
