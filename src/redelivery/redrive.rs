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
use crate::dead_letters::Letters;
use crate::dead_letters::{Candidate, LetterId, LetterKind};
use crate::kafka::producer::{AwaitedProducer, NewRecord, alone};
use crate::kafka::topic_reader::Error;
use crate::kafka::{ClientConfig, KafkaError, TopicError};
use crate::settle::Outgoing;
use crate::settle::{DeadLettersConfig, OutgoingHeaders, OutgoingKind, RetriesConfig, producer};
use crate::settle::{InvalidCall, StoredCall};

/// Max letters under way at the same time.
const AT_ONCE: usize = 64;
/// Timeout of a record's acknowledgement, in milliseconds.
const ACKNOWLEDGED_MS: &str = "5000";

/// Redrives dead letters.
pub struct Redrive {
    letters_topic: Arc<str>,
    retry_topic: Arc<str>,
    producer: ClientConfig,
}

/// Options of a redrive.
#[derive(Debug, Clone)]
pub struct RedriveOptions {
    /// Redrives letters that were redriven before too.
    pub again: bool,
    /// Writes nothing, only returns the outcomes.
    pub dry_run: bool,
    /// Offset of the definitions topic up to which the requester knows the definitions. Only an instance that has read
    /// as far may treat an unknown definition as deleted.
    pub definitions: i64,
    /// Name of the person or client, for people.
    pub by: String,
    /// Time limit of the scan for markers of earlier redrives.
    pub look: Duration,
    /// No letter is begun after this time. Letters under way may take ten seconds longer.
    pub write: Duration,
}

/// Why a letter was not redriven.
#[derive(Debug, thiserror::Error)]
pub enum Skipped {
    #[error("it does not exist: the topic's retention may have deleted it")]
    Missing,
    #[error("it is not a call, but a record that no message could be made of")]
    Record,
    #[error(transparent)]
    Unreadable(#[from] InvalidCall),
    #[error("its body is missing: the dead-letter topic refused a record of its size")]
    NoBody,
    #[error("it was redriven before, at {0}")]
    Before(Timestamp),
    #[error("it is unknown whether it was redriven before: too many records or redrives since")]
    Unknown,
    #[error("no time was left to send it")]
    NoTime,
    #[error("the retry topic did not acknowledge it, but it may still be sent: {0}")]
    Unwritten(KafkaError),
    #[error("it is sent, but its redrive marker could not be written: {0}")]
    Unmarked(KafkaError),
}

/// Outcomes of letters, in the order in which they were to be sent.
pub type Outcomes = Vec<(LetterId, Result<(), Skipped>)>;

/// Records of letters to be sent, and the reasons against the others.
type Pairs = Vec<(LetterId, Result<Pair, Skipped>)>;

/// The two records of a redrive.
struct Pair {
    call: Outgoing,
    marker: Outgoing,
}

impl Candidate {
    /// Creates the records to write, or returns the reason against it.
    fn pair(
        self,
        redriven: &RedriveMarkers,
        is_known: bool,
        order: &RedriveOptions,
        now: Timestamp,
    ) -> Result<Pair, Skipped> {
        if self.letter.kind != Some(LetterKind::Call) {
            return Err(Skipped::Record);
        }
        let (call, body) = (self.call?, self.body.ok_or(Skipped::NoBody)?);
        if !order.again {
            match redriven.at(self.letter.id) {
                Some(at) => return Err(Skipped::Before(at)),
                None if !is_known => return Err(Skipped::Unknown),
                None => {}
            }
        }
        let marker = marker(self.letter.id, &call, &order.by);
        Ok(Pair { call: call.due(now, order.definitions, body), marker })
    }
}

impl Redrive {
    /// `client` has the connection settings of the cluster (brokers, security).
    pub fn new(letters: &DeadLettersConfig, retries: &RetriesConfig, client: &HashMap<String, String>) -> Self {
        Self {
            letters_topic: letters.topic.as_str().into(),
            retry_topic: retries.tiers().of(Duration::ZERO).topic.clone(),
            producer: alone(&producer::settings(&client.clone().into_iter().collect(), ACKNOWLEDGED_MS)),
        }
    }

