//! The whole journey of a record, in order. A waiting call continues in [`RetryHandler`], a call in row order in
//! [`RowOrderHandler`]. A replayed record is handled by [`ReplayStages`].

use std::sync::Arc;

use crate::catalogue::Sampler;
use crate::decode::{Decoded, Decoder, Headers, Input};
use crate::deliver::{CALL_BYTES, Call, Lanes, WriteCount};
use crate::matching::Index;
use crate::receipt::{Budget, Receipt};
use crate::render::{Message, Renderer};
use crate::settle::Settler;
use crate::source::{Handler, Record, UnreadableRange};
use crate::time::now_ms;

pub use self::call_definitions::CallDefinitions;
pub use self::counters::{Counters, describe_metrics};
pub use self::replay::{ReplayStages, ReplayedMessage};
pub use self::retry_handler::{RetryHandler, RetrySource};
pub use self::row_order::RowOrderHandler;

mod call_definitions;
mod counters;
mod dedup;
mod ordering;
mod replay;
mod retry_handler;
mod row_order;
mod stored_calls;

/// The stages behind one partition. Shared parts are handles. The rest belongs to this partition and is reused from
/// record to record.
pub struct Pipeline {
    pub decoder: Decoder,
    pub sampler: Sampler,
    pub index: Arc<Index>,
    pub renderer: Renderer,
    pub lanes: Arc<Lanes>,
    pub settler: Arc<Settler>,
    pub budget: Arc<Budget>,
    pub counters: Counters,
    pub match_buffer: Vec<u32>,
}

impl Handler for Pipeline {
    async fn handle(&mut self, record: Record<'_>, receipt: Receipt) {
        let input = input(&record);
        let change = match self.decoder.decode(&input) {
            Ok(Decoded::Change(change)) => change,
            Ok(Decoded::Ignored(kind)) => {
                self.counters.count_ignored(kind);
                return receipt.settle();
            }
            Err(reason) => {
                self.counters.decode_failed(record.topic());
                self.settler.dead_letter_undecodable(&input, &reason, &receipt);
                return receipt.settle();
            }
        };
        self.counters.row_change(&input, &change);
        self.sampler.scan_if_due(&input, &change);
        let Some(rules) = self.index.rules(&change.account, &change.table) else { return receipt.settle() };
        self.counters.row_change_with_rules(&change);
        for rule in rules.matches(&change, &mut self.match_buffer) {
            self.counters.matches.increment(1);
            let mut messages = self.renderer.render(rule, &change);
            while let Some(message) = messages.next() {
                match message {
                    Ok(message) => {
                        self.budget.wait_for_capacity().await;
                        let share = receipt.share(message.body.len() + CALL_BYTES);
                        rule.event_state.counters().count_message(message.endpoint);
                        let call = call(&record, message, share);
                        if let Some(call) = ordering::write_if_ordered(&self.settler, call).await {
                            self.lanes.send(call).await;
                        }
                    }
                    Err(error) => {
                        let message = messages.id();
                        self.settler.dead_letter_too_large(&input, rule, message, &error, &receipt);
                    }
                }
            }
        }
        receipt.settle();
    }

    fn dead_letter_unreadable(&mut self, offsets: &UnreadableRange, receipt: Receipt) {
        dead_letter_unreadable(&self.settler, offsets, receipt);
    }
}

/// Dead-letters offsets that can't be read.
fn dead_letter_unreadable(
    settle: &Settler,
    UnreadableRange { first: place, last_offset: last, cause }: &UnreadableRange,
    receipt: Receipt,
) {
    settle.dead_letter_unreadable(place, *last, cause, &receipt);
    receipt.settle();
}

fn input<'a>(record: &'a Record<'a>) -> Input<'a> {
    Input {
        topic: record.topic(),
        partition: record.partition(),
        offset: record.offset(),
        timestamp_ms: record.timestamp_ms(),
        key: record.key(),
        value: record.value(),
        headers: record,
    }
}

fn call(record: &Record<'_>, message: Message, receipt: Receipt) -> Call {
    let (place, appended_ms) = (record.position(), record.timestamp_ms());
    let offered_ms = now_ms();
    let row = ordering::row(&message.target, &place, record.key());
    Call {
        message,
        source_position: place,
        appended_ms,
        receipt,
        attempts: 0,
        deferrals: 0,
        first_due_ms: offered_ms,
        write_count: WriteCount::FIRST,
        row_key: row,
        from_overflow: false,
    }
}

impl Headers for Record<'_> {
    fn last(&self, name: &str) -> Option<&[u8]> {
        self.header(name)
    }

    fn for_each(&self, look: &mut dyn FnMut(&str, &[u8])) {
        self.headers().for_each(|(name, value)| look(name, value));
    }
}
