//! Reads the partitions whose records are handled in turn, with one task per assigned partition. The task reads a
//! record, opens its ledger entry and receipt, and passes both on.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::ConsumerContext;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::completion::RecordFingerprint;
use super::partition::PartitionState;
use super::records::{NextRecord, RecordQueue, pass_on_unreadable};
use super::{Handler, Record};
use crate::receipt::{Budget, Receipt};

/// Max sleep before the next check whether a record is due: the machine may have been suspended, or its clock set.
const DUE_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Max sleep at an empty queue. A wake-up that librdkafka missed costs no more than this.
const IDLE_POLL: Duration = Duration::from_millis(500);

/// Reads the partition until it is stopped. It waits for room before it takes a record, and handles each record to
/// its end.
pub(super) async fn run<C: ConsumerContext, H: Handler>(
    stopping: CancellationToken,
    state: Arc<PartitionState>,
    mut records: RecordQueue<C>,
    budget: Arc<Budget>,
    mut handler: H,
) {
    let read = metrics::counter!("outhook_records_total", "topic" => state.topic.to_string());
    let completed = metrics::counter!("outhook_records_completed_before_total", "topic" => state.topic.to_string());
    loop {
        let room = async {
            state.wait_for_capacity().await;
            budget.wait_for_capacity().await;
        };
        tokio::select! {
            biased;
            () = room => {}
            () = stopping.cancelled() => return,
        }
        if stopping.is_cancelled() {
            return;
        }
        match records.poll() {
            Some(NextRecord::Record(message, before)) => {
                if let Some(unreadable) = before {
                    pass_on_unreadable(&state, &budget, &unreadable, |it, receipt| {
                        handler.dead_letter_unreadable(it, receipt)
                    })
                    .await;
                }
                // A record that is not due is not open: if the partition is revoked, the next owner reads it again.
                if !wait_until_due(&mut handler, &Record { topic: &state.topic, message: &message }, &stopping).await {
                    return;
                }
                read.increment(1);
                let record = Record { topic: &state.topic, message: &message };
                let fingerprint = RecordFingerprint { offset: record.offset(), timestamp: record.timestamp_ms() };
                match state.open(fingerprint).await {
                    Some(entry) => handler.handle(record, Receipt::open(state.clone(), entry, budget.clone())).await,
                    None => completed.increment(1),
                }
                tokio::task::coop::consume_budget().await;
            }
            Some(NextRecord::Unreadable(unreadable)) => {
                pass_on_unreadable(&state, &budget, &unreadable, |it, receipt| {
                    handler.dead_letter_unreadable(it, receipt)
                })
                .await;
            }
            Some(NextRecord::Failed) => tokio::task::coop::consume_budget().await,
            None => tokio::select! {
                () = records.wait_for_records() => {}
                _ = stopping.cancelled() => return,
                _ = tokio::time::sleep(IDLE_POLL) => {}
            },
        }
    }
}

/// Waits until the record is due. False if the task is stopped first.
async fn wait_until_due(handler: &mut impl Handler, record: &Record<'_>, stopping: &CancellationToken) -> bool {
    let seen = Instant::now();
    while let Some(wait) = handler.remaining_wait(record, seen.elapsed()) {
        tokio::select! {
            () = tokio::time::sleep(wait.min(DUE_CHECK_INTERVAL)) => {}
            () = stopping.cancelled() => return false,
        }
    }
    true
}
