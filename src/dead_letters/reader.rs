//! Reads dead letters: a page of those that match a filter, or one with its body.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::RedriveCandidate;
use super::letter::{DeadLetter, DeadLetterFilter, DeadLetterId};
use crate::kafka::topic_reader::{Error, Page, PageLimits, Record, Spans, TopicCursor, TopicReader};
use crate::settle::DeadLettersConfig;

/// Largest gap between two letters, in records, that is read. A larger gap is skipped, which takes another Kafka
/// client.
const MAX_READ_GAP: i64 = 10_000;

/// Reader of the dead-letter topic.
pub struct DeadLetterReader {
    topic_reader: TopicReader,
}

/// A dead letter with its key and value.
#[derive(Debug)]
pub struct DeadLetterContent {
    pub letter: DeadLetter,
    pub key: Option<Vec<u8>>,
    /// The unsent body of a call, or the value of a record.
    pub value: Option<Vec<u8>>,
}

impl DeadLetterReader {
    /// `client` has the connection settings of the cluster (brokers, security).
    pub fn new(config: &DeadLettersConfig, client: &HashMap<String, String>) -> Self {
        Self { topic_reader: TopicReader::new(&config.topic, client.clone().into_iter().collect()) }
    }

    /// Reads a page of matching dead letters from the cursor on, newest first.
    ///
    /// # Errors
    /// As [`TopicReader::page`].
    pub async fn page(
        &self,
        filter: DeadLetterFilter,
        from: Option<TopicCursor>,
        bounds: PageLimits,
    ) -> Result<Page<DeadLetter>, Error> {
        let range = filter.range();
        let look = move |record: &Record<'_>| Some(DeadLetter::read(record)).filter(|letter| filter.matches(letter));
        self.topic_reader.page(from, range, bounds, look).await
    }

    /// Reads one letter. None if it does not exist, or no longer.
    ///
    /// # Errors
    /// As [`TopicReader::read_at`].
    pub async fn read_one(&self, id: DeadLetterId, time: Duration) -> Result<Option<DeadLetterContent>, Error> {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let look = move |record: &Record<'_>| {
            Some(DeadLetterContent {
                letter: DeadLetter::read(record),
                key: owned(record.key),
                value: owned(record.value),
            })
        };
        self.topic_reader.read_at((id.partition, id.offset), time, look).await
    }

    /// Like [`DeadLetterReader::page`], with the call and the body of each letter for a redrive.
    ///
    /// # Errors
    /// As [`TopicReader::page`].
    pub async fn candidates(
        &self,
        filter: DeadLetterFilter,
        from: Option<TopicCursor>,
        bounds: PageLimits,
    ) -> Result<Page<RedriveCandidate>, Error> {
        let range = filter.range();
        let look = move |record: &Record<'_>| {
            filter.matches(&DeadLetter::read(record)).then(|| RedriveCandidate::read(record))
        };
        self.topic_reader.page(from, range, bounds, look).await
    }

    /// Reads the letters with these ids, in their order. None for a letter that does not exist, or no longer.
    ///
    /// # Errors
    /// As [`TopicReader::read_each`].
    pub async fn read_by_ids(
        &self,
        ids: &[DeadLetterId],
        time: Duration,
    ) -> Result<Vec<Option<RedriveCandidate>>, Error> {
        let positions = ids.iter().map(|id| (id.partition, id.offset)).collect();
        self.topic_reader.read_each(positions, time, |record| Some(RedriveCandidate::read(record))).await
    }

    /// Reads many letters that are mostly close together, and returns those that exist, in no order. Reads each part
    /// of the topic once, forwards, without a limit on the whole time.
    ///
    /// # Errors
    /// As [`TopicReader::forward`]. `time` is how long it may make no progress.
    pub async fn read_many(&self, ids: &[DeadLetterId], time: Duration) -> Result<Vec<RedriveCandidate>, Error> {
        let ids: Arc<BTreeSet<DeadLetterId>> = Arc::new(ids.iter().copied().collect());
        let mut found = Vec::with_capacity(ids.len());
        for mut spans in parts(&ids) {
            // The read continues with the rest when its time is over.
            while !spans.is_empty() {
                let ids = ids.clone();
                let look = move |found: &mut Vec<RedriveCandidate>, record: &Record<'_>| {
                    if ids.contains(&DeadLetterId { partition: record.partition, offset: record.offset }) {
                        found.push(RedriveCandidate::read(record));
                    }
                    ControlFlow::Continue(())
                };
                (found, spans) = self.topic_reader.forward(spans, time, found, look).await?;
            }
        }
        Ok(found)
    }
}

/// Splits a read of all these letters into parts. A part has one span per partition, without a large gap.
fn parts(ids: &BTreeSet<DeadLetterId>) -> Vec<Spans> {
    let mut parts: Vec<Spans> = Vec::new();
    let (mut part, mut last) = (0, None::<DeadLetterId>);
    for id in ids {
        let before = last.replace(*id).filter(|before| before.partition == id.partition);
        part = match before {
            Some(before) if id.offset.saturating_sub(before.offset) > MAX_READ_GAP => part + 1,
            Some(_) => part,
            None => 0,
        };
        if part == parts.len() {
            parts.push(Spans::new());
        }
        parts[part].entry(id.partition).or_insert((id.offset, id.offset)).1 = id.offset.saturating_add(1);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearby_letters_are_read_in_one_span_and_large_gaps_are_skipped() {
        let id = |(partition, offset)| DeadLetterId { partition, offset };
        let far = 50 + MAX_READ_GAP + 1;
        let ids = [(0, 3), (0, 9), (2, 50), (2, far), (2, far + 1), (4, 7)].map(id);
        let expected = [Spans::from([(0, (3, 10)), (2, (50, 51)), (4, (7, 8))]), Spans::from([(2, (far, far + 2))])];
        assert_eq!(parts(&ids.into()), expected);
        assert!(parts(&BTreeSet::new()).is_empty());
    }
}
