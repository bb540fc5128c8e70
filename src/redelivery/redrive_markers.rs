//! Finds dead letters that were redriven before, by the markers in their topic. A marker is newer than its letter.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::dead_letters::DeadLetterReader;
use crate::dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterKind};
use crate::kafka::topic_reader::{Error, PageLimits};

/// Max markers in memory: about 20 MB.
const MAX_MARKERS: usize = 500_000;
/// Limits of one read.
const PAGE_LIMITS: PageLimits =
    PageLimits { max_found: 10_000, max_bytes: 256 * 1024 * 1024, max_time: Duration::from_secs(10) };
/// How much older than its letter a marker may seem, since their writers have different clocks.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(60);

/// Times of the last redrives of letters, as far back as the markers were scanned. The scan runs back from the newest
/// marker, and reads each once.
#[derive(Debug)]
pub struct RedriveMarkers {
    filter: DeadLetterFilter,
    /// All markers of this time or later are known.
    scanned_back_to: Option<Timestamp>,
    redriven_at: HashMap<DeadLetterId, Timestamp>,
}

impl RedriveMarkers {
    /// Markers of the letters that this filter selects.
    pub fn for_letters(letters: &DeadLetterFilter) -> Self {
        let DeadLetterFilter { account, webhook, event, message, .. } = letters.clone();
        let markers = DeadLetterFilter {
            kind: Some(DeadLetterKind::Redriven),
            account,
            webhook,
            event,
            message,
            ..DeadLetterFilter::default()
        };
        Self { filter: markers, scanned_back_to: None, redriven_at: HashMap::new() }
    }

    /// Scans markers back to letters written at `to`. Returns whether it reached them: false if the time is over, or
    /// if there are more than 500,000 markers.
    ///
    /// # Errors
    /// As `TopicReader::page`.
    pub async fn scan_back_to(
        &mut self,
        to: Timestamp,
        letters: &DeadLetterReader,
        time: Duration,
    ) -> Result<bool, Error> {
        let since = to.saturating_sub(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MIN);
        if self.scanned_back_to.is_some_and(|reached| reached <= since) {
            return Ok(true);
        }
        let started = Instant::now();
        let markers = DeadLetterFilter { since: Some(since), until: self.scanned_back_to, ..self.filter.clone() };
        let mut from = None;
        loop {
            let left = time.saturating_sub(started.elapsed());
            if left.is_zero() || self.redriven_at.len() >= MAX_MARKERS {
                return Ok(false);
            }
            let bounds = PageLimits { max_time: left.min(PAGE_LIMITS.max_time), ..PAGE_LIMITS };
            let page = match letters.page(markers.clone(), from, bounds).await {
                Err(Error::Stalled { .. }) if started.elapsed() >= time => return Ok(false),
                page => page?,
            };
            for marker in page.found {
                if let Some(letter) = marker.redriven_letter {
                    // The newest marker comes first. Keep it.
                    self.redriven_at.entry(letter).or_insert(marker.written_at);
                }
            }
            from = page.next_cursor;
            if from.is_none() {
                self.scanned_back_to = Some(since);
                return Ok(true);
            }
        }
    }

    /// When a letter was last redriven.
    pub fn at(&self, letter: DeadLetterId) -> Option<Timestamp> {
        self.redriven_at.get(&letter).copied()
    }

    /// Sets the last redrive of each letter, as far as the scan gets in this time.
    ///
    /// # Errors
    /// As `TopicReader::page`.
    pub async fn set_redriven(
        &mut self,
        found: &mut [DeadLetter],
        letters: &DeadLetterReader,
        time: Duration,
    ) -> Result<(), Error> {
        if let Some(oldest) = found.iter().map(|letter| letter.written_at).min() {
            self.scan_back_to(oldest, letters, time).await?;
        }
        for letter in found {
            letter.redriven_at = self.at(letter.id);
        }
        Ok(())
    }
}
