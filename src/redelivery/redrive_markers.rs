//! Finds dead letters that were redriven before, by the markers in their topic. A marker is newer than its letter.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::dead_letters::Letters;
use crate::dead_letters::{Letter, LetterFilter, LetterId, LetterKind};
use crate::kafka::topic_reader::{Bounds, Error};

/// Max markers in memory: about 20 MB.
const MOST: usize = 500_000;
/// Limits of one read.
const PAGE: Bounds = Bounds { found: 10_000, bytes: 256 * 1024 * 1024, time: Duration::from_secs(10) };
/// How much older than its letter a marker may seem, since their writers have different clocks.
const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

/// Times of the last redrives of letters, as far back as the markers were scanned. The scan runs back from the newest
/// marker, and reads each once.
#[derive(Debug)]
pub struct RedriveMarkers {
    markers: LetterFilter,
    /// All markers of this time or later are known.
    reached: Option<Timestamp>,
    times: HashMap<LetterId, Timestamp>,
}

impl RedriveMarkers {
    /// Markers of the letters that this filter selects.
    pub fn among(letters: &LetterFilter) -> Self {
        let LetterFilter { account, webhook, event, message, .. } = letters.clone();
        let markers = LetterFilter {
            kind: Some(LetterKind::Redriven),
            account,
            webhook,
            event,
            message,
            ..LetterFilter::default()
        };
        Self { markers, reached: None, times: HashMap::new() }
    }

    /// Scans markers back to letters written at `to`. Returns whether it reached them: false if the time is over, or
    /// if there are more than 500,000 markers.
    ///
    /// # Errors
    /// As `TopicReader::page`.
    pub async fn look_back(&mut self, to: Timestamp, letters: &Letters, time: Duration) -> Result<bool, Error> {
        let since = to.saturating_sub(CLOCKS).unwrap_or(Timestamp::MIN);
        if self.reached.is_some_and(|reached| reached <= since) {
            return Ok(true);
        }
        let started = Instant::now();
        let markers = LetterFilter { since: Some(since), until: self.reached, ..self.markers.clone() };
        let mut from = None;
        loop {
            let left = time.saturating_sub(started.elapsed());
            if left.is_zero() || self.times.len() >= MOST {
                return Ok(false);
            }
            let bounds = Bounds { time: left.min(PAGE.time), ..PAGE };
            let page = match letters.page(markers.clone(), from, bounds).await {
                Err(Error::Stalled { .. }) if started.elapsed() >= time => return Ok(false),
                page => page?,
            };
            for marker in page.found {
                if let Some(letter) = marker.letter {
                    // The newest marker comes first. Keep it.
                    self.times.entry(letter).or_insert(marker.written);
                }
            }
            from = page.next;
            if from.is_none() {
                self.reached = Some(since);
                return Ok(true);
            }
        }
    }

    /// When a letter was last redriven.
    pub fn at(&self, letter: LetterId) -> Option<Timestamp> {
        self.times.get(&letter).copied()
    }

    /// Sets the last redrive of each letter, as far as the scan gets in this time.
    ///
    /// # Errors
    /// As `TopicReader::page`.
    pub async fn mark(&mut self, found: &mut [Letter], letters: &Letters, time: Duration) -> Result<(), Error> {
        if let Some(oldest) = found.iter().map(|letter| letter.written).min() {
            self.look_back(oldest, letters, time).await?;
        }
        for letter in found {
            letter.redriven = self.at(letter.id);
        }
        Ok(())
    }
}
