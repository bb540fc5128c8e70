//! How many workers there are over all lanes. Each has a connection at most, which is a file for the process, so that no
//! more come than files may be open: a shortage here would look like endpoints that can't be reached.

use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::warn;

use crate::lifecycle;

/// Files for everything but connections to endpoints: those to Kafka and to whoever uses the API, logs, and the lanes that
/// have one worker whatever the others have.
const OTHER_FILES: usize = 512;

/// Fewer connections than this are worth a warning: one slow endpoint may take 256.
const FEW: usize = 1024;

pub(super) struct Workers {
    most: usize,
    count: AtomicUsize,
}

impl Workers {
    pub fn new(most: usize) -> Self {
        Self { most, count: AtomicUsize::new(0) }
    }

    /// Whether one more may join a lane that has so many; then it counts. The first of a lane always may, so that each
    /// goes on.
    pub fn may_join(&self, others: usize) -> bool {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        let may = others == 0 || before < self.most;
        if !may {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        may
    }

    /// One has ended.
    pub fn left(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many there may be by the files that the process may have open.
pub(super) fn most_by_files() -> usize {
    let Some(files) = lifecycle::max_open_files() else { return usize::MAX };
    let most = files.saturating_sub(OTHER_FILES).max(files / 2);
    if most < FEW {
        warn!(
            "the process may have {files} files open, so there are at most {most} connections to endpoints: raise the limit \
             (`ulimit -n`, LimitNOFILE=, --ulimit nofile=)"
        );
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_come_than_may_but_the_first_of_a_lane() {
        let workers = Workers::new(2);
        assert!(workers.may_join(0) && workers.may_join(1) && !workers.may_join(2));
        assert!(workers.may_join(0), "another lane goes on");
        workers.left();
        assert!(!workers.may_join(1));
        workers.left();
        assert!(workers.may_join(1));
    }
}
