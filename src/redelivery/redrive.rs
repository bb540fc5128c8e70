//! Redrives dead letters: writes each as a waiting call that is due now, with its original ids and body.
//!
//! A letter stays in its topic. Once the retry topic has acknowledged its call, a marker is written behind the letter,
//! and names who redrove it. A crash between the two leaves a letter without a marker. If it is redriven again, the
//! same message is sent a second time.
//!
//! Letters that are sent together go in the order of their row changes. Each call is handed to the client behind the
//! one before it. All calls of a row in row order are in one partition of the retry topic, and are sent in the order
//! in that partition. Only an unacknowledged call may end up behind others that were under way with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use metrics::counter;

use super::redrive_markers::RedriveMarkers;
use crate::dead_letters::DeadLetterReader;
use crate::dead_letters::{DeadLetterId, DeadLetterKind, RedriveCandidate};
use crate::kafka::producer::{AwaitedProducer, NewRecord, alone};
use crate::kafka::topic_reader::Error;
use crate::kafka::{ClientConfig, KafkaError, TopicError};
use crate::settle::Outgoing;
use crate::settle::{DeadLettersConfig, OutgoingHeaders, OutgoingKind, RetriesConfig, producer};
use crate::settle::{InvalidCall, StoredCall};

/// Max letters under way at the same time.
const MAX_CONCURRENT_LETTERS: usize = 64;
/// Timeout of a record's acknowledgement, in milliseconds.
const ACK_TIMEOUT_MS: &str = "5000";

/// Redrives dead letters.
pub struct Redriver {
    dead_letter_topic: Arc<str>,
    retry_topic: Arc<str>,
    producer: ClientConfig,
}

/// Options of a redrive.
#[derive(Debug, Clone)]
pub struct RedriveOptions {
    /// Redrives letters that were redriven before too.
    pub include_redriven: bool,
    /// Writes nothing, only returns the outcomes.
    pub dry_run: bool,
    /// Offset of the definitions topic up to which the requester knows the definitions. Only an instance that has read
    /// as far may treat an unknown definition as deleted.
    pub definitions_offset: i64,
    /// Name of the person or client, for people.
    pub requested_by: String,
    /// Time limit of the scan for markers of earlier redrives.
    pub marker_scan_timeout: Duration,
    /// No letter is begun after this time. Letters under way may take ten seconds longer.
    pub write_timeout: Duration,
}

/// Why a letter was not redriven.
#[derive(Debug, thiserror::Error)]
pub enum SkipReason {
    #[error("it does not exist: the topic's retention may have deleted it")]
    Missing,
    #[error("it is not a call, but a record that no message could be made of")]
    Record,
    #[error(transparent)]
    Unreadable(#[from] InvalidCall),
    #[error("its body is missing: the dead-letter topic refused a record of its size")]
    NoBody,
    #[error("it was redriven before, at {0}")]
    AlreadyRedriven(Timestamp),
    #[error("it is unknown whether it was redriven before: too many records or redrives since")]
    RedriveStateUnknown,
    #[error("no time was left to send it")]
    OutOfTime,
    #[error("the retry topic did not acknowledge it, but it may still be sent: {0}")]
    NotAcknowledged(KafkaError),
    #[error("it is sent, but its redrive marker could not be written: {0}")]
    MarkerNotWritten(KafkaError),
}

/// Outcomes of letters, in the order in which they were to be sent.
pub type RedriveOutcomes = Vec<(DeadLetterId, Result<(), SkipReason>)>;

/// Records of letters to be sent, and the reasons against the others.
type RedriveBatch = Vec<(DeadLetterId, Result<RedriveRecords, SkipReason>)>;

/// The two records of a redrive.
struct RedriveRecords {
    call: Outgoing,
    marker: Outgoing,
}

impl RedriveCandidate {
    /// Creates the records to write, or returns the reason against it.
    fn redrive_records(
        self,
        redriven: &RedriveMarkers,
        is_known: bool,
        order: &RedriveOptions,
        now: Timestamp,
    ) -> Result<RedriveRecords, SkipReason> {
        if self.letter.kind != Some(DeadLetterKind::Call) {
            return Err(SkipReason::Record);
        }
        let (call, body) = (self.call?, self.body.ok_or(SkipReason::NoBody)?);
        if !order.include_redriven {
            match redriven.at(self.letter.id) {
                Some(at) => return Err(SkipReason::AlreadyRedriven(at)),
                None if !is_known => return Err(SkipReason::RedriveStateUnknown),
                None => {}
            }
        }
        let marker = marker(self.letter.id, &call, &order.requested_by);
        Ok(RedriveRecords { call: call.due(now, order.definitions_offset, body), marker })
    }
}

impl Redriver {
    /// `client` has the connection settings of the cluster (brokers, security).
    pub fn new(letters: &DeadLettersConfig, retries: &RetriesConfig, client: &HashMap<String, String>) -> Self {
        Self {
            dead_letter_topic: letters.topic.as_str().into(),
            retry_topic: retries.tiers().of(Duration::ZERO).topic.clone(),
            producer: alone(&producer::settings(&client.clone().into_iter().collect(), ACK_TIMEOUT_MS)),
        }
    }

