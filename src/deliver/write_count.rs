//! How far a call is on its way through the topics of waiting calls, by which copies of it are detected.

/// Position of a call on its way through the topics of waiting calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteCount {
    /// When a redrive, resend or replay made the call, in milliseconds since 1970. None if its row change made it.
    pub requested_ms: Option<i64>,
    /// How often the call has been written to such a topic since then. None if an earlier version, which did not
    /// count, has written it.
    pub writes: Option<u32>,
}

impl WriteCount {
    /// The step of a call that its row change makes.
    pub const FIRST: Self = Self { requested_ms: None, writes: Some(0) };

    /// The step of a call that is requested at a time, in milliseconds since 1970.
    pub fn requested(requested_ms: i64) -> Self {
        Self { requested_ms: Some(requested_ms), ..Self::FIRST }
    }

    /// The next step, after one more write.
    #[must_use]
    pub fn next(self) -> Self {
        Self { writes: self.writes.map(|writes| writes.saturating_add(1)), ..self }
    }

    /// Whether this step is of the same request as the other and not further along.
    pub fn is_no_further_than(self, other: WriteCount) -> bool {
        let pair = self.writes.zip(other.writes);
        self.requested_ms == other.requested_ms && pair.is_some_and(|(writes, other)| writes <= other)
    }
}
