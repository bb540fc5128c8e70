//! Stage 6: acts on outcomes. A retry or a dead letter is acknowledged by its topic before its receipt settles, never
//! the other way round. `dead_letters` reads dead letters back. `redelivery` redrives them, and sends other calls
//! again on request.

mod config;
mod dead_letter;
mod dead_letterer;
mod log_entries;
mod operator_events;
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

use self::dead_letterer::DeadLetterer;
use self::ordered_writer::OrderedWriter;
use crate::settle::operator_events::OperatorEventWriter;

use self::writer::RetryingWriter;
use crate::decode::{DecodeError, Input};
use crate::deliver::{Call, CallSink, EndpointEvent, FailureCause, Outcome};
use crate::id::{Line, MessageId, RecordPosition, WebhookId};
use crate::kafka::producer::alone;
use crate::kafka::{ClientConfig, KafkaError};
use crate::matching::Index;
use crate::message_log::{self, CallStatus, LogEntry};
use crate::receipt::Receipt;
use crate::render::TooLarge;
use crate::rules::Rule;

pub use self::config::{
    DeadLettersConfig, OperatorEventsConfig, OverflowConfig, RetriesConfig, RowOrderConfig, TopicSettingsError,
};
pub use self::outgoing::{HEADER_PREFIX, Outgoing, OutgoingHeaders, OutgoingKind};
pub use self::producer::MAX_RECORD_BYTES;
#[cfg(test)]
pub use self::stored_call::samples;
pub use self::stored_call::{CallDue, InvalidCall, StoredCall};
pub use self::tiers::{Tier, Tiers};
pub use self::writer::describe_metrics;

/// Ends calls and records, or writes calls to a topic where they wait and survive this process.
pub struct Settler {
    dead_letter_writer: Arc<RetryingWriter>,
    dead_letterer: Arc<DeadLetterer>,
    retry_writer: Arc<RetryingWriter>,
    tiers: Tiers,
    overflow_topic: Arc<str>,
    row_order_writer: OrderedWriter,
    operator_events: OperatorEventWriter,
    message_log: Arc<message_log::LogWriter>,
    index: Arc<Index>,
    on_gone: OnGone,
}

/// Called when a receiver answers 410 Gone: with the webhook, its version, and the cause.
pub type OnGone = Box<dyn Fn(WebhookId, u32, String) + Send + Sync>;

/// The sections of the configuration that [`Settler`] reads.
#[derive(Clone, Copy)]
pub struct Sections<'c> {
    pub dead_letters: &'c DeadLettersConfig,
    pub retry_writer: &'c RetriesConfig,
    pub overflow: &'c OverflowConfig,
    pub row_order: &'c RowOrderConfig,
    pub operator_events: &'c OperatorEventsConfig,
}

/// Why the writers can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Setting(#[from] TopicSettingsError),
    /// The Kafka client refuses its settings. `purpose` says which records or topic the producer is for.
    #[error("the Kafka producer of {purpose} can't be created: {source}")]
    Producer { purpose: String, source: KafkaError },
}

/// Settings of the clients that write. `client` has the connection settings of the cluster.
pub fn client_configs(client: &ClientConfig) -> impl Iterator<Item = ClientConfig> {
    let settings = producer::settings(client, producer::WRITE_TIMEOUT_MS);
    [alone(&settings), settings, OrderedWriter::settings(client)].into_iter()
}

impl Settler {
    /// Starts the writers. `client` has the connection settings of the cluster (brokers, security); the other settings
    /// of the producers are set here. `index` says up to which offset the definitions are known. `on_gone` disables
    /// webhooks. Call it in a tokio runtime.
    ///
    /// # Errors
    /// An invalid setting, or a setting that the Kafka client refuses.
    pub fn new(
        config: Sections<'_>,
        client: &ClientConfig,
        index: Arc<Index>,
        on_gone: OnGone,
        message_log: Arc<message_log::LogWriter>,
    ) -> Result<Arc<Self>, StartError> {
        config.dead_letters.check()?;
        config.retry_writer.check()?;
        config.overflow.check()?;
        config.row_order.check()?;
        let dead_letterer = DeadLetterer::new(&config.dead_letters.topic, message_log.clone());
        let writer = |what, pending| RetryingWriter::new(what, pending, client, &dead_letterer);
        let dead_letter_writer = writer("dead letters", gauge!("outhook_dead_letters_pending"))?;
        let operator_writer = writer("operator events", gauge!("outhook_operator_events_pending"))?;
        Ok(Arc::new(Self {
            row_order_writer: OrderedWriter::start(&config.row_order.topic, client, dead_letter_writer.clone())?,
            dead_letter_writer,
            retry_writer: writer("retries", gauge!("outhook_retries_pending"))?,
            dead_letterer: dead_letterer.clone(),
            tiers: config.retry_writer.tiers(),
            overflow_topic: config.overflow.topic.as_str().into(),
            operator_events: OperatorEventWriter::new(&config.operator_events.topic, operator_writer),
            message_log,
            index,
            on_gone,
        }))
    }

