//! Looks up the definition of a call that has waited, as far as this instance knows it.

use std::sync::Arc;
use std::time::Duration;

use crate::matching::{End, Index};
use crate::rules::{Live, Target};
use crate::settle::{Due, StoredCall};

/// What this instance knows about a call's definition.
pub(in crate::pipeline) enum DefinitionLookup {
    As(Arc<Target>, Live),
    /// The definition was deleted or disabled.
    Gone,
    /// The writer of the record knew more of the definitions than this instance has read.
    NotYet,
    /// The writer of the record knew more of the definitions than exist now.
    Lost,
    /// The event is active, but its webhook can't be prepared on this instance.
    NotReady,
}

/// The definitions, as far as this instance has read them.
#[derive(Clone)]
pub struct CallDefinitions {
    index: Arc<Index>,
    /// A call whose writer knew more of the definitions than exist is dead-lettered after this time. For so long
    /// since the call was made, the definitions topic must have ended at the same offset.
    restored_within: Duration,
}

impl CallDefinitions {
    /// `restored_within` is `definitions.restored_within`.
    pub fn new(index: Arc<Index>, restored_within: Duration) -> Self {
        Self { index, restored_within }
    }

    /// The offset of the definitions topic up to which the definitions are known.
    pub(in crate::pipeline) fn as_of(&self) -> i64 {
        self.index.as_of()
    }

    /// Looks up the definition of a call. `written_ms` is when its record was written, milliseconds since 1970.
    pub(in crate::pipeline) fn known(&self, kept: &StoredCall, until: Due, written_ms: i64) -> DefinitionLookup {
        // In this order, the definitions are at least as new as the offsets that judge them.
        let (end, as_of) = (self.index.log_end(), self.index.as_of());
        match (self.index.target(kept.webhook), self.index.live(kept.event)) {
            (Some(target), Some(live)) => DefinitionLookup::As(target, live),
            (None, Some(_)) => DefinitionLookup::NotReady,
            (_, None) if as_of >= until.definitions => DefinitionLookup::Gone,
            (_, None) if end.is_some_and(|end| self.is_lost(kept, written_ms, end)) => DefinitionLookup::Lost,
            (_, None) => DefinitionLookup::NotYet,
        }
    }

    /// Whether the definitions topic was restored from an older copy. It ends before the offset that the call's
    /// writer knew. It has ended there for longer than `restored_within` since the call was made, and was checked
    /// after the record was written. A log only grows, so records that it lacks by then will never be in it.
    fn is_lost(&self, kept: &StoredCall, written_ms: i64, end: End) -> bool {
        let ended = end.seen_ms.saturating_sub(end.since_ms.max(kept.offered_ms));
        end.seen_ms > written_ms && u128::try_from(ended).is_ok_and(|ended| ended > self.restored_within.as_millis())
    }
}
