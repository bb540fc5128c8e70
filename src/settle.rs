//! Stage 6: what each outcome means. A retry or a dead letter is written to its topic and acknowledged before its
//! receipt settles; never the other way round. `reading` finds dead letters again, `redrive` sends them out again;
//! `due_calls` takes calls that somebody orders.

mod config;
mod dead_letter;
mod dead_letterer;
mod logged;
mod operator;
mod ordered_writer;
mod outgoing;
pub mod producer;
mod stored_call;
#[cfg(test)]
mod tests;
mod tiers;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use metrics::gauge;
use rdkafka::ClientConfig;

use self::dead_letterer::DeadLetterer;
use self::operator::Operator;
use self::ordered_writer::OrderedWriter;

use self::writer::RetryingWriter;
use crate::decode::{DecodeError, Input};
use crate::deliver::{Call, CallSink, Cause, EndpointEvent, Outcome};
use crate::id::{Line, MessageId, Place, WebhookId};
use crate::matching::Index;
use crate::message_log::{self, CallStatus, LogEntry};
use crate::receipt::Receipt;
use crate::render::TooLarge;
use crate::rules::Rule;

pub use self::config::{Config, OperatorEvents, Overflow, Retries, RowOrder};
pub use self::outgoing::{Outgoing, OutgoingHeaders, OutgoingKind, PREFIX};
pub use self::producer::MAX_RECORD_BYTES;
#[cfg(test)]
pub use self::stored_call::samples;
pub use self::stored_call::{Due, InvalidCall, StoredCall};
pub use self::tiers::{Tier, Tiers};
pub use self::writer::describe_metrics;

/// Ends calls and records, or lets calls wait where they outlast this process.
pub struct Settle {
    letters: Arc<RetryingWriter>,
    giving_up: Arc<DeadLetterer>,
    retries: Arc<RetryingWriter>,
    tiers: Tiers,
    overflow: Arc<str>,
    in_order: OrderedWriter,
    operator: Operator,
    message_log: Arc<message_log::LogWriter>,
    index: Arc<Index>,
    on_gone: OnGone,
}

/// What is done when a receiver wants nothing any more: with the webhook, its version, and the cause.
pub type OnGone = Box<dyn Fn(WebhookId, u32, String) + Send + Sync>;

/// The settings of the clients that write; `client` says how the cluster is reached.
pub fn clients(client: &ClientConfig) -> impl Iterator<Item = ClientConfig> {
    let settings = producer::settings(client, writer::WRITE_TIMEOUT_MS);
    [producer::alone(&settings), settings, OrderedWriter::settings(client)].into_iter()
}

impl Settle {
    /// `client` says how the cluster is reached (brokers, security); what the producers need beside it is set
    /// here. `index` says up to where the definitions are known, `on_gone` disables webhooks. To be called in a tokio
    /// runtime.
    ///
    /// # Errors
    /// A contradictory setting, or one that the Kafka client refuses.
    pub fn new(
        (letters, retries, overflow, row_order, operator): (&Config, &Retries, &Overflow, &RowOrder, &OperatorEvents),
        client: &ClientConfig,
        index: Arc<Index>,
        on_gone: OnGone,
        message_log: Arc<message_log::LogWriter>,
    ) -> Result<Arc<Self>, String> {
        letters.check()?;
        retries.check()?;
        overflow.check()?;
        row_order.check()?;
        let giving_up = DeadLetterer::new(&letters.topic, message_log.clone());
        let writer = |what, pending| RetryingWriter::new(what, pending, client, &giving_up);
        let letters = writer("dead letters", gauge!("outhook_dead_letters_pending"))?;
        let operator_writer = writer("operator events", gauge!("outhook_operator_events_pending"))?;
        Ok(Arc::new(Self {
            in_order: OrderedWriter::start(&row_order.topic, client, letters.clone())?,
            letters,
            retries: writer("retries", gauge!("outhook_retries_pending"))?,
            giving_up: giving_up.clone(),
            tiers: retries.tiers(),
            overflow: overflow.topic.as_str().into(),
            operator: Operator::new(&operator.topic, operator_writer),
            message_log,
            index,
            on_gone,
        }))
    }

    /// A record can't be decoded. A share of its receipt holds the dead letter's bytes until it is written. Never
    /// waits. To be called in a tokio runtime.
    pub fn undecodable(&self, input: &Input<'_>, reason: &DecodeError, receipt: &Receipt) {
        self.write_dead_letter(dead_letter::undecodable(input, reason, Timestamp::now()), receipt);
    }

    /// A message may not be sent; its dead letter holds the record. Otherwise as above.
    pub fn too_large(&self, input: &Input<'_>, rule: &Rule, message: MessageId, reason: &TooLarge, receipt: &Receipt) {
        let now = Timestamp::now();
        if self.message_log.wants(CallStatus::Exhausted, 0).is_some() {
            self.message_log.write(&logged::too_large(input, rule, message, &reason.to_string(), now));
        }
        self.write_dead_letter(dead_letter::too_large(input, rule, message, reason, now), receipt);
    }

    /// A record of a retry topic is no call that waits. Otherwise as above.
    pub fn unreadable(&self, input: &Input<'_>, reason: &InvalidCall, receipt: &Receipt) {
        self.write_dead_letter(dead_letter::unreadable(input, &reason.to_string(), Timestamp::now()), receipt);
    }

    /// Nothing can be read from a place on to an offset. Otherwise as above.
    pub fn not_read(&self, place: &Place, last: i64, cause: &str, receipt: &Receipt) {
        self.write_dead_letter(dead_letter::not_read(place, last, cause, Timestamp::now()), receipt);
    }

