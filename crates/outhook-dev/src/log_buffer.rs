//! Log lines buffered for display above the block; printed directly they would break the block.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Max buffered bytes. Lines beyond that within a second are dropped.
const MAX_BYTES: usize = 16 * 1024;

/// Buffer of log lines.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<u8>>>);

impl Notes {
    /// Makes the process log warnings and errors to this buffer.
    ///
    /// # Errors
    /// The process logs already.
    pub fn start_logs(&self) -> Result<(), TryInitError> {
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(self.clone());
        tracing_subscriber::registry().with(LevelFilter::WARN).with(layer).try_init()
    }

    /// Takes all buffered lines.
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl<'w> MakeWriter<'w> for Notes {
    type Writer = Notes;

    fn make_writer(&'w self) -> Notes {
        self.clone()
    }
}

impl io::Write for Notes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.len() + bytes.len() <= MAX_BYTES {
            waiting.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
