//! A clock that stops while the process is paused, and that measures how idle the process is.
//!
//! An endpoint is judged by how fast it takes calls. A process that is paused, or that has no core to run on, takes
//! no call either, which is not the endpoint's fault. So time is added up in steps, and a late step counts little
//! more than a step that is on time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// Planned length of a step.
const STEP_LENGTH: Duration = Duration::from_millis(10);

/// The most that a step counts.
const MAX_COUNTED_STEP: Duration = Duration::from_millis(20);

/// The time, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Clock {
    running: AtomicU64,
    busy: AtomicU64,
}

/// A reading of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ClockReading {
    /// How long the process has run.
    pub running: Duration,
    /// How long the process's threads were busy, on average. The value grows in batches, so it is meaningful only
    /// over many steps; it includes all of a pause.
    pub busy: Duration,
}

impl ClockReading {
    /// Fraction of the time since an earlier reading in which the process was idle.
    pub fn idle_since(self, earlier: Self) -> f64 {
        let since = |of: fn(Self) -> Duration| of(self).saturating_sub(of(earlier)).as_secs_f64();
        (1.0 - since(|reading| reading.busy) / since(|reading| reading.running)).max(0.0)
    }
}

impl Clock {
    pub fn read(&self) -> ClockReading {
        let micros = |of: &AtomicU64| Duration::from_micros(of.load(Ordering::Relaxed));
        ClockReading { running: micros(&self.running), busy: micros(&self.busy) }
    }

    /// Takes one step. Returns when it is over.
    pub async fn step(&self) {
        let (began, busy) = (Instant::now(), busy());
        tokio::time::sleep(STEP_LENGTH).await;
        let threads = Handle::current().metrics().num_workers().max(1) as u32;
        self.add(began.elapsed().min(MAX_COUNTED_STEP), self::busy().saturating_sub(busy) / threads);
    }

    fn add(&self, running: Duration, busy: Duration) {
        self.running.fetch_add(running.as_micros() as u64, Ordering::Relaxed);
        self.busy.fetch_add(busy.as_micros() as u64, Ordering::Relaxed);
    }
}

/// Total busy time of the runtime's threads.
fn busy() -> Duration {
    let metrics = Handle::current().metrics();
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn process_pause_counts_as_at_most_the_longest_step() {
        let clock = Clock::default();
        let step = clock.step();
        tokio::pin!(step);
        tokio::select! {
            biased;
            () = &mut step => panic!("a step takes its time"),
            () = std::future::ready(()) => {}
        }
        std::thread::sleep(Duration::from_millis(300));
        step.await;
        assert!(clock.read().running <= MAX_COUNTED_STEP, "{:?}", clock.read());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn waiting_process_is_idle_and_busy_process_is_not() {
        let clock = Clock::default();
        for _ in 0..10 {
            clock.step().await;
        }
        let waited = clock.read();
        assert!(waited.idle_since(ClockReading::default()) > 0.5, "{waited:?}");
        let work = || {
            tokio::spawn(async {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(400) {
                    let slice = Instant::now();
                    while slice.elapsed() < Duration::from_millis(1) {}
                    tokio::task::yield_now().await;
                }
            })
        };
        let work = [work(), work(), work(), work()];
        for _ in 0..30 {
            clock.step().await;
        }
        let worked = clock.read();
        assert!(worked.idle_since(waited) < 0.5, "{waited:?}, {worked:?}");
        for work in work {
            work.await.unwrap();
        }
    }
}
