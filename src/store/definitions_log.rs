//! Reads the definitions topic into a state, to the end of its log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::state::StoreState;
use super::{Config, StoreError};
use crate::definition::Definitions;
use crate::kafka::log_follower::{LogEvent, LogFollower};
use crate::kafka::{TopicError, errors};

/// Max time without a record while reading to the end.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Why a committed record may not be readable.
const MARKER_MISSING: &str = "a transaction was committed, but its marker is not in the log";

/// Opens the log. Does not wait for a broker. `wait` is the max time that a broker may hold a request open at the end
/// of the log.
pub(super) fn open(
    config: &Config,
    kafka: &HashMap<String, String>,
    wait: Duration,
) -> Result<LogFollower, StoreError> {
    Ok(LogFollower::open(&config.topic, kafka.clone().into_iter().collect(), wait)?)
}

/// Checks that the topic exists and has one partition.
pub(super) fn check(log: &LogFollower, state: &StoreState) -> Result<(), StoreError> {
    match log.partitions()? {
        1 => Ok(()),
        partitions => Err(StoreError::Partitions { topic: state.topic().to_owned(), partitions }),
    }
}

/// Reads from the offset of the state to the end of the log, as of this call or later.
pub(super) fn read_to_end(log: &mut LogFollower, state: &StoreState) -> Result<(), StoreError> {
    read_past(log, i64::MIN, state)
}

/// Like `read_to_end`, but continues until the record committed at offset `committed`, or a later one, has been
/// read. A broker acknowledges a commit before its marker is in the log. Until then the log seems to end before
/// the record.
pub(super) fn read_past(log: &mut LogFollower, committed: i64, state: &StoreState) -> Result<(), StoreError> {
    let mut is_remade = false;
    log.begin(state.next())?;
    let mut trouble = "the broker did not answer".to_owned();
    let mut last = Instant::now();
    while last.elapsed() < READ_TIMEOUT {
        match log.next(Duration::from_millis(100)) {
            LogEvent::Record(record) => {
                state.apply_record(&record);
                last = Instant::now();
            }
            // A record committed to the deleted topic never arrives.
            LogEvent::End if state.next() <= committed && !is_remade => trouble = MARKER_MISSING.to_owned(),
            LogEvent::End => {
                state.on_log_end();
                return Ok(());
            }
            LogEvent::Remade => {
                is_remade = true;
                state.restart();
                log.restart()?;
            }
            LogEvent::Nothing => {}
            LogEvent::Trouble(error) if errors::is_denied(&error) => {
                let (topic, reason) = (state.topic().to_owned(), errors::error_text(&error));
                return Err(TopicError::Denied { topic, reason }.into());
            }
            LogEvent::Trouble(error) => trouble = error.to_string(),
        }
    }
    Err(StoreError::Stalled { topic: state.topic().to_owned(), seconds: READ_TIMEOUT.as_secs(), trouble })
}

/// Reads all current definitions.
///
/// # Errors
/// The topic is missing or has several partitions, the broker can't be reached, or a secret can't be opened.
pub async fn read(config: &Config, kafka: &HashMap<String, String>) -> Result<Definitions, StoreError> {
    Ok(read_with_end(config, kafka).await?.0)
}

/// Like [`read`], and also returns the offset after the last record. An instance that has applied the log up to it
/// knows all of these definitions.
///
/// # Errors
/// As [`read`].
pub async fn read_with_end(config: &Config, kafka: &HashMap<String, String>) -> Result<(Definitions, i64), StoreError> {
    let state = read_state(config, kafka).await?;
    state.check_complete()?;
    let end = state.next();
    Ok((state.into_definitions(), end))
}

/// Returns the offset after the last definition record written so far. An instance that has applied the log up to it
/// knows all of them. Needs no secret keys.
///
/// # Errors
/// The topic is missing or has several partitions, or the broker can't be reached.
pub async fn end(config: &Config, kafka: &HashMap<String, String>) -> Result<i64, StoreError> {
    Ok(read_state(config, kafka).await?.next())
}

async fn read_state(config: &Config, kafka: &HashMap<String, String>) -> Result<StoreState, StoreError> {
    let mut log = open(config, kafka, END_FETCH_WAIT)?;
    let state = StoreState::new(&config.topic, &config.secret_keys, None);
    let reading = tokio::task::spawn_blocking(move || {
        check(&log, &state)?;
        read_to_end(&mut log, &state)?;
        Ok(state)
    });
    reading.await.expect("reading the definitions does not panic")
}

/// Max time that a broker may hold a request open at the end of the log, for readers that only need the end: the
/// broker reports the end only with its answer.
pub(super) const END_FETCH_WAIT: Duration = Duration::from_millis(10);
