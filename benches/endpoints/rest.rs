//! What the program comes to when it has nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use harness::{Instance, eventually};

use crate::reading::Reading;

/// How often the program is asked.
const PERIOD: Duration = Duration::from_millis(200);

/// What freed memory may take until it is back with the system.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often is measured what the program uses that has nothing to do: counts and the message log are still written a
/// while after the last message.
const CPU_ROUNDS: usize = 6;

/// By how much a resident set moves that stays the same.
const STEADY_MIB: f64 = 1.0;

/// The program with so many lanes, once its resident set has stayed the same for so long.
pub fn at_rest(instance: &Instance, lanes: usize, steady: Duration) -> Reading {
    let mut since = (Instant::now(), Reading::of(instance));
    eventually(&format!("there are {lanes} lanes, and memory is given back"), PATIENCE, || {
        thread::sleep(PERIOD);
        let now = Reading::of(instance);
        if now.lanes != lanes as f64 || (now.resident_mib - since.1.resident_mib).abs() > STEADY_MIB {
            since = (Instant::now(), now);
        }
        (since.0.elapsed() >= steady).then_some(now)
    })
}

/// What part of a core the program uses in such a time, the first in which that is no more than `enough`; the least, if
/// there is none.
pub fn cpu(instance: &Instance, time: Duration, enough: f64) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..CPU_ROUNDS {
        let (started, before) = (Instant::now(), cpu_seconds(instance));
        thread::sleep(time);
        let used = (cpu_seconds(instance) - before) / started.elapsed().as_secs_f64();
        least = least.min(used);
        if used <= enough {
            break;
        }
    }
    least
}

fn cpu_seconds(instance: &Instance) -> f64 {
    instance.metric("process_cpu_seconds_total")
}
