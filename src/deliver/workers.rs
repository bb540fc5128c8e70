//! How many workers there are over all lanes. Each has a connection at most, which is a file for the process, so that no
//! more come than files may be open: a shortage here would look like endpoints that can't be reached.

use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::warn;

use crate::lifecycle;

/// Files for everything but connections to endpoints: those to Kafka and to whoever uses the API, logs, and the lanes that
/// have one worker whatever the others have.
const OTHER_FILES: usize = 512;

/// With fewer files than this nothing would work for long.
const LEAST_FILES: usize = 256;

/// How to have more.
const RAISE: &str = "raise the limit of open files (ulimit -n, systemd's LimitNOFILE, Docker's --ulimit nofile)";

/// Fewer connections than this are worth a warning: one slow endpoint may take 256.
const FEW: usize = 1024;

pub(super) struct Workers {
    most: usize,
    count: AtomicUsize,
}

impl Workers {
    /// As many as the process may have open files for, and no more than this. Raises that limit as far as it may be.
    ///
    /// # Errors
    /// The process may have too few files open.
    pub fn for_process(wanted: Option<usize>) -> Result<Self, String> {
        let by_files = most(lifecycle::raise_open_files().unwrap_or(usize::MAX))?;
        let most = wanted.map_or(by_files, |wanted| wanted.min(by_files));
        if by_files < FEW.min(wanted.unwrap_or(FEW)) {
            warn!("there are files for at most {most} connections to endpoints at once: {RAISE}");
        }
        Ok(Self::new(most))
    }

    fn new(most: usize) -> Self {
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

/// How many connections there may be where the process may have so many files open.
fn most(files: usize) -> Result<usize, String> {
    if files < LEAST_FILES {
        return Err(format!(
            "the process may have {files} files open, which is too few, {LEAST_FILES} at least: {RAISE}"
        ));
    }
    Ok(files.saturating_sub(OTHER_FILES).max(files / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_for_everything_else() {
        assert_eq!((most(1024), most(65_536)), (Ok(512), Ok(65_024)));
        assert_eq!((most(256), most(800)), (Ok(128), Ok(400)));
        assert!(most(255).unwrap_err().contains("255 files"), "{:?}", most(255));
    }

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