    /// Dead-letters a record that can't be decoded. A share of its receipt is charged with the bytes of the dead
    /// letter until that is written. Never waits. Call it in a tokio runtime.
    pub fn dead_letter_undecodable(&self, input: &Input<'_>, reason: &DecodeError, receipt: &Receipt) {
        self.write_dead_letter(dead_letter::for_undecodable_record(input, reason, Timestamp::now()), receipt);
    }

    /// Dead-letters the record of a message that is too large to be sent. Otherwise like
    /// [`Settler::dead_letter_undecodable`].
    pub fn dead_letter_too_large(
        &self,
        input: &Input<'_>,
        rule: &Rule,
        message: MessageId,
        reason: &TooLarge,
        receipt: &Receipt,
    ) {
        let now = Timestamp::now();
        if self.message_log.wanted_response_bytes(CallStatus::Exhausted, 0).is_some() {
            self.message_log.write(&log_entries::too_large(input, rule, message, &reason.to_string(), now));
        }
        self.write_dead_letter(dead_letter::for_too_large_message(input, rule, message, reason, now), receipt);
    }

    /// Dead-letters a record of a retry topic, the overflow log or the row-order topic that is not a valid call.
    /// Otherwise like [`Settler::dead_letter_undecodable`].
    pub fn dead_letter_invalid_call(&self, input: &Input<'_>, reason: &InvalidCall, receipt: &Receipt) {
        self.write_dead_letter(dead_letter::for_invalid_call(input, &reason.to_string(), Timestamp::now()), receipt);
    }

    /// Writes a dead letter for the offsets from `place` to `last`, which can't be read. Otherwise like
    /// [`Settler::dead_letter_undecodable`].
    pub fn dead_letter_unreadable(&self, place: &RecordPosition, last: i64, cause: &str, receipt: &Receipt) {
        self.write_dead_letter(dead_letter::for_unreadable_offsets(place, last, cause, Timestamp::now()), receipt);
    }

    /// Lets a due call wait again. This instance can't send it now, because its definition is not known or not ready
    /// here. `share`, its share of the receipt, is charged with its bytes until a retry topic has acknowledged the
    /// call.
    pub fn retry_later(&self, mut call: StoredCall, definitions: i64, body: Bytes, share: Receipt) {
        let tier = self.tiers.for_deferral(call.deferrals);
        call.deferrals = call.deferrals.saturating_add(1);
        let until = CallDue { due_ms: now_plus_ms(tier.delay), definitions_offset: definitions };
        self.retry_writer.write_then_settle(tier.topic.clone(), call.waiting_record(until, body), share);
    }

    /// Moves a call out of the overflow log when too many wait there. It goes to the longest retry topic of up to five
    /// minutes, or to a longer one if its next attempt is due later.
    pub fn move_to_retry_topic(&self, call: Call, left: Duration) {
        let wait = left.max(self.tiers.for_deferral(u32::MAX).delay);
        self.write_retry(call, wait, None);
    }

    /// Dead-letters a stored call that can never be sent: the definitions topic ends before the call's definition.
    /// `definitions` is the end of that topic as the instance that wrote the call knew it.
    pub fn dead_letter_unknown_definition(&self, call: &StoredCall, definitions: i64, body: Bytes, share: Receipt) {
        let text = format!(
            "its definition is unknown: the definitions topic ends at offset {}, but ended at {definitions} when the \
             call was stored; was the topic restored from an older copy? redrive when the definition exists again",
            self.index.applied_offset()
        );
        let cause = FailureCause { class: "unknown_definition", status: None, text };
        let letter = self.dead_letterer.dead_letter(call, body, &cause);
        self.dead_letter_writer.write_then_settle(self.dead_letterer.topic.clone(), letter, share);
    }

    /// Logs that a stored call is cancelled.
    pub fn log_cancelled(&self, call: &StoredCall) {
        if self.message_log.wanted_response_bytes(CallStatus::Cancelled, call.attempts).is_some() {
            self.message_log.write(&log_entries::ended_call_entry(call, CallStatus::Cancelled, None, Timestamp::now()));
        }
    }

