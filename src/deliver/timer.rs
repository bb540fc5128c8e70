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
