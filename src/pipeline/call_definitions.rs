//! What this instance knows of the definition of a call that has waited.

use std::sync::Arc;
use std::time::Duration;

use crate::matching::{End, Index};
use crate::rules::{Live, Target};
use crate::settle::{Due, StoredCall};

/// What this instance knows of a call's definition.
pub(in crate::pipeline) enum DefinitionLookup {
    As(Arc<Target>, Live),
    /// It was deleted or disabled.
    Gone,
    /// Its writer knew more of the definitions than this instance does yet.
    NotYet,
    /// Its writer knew more of the definitions than there are now.
    Lost,
    /// The event is active, and its webhook one that can't be made ready here.
    NotReady,
}

/// The definitions, as far as this instance has read them.
#[derive(Clone)]
pub struct CallDefinitions {
    index: Arc<Index>,
    /// How long the definitions' log must have ended where it does, since a call was made, before the call is given up
    /// because its writer knew more of the log.
    restored_within: Duration,
}

impl CallDefinitions {
    /// `restored_within` is `definitions.restored_within`.
    pub fn new(index: Arc<Index>, restored_within: Duration) -> Self {
        Self { index, restored_within }
    }

    /// Up to which offset of their log they are known.
    pub(in crate::pipeline) fn as_of(&self) -> i64 {
        self.index.as_of()
    }

    /// `written_ms` is when the call was sent to wait, milliseconds since 1970.
    pub(in crate::pipeline) fn known(&self, kept: &StoredCall, until: Due, written_ms: i64) -> DefinitionLookup {
        // In this order: what is found is at least as new as what it is judged by.
        let (end, as_of) = (self.index.log_end(), self.index.as_of());
        match (self.index.target(kept.webhook), self.index.live(kept.event)) {
            (Some(target), Some(live)) => DefinitionLookup::As(target, live),
            (None, Some(_)) => DefinitionLookup::NotReady,
            (_, None) if as_of >= until.definitions => DefinitionLookup::Gone,
            (_, None) if end.is_some_and(|end| self.is_lost(kept, written_ms, end)) => DefinitionLookup::Lost,
            (_, None) => DefinitionLookup::NotYet,
        }
    }

    /// Whether the definitions' log, which ends before what a call's writer knew, has ended there for long since the call
    /// was made, and was seen to after the call was written here. A log only grows, so what it lacks by then it will not
    /// get: the topic was restored from an older copy.
    fn is_lost(&self, kept: &StoredCall, written_ms: i64, end: End) -> bool {
        let ended = end.seen_ms.saturating_sub(end.since_ms.max(kept.offered_ms));
        end.seen_ms > written_ms && u128::try_from(ended).is_ok_and(|ended| ended > self.restored_within.as_millis())
    }
}
