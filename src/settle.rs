//! Stage 6: what each outcome means. A dead letter is written to its topic and acknowledged before its
//! receipt settles; never the other way round. `reading` finds dead letters again.

mod config;
mod dead_letter;
mod letter;
mod reading;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::ClientConfig;

use self::dead_letter::DeadLetter;
use self::writer::Writer;
use crate::decode::{DecodeError, Input};
use crate::deliver::{Call, Outcome};
use crate::id::MessageId;
use crate::matching::Rule;
use crate::receipt::Receipt;
use crate::render::TooLarge;

pub use self::config::Config;
pub use self::letter::{BadLetterId, Filter, Kind, Letter, LetterId, UrlPrefix, without_secrets};
pub use self::reading::{Letters, Opened};
pub use self::writer::{MAX_RECORD_BYTES, describe_metrics};

/// Ends calls and records.
pub struct Settle {
    writer: Arc<Writer>,
}

impl Settle {
    /// `client` says how the cluster is reached (brokers, security); what dead letters need beside it is set
    /// here.
    ///
    /// # Errors
    /// A contradictory setting, or one that the Kafka client refuses.
    pub fn new(config: &Config, client: &ClientConfig) -> Result<Arc<Self>, String> {
        config.check()?;
        Ok(Arc::new(Self { writer: Writer::new(&config.topic, client)? }))
    }

    /// A call has ended: a delivered or cancelled one settles now, another becomes a dead letter first. Never
    /// waits. To be called in a tokio runtime.
    pub fn finished(&self, call: Call, outcome: Outcome) {
        match outcome {
            Outcome::Delivered | Outcome::Cancelled => call.receipt.settle(),
            Outcome::Exhausted { cause } => {
                let letter = DeadLetter::of_call(&call, &cause, Timestamp::now());
                self.writer.write_then_settle(letter, call.receipt);
            }
        }
    }

    /// A record can't be decoded. A share of its receipt holds the dead letter's bytes until it is written. Never
    /// waits. To be called in a tokio runtime.
    pub fn undecodable(&self, input: &Input<'_>, reason: &DecodeError, receipt: &Receipt) {
        self.write(DeadLetter::undecodable(input, reason, Timestamp::now()), receipt);
    }

    /// A message may not be sent; its dead letter holds the record. Otherwise as above.
    pub fn too_large(&self, input: &Input<'_>, rule: &Rule, message: MessageId, reason: &TooLarge, receipt: &Receipt) {
        self.write(DeadLetter::too_large(input, rule, message, reason, Timestamp::now()), receipt);
    }

    fn write(&self, letter: DeadLetter, receipt: &Receipt) {
        let share = receipt.share(letter.size());
        self.writer.write_then_settle(letter, share);
    }

    /// Waits until every dead letter under way is acknowledged, or given up by [`Settle::stop`].
    pub async fn drained(&self) {
        self.writer.drained().await;
    }

    /// Gives up the dead letters that are not acknowledged yet: their receipts stay unsettled, so that their
    /// records come again.
    pub fn stop(&self) {
        self.writer.stop();
    }
}
