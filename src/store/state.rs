//! What is known of the log, and the index at it: one state, to which whoever reads or writes the log adds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use tokio::sync::watch;

use super::compile::Compiler;
use super::{BadDefinition, FollowStatus, StoreError};
use crate::definition::{Applied, Changes, Definitions, Keyring, LogRecord};
use crate::matching::Index;

/// How long changes may wait for the end of the log, so that those of one transaction take effect together.
const TOGETHER: Duration = Duration::from_millis(250);

/// The definitions as far as the log is read. Readers of it wait for nothing but a record's being applied.
pub(super) struct StoreState {
    topic: String,
    definitions: RwLock<Definitions>,
    /// Taken before `definitions` by everybody who changes them.
    applying: Mutex<Applying>,
}

struct Applying {
    keys: Arc<Keyring>,
    /// The offset after the last record that was applied. The follower and the writer read the same log; what one
    /// of them has applied, the other leaves out.
    next: i64,
    /// While the log is read from its start: what it has said so far. At its end it takes the place of what was
    /// known before, so that nobody sees half of it.
    reading: Option<Definitions>,
    /// None if nobody matches with these definitions.
    compiler: Option<Compiler>,
    /// What the index does not know yet, and since when.
    changes: Changes,
    since: Option<Instant>,
    /// Records that are no definitions, by key, until another record replaces them.
    bad: BTreeMap<String, BadDefinition>,
    status: FollowStatus,
    publish: watch::Sender<Arc<FollowStatus>>,
}

impl StoreState {
    /// Nothing read yet. With an index, the rules in it follow the definitions.
    pub fn new(topic: &str, keys: &Keyring, index: Option<Arc<Index>>) -> Self {
        let keys = Arc::new(keys.clone());
        let applying = Applying {
            reading: Some(Definitions::sealed_with(keys.clone())),
            keys,
            next: 0,
            compiler: index.map(Compiler::new),
            changes: Changes::default(),
            since: None,
            bad: BTreeMap::new(),
            status: FollowStatus::default(),
            publish: watch::channel(Arc::default()).0,
        };
        Self { topic: topic.to_owned(), definitions: RwLock::default(), applying: Mutex::new(applying) }
    }

    pub fn status(&self) -> watch::Receiver<Arc<FollowStatus>> {
        self.applying().publish.subscribe()
    }

    /// Looks at the definitions, which can't change meanwhile.
    pub fn definitions(&self) -> RwLockReadGuard<'_, Definitions> {
        self.definitions.read()
    }

    /// Gives the definitions away.
    pub fn into_definitions(self) -> Definitions {
        self.definitions.into_inner()
    }

    /// Checks that the definitions are the whole.
    ///
    /// # Errors
    /// A secret in them is sealed with a key that is not configured.
    pub fn whole(&self) -> Result<(), StoreError> {
        match self.definitions().unopened() {
            None => Ok(()),
            Some((key, why)) => {
                Err(StoreError::Sealed { topic: self.topic.clone(), record: key.to_string(), why: why.clone() })
            }
        }
    }

    /// The offset after the last record that was applied.
    pub fn next(&self) -> i64 {
        self.applying().next
    }

    /// Applies a record that was read; changes do not take effect yet.
    pub fn take(&self, record: &BorrowedMessage<'_>) {
        let mut applying = self.applying();
        if record.offset() < applying.next {
            return;
        }
        let key = record.key().unwrap_or_default();
        applying.status.last_change = record.timestamp().to_millis().or(applying.status.last_change);
        self.apply(&mut applying, record.offset(), key, record.payload());
    }

    /// Applies records that were committed at these offsets, and lets them take effect; false if that is not for now,
    /// because the log is being read from its start.
    pub fn committed(&self, records: &[LogRecord], offsets: &[i64]) -> bool {
        let mut applying = self.applying();
        if applying.reading.is_some() {
            return false;
        }
        for (record, offset) in records.iter().zip(offsets) {
            if *offset >= applying.next {
                self.apply(&mut applying, *offset, record.key.to_string().as_bytes(), record.value.as_deref());
            }
        }
        self.take_effect(&mut applying);
        true
    }

    /// The end of the log: what was read from its start is what is known, and everything takes effect.
    pub fn at_end(&self) {
        let mut applying = self.applying();
        applying.status.caught_up = true;
        if let Some(read) = applying.reading.take() {
            let mut definitions = self.definitions.write();
            applying.changes.add_all(&definitions);
            *definitions = read;
        }
        self.take_effect(&mut applying);
        if let Some(compiler) = &applying.compiler {
            compiler.at_end(jiff::Timestamp::now().as_millisecond());
        }
    }

    /// The log is read from its start again; what is known stays until its end.
    pub fn restart(&self) {
        let mut applying = self.applying();
        applying.reading = Some(Definitions::sealed_with(applying.keys.clone()));
        applying.next = 0;
        applying.bad.clear();
    }

    /// Lets changes take effect that have waited long enough for the end. What is read from the start takes effect
    /// as a whole.
    pub fn end_waiting(&self) {
        let mut applying = self.applying();
        if applying.reading.is_none() && applying.since.is_some_and(|since| since.elapsed() >= TOGETHER) {
            self.take_effect(&mut applying);
        }
    }

    fn apply(&self, applying: &mut Applying, offset: i64, key: &[u8], value: Option<&[u8]>) {
        let Applying { next, reading, changes, since, bad, status, .. } = applying;
        *next = offset + 1;
        let applied = match reading {
            Some(reading) => reading.apply(key, value, changes),
            None => {
                let mut definitions = self.definitions.write();
                definitions.apply(key, value, changes)
            }
        };
        since.get_or_insert_with(Instant::now);
        status.records += 1;
        match applied {
            Ok(applied) => {
                status.ignored += u64::from(applied == Applied::Ignored);
                bad.remove(&*String::from_utf8_lossy(key));
            }
            Err(error) => {
                counter!("outhook_definition_records_bad_total").increment(1);
                tracing::warn!(topic = self.topic, offset, "{error}");
                let reason = error.reason.to_string();
                bad.insert(error.key.clone(), BadDefinition { key: error.key, offset: Some(offset), reason });
            }
        }
    }

    /// Compiles the changes into the index, then says how things stand.
    fn take_effect(&self, applying: &mut Applying) {
        let changes = std::mem::take(&mut applying.changes);
        applying.since = None;
        let definitions = self.definitions();
        applying.status.webhooks = definitions.webhooks().len();
        applying.status.events = definitions.events().len();
        applying.status.locked_out = definitions.unopened().is_some();
        if let Some(compiler) = &mut applying.compiler {
            compiler.update(&definitions, &changes, applying.next);
            applying.status.name_bad(&applying.bad, compiler.failed());
            applying.status.publish_metrics();
        }
        applying.publish.send_replace(Arc::new(applying.status.clone()));
    }

    fn applying(&self) -> MutexGuard<'_, Applying> {
        self.applying.lock()
    }
}
