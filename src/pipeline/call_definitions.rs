//! Looks up the definition of a call that has waited, as far as this instance knows it.

use std::sync::Arc;
use std::time::Duration;

use crate::matching::{Index, TopicEnd};
use crate::rules::{EventState, Target};
use crate::settle::{CallDue, StoredCall};

/// What this instance knows about a call's definition.
pub(in crate::pipeline) enum DefinitionLookup {
    Known(Arc<Target>, EventState),
    /// The definition was deleted or disabled.
    Deleted,
    /// The writer of the record knew more of the definitions than this instance has read.
    NotReadYet,
    /// The writer of the record knew more of the definitions than exist now.
    Lost,
    /// The event is active, but its webhook can't be prepared on this instance.
    NotCompiled,
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
    pub(in crate::pipeline) fn applied_offset(&self) -> i64 {
        self.index.applied_offset()
    }

    /// Looks up the definition of a call. `written_ms` is when its record was written, milliseconds since 1970.
    pub(in crate::pipeline) fn look_up(
        &self,
        stored: &StoredCall,
        until: CallDue,
        written_ms: i64,
    ) -> DefinitionLookup {
        // In this order, the definitions are at least as new as the offsets that judge them.
        let (end, as_of) = (self.index.topic_end(), self.index.applied_offset());
        match (self.index.target(stored.webhook), self.index.event_state(stored.event)) {
            (Some(target), Some(live)) => DefinitionLookup::Known(target, live),
            (None, Some(_)) => DefinitionLookup::NotCompiled,
            (_, None) if as_of >= until.definitions_offset => DefinitionLookup::Deleted,
            (_, None) if end.is_some_and(|end| self.is_lost(stored, written_ms, end)) => DefinitionLookup::Lost,
            (_, None) => DefinitionLookup::NotReadYet,
        }
    }

    /// Whether the definitions topic was restored from an older copy. It ends before the offset that the call's
    /// writer knew. It has ended there for longer than `restored_within` since the call was made, and was checked
    /// after the record was written. A log only grows, so records that it lacks by then will never be in it.
    fn is_lost(&self, stored: &StoredCall, written_ms: i64, end: TopicEnd) -> bool {
        let ended = end.seen_ms.saturating_sub(end.since_ms.max(stored.first_due_ms));
        end.seen_ms > written_ms && u128::try_from(ended).is_ok_and(|ended| ended > self.restored_within.as_millis())
    }
}
