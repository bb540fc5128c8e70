//! The whole journey of a record, in order. A waiting call continues in [`RetryHandler`], a call in row order in
//! [`RowOrderHandler`]. A replayed record is handled by [`ReplayStages`].

use std::sync::Arc;

use crate::catalogue::Sampler;
use crate::decode::{Decoded, Decoder, Headers, Input};
use crate::deliver::{CALL_BYTES, Call, Lanes, WriteCount};
use crate::matching::Index;
use crate::receipt::{Budget, Receipt};
use crate::render::{Message, Renderer};
use crate::settle::Settle;
use crate::source::{Handler, Record, Unreadable};
use crate::time::now_ms;

pub use self::call_definitions::CallDefinitions;
pub use self::counters::{Counters, describe_metrics};
pub use self::replay::{ReplayStages, Replayed};
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
    pub lookout: Sampler,
    pub index: Arc<Index>,
    pub renderer: Renderer,
    pub lanes: Arc<Lanes>,
    pub settle: Arc<Settle>,
    pub budget: Arc<Budget>,
    pub counters: Counters,
    pub fired: Vec<u32>,
}

impl Handler for Pipeline {
    async fn handle(&mut self, record: Record<'_>, receipt: Receipt) {
        let input = input(&record);
        let change = match self.decoder.decode(&input) {
            Ok(Decoded::Change(change)) => change,
            Ok(Decoded::Ignored(kind)) => {
                self.counters.ignored(kind);
                return receipt.settle();
            }
            Err(reason) => {
                self.counters.decode_failed(record.topic());
                self.settle.undecodable(&input, &reason, &receipt);
                return receipt.settle();
            }
        };
        self.counters.row_change(&input, &change);
        self.lookout.note(&input, &change);
        let Some(rules) = self.index.rules(&change.account, &change.table) else { return receipt.settle() };
        self.counters.row_change_with_rules(&change);
        for rule in rules.matches(&change, &mut self.fired) {
            self.counters.matches.increment(1);
            let mut messages = self.renderer.render(rule, &change);
            while let Some(message) = messages.next() {
                match message {
                    Ok(message) => {
                        self.budget.room().await;
                        let share = receipt.share(message.body.len() + CALL_BYTES);
                        rule.live.counts().message_to(message.endpoint);
                        let call = call(&record, message, share);
                        if let Some(call) = ordering::write_if_ordered(&self.settle, call).await {
                            self.lanes.send(call).await;
                        }
                    }
                    Err(error) => {
                        let message = messages.id();
                        self.settle.too_large(&input, rule, message, &error, &receipt);
                    }
                }
            }
        }
        receipt.settle();
    }

    fn unreadable(&mut self, offsets: &Unreadable, receipt: Receipt) {
        dead_letter_unreadable(&self.settle, offsets, receipt);
    }
}

/// Dead-letters offsets that can't be read.
fn dead_letter_unreadable(settle: &Settle, Unreadable { place, last, cause }: &Unreadable, receipt: Receipt) {
    settle.unreadable(place, *last, cause, &receipt);
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
    let (place, appended_ms) = (record.place(), record.timestamp_ms());
    let offered_ms = now_ms();
    let row = ordering::row(&message.target, &place, record.key());
    Call {
        message,
        place,
        appended_ms,
        receipt,
        attempts: 0,
        deferrals: 0,
        offered_ms,
        step: WriteCount::FIRST,
        row,
        from_overflow: false,
    }
}

impl Headers for Record<'_> {
    fn last(&self, name: &str) -> Option<&[u8]> {
        self.header(name)
    }

    fn each(&self, look: &mut dyn FnMut(&str, &[u8])) {
        self.headers().for_each(|(name, value)| look(name, value));
    }
}
