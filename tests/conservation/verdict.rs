//! The result of the oracle.

use harness::pace::Seen;

/// Number of messages of each kind.
#[derive(Debug, Default)]
pub struct Verdict {
    pub expected: usize,
    pub delivered: usize,
    /// Became a dead letter with a cause, and was never delivered.
    pub dead: usize,
    /// Neither delivered nor dead-lettered.
    pub lost: usize,
    /// Deliveries after the first one.
    pub duplicates: usize,
    /// Messages that were delivered again although they were in flight during no crash.
    pub unexplained: usize,
    /// Messages that were delivered during a crash, or shortly before one, and may therefore be uncommitted.
    pub uncertain: usize,
    /// Dead letters after the first one of a call.
    pub letters_again: usize,
    /// Delivered again with another message id.
    pub renamed: usize,
    pub badly_signed: usize,
    /// Arrived for the first time after a later change of its row, at a webhook in row order.
    pub out_of_order: Vec<String>,
    /// Late calls that a crash delivered after they had been dead-lettered, which had left a gap.
    pub made_up: usize,
    /// Dead letters without a cause.
    pub causeless: usize,
    /// Requests to an unknown path, from a wrong table, or after the path had to be silent.
    pub uncalled_for: Vec<String>,
    /// Paces of the webhooks with a limit of calls per second.
    pub paces: Vec<Seen>,
}

impl Verdict {
    /// Fails unless each expected call was delivered or dead-lettered, nothing else arrived, and no pace was
    /// exceeded.
    #[track_caller]
    pub fn assert_clean(&self) {
        let Self { lost, renamed, badly_signed, out_of_order, made_up, causeless, uncalled_for, paces, .. } = self;
        assert_eq!((*lost, *renamed, *badly_signed, *causeless), (0, 0, 0, 0), "{self:?}");
        assert!(uncalled_for.is_empty() && out_of_order.is_empty(), "{self:?}");
        // A crash could explain this, but that was never seen. Investigate the first such case.
        assert_eq!(*made_up, 0, "{self:?}");
        assert!(paces.iter().all(|pace| !pace.is_too_fast()), "{self:?}");
        assert!(
            paces.iter().all(Seen::is_full),
            "a throttle was never at its limit, so the test shows nothing: {self:?}"
        );
    }

    /// Fails if more than 0.1 % of the messages were delivered again although they were in flight during no crash.
    #[track_caller]
    pub fn assert_explained(&self) {
        assert!(
            self.unexplained * 1000 <= self.delivered,
            "more than 0.1 % were delivered again without a crash: {self:?}"
        );
    }
}
