//! The choices that depend on row order, for one call: its row, and whether it goes to its lane directly or through
//! the row-order topic.

use crate::deliver::{Call, Lanes};
use crate::id::{RecordPosition, RowKey};
use crate::rules::Target;
use crate::settle::Settler;

/// The row key of a record, if its webhook uses row order.
pub(in crate::pipeline) fn row(target: &Target, place: &RecordPosition, key: Option<&[u8]>) -> Option<RowKey> {
    target.is_in_row_order().then(|| RowKey::of(target.webhook, place, key))
}

/// Writes the call to the row-order topic if its webhook uses row order. Returns any other call: it goes to its lane
/// directly.
pub(in crate::pipeline) async fn write_if_ordered(settle: &Settler, call: Call) -> Option<Call> {
    if call.message.target.is_in_row_order() {
        settle.write_in_row_order(call).await;
        return None;
    }
    Some(call)
}

/// Sends a call of the row-order topic. If its webhook does not use row order any more, a lane that does not take the
/// call defers it.
pub(in crate::pipeline) async fn send_from_row_order_topic(lanes: &Lanes, call: Call) {
    match call.message.target.is_in_row_order() {
        true => lanes.send(call).await,
        false => lanes.send_retried(call).await,
    }
}
