//! A clock that stands still while this process does, and how much of the time the process had nothing to do.
//!
//! An endpoint is judged by how fast it takes calls. What is not its fault must not count: a process that is paused, or
//! has no core to run on, takes no call either. So the time is added up in steps, and a step that was late counts as
//! little more than one that was not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// How long a step is meant to be.
const STEP: Duration = Duration::from_millis(10);

/// What a step counts at most.
const LONGEST_STEP: Duration = Duration::from_millis(20);

/// The time, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Clock {
    running: AtomicU64,
    idle: AtomicU64,
}

/// A reading of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reading {
    /// How long the process has run.
    pub running: Duration,
    /// How much of that its threads waited for something to do.
    pub idle: Duration,
}

impl Clock {
    pub fn read(&self) -> Reading {
        let micros = |of: &AtomicU64| Duration::from_micros(of.load(Ordering::Relaxed));
        Reading { running: micros(&self.running), idle: micros(&self.idle) }
    }

    /// Takes one step; returns once it is over.
    pub async fn step(&self) {
        let (began, busy) = (Instant::now(), busy());
        tokio::time::sleep(STEP).await;
        let took = began.elapsed();
        let (busy, threads) = (self::busy().saturating_sub(busy), Handle::current().metrics().num_workers().max(1));
        let idle = 1.0 - (busy.as_secs_f64() / threads as f64 / took.as_secs_f64()).min(1.0);
        self.add(took.min(LONGEST_STEP), idle);
    }

    fn add(&self, running: Duration, idle: f64) {
        let micros = running.as_micros() as u64;
        self.running.fetch_add(micros, Ordering::Relaxed);
        self.idle.fetch_add((micros as f64 * idle) as u64, Ordering::Relaxed);
    }
}

/// How long the runtime's threads have been at work, all together.
fn busy() -> Duration {
    let metrics = Handle::current().metrics();
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_pause_counts_as_little_more_than_a_step() {
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
        assert!(clock.read().running <= LONGEST_STEP, "{:?}", clock.read());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_waits_is_idle_and_who_works_is_not() {
        let clock = Clock::default();
        for _ in 0..10 {
            clock.step().await;
        }
        let waited = clock.read();
        assert!(waited.idle * 2 > waited.running, "{waited:?}");
        let work = || {
            tokio::spawn(async {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(300) {
                    let slice = Instant::now();
                    while slice.elapsed() < Duration::from_millis(1) {}
                    tokio::task::yield_now().await;
                }
            })
        };
        let work = [work(), work(), work(), work()];
        for _ in 0..10 {
            clock.step().await;
        }
        let worked = clock.read();
        let (running, idle) = (worked.running - waited.running, worked.idle - waited.idle);
        assert!(idle * 2 < running, "{running:?}, {idle:?} of it idle");
        for work in work {
            work.await.unwrap();
        }
    }
}
