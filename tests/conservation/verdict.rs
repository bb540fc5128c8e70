//! What the judge says.

use harness::pace::Seen;

/// How many messages of each kind.
#[derive(Debug, Default)]
pub struct Verdict {
    pub expected: usize,
    pub delivered: usize,
    /// Became a dead letter with a cause, and was never delivered.
    pub dead: usize,
    /// Neither.
    pub lost: usize,
    /// Delivered once more.
    pub duplicates: usize,
    /// How many messages that came again were in flight at no crash.
    pub unexplained: usize,
    /// How many messages were delivered during a crash, or so shortly before one that they may not be committed.
    pub uncertain: usize,
    /// Dead letters of calls that have one.
    pub letters_again: usize,
    /// Came again under another message id.
    pub renamed: usize,
    pub badly_signed: usize,
    /// Came for the first time behind a later change of its row, where order was asked for.
    pub out_of_order: Vec<String>,
    /// How many came so because a crash made them come after they had been given up, which had left a gap.
    pub made_up: usize,
    /// Dead letters that don't say why.
    pub causeless: usize,
    /// What came to a path that nobody told of, from a table that is not its own, or after it had to stop.
    pub uncalled_for: Vec<String>,
    /// How near to each other calls came, where only so many may come in a second.
    pub paces: Vec<Seen>,
}

impl Verdict {
    /// Fails unless all that had to come has come or is a dead letter, nothing else came, and nothing came too fast.
    #[track_caller]
    pub fn assert_clean(&self) {
        let Self { lost, renamed, badly_signed, out_of_order, made_up, causeless, uncalled_for, paces, .. } = self;
        assert_eq!((*lost, *renamed, *badly_signed, *causeless), (0, 0, 0, 0), "{self:?}");
        assert!(uncalled_for.is_empty() && out_of_order.is_empty(), "{self:?}");
        // It could be, but was never seen to be the reason: the first such case is to be looked at.
        assert_eq!(*made_up, 0, "{self:?}");
        assert!(paces.iter().all(|pace| !pace.is_too_fast()), "{self:?}");
        assert!(
            paces.iter().all(Seen::is_full),
            "a throttle that nothing pressed against was not shown to hold: {self:?}"
        );
    }

    /// Fails if more than one in a thousand messages came again though it was in flight at no crash.
    #[track_caller]
    pub fn assert_explained(&self) {
        assert!(self.unexplained * 1000 <= self.delivered, "more than 0.1 % came again without a crash: {self:?}");
    }
}
