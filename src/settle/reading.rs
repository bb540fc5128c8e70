//! Reads dead letters back: a page of those that a filter means, or one with its body.

use std::collections::HashMap;
use std::time::Duration;

use super::Config;
use super::letter::{Filter, Letter, LetterId};
use super::redrive::Candidate;
use crate::journal::{Bounds, Cursor, Error, Journal, Page, Record};

/// The dead letters in their topic.
pub struct Letters {
    journal: Journal,
}

/// A dead letter with all that it holds.
#[derive(Debug)]
pub struct Opened {
    pub letter: Letter,
    pub key: Option<Vec<u8>>,
    /// The body that was to be sent, or the record's value.
    pub value: Option<Vec<u8>>,
}

impl Letters {
    /// `client` says how the cluster is reached (brokers, security).
    pub fn new(config: &Config, client: &HashMap<String, String>) -> Self {
        Self { journal: Journal::new(&config.topic, client.clone().into_iter().collect()) }
    }

    /// Those that are meant, the newest first, from the cursor on.
    ///
    /// # Errors
    /// As [`Journal::page`].
    pub async fn page(&self, filter: Filter, from: Option<Cursor>, bounds: Bounds) -> Result<Page<Letter>, Error> {
        let range = filter.range();
        let look = move |record: &Record<'_>| Some(Letter::read(record)).filter(|letter| filter.takes(letter));
        self.journal.page(from, range, bounds, look).await
    }

    /// One letter; None if it is not there (any more).
    ///
    /// # Errors
    /// As [`Journal::at`].
    pub async fn open(&self, id: LetterId, time: Duration) -> Result<Option<Opened>, Error> {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let look = move |record: &Record<'_>| {
            Some(Opened { letter: Letter::read(record), key: owned(record.key), value: owned(record.value) })
        };
        self.journal.at((id.partition, id.offset), time, look).await
    }

    /// The same as [`Letters::page`], with what it takes to send them out again.
    ///
    /// # Errors
    /// As [`Journal::page`].
    pub async fn candidates(
        &self,
        filter: Filter,
        from: Option<Cursor>,
        bounds: Bounds,
    ) -> Result<Page<Candidate>, Error> {
        let range = filter.range();
        let look = move |record: &Record<'_>| filter.takes(&Letter::read(record)).then(|| Candidate::read(record));
        self.journal.page(from, range, bounds, look).await
    }

    /// Those of these ids, in their order; None for one that is not there (any more).
    ///
    /// # Errors
    /// As [`Journal::each`].
    pub async fn named(&self, ids: &[LetterId], time: Duration) -> Result<Vec<Option<Candidate>>, Error> {
        let places = ids.iter().map(|id| (id.partition, id.offset)).collect();
        self.journal.each(places, time, |record| Some(Candidate::read(record))).await
    }
}
