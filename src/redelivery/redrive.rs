//! Sends dead letters out again: each as a call that waits and is due now, with the ids and the body that it had.
//!
//! A letter stays where it is. Once its call is acknowledged by the retry topic, a marker behind the letter says that
//! it was redriven, and by whom. A crash between the two leaves a letter that goes out once more when it is redriven
//! again, as the same message.
//!
//! What is sent together goes in the order of the row changes, and each call is handed over behind the one before it:
//! all calls of a row that is kept in order are in one partition of the retry topic, and arrive as they stand there.
//! Only one that is not acknowledged may come behind those that are under way with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use metrics::counter;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;

use super::redrive_markers::RedriveMarkers;
use crate::dead_letters::Letters;
use crate::dead_letters::{Candidate, LetterId, LetterKind};
use crate::kafka::topic_reader::Error;
use crate::settle::Outgoing;
use crate::settle::{Config, OutgoingHeaders, OutgoingKind, Retries, producer};
use crate::settle::{InvalidCall, StoredCall};

/// How many letters are under way at once.
const AT_ONCE: usize = 64;
/// How long a record may take to be acknowledged, in milliseconds.
const ACKNOWLEDGED_MS: &str = "5000";

/// Sends letters out again.
pub struct Redrive {
    letters_topic: Arc<str>,
    retry_topic: Arc<str>,
    producer: ClientConfig,
}

/// How letters are sent out again.
#[derive(Debug, Clone)]
pub struct RedriveOptions {
    /// Those that were redriven before too.
    pub again: bool,
    /// Only says what would be done.
    pub dry_run: bool,
    /// Up to which offset of their log the definitions are known to whoever orders it: no instance that knows less
    /// takes a call for one of a definition that is gone.
    pub definitions: i64,
    /// Who it is, for people.
    pub by: String,
    /// How long it may be looked for what was redriven before.
    pub look: Duration,
    /// For how long further letters are begun. Those under way may take ten seconds longer.
    pub write: Duration,
}

/// Why a letter was not sent out again.
#[derive(Debug, thiserror::Error)]
pub enum Skipped {
    #[error("it is not there: the topic's retention may have deleted it")]
    Missing,
    #[error("it is no call, but a record of which no message could be made")]
    Record,
    #[error(transparent)]
    Unreadable(#[from] InvalidCall),
    #[error("its body was left out, because the topic of dead letters did not take it")]
    NoBody,
    #[error("it was redriven before, at {0}")]
    Before(Timestamp),
    #[error("whether it was redriven before could not be found out: too much was written since, or redriven")]
    Unknown,
    #[error("no time was left for it")]
    NoTime,
    #[error("the retry topic did not acknowledge it, though it may go out still: {0}")]
    Unwritten(KafkaError),
    #[error("it goes out, but that it was redriven could not be written down: {0}")]
    Unmarked(KafkaError),
}

/// What became of letters, in the order in which they were to go out.
pub type Outcomes = Vec<(LetterId, Result<(), Skipped>)>;

/// The records of letters that are to go out, and why others are not.
type Pairs = Vec<(LetterId, Result<Pair, Skipped>)>;

/// The two records of a letter.
struct Pair {
    call: Outgoing,
    marker: Outgoing,
}

impl Candidate {
    /// The records to write, unless there is a reason against it.
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
    /// `client` says how the cluster is reached (brokers, security).
    pub fn new(letters: &Config, retries: &Retries, client: &HashMap<String, String>) -> Self {
        Self {
            letters_topic: letters.topic.as_str().into(),
            retry_topic: retries.tiers().of(Duration::ZERO).topic.clone(),
            producer: producer::alone(&producer::settings(&client.clone().into_iter().collect(), ACKNOWLEDGED_MS)),
        }
    }

    /// Sends out those that there is no reason against, in the order of their row changes. `redriven` is kept from one
    /// call to the next, so that markers are read once.
    ///
    /// # Errors
    /// What was redriven before can't be read, or the Kafka client can't be made.
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
        let producer: FutureProducer = self
            .producer
            .create()
            .map_err(|source| Error::Client { topic: self.retry_topic.to_string(), source: source.into() })?;
        let outcomes = self.write(&producer, of_each, Instant::now() + order.write).await;
        // It waits for its thread to end.
        tokio::task::spawn_blocking(move || drop(producer));
        Ok(outcomes)
    }

    /// None is begun after that time, so what is left of a row is newer than what goes out of it.
    async fn write(&self, producer: &FutureProducer, of_each: Pairs, until: Instant) -> Outcomes {
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

    /// The calls first: what was not sent out is never marked.
    async fn write_some(&self, producer: &FutureProducer, some: Pairs) -> Outcomes {
        let sent = in_turn(producer, &self.retry_topic, some, |pair| &pair.call, Skipped::Unwritten).await;
        let count = sent.iter().filter(|(_, pair)| pair.is_ok()).count();
        counter!("outhook_redriven_total", "how" => "redrive").increment(count as u64);
        let marked = in_turn(producer, &self.letters_topic, sent, |pair| &pair.marker, Skipped::Unmarked).await;
        marked.into_iter().map(|(id, pair)| (id, pair.map(drop))).collect()
    }
}

/// The marker of a letter that was sent out again. It has the letter's key, so that retention deletes the letter first.
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
        key: Some(Bytes::copy_from_slice(call.webhook.as_str().as_bytes())),
        value: None,
        headers,
    }
}

/// Writes one record of each, one after the other, so that those of a row that is kept in order stay in it; leaves
/// those whose record is acknowledged.
async fn in_turn(
    producer: &FutureProducer,
    topic: &str,
    of_each: Pairs,
    record: fn(&Pair) -> &Outgoing,
    failed: fn(KafkaError) -> Skipped,
) -> Pairs {
    let mut under_way = Vec::with_capacity(of_each.len());
    for (id, pair) in of_each {
        let begun = match &pair {
            Ok(pair) => Some(producer::begin(producer, topic, record(pair)).await),
            Err(_) => None,
        };
        under_way.push((id, pair, begun));
    }
    let mut written = Vec::with_capacity(under_way.len());
    for (id, pair, begun) in under_way {
        let outcome = match begun {
            Some(Ok(delivery)) => producer::outcome(delivery.await),
            Some(Err(reason)) => Err(reason),
            None => Ok(()),
        };
        written.push((id, pair.and_then(|pair| outcome.map(|()| pair).map_err(failed))));
    }
    written
}

impl Skipped {
    /// The same in few words, for counts.
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Missing => "not there",
            Self::Record => "no call",
            Self::Unreadable(_) => "incomplete",
            Self::NoBody => "without body",
            Self::Before(_) => "redriven before",
            Self::Unknown => "not known whether redriven before",
            Self::NoTime => "no time left",
            Self::Unwritten(_) => "not acknowledged",
            Self::Unmarked(_) => "sent, but not marked",
        }
    }

    /// Whether something failed, rather than that there was a reason against it.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Missing | Self::Unknown | Self::NoTime | Self::Unwritten(_) | Self::Unmarked(_))
    }
}
