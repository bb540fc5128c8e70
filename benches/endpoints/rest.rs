//! Memory and CPU of an idle program.

use std::thread;
use std::time::{Duration, Instant};

use harness::{Instance, eventually};

use crate::reading::Reading;

/// Poll interval.
const PERIOD: Duration = Duration::from_millis(200);

/// Max time until freed memory is returned to the system.
const PATIENCE: Duration = Duration::from_secs(60);

/// Max measurements of the idle program's CPU: counts and the message log are still written for a while after the
/// last message.
const CPU_ROUNDS: usize = 6;

/// Max movement of a resident set that counts as the same.
const STEADY_MIB: f64 = 1.0;

/// Waits until the program has `lanes` lanes and its resident set has been the same for `steady`.
pub fn at_rest(instance: &Instance, lanes: usize, steady: Duration) -> Reading {
    let mut since = (Instant::now(), Reading::of(instance));
    eventually(&format!("there are {lanes} lanes, and memory is returned"), PATIENCE, || {
        thread::sleep(PERIOD);
        let now = Reading::of(instance);
        if now.lanes != lanes as f64 || (now.resident_mib - since.1.resident_mib).abs() > STEADY_MIB {
            since = (Instant::now(), now);
        }
        (since.0.elapsed() >= steady).then_some(now)
    })
}

/// Share of a core that the program uses in a time: the first measurement of at most `enough`, or else the lowest.
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
