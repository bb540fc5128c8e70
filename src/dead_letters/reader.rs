//! Reads dead letters back: a page of those that a filter means, or one with its body.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::Candidate;
use super::letter::{Letter, LetterFilter, LetterId};
use crate::kafka::topic_reader::{Bounds, Error, Page, Record, Spans, TopicCursor, TopicReader};
use crate::settle::Config;

/// How many records between two letters are rather read than passed over, which takes a client of its own.
const LARGEST_GAP: i64 = 10_000;

/// The dead letters in their topic.
pub struct Letters {
    journal: TopicReader,
}

/// A dead letter with all that it holds.
#[derive(Debug)]
pub struct OpenedLetter {
    pub letter: Letter,
    pub key: Option<Vec<u8>>,
    /// The body that was to be sent, or the record's value.
    pub value: Option<Vec<u8>>,
}

impl Letters {
    /// `client` says how the cluster is reached (brokers, security).
    pub fn new(config: &Config, client: &HashMap<String, String>) -> Self {
        Self { journal: TopicReader::new(&config.topic, client.clone().into_iter().collect()) }
    }

    /// Those that are meant, the newest first, from the cursor on.
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

    /// One letter; None if it is not there (any more).
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

    /// The same as [`Letters::page`], with what it takes to send them out again.
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

    /// Those of these ids, in their order; None for one that is not there (any more).
    ///
    /// # Errors
    /// As [`TopicReader::each`].
    pub async fn named(&self, ids: &[LetterId], time: Duration) -> Result<Vec<Option<Candidate>>, Error> {
        let places = ids.iter().map(|id| (id.partition, id.offset)).collect();
        self.journal.each(places, time, |record| Some(Candidate::read(record))).await
    }

    /// The same of many that mostly stand close together: those that are there, in no order. They are read forwards,
    /// each part of the topic once, however long that takes.
    ///
    /// # Errors
    /// As [`TopicReader::forward`]; `time` is how long it may get nowhere.
    pub async fn gathered(&self, ids: &[LetterId], time: Duration) -> Result<Vec<Candidate>, Error> {
        let ids: Arc<BTreeSet<LetterId>> = Arc::new(ids.iter().copied().collect());
        let mut found = Vec::with_capacity(ids.len());
        for mut spans in parts(&ids) {
            // What is left when the time is up is read on.
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

/// What to read to have all of these: in each part one span of each partition, and no large gap in any.
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