    /// A call that has waited can't go out on this instance now, because its definition is not known or not ready here.
    /// Its share of the receipt holds its bytes until it waits again.
    pub fn wait_again(&self, mut call: StoredCall, definitions: i64, body: Bytes, share: Receipt) {
        let tier = self.tiers.after(call.deferrals);
        call.deferrals = call.deferrals.saturating_add(1);
        let until = Due { due_ms: in_ms(tier.delay), definitions };
        self.retries.write_then_settle(tier.topic.clone(), call.waiting(until, body), share);
    }

    /// A call leaves the overflow log, where too many wait, for the longest retry topic of up to five minutes, or for a
    /// longer one if its next attempt is not due before.
    pub fn wait_elsewhere(&self, call: Call, left: Duration) {
        let wait = left.max(self.tiers.after(u32::MAX).delay);
        self.wait(call, wait, None);
    }

    /// A call that has waited can never go out: the definitions have ended before its own, and `definitions` is where
    /// they ended for whoever sent it to wait.
    pub fn unknown(&self, call: &StoredCall, definitions: i64, body: Bytes, share: Receipt) {
        let text = format!(
            "its definition is not known: the definitions topic ends at offset {}, and ended at {definitions} when the \
             call was sent to wait; was it restored from an older copy? redrive when the definition is back",
            self.index.as_of()
        );
        let cause = Cause { class: "unknown_definition", status: None, text };
        let letter = self.giving_up.letter(call, body, &cause);
        self.letters.write_then_settle(self.giving_up.letters.clone(), letter, share);
    }

    /// A call that has waited is not to go out any more.
    pub fn cancelled(&self, call: &StoredCall) {
        if self.message_log.wants(CallStatus::Cancelled, call.attempts).is_some() {
            self.message_log.write(&logged::ended(call, CallStatus::Cancelled, None, Timestamp::now()));
        }
    }

    /// A call whose webhook wants row order goes to the topic that has it, behind all that came before. It settles as
    /// soon as that topic has it. Waits while too many are on their way there.
    pub async fn in_order(&self, call: Call) {
        let until = Due { due_ms: in_ms(Duration::ZERO), definitions: self.index.as_of() };
        let record = StoredCall::of(&call).in_order(until, call.message.body.clone());
        self.in_order.write_then_settle(record, call.receipt).await;
    }

    /// The record of a call that waits for so long.
    fn waiting(&self, call: &Call, wait: Duration, cause: Option<&Cause>) -> Outgoing {
        let until = Due { due_ms: in_ms(wait), definitions: self.index.as_of() };
        let mut record = StoredCall::of(call).waiting(until, call.message.body.clone());
        if let Some(cause) = cause {
            record.headers = record.headers.cause(cause.class, &cause.text);
        }
        record
    }

    fn write_dead_letter(&self, letter: Outgoing, receipt: &Receipt) {
        let share = receipt.share(letter.size());
        self.letters.write_then_settle(self.giving_up.letters.clone(), letter, share);
    }

    /// Waits until everything under way is acknowledged, or given up by [`Settle::stop`].
    pub async fn drained(&self) {
        self.retries.drained().await;
        // What its topic does not take becomes a dead letter.
        self.in_order.drained().await;
        self.letters.drained().await;
    }

    /// Waits until what the message log has been told is written, or this time is over.
    pub async fn logged(&self, within: Duration) {
        self.message_log.clone().flush(within).await;
    }

    /// Gives up what is not acknowledged yet: its receipts stay unsettled, so that its records come again.
    pub fn stop(&self) {
        self.letters.stop();
        self.retries.stop();
        self.in_order.stop();
        self.operator.stop();
    }
}

impl CallSink for Settle {
    /// A delivered or cancelled call settles now, another becomes a dead letter first. To be called in a tokio
    /// runtime.
    fn finished(&self, call: Call, outcome: Outcome) {
        match outcome {
            Outcome::Delivered | Outcome::Cancelled => call.receipt.settle(),
            Outcome::Exhausted { cause } => {
                let letter = dead_letter::of_call(&call, &cause, Timestamp::now());
                self.letters.write_then_settle(self.giving_up.letters.clone(), letter, call.receipt);
            }
        }
    }

    /// The call settles as soon as a retry topic has it. To be called in a tokio runtime.
    fn wait(&self, call: Call, wait: Duration, cause: Option<&Cause>) {
        let record = self.waiting(&call, wait, cause);
        self.retries.write_then_settle(self.tiers.of(wait).topic.clone(), record, call.receipt);
    }

    /// The call settles as soon as the overflow log has it. To be called in a tokio runtime.
    fn overflow(&self, call: Call, line: Line, wait: Duration, cause: Option<&Cause>) {
        // Those of a throttled webhook are spread over all partitions, as its slots are.
        let spread = call.message.target.call_throttling.map(|_| call.message.call);
        let record = Outgoing { key: Some(line.key(spread)), ..self.waiting(&call, wait, cause) };
        self.retries.write_then_settle(self.overflow.clone(), record, call.receipt);
    }

    fn tell(&self, call: &Call, endpoint: &str, news: &EndpointEvent<'_>) {
        let target = &call.message.target;
        if let EndpointEvent::Gone(cause) = news {
            (self.on_gone)(target.webhook, target.version, cause.text.clone());
        }
        self.operator.tell(call, endpoint, news);
    }

    fn logs(&self, status: CallStatus, attempts: u32) -> Option<usize> {
        self.message_log.wants(status, attempts)
    }

    fn log(&self, entry: LogEntry) {
        self.message_log.write(&entry);
    }
}

/// The time after this wait, milliseconds since 1970.
fn in_ms(wait: Duration) -> i64 {
    Timestamp::now().as_millisecond().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
