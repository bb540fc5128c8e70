//! Limits the workers over all lanes. Each worker has at most one connection, which is an open file of the process,
//! so there are no more workers than the limit of open files allows. Beyond it, endpoints would look unreachable.

use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::warn;

use crate::lifecycle;

/// Files for everything except connections to endpoints: connections to Kafka and from API clients, logs, and lanes
/// that always have their one worker.
const OTHER_FILES: usize = 512;

/// With fewer files, nothing would work for long.
const MIN_FILES: usize = 256;

/// How to raise the limit.
const RAISE_LIMIT_HINT: &str =
    "raise the limit of open files (ulimit -n, systemd's LimitNOFILE, Docker's --ulimit nofile)";

/// Fewer connections cause a warning: one slow endpoint may use 256.
const WARN_BELOW_CONNECTIONS: usize = 1024;

/// The process may open too few files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the process may open only {0} files, but needs at least {MIN_FILES}: {RAISE_LIMIT_HINT}")]
pub struct OpenFilesError(usize);

pub(super) struct WorkerLimit {
    max_workers: usize,
    count: AtomicUsize,
}

impl WorkerLimit {
    /// Limits the workers by the files that the process may open, and by `wanted`. Raises the limit of open files as
    /// far as allowed.
    ///
    /// # Errors
    /// When the process may open too few files.
    pub fn for_process(wanted: Option<usize>) -> Result<Self, OpenFilesError> {
        let by_files = max_connections(lifecycle::raise_open_files().unwrap_or(usize::MAX))?;
        let limit = wanted.map_or(by_files, |wanted| wanted.min(by_files));
        if by_files < WARN_BELOW_CONNECTIONS.min(wanted.unwrap_or(WARN_BELOW_CONNECTIONS)) {
            warn!(
                "the limit of open files allows at most {limit} concurrent connections to endpoints: {RAISE_LIMIT_HINT}"
            );
        }
        Ok(Self::new(limit))
    }

    fn new(max_workers: usize) -> Self {
        Self { max_workers, count: AtomicUsize::new(0) }
    }

    /// Whether one more worker may join a lane that has `others` workers; if so, counts it. The first worker of a
    /// lane always may, so that every lane makes progress.
    pub fn try_join(&self, others: usize) -> bool {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        let may = others == 0 || before < self.max_workers;
        if !may {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        may
    }

    /// A worker has ended.
    pub fn remove_worker(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Max connections for a process that may open this many files.
fn max_connections(files: usize) -> Result<usize, OpenFilesError> {
    if files < MIN_FILES {
        return Err(OpenFilesError(files));
    }
    Ok(files.saturating_sub(OTHER_FILES).max(files / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_limit_leaves_open_files_for_other_uses() {
        assert_eq!((max_connections(1024), max_connections(65_536)), (Ok(512), Ok(65_024)));
        assert_eq!((max_connections(256), max_connections(800)), (Ok(128), Ok(400)));
        assert!(max_connections(255).unwrap_err().to_string().contains("255 files"), "{:?}", max_connections(255));
    }

    #[test]
    fn workers_are_limited_except_the_first_of_a_lane() {
        let workers = WorkerLimit::new(2);
        assert!(workers.try_join(0) && workers.try_join(1) && !workers.try_join(2));
        assert!(workers.try_join(0), "each lane gets a first worker");
        workers.remove_worker();
        assert!(!workers.try_join(1));
        workers.remove_worker();
        assert!(workers.try_join(1));
    }
}
