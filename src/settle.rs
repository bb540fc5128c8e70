//! Stage 6: what each outcome means. A dead letter is written to its topic and acknowledged before its
//! receipt settles; never the other way round.

mod dead_letter;

use std::sync::Arc;

use crate::decode::Input;
use crate::deliver::{Call, Outcome};
use crate::receipt::Receipt;

/// Ends calls and records.
pub struct Settle {}

impl Settle {
    /// A call has ended: a delivered or cancelled one settles now, another becomes a dead letter first.
    pub fn finished(self: &Arc<Self>, _call: Call, _outcome: Outcome) {
        todo!()
    }

    /// A record can't be decoded, or one of its messages can't be rendered.
    pub fn undeliverable(self: &Arc<Self>, _input: &Input<'_>, _reason: &dyn std::error::Error, _receipt: Receipt) {
        todo!()
    }

    /// Waits until every dead letter under way is acknowledged.
    pub async fn drained(&self) {
        todo!()
    }
}
