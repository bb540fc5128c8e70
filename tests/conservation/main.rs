//! Conservation tests: every input leads to its outputs, whatever crashes on the way. They run on real Kafka with
//! several instances, and an oracle judges the outputs.
//!
//! Each test prints its seed. With that seed in the environment it takes the same steps in the same order again. The
//! seed does not determine what the machine does between two steps.

mod chaos;
mod crashes;
mod definitions;
mod feed;
mod kills;
mod oracle;
mod permanent_webhooks;
mod verdict;

use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use harness::Site;

/// The program under test.
const OUTHOOK: &str = env!("CARGO_BIN_EXE_outhook");

/// Environment variable with the seed of all random choices. Optional.
const SEED: &str = "OUTHOOK_CONSERVATION_SEED";

/// Returns the seed of a test, and prints it with the way to use it again.
fn seed() -> u64 {
    let now = || SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_nanos() as u64;
    let seed = from_environment(SEED).unwrap_or_else(now);
    println!("seed {seed}; {SEED}={seed} repeats the same steps");
    seed
}

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: not a number")))
}

/// Sets the protocol of the site's group, "classic" or "consumer", and a session timeout of 6 s. With "consumer" the
/// brokers define the timeout, and the brokers of the tests have the same value.
fn run_group(site: &mut Site, protocol: &str) {
    site.set("kafka.group_protocol", protocol);
    if protocol == "classic" {
        site.set("kafka.session_timeout", "6s");
    }
}

/// These tests measure times, so they run one after the other.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
