//! Decides which messages may be delivered again: those in flight during a crash.

use std::time::{Duration, Instant};

/// A period in which an instance or a broker was gone.
#[derive(Debug, Clone, Copy)]
pub struct Crash {
    pub from: Instant,
    pub to: Instant,
    /// Deliveries in this time before the crash may be uncommitted.
    pub not_committed: Duration,
}

/// A message that was delivered more than once.
#[derive(Debug, Clone, Copy)]
pub struct Again {
    /// When its row change was written.
    pub made: Instant,
    /// When it was first and last delivered.
    pub first: Instant,
    pub last: Instant,
}

impl Crash {
    /// The crash of an instance that is killed now.
    pub fn now(not_committed: Duration) -> Self {
        let now = Instant::now();
        Self { from: now, to: now, not_committed }
    }

    /// Whether a message was in flight: its row change was written before the crash was over, and it was not
    /// delivered long before the crash.
    pub fn explains(&self, again: &Again) -> bool {
        again.made < self.to && again.first + self.not_committed > self.from && again.last > self.from
    }

    /// Whether a delivery at this time may be uncommitted.
    pub fn leaves_uncertain(&self, delivered: Instant) -> bool {
        delivered < self.to && delivered + self.not_committed > self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_explains_only_repeats_of_messages_in_flight() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        let crash = Crash { from: at(10.0), to: at(15.0), not_committed: Duration::from_secs(1) };
        let explains =
            |(made, first, last)| crash.explains(&Again { made: at(made), first: at(first), last: at(last) });
        assert!(explains((0.0, 9.5, 16.0)), "not committed yet");
        assert!(explains((14.5, 20.0, 30.0)), "in flight");
        assert!(!explains((0.0, 9.0, 16.0)), "delivered long before");
        assert!(!explains((15.0, 17.0, 18.0)), "made after");
        assert!(!explains((0.0, 9.5, 10.0)), "delivered again before the crash");
        assert!(
            crash.leaves_uncertain(at(9.5))
                && crash.leaves_uncertain(at(14.5))
                && !crash.leaves_uncertain(at(9.0))
                && !crash.leaves_uncertain(at(15.0))
        );
    }
}
