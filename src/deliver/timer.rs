//! A reusable timer whose deadline can be moved.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for many deadlines in turn. Nearly all deadlines are moved to a later one before they pass, which takes
/// no lock in tokio. A separate timer for each deadline would be inserted into tokio's timer wheel and removed again.
pub(super) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now())))
    }

    /// Awaits the work. None if it has not ended at the deadline.
    pub async fn run_until<T>(&mut self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut set = false;
        poll_fn(|context| {
            // Work that is always ready uses up the task's cooperative budget, so the timer never fires. Hence the
            // clock is read too.
            if set && Instant::now() >= deadline {
                return Poll::Ready(None);
            }
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Some(done));
            }
            if !std::mem::replace(&mut set, true) {
                self.0.as_mut().reset(deadline);
            }
            self.0.as_mut().poll(context).map(|()| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn busy_work_ends_at_its_deadline() {
        let deadline = Instant::now() + Duration::from_millis(50);
        let mut polls = 0;
        // Behaves like a stream that always has bytes: it uses up the task's budget in each poll.
        let busy = poll_fn(|context| {
            polls += 1;
            while tokio::task::coop::has_budget_remaining() {
                let _ = pin!(tokio::task::coop::consume_budget()).poll(context);
            }
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let ended = tokio::time::timeout(Duration::from_secs(5), Timer::new().run_until(deadline, busy)).await;
        assert_eq!(ended, Ok(None));
        assert!(polls > 1);
    }
}
