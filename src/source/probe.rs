//! Probes how far a partition can't be read. Each probe has a separate client, because an existing client could
//! return a record that it had fetched for another offset.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::read_error::{ErrorScope, ReadError, store_last_reason};
use crate::source::rereader::non_member_settings;

/// How long a probe waits for a broker.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_TIMEOUT: Duration = Duration::from_millis(20);

/// The result of a probe at one offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OffsetProbe {
    /// A record at the offset or behind it.
    Record,
    /// No record at the offset or behind it.
    End,
    Failed(ReadError),
    /// No answer in time.
    TimedOut,
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SearchResult {
    /// The offsets from `first` up to but not including `behind` can't be read.
    Unreadable { first: i64, behind: i64 },
    /// The offset can be read after all.
    Readable,
    /// There is no record at this offset or behind it.
    NoRecord,
    /// The brokers did not answer, or the answers do not show the cause.
    Inconclusive,
}

/// Probes one partition.
#[derive(Clone)]
pub(super) struct Prober {
    settings: Arc<ClientConfig>,
    topic: Arc<str>,
    partition: i32,
}

/// Keeps the client's text of errors for [`ReadError`].
struct ProbeContext;

impl ClientContext for ProbeContext {
    fn error(&self, _: KafkaError, reason: &str) {
        store_last_reason(reason);
    }
}

impl ConsumerContext for ProbeContext {}

/// The settings of clients that probe partitions. `client` has the settings of the group's consumer.
pub(super) fn settings(client: &ClientConfig) -> Arc<ClientConfig> {
    let mut settings = non_member_settings(client);
    settings
        .set("enable.partition.eof", "true")
        // A missing offset is reported as an error, and the client does not continue elsewhere.
        .set("auto.offset.reset", "error")
        .set("queued.max.messages.kbytes", "1024");
    Arc::new(settings)
}

impl Prober {
    pub(super) fn new(settings: Arc<ClientConfig>, topic: Arc<str>, partition: i32) -> Self {
        Self { settings, topic, partition }
    }

    /// Searches from an offset at which reading has failed.
    pub(super) async fn search(self, first: i64, cause: ReadError) -> SearchResult {
        search(first, &cause, |offset| self.clone().probe_offset(offset)).await
    }

    async fn probe_offset(self, offset: i64) -> OffsetProbe {
        let (topic, partition) = (self.topic.clone(), self.partition);
        let seen = match tokio::task::spawn_blocking(move || self.probe_offset_blocking(offset)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => {
                warn!(%topic, partition, offset, %error, "can't probe this offset");
                OffsetProbe::TimedOut
            }
            Err(_) => OffsetProbe::TimedOut,
        };
        debug!(%topic, partition, offset, ?seen, "probed an offset");
        seen
    }

    fn probe_offset_blocking(&self, offset: i64) -> KafkaResult<OffsetProbe> {
        let consumer = Arc::new(self.settings.create_with_context::<_, BaseConsumer<ProbeContext>>(ProbeContext)?);
        let queue = consumer
            .split_partition_queue(&self.topic, self.partition)
            .ok_or_else(|| KafkaError::Subscription(format!("no queue of {} {}", self.topic, self.partition)))?;
        let mut position = TopicPartitionList::new();
        position.add_partition_offset(&self.topic, self.partition, Offset::Offset(offset))?;
        consumer.assign(&position)?;
        let began = Instant::now();
        while began.elapsed() < PROBE_TIMEOUT {
            // Serves events of the client. The partition has a separate queue.
            consumer.poll(Duration::ZERO);
            match queue.poll(POLL_TIMEOUT) {
                None => {}
                Some(Ok(_)) => return Ok(OffsetProbe::Record),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(OffsetProbe::End),
                Some(Err(error)) => match ReadError::of(&error) {
                    Some(ReadError { code: RDKafkaErrorCode::AutoOffsetReset, .. }) => return Ok(OffsetProbe::End),
                    Some(cause) => return Ok(OffsetProbe::Failed(cause)),
                    None => return Err(error),
                },
            }
        }
        Ok(OffsetProbe::TimedOut)
    }
}

/// Finds the first offset behind `first` that does not fail like `first`.
async fn search<F: Future<Output = OffsetProbe>>(
    first: i64,
    cause: &ReadError,
    look: impl Fn(i64) -> F,
) -> SearchResult {
    let fails = |seen: &OffsetProbe| match (seen, cause.scope()) {
        (OffsetProbe::Failed(other), ErrorScope::Batch) => other == cause,
        (OffsetProbe::Failed(other), ErrorScope::Offset | ErrorScope::Unknown) => other.code == cause.code,
        _ => false,
    };
    let seen = look(first).await;
    let first = match (cause.offset().filter(|named| *named < first), fails(&seen)) {
        (_, true) => first,
        // The log went back: `first` is an offset of a log that is gone.
        (Some(named), false) if seen == OffsetProbe::End && fails(&look(named).await) => named,
        (_, false) => {
            return match seen {
                OffsetProbe::Record => SearchResult::Readable,
                OffsetProbe::End => SearchResult::NoRecord,
                OffsetProbe::Failed(_) | OffsetProbe::TimedOut => SearchResult::Inconclusive,
            };
        }
    };
    let next = first.saturating_add(1);
    match cause.scope() {
        ErrorScope::Batch => match find_batch_end(first, fails, look).await {
            Some(behind) => SearchResult::Unreadable { first, behind },
            None => SearchResult::Inconclusive,
        },
        ErrorScope::Offset => SearchResult::Unreadable { first, behind: next },
        // A record behind the offset shows that the data there is the cause, not the broker.
        ErrorScope::Unknown => {
            let mut steps = (0..i64::BITS - 1).map(|doublings| first.saturating_add(1 << doublings));
            loop {
                let Some(at) = steps.next() else { return SearchResult::Inconclusive };
                match look(at).await {
                    OffsetProbe::Record => return SearchResult::Unreadable { first, behind: next },
                    seen if fails(&seen) => {}
                    _ => return SearchResult::Inconclusive,
                }
            }
        }
    }
}

/// The first offset behind a batch. The search doubles its steps and then halves them: all offsets of the batch fail
/// with the same text, and no offset behind it does. None if a broker does not answer.
async fn find_batch_end<F: Future<Output = OffsetProbe>>(
    first: i64,
    fails: impl Fn(&OffsetProbe) -> bool,
    look: impl Fn(i64) -> F,
) -> Option<i64> {
    let (mut inside, mut step) = (first, 1);
    let mut behind = loop {
        let at = inside.saturating_add(step);
        match look(at).await {
            OffsetProbe::TimedOut => return None,
            seen if fails(&seen) => (inside, step) = (at, step.saturating_mul(2)),
            _ => break at,
        }
    };
    while behind - inside > 1 {
        let middle = inside + (behind - inside) / 2;
        match look(middle).await {
            OffsetProbe::TimedOut => return None,
            seen if fails(&seen) => inside = middle,
            _ => behind = middle,
        }
    }
    Some(behind)
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "the unreadable ranges, of which there is often one")]
mod tests;
