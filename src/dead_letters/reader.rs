//! Reads dead letters: a page of those that match a filter, or one with its body.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::Candidate;
use super::letter::{Letter, LetterFilter, LetterId};
use crate::kafka::topic_reader::{Bounds, Error, Page, Record, Spans, TopicCursor, TopicReader};
use crate::settle::DeadLettersConfig;

/// Largest gap between two letters, in records, that is read. A larger gap is skipped, which takes another Kafka
/// client.
const LARGEST_GAP: i64 = 10_000;

/// Reader of the dead-letter topic.
pub struct Letters {
    journal: TopicReader,
}

/// A dead letter with its key and value.
#[derive(Debug)]
pub struct OpenedLetter {
    pub letter: Letter,
    pub key: Option<Vec<u8>>,
    /// The unsent body of a call, or the value of a record.
    pub value: Option<Vec<u8>>,
}

impl Letters {
    /// `client` has the connection settings of the cluster (brokers, security).
    pub fn new(config: &DeadLettersConfig, client: &HashMap<String, String>) -> Self {
        Self { journal: TopicReader::new(&config.topic, client.clone().into_iter().collect()) }
    }

    /// Reads a page of matching dead letters from the cursor on, newest first.
    ///
    /// # Errors
    /// As [`TopicReader::page`].
    pub async fn page(
        &self,
        filter: LetterFilter,
        from: Option<TopicCursor>,
        bounds: Bounds,
    ) -> Result<Page<Letter>, Error> {
        let range = filter.range();
        let look = move |record: &Record<'_>| Some(Letter::read(record)).filter(|letter| filter.takes(letter));
        self.journal.page(from, range, bounds, look).await
    }

    /// Reads one letter. None if it does not exist, or no longer.
    ///
    /// # Errors
    /// As [`TopicReader::at`].
    pub async fn open(&self, id: LetterId, time: Duration) -> Result<Option<OpenedLetter>, Error> {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let look = move |record: &Record<'_>| {
            Some(OpenedLetter { letter: Letter::read(record), key: owned(record.key), value: owned(record.value) })
        };
        self.journal.at((id.partition, id.offset), time, look).await
    }

    /// Like [`Letters::page`], with the call and the body of each letter for a redrive.
    ///
    /// # Errors
    /// As [`TopicReader::page`].
    pub async fn candidates(
        &self,
        filter: LetterFilter,
        from: Option<TopicCursor>,
        bounds: Bounds,
    ) -> Result<Page<Candidate>, Error> {
        let range = filter.range();
        let look = move |record: &Record<'_>| filter.takes(&Letter::read(record)).then(|| Candidate::read(record));
        self.journal.page(from, range, bounds, look).await
    }

    /// Reads the letters with these ids, in their order. None for a letter that does not exist, or no longer.
    ///
    /// # Errors
    /// As [`TopicReader::each`].
    pub async fn named(&self, ids: &[LetterId], time: Duration) -> Result<Vec<Option<Candidate>>, Error> {
        let positions = ids.iter().map(|id| (id.partition, id.offset)).collect();
        self.journal.each(positions, time, |record| Some(Candidate::read(record))).await
    }

    /// Reads many letters that are mostly close together, and returns those that exist, in no order. Reads each part
    /// of the topic once, forwards, without a limit on the whole time.
    ///
    /// # Errors
    /// As [`TopicReader::forward`]. `time` is how long it may make no progress.
    pub async fn gathered(&self, ids: &[LetterId], time: Duration) -> Result<Vec<Candidate>, Error> {
        let ids: Arc<BTreeSet<LetterId>> = Arc::new(ids.iter().copied().collect());
        let mut found = Vec::with_capacity(ids.len());
        for mut spans in parts(&ids) {
            // The read continues with the rest when its time is over.
            while !spans.is_empty() {
                let ids = ids.clone();
                let look = move |found: &mut Vec<Candidate>, record: &Record<'_>| {
                    if ids.contains(&LetterId { partition: record.partition, offset: record.offset }) {
                        found.push(Candidate::read(record));
                    }
                    ControlFlow::Continue(())
                };
                (found, spans) = self.journal.forward(spans, time, found, look).await?;
            }
        }
        Ok(found)
    }
}

/// Splits a read of all these letters into parts. A part has one span per partition, without a large gap.
fn parts(ids: &BTreeSet<LetterId>) -> Vec<Spans> {
    let mut parts: Vec<Spans> = Vec::new();
    let (mut part, mut last) = (0, None::<LetterId>);
    for id in ids {
        let before = last.replace(*id).filter(|before| before.partition == id.partition);
        part = match before {
            Some(before) if id.offset.saturating_sub(before.offset) > LARGEST_GAP => part + 1,
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
    fn letters_close_together_are_read_at_once_and_large_gaps_are_not() {
        let id = |(partition, offset)| LetterId { partition, offset };
        let far = 50 + LARGEST_GAP + 1;
        let ids = [(0, 3), (0, 9), (2, 50), (2, far), (2, far + 1), (4, 7)].map(id);
        let expected = [Spans::from([(0, (3, 10)), (2, (50, 51)), (4, (7, 8))]), Spans::from([(2, (far, far + 2))])];
        assert_eq!(parts(&ids.into()), expected);
        assert!(parts(&BTreeSet::new()).is_empty());
    }
}