    /// Redrives the eligible candidates, in the order of their row changes. Pass the same `redriven` to each call, so
    /// that markers are read once.
    ///
    /// # Errors
    /// Earlier redrives can't be read, or the Kafka client can't be created.
    pub async fn send(
        &self,
        mut candidates: Vec<RedriveCandidate>,
        letters: &DeadLetterReader,
        redriven: &mut RedriveMarkers,
        order: &RedriveOptions,
    ) -> Result<RedriveOutcomes, Error> {
        candidates.sort_by(|one, other| one.letter.sort_key().cmp(&other.letter.sort_key()));
        let oldest = candidates.iter().map(|candidate| candidate.letter.written_at).min();
        let is_known = match oldest.filter(|_| !order.include_redriven) {
            Some(oldest) => redriven.scan_back_to(oldest, letters, order.marker_scan_timeout).await?,
            None => true,
        };
        let now = Timestamp::now();
        let batch = candidates.into_iter().map(|candidate| {
            let id = candidate.letter.id;
            (id, candidate.redrive_records(redriven, is_known, order, now))
        });
        let batch: RedriveBatch = batch.collect();
        if order.dry_run || batch.iter().all(|(_, pair)| pair.is_err()) {
            return Ok(batch.into_iter().map(|(id, pair)| (id, pair.map(drop))).collect());
        }
        let producer =
            AwaitedProducer::new(&self.producer).map_err(|source| TopicError::client(&self.retry_topic, source))?;
        let outcomes = self.write(&producer, batch, Instant::now() + order.write_timeout).await;
        producer.close();
        Ok(outcomes)
    }

    /// Begins no letter after `until`. The remaining letters of a row are newer than those that are sent.
    async fn write(&self, producer: &AwaitedProducer, batch: RedriveBatch, until: Instant) -> RedriveOutcomes {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut batch = batch.into_iter().peekable();
        while batch.peek().is_some() {
            let is_late = Instant::now() >= until;
            let in_time = |pair: RedriveRecords| if is_late { Err(SkipReason::OutOfTime) } else { Ok(pair) };
            let part =
                batch.by_ref().take(MAX_CONCURRENT_LETTERS).map(|(id, pair)| (id, pair.and_then(in_time))).collect();
            outcomes.extend(self.write_some(producer, part).await);
        }
        outcomes
    }

    /// The calls first: a letter whose call was not written is never marked.
    async fn write_some(&self, producer: &AwaitedProducer, batch: RedriveBatch) -> RedriveOutcomes {
        let sent = write_sequentially(
            producer,
            &self.retry_topic,
            batch,
            |pair| &pair.call.record,
            SkipReason::NotAcknowledged,
        )
        .await;
        let count = sent.iter().filter(|(_, pair)| pair.is_ok()).count();
        counter!("outhook_redriven_total", "how" => "redrive").increment(count as u64);
        let marked = write_sequentially(
            producer,
            &self.dead_letter_topic,
            sent,
            |pair| &pair.marker.record,
            SkipReason::MarkerNotWritten,
        )
        .await;
        marked.into_iter().map(|(id, pair)| (id, pair.map(drop))).collect()
    }
}

/// The marker of a redriven letter. It has the letter's key, so that retention deletes the letter first.
fn marker(letter: DeadLetterId, call: &StoredCall, by: &str) -> Outgoing {
    let headers = OutgoingHeaders::new("redriven")
        .add("letter", letter)
        .add("account", &call.account)
        .add("webhook", call.webhook)
        .add("event", call.event)
        .add("message", call.message)
        .add("call", call.call)
        .add("by", by);
    Outgoing {
        kind: OutgoingKind::Redriven,
        source_position: format!("dead letter {letter}"),
        record: NewRecord {
            key: Some(Bytes::copy_from_slice(call.webhook.as_str().as_bytes())),
            value: None,
            headers: headers.into(),
        },
    }
}

/// Writes one record of each pair, one after the other, so that the calls of a row stay in order. Keeps the pairs
/// whose record is acknowledged.
async fn write_sequentially(
    producer: &AwaitedProducer,
    topic: &str,
    batch: RedriveBatch,
    record: fn(&RedriveRecords) -> &NewRecord,
    failed: fn(KafkaError) -> SkipReason,
) -> RedriveBatch {
    let records: Vec<&NewRecord> = batch.iter().filter_map(|(_, pair)| pair.as_ref().ok()).map(record).collect();
    let mut outcomes = producer.write_all(topic, &records).await.into_iter();
    let written = batch.into_iter().map(|(id, pair)| {
        let written = |pair| outcomes.next().expect("each record has an outcome").map(|()| pair).map_err(failed);
        (id, pair.and_then(written))
    });
    written.collect()
}

impl SkipReason {
    /// The reason in few words, for counts.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing => "not found",
            Self::Record => "not a call",
            Self::Unreadable(_) => "invalid headers",
            Self::NoBody => "without body",
            Self::AlreadyRedriven(_) => "redriven before",
            Self::RedriveStateUnknown => "unknown whether redriven before",
            Self::OutOfTime => "no time left",
            Self::NotAcknowledged(_) => "not acknowledged",
            Self::MarkerNotWritten(_) => "sent, but not marked",
        }
    }

    /// Whether something failed, rather than that the letter is not to be sent.
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Missing
                | Self::RedriveStateUnknown
                | Self::OutOfTime
                | Self::NotAcknowledged(_)
                | Self::MarkerNotWritten(_)
        )
    }
}
