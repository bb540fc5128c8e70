//! A deadline that moves.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for deadline after deadline. Nearly all of them are moved to a later one before they pass, which
/// costs tokio no lock, while a timer of its own for each would be put in and taken out of its wheel.
pub(super) struct Timer(Pin<Box<Sleep>>);

impl Timer {
    pub fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now())))
    }

    /// Awaits the work; None when it has not ended at the deadline.
    pub async fn limit<T>(&mut self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut set = false;
        poll_fn(|context| {
            // Work that is never without something to do leaves the timer nothing of the task's cooperative budget.
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
    async fn work_that_always_has_something_to_do_ends_at_its_deadline() {
        let deadline = Instant::now() + Duration::from_millis(50);
        let mut polls = 0;
        // What a stream that never is without bytes does: it uses up the task's budget in each poll.
        let busy = poll_fn(|context| {
            polls += 1;
            while tokio::task::coop::has_budget_remaining() {
                let _ = pin!(tokio::task::coop::consume_budget()).poll(context);
            }
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        let ended = tokio::time::timeout(Duration::from_secs(5), Timer::new().limit(deadline, busy)).await;
        assert_eq!(ended, Ok(None));
        assert!(polls > 1);
    }
}
