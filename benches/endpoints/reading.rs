//! Readings of the program's metrics, and their highest values during some work.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use harness::Instance;

/// Bytes per MiB.
pub const MIB: f64 = (1 << 20) as f64;

/// Poll interval, long enough to cost the program little.
const PERIOD: Duration = Duration::from_millis(200);

/// Metrics at one time, or the highest of each over a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    pub resident_mib: f64,
    pub lanes: f64,
    pub descriptors: f64,
}

impl Reading {
    pub fn of(instance: &Instance) -> Self {
        let metrics = instance.metrics();
        let metric = |name| *metrics.get(name).unwrap_or_else(|| panic!("the program has no metric {name}"));
        Self {
            resident_mib: metric("process_resident_memory_bytes") / MIB,
            lanes: metric("outhook_lanes"),
            descriptors: metric("process_open_fds"),
        }
    }

    /// The highest of each number until `over` is set.
    fn highest(instance: &Instance, over: &AtomicBool) -> Self {
        let mut highest = Self::default();
        while !over.load(Ordering::Acquire) {
            let now = Self::of(instance);
            highest = Self {
                resident_mib: highest.resident_mib.max(now.resident_mib),
                lanes: highest.lanes.max(now.lanes),
                descriptors: highest.descriptors.max(now.descriptors),
            };
            thread::sleep(PERIOD);
        }
        highest
    }
}

/// Runs `work`; returns the highest of each number meanwhile, and the result of `work`.
pub fn highest_while<T>(instance: &Instance, work: impl FnOnce() -> T) -> (Reading, T) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| Reading::highest(instance, &over));
        let ends = Ends(&over);
        let done = work();
        drop(ends);
        (watching.join().expect("the reader does not panic"), done)
    })
}

/// Sets the flag on drop, also when a check panics: otherwise the scope would wait for the watching thread forever.
struct Ends<'o>(&'o AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_mib, lanes, descriptors } = self;
        write!(f, "{resident_mib:.1} MiB resident, {lanes} lanes, {descriptors} file descriptors")
    }
}