    /// Writes a call of a webhook with row order to the row-order topic, behind all earlier ones. The call settles as
    /// soon as that topic has acknowledged it. Waits for room in the writer's queue.
    pub async fn write_in_row_order(&self, call: Call) {
        let until = CallDue { due_ms: now_plus_ms(Duration::ZERO), definitions_offset: self.index.applied_offset() };
        let record = StoredCall::of(&call).row_order_record(until, call.message.body.clone());
        self.row_order_writer.write_then_settle(record, call.receipt).await;
    }

    /// The record of a call that waits for this time.
    fn retry_record(&self, call: &Call, wait: Duration, cause: Option<&FailureCause>) -> Outgoing {
        let until = CallDue { due_ms: now_plus_ms(wait), definitions_offset: self.index.applied_offset() };
        let waiting = StoredCall::of(call).waiting_record(until, call.message.body.clone());
        match cause {
            Some(cause) => waiting.because(cause.class, &cause.text),
            None => waiting,
        }
    }

    fn write_dead_letter(&self, letter: Outgoing, receipt: &Receipt) {
        let share = receipt.share(letter.memory_bytes());
        self.dead_letter_writer.write_then_settle(self.dead_letterer.topic.clone(), letter, share);
    }

    /// Waits until all records under way are acknowledged, or dropped by [`Settler::stop`].
    pub async fn wait_until_drained(&self) {
        self.retry_writer.wait_until_drained().await;
        // Before `dead_letter_writer`: a call that the row-order topic refuses becomes a dead letter.
        self.row_order_writer.wait_until_drained().await;
        self.dead_letter_writer.wait_until_drained().await;
    }

    /// Waits until all entries of the message log are written, or this time is over.
    pub async fn flush_message_log(&self, within: Duration) {
        self.message_log.clone().flush(within).await;
    }

    /// Drops all records that are not acknowledged yet. Their receipts stay unsettled, so their source records are
    /// read again.
    pub fn stop(&self) {
        self.dead_letter_writer.stop();
        self.retry_writer.stop();
        self.row_order_writer.stop();
        self.operator_events.stop();
    }
}

impl CallSink for Settler {
    /// Settles a delivered or cancelled call immediately. Another call becomes a dead letter first. Call it in a tokio
    /// runtime.
    fn finish(&self, call: Call, outcome: Outcome) {
        match outcome {
            Outcome::Delivered | Outcome::Cancelled => call.receipt.settle(),
            Outcome::Exhausted { cause } => {
                let letter = dead_letter::of_call(&call, &cause, Timestamp::now());
                self.dead_letter_writer.write_then_settle(self.dead_letterer.topic.clone(), letter, call.receipt);
            }
        }
    }

    /// The call settles as soon as a retry topic has acknowledged it. Call it in a tokio runtime.
    fn write_retry(&self, call: Call, wait: Duration, cause: Option<&FailureCause>) {
        let record = self.retry_record(&call, wait, cause);
        self.retry_writer.write_then_settle(self.tiers.of(wait).topic.clone(), record, call.receipt);
    }

    /// The call settles as soon as the overflow log has acknowledged it. Call it in a tokio runtime.
    fn write_overflow(&self, call: Call, line: Line, wait: Duration, cause: Option<&FailureCause>) {
        // Calls of a throttled webhook are spread over all partitions, as its slots are.
        let spread = call.message.target.call_throttling.map(|_| call.message.call_id);
        let mut waiting = self.retry_record(&call, wait, cause);
        waiting.record.key = Some(line.key(spread));
        self.retry_writer.write_then_settle(self.overflow_topic.clone(), waiting, call.receipt);
    }

    fn report_endpoint_event(&self, call: &Call, endpoint: &str, news: &EndpointEvent<'_>) {
        let target = &call.message.target;
        if let EndpointEvent::Gone(cause) = news {
            (self.on_gone)(target.webhook, target.version, cause.text.clone());
        }
        self.operator_events.write_event(call, endpoint, news);
    }

    fn logged_body_limit(&self, status: CallStatus, attempts: u32) -> Option<usize> {
        self.message_log.wanted_response_bytes(status, attempts)
    }

    fn log(&self, entry: LogEntry) {
        self.message_log.write(&entry);
    }
}

/// The time after this wait, in milliseconds since 1970.
fn now_plus_ms(wait: Duration) -> i64 {
    Timestamp::now().as_millisecond().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
