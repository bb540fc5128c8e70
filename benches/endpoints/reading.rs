//! What the built program says of itself, and what it comes to when it has nothing to do.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Instance, eventually};

/// Bytes.
pub const MIB: f64 = (1 << 20) as f64;

/// How often the program is asked, in a way that costs it little.
const PERIOD: Duration = Duration::from_millis(200);

/// What freed memory may take until it is back with the system: the allocator gives it back over ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is measured what the program uses that has nothing to do: counts and the message log are still written a
/// while after the last message.
const CPU_ROUNDS: usize = 6;

/// By how much a resident set moves that stays the same.
const STEADY_MIB: f64 = 1.0;

/// The program at a moment, or the highest of each number in a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    pub resident_mib: f64,
    pub lanes: f64,
    pub descriptors: f64,
    pub cpu_seconds: f64,
}

impl Reading {
    pub fn of(instance: &Instance) -> Self {
        let metrics = instance.metrics();
        let metric = |name| *metrics.get(name).unwrap_or_else(|| panic!("the program has no metric {name}"));
        Self {
            resident_mib: metric("process_resident_memory_bytes") / MIB,
            lanes: metric("outhook_lanes"),
            descriptors: metric("process_open_fds"),
            cpu_seconds: metric("process_cpu_seconds_total"),
        }
    }

    /// The highest of each number until it is over.
    pub fn highest(instance: &Instance, over: &AtomicBool) -> Self {
        let mut highest = Self::default();
        while !over.load(Ordering::Acquire) {
            let now = Self::of(instance);
            highest = Self {
                resident_mib: highest.resident_mib.max(now.resident_mib),
                lanes: highest.lanes.max(now.lanes),
                descriptors: highest.descriptors.max(now.descriptors),
                cpu_seconds: now.cpu_seconds,
            };
            thread::sleep(PERIOD);
        }
        highest
    }

    /// The program with so many lanes, once its resident set has stayed the same for so long.
    pub fn at_rest(instance: &Instance, lanes: usize, steady: Duration) -> Self {
        let mut since = (Instant::now(), Self::of(instance));
        eventually(&format!("there are {lanes} lanes, and memory is given back"), PATIENCE, || {
            thread::sleep(PERIOD);
            let now = Self::of(instance);
            if now.lanes != lanes as f64 || (now.resident_mib - since.1.resident_mib).abs() > STEADY_MIB {
                since = (Instant::now(), now);
            }
            (since.0.elapsed() >= steady).then_some(now)
        })
    }
}

/// What part of a core the program uses in such a time, the first in which that is no more than `enough`; the least, if
/// there is none.
pub fn cpu(instance: &Instance, time: Duration, enough: f64) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..CPU_ROUNDS {
        let (started, before) = (Instant::now(), Reading::of(instance));
        thread::sleep(time);
        let used = (Reading::of(instance).cpu_seconds - before.cpu_seconds) / started.elapsed().as_secs_f64();
        least = least.min(used);
        if used <= enough {
            break;
        }
    }
    least
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_mib, lanes, descriptors, .. } = self;
        write!(f, "{resident_mib:.1} MiB resident, {lanes} lanes, {descriptors} file descriptors")
    }
}