    /// Redrives the eligible candidates, in the order of their row changes. Pass the same `redriven` to each call, so
    /// that markers are read once.
    ///
    /// # Errors
    /// Earlier redrives can't be read, or the Kafka client can't be created.
    pub async fn send(
        &self,
        mut candidates: Vec<Candidate>,
        letters: &Letters,
        redriven: &mut RedriveMarkers,
        order: &RedriveOptions,
    ) -> Result<Outcomes, Error> {
        candidates.sort_by(|one, other| one.letter.change().cmp(&other.letter.change()));
        let oldest = candidates.iter().map(|candidate| candidate.letter.written).min();
        let is_known = match oldest.filter(|_| !order.again) {
            Some(oldest) => redriven.look_back(oldest, letters, order.look).await?,
            None => true,
        };
        let now = Timestamp::now();
        let of_each = candidates.into_iter().map(|candidate| {
            let id = candidate.letter.id;
            (id, candidate.pair(redriven, is_known, order, now))
        });
        let of_each: Pairs = of_each.collect();
        if order.dry_run || of_each.iter().all(|(_, pair)| pair.is_err()) {
            return Ok(of_each.into_iter().map(|(id, pair)| (id, pair.map(drop))).collect());
        }
        let producer =
            AwaitedProducer::new(&self.producer).map_err(|source| TopicError::client(&self.retry_topic, source))?;
        let outcomes = self.write(&producer, of_each, Instant::now() + order.write).await;
        producer.close();
        Ok(outcomes)
    }

    /// Begins no letter after `until`. The remaining letters of a row are newer than those that are sent.
    async fn write(&self, producer: &AwaitedProducer, of_each: Pairs, until: Instant) -> Outcomes {
        let mut outcomes = Vec::with_capacity(of_each.len());
        let mut of_each = of_each.into_iter().peekable();
        while of_each.peek().is_some() {
            let is_late = Instant::now() >= until;
            let in_time = |pair: Pair| if is_late { Err(Skipped::NoTime) } else { Ok(pair) };
            let some = of_each.by_ref().take(AT_ONCE).map(|(id, pair)| (id, pair.and_then(in_time))).collect();
            outcomes.extend(self.write_some(producer, some).await);
        }
        outcomes
    }

    /// The calls first: a letter whose call was not written is never marked.
    async fn write_some(&self, producer: &AwaitedProducer, some: Pairs) -> Outcomes {
        let sent = in_turn(producer, &self.retry_topic, some, |pair| &pair.call.record, Skipped::Unwritten).await;
        let count = sent.iter().filter(|(_, pair)| pair.is_ok()).count();
        counter!("outhook_redriven_total", "how" => "redrive").increment(count as u64);
        let marked = in_turn(producer, &self.letters_topic, sent, |pair| &pair.marker.record, Skipped::Unmarked).await;
        marked.into_iter().map(|(id, pair)| (id, pair.map(drop))).collect()
    }
}

/// The marker of a redriven letter. It has the letter's key, so that retention deletes the letter first.
fn marker(letter: LetterId, call: &StoredCall, by: &str) -> Outgoing {
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
        place: format!("dead letter {letter}"),
        record: NewRecord {
            key: Some(Bytes::copy_from_slice(call.webhook.as_str().as_bytes())),
            value: None,
            headers: headers.into(),
        },
    }
}

/// Writes one record of each pair, one after the other, so that the calls of a row stay in order. Keeps the pairs
/// whose record is acknowledged.
async fn in_turn(
    producer: &AwaitedProducer,
    topic: &str,
    of_each: Pairs,
    record: fn(&Pair) -> &NewRecord,
    failed: fn(KafkaError) -> Skipped,
) -> Pairs {
    let records: Vec<&NewRecord> = of_each.iter().filter_map(|(_, pair)| pair.as_ref().ok()).map(record).collect();
    let mut outcomes = producer.write_all(topic, &records).await.into_iter();
    let written = of_each.into_iter().map(|(id, pair)| {
        let written = |pair| outcomes.next().expect("each record has an outcome").map(|()| pair).map_err(failed);
        (id, pair.and_then(written))
    });
    written.collect()
}

impl Skipped {
    /// The reason in few words, for counts.
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Missing => "not found",
            Self::Record => "not a call",
            Self::Unreadable(_) => "invalid headers",
            Self::NoBody => "without body",
            Self::Before(_) => "redriven before",
            Self::Unknown => "unknown whether redriven before",
            Self::NoTime => "no time left",
            Self::Unwritten(_) => "not acknowledged",
            Self::Unmarked(_) => "sent, but not marked",
        }
    }

    /// Whether something failed, rather than that the letter is not to be sent.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Missing | Self::Unknown | Self::NoTime | Self::Unwritten(_) | Self::Unmarked(_))
    }
}
