//! Stage 6: what each outcome means. A dead letter is written to its topic and acknowledged before its
//! receipt settles; never the other way round.

mod config;
mod dead_letter;
#[cfg(test)]
mod tests;
mod writer;

use std::error::Error;
use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::ClientConfig;

use self::dead_letter::DeadLetter;
use self::writer::Writer;
use crate::decode::Input;
use crate::deliver::{Call, Outcome};
use crate::receipt::Receipt;

pub use self::config::Config;
pub use self::writer::describe_metrics;

/// Ends calls and records.
pub struct Settle {
    writer: Arc<Writer>,
}

impl Settle {
    /// `client` says how the cluster is reached (brokers, security); what dead letters need beside it is set
    /// here. `instance` names the producer in the brokers' logs and quotas.
    ///
    /// # Errors
    /// A contradictory setting, or one that the Kafka client refuses.
    pub fn new(config: &Config, client: &ClientConfig, instance: &str) -> Result<Arc<Self>, String> {
        config.check()?;
        Ok(Arc::new(Self { writer: Writer::new(&config.topic, client, instance)? }))
    }

    /// A call has ended: a delivered or cancelled one settles now, another becomes a dead letter first. Never
    /// waits. To be called in a tokio runtime.
    pub fn finished(self: &Arc<Self>, call: Call, outcome: Outcome) {
        match outcome {
            Outcome::Delivered { .. } | Outcome::Cancelled => call.receipt.settle(),
            Outcome::Exhausted { cause } => {
                let letter = DeadLetter::of_call(&call, &cause, Timestamp::now());
                self.writer.write_then_settle(letter, call.receipt);
            }
        }
    }

    /// A record can't be decoded, or one of its messages can't be rendered. Its bytes are charged to the
    /// budget until the dead letter is written. Never waits. To be called in a tokio runtime.
    pub fn undeliverable(self: &Arc<Self>, input: &Input<'_>, reason: &(dyn Error + 'static), receipt: Receipt) {
        let letter = DeadLetter::of_record(input, reason, Timestamp::now());
        let share = receipt.share(input.value.map_or(0, <[u8]>::len));
        receipt.settle();
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
