//! Definitions read from the log, and the index compiled from them. Follower and writer update the same state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::counter;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::compile::Compiler;
use super::{BadDefinition, FollowStatus, StoreError};
use crate::definition::{ApplyOutcome, DefinitionChanges, Definitions, Keyring, LogRecord};
use crate::kafka::log_follower::Record;
use crate::matching::Index;

/// Max time that changes wait for the end of the log. They wait because changes of one transaction should take effect
/// together.
const MAX_CHANGE_DELAY: Duration = Duration::from_millis(250);

/// Definitions as of the last applied record. Readers wait only while a record is applied.
pub(super) struct StoreState {
    topic: String,
    definitions: RwLock<Definitions>,
    /// Locked before `definitions` by every thread that changes them.
    apply_state: Mutex<ApplyState>,
}

struct ApplyState {
    keyring: Arc<Keyring>,
    /// Offset after the last applied record. The follower and the writer read the same log; each skips records that
    /// the other has applied.
    next_offset: i64,
    /// Definitions read so far while the log is read from its start. At the end they replace the definitions known
    /// before, so readers never see a part.
    rebuilding: Option<Definitions>,
    /// None if row changes are not matched with these definitions.
    compiler: Option<Compiler>,
    /// Changes that the index does not contain yet, and the time of the first one.
    changes: DefinitionChanges,
    changes_since: Option<Instant>,
    /// Records that are not valid definitions, by key, until another record replaces them.
    bad_definitions: BTreeMap<String, BadDefinition>,
    status: FollowStatus,
    status_sender: watch::Sender<Arc<FollowStatus>>,
}

impl StoreState {
    /// Creates a state without definitions. If there is an index, its rules follow the definitions.
    pub fn new(topic: &str, keys: &Keyring, index: Option<Arc<Index>>) -> Self {
        let keys = Arc::new(keys.clone());
        let applying = ApplyState {
            rebuilding: Some(Definitions::with_keyring(keys.clone())),
            keyring: keys,
            next_offset: 0,
            compiler: index.map(Compiler::new),
            changes: DefinitionChanges::default(),
            changes_since: None,
            bad_definitions: BTreeMap::new(),
            status: FollowStatus::default(),
            status_sender: watch::channel(Arc::default()).0,
        };
        Self { topic: topic.to_owned(), definitions: RwLock::default(), apply_state: Mutex::new(applying) }
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub fn status(&self) -> watch::Receiver<Arc<FollowStatus>> {
        self.lock_apply_state().status_sender.subscribe()
    }

    /// Read access to the definitions, which can't change meanwhile.
    pub fn definitions(&self) -> RwLockReadGuard<'_, Definitions> {
        self.definitions.read()
    }

    pub fn into_definitions(self) -> Definitions {
        self.definitions.into_inner()
    }

    /// Checks that the definitions are complete.
    ///
    /// # Errors
    /// A secret in them is sealed with a key that is not configured.
    pub fn check_complete(&self) -> Result<(), StoreError> {
        match self.definitions().unopened() {
            None => Ok(()),
            Some((key, why)) => {
                Err(StoreError::Sealed { topic: self.topic.clone(), record: key.to_string(), why: why.clone() })
            }
        }
    }

    /// Offset after the last applied record.
    pub fn next(&self) -> i64 {
        self.lock_apply_state().next_offset
    }

    /// Applies a record that was read. Its changes do not take effect yet.
    pub fn apply_record(&self, record: &Record<'_>) {
        let mut applying = self.lock_apply_state();
        if record.offset() < applying.next_offset {
            return;
        }
        applying.status.last_change = record.timestamp_ms().or(applying.status.last_change);
        self.apply(&mut applying, record.offset(), record.key(), record.value());
    }

    /// Applies records that were committed at these offsets, and their changes take effect. Returns false and applies
    /// nothing while the log is being read from its start.
    pub fn apply_committed(&self, records: &[LogRecord], offsets: &[i64]) -> bool {
        let mut applying = self.lock_apply_state();
        if applying.rebuilding.is_some() {
            return false;
        }
        for (record, offset) in records.iter().zip(offsets) {
            if *offset >= applying.next_offset {
                self.apply(&mut applying, *offset, record.key.to_string().as_bytes(), record.value.as_deref());
            }
        }
        self.publish_changes(&mut applying);
        true
    }

    /// Handles the end of the log. Definitions that were read from the start replace those known before, and all
    /// changes take effect.
    pub fn on_log_end(&self) {
        let mut applying = self.lock_apply_state();
        applying.status.caught_up = true;
        if let Some(read) = applying.rebuilding.take() {
            let mut definitions = self.definitions.write();
            applying.changes.add_all(&definitions);
            *definitions = read;
        }
        self.publish_changes(&mut applying);
        if let Some(compiler) = &applying.compiler {
            compiler.record_topic_end(jiff::Timestamp::now().as_millisecond());
        }
    }

    /// Prepares for reading the log from its start again. The known definitions stay until its end.
    pub fn restart(&self) {
        let mut applying = self.lock_apply_state();
        applying.rebuilding = Some(Definitions::with_keyring(applying.keyring.clone()));
        applying.next_offset = 0;
        applying.bad_definitions.clear();
    }

    /// Changes that have waited long enough for the end take effect. Definitions that are read from the start take
    /// effect only as a whole.
    pub fn apply_overdue_changes(&self) {
        let mut applying = self.lock_apply_state();
        if applying.rebuilding.is_none()
            && applying.changes_since.is_some_and(|since| since.elapsed() >= MAX_CHANGE_DELAY)
        {
            self.publish_changes(&mut applying);
        }
    }

    fn apply(&self, applying: &mut ApplyState, offset: i64, key: &[u8], value: Option<&[u8]>) {
        let ApplyState {
            next_offset: next,
            rebuilding: reading,
            changes,
            changes_since: since,
            bad_definitions: bad,
            status,
            ..
        } = applying;
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
                status.ignored += u64::from(applied == ApplyOutcome::Ignored);
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

    /// Compiles the changes into the index, then publishes the status.
    fn publish_changes(&self, applying: &mut ApplyState) {
        let changes = std::mem::take(&mut applying.changes);
        applying.changes_since = None;
        let definitions = self.definitions();
        applying.status.webhooks = definitions.webhooks().len();
        applying.status.events = definitions.events().len();
        applying.status.locked_out = definitions.unopened().is_some();
        if let Some(compiler) = &mut applying.compiler {
            compiler.update(&definitions, &changes, applying.next_offset);
            applying.status.list_bad(&applying.bad_definitions, compiler.compile_errors());
            applying.status.publish_metrics();
        }
        applying.status_sender.send_replace(Arc::new(applying.status.clone()));
    }

    fn lock_apply_state(&self) -> MutexGuard<'_, ApplyState> {
        self.apply_state.lock()
    }
}
