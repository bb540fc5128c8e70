//! What goes in comes out, whatever happens on the way: the oracle tests, on real Kafka with several instances.
//!
//! Each prints its seed, and takes it back from the environment to do the same in the same order again. What a
//! machine does between two steps is not part of the seed.

mod crashes;
mod definitions;
mod feed;
mod kills;
mod oracle;
mod random;
mod residents;
mod turmoil;
mod verdict;

use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use harness::Site;

/// The program under test.
const OUTHOOK: &str = env!("CARGO_BIN_EXE_outhook");

/// The seed of whatever is left to chance, if this is set.
const SEED: &str = "OUTHOOK_CONSERVATION_SEED";

/// The seed of a test, which is printed with the way to have it again.
fn seed() -> u64 {
    let now = || SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_nanos() as u64;
    let seed = from_environment(SEED).unwrap_or_else(now);
    println!("seed {seed}; {SEED}={seed} takes the same steps");
    seed
}

fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Has the site's group run by a protocol, "classic" or "consumer", so that it takes a member for gone that it does not hear
/// for 6 s. With the latter the brokers decide, and those of the tests have the same time.
fn run_group(site: &mut Site, protocol: &str) {
    site.set("kafka.group_protocol", protocol);
    if protocol == "classic" {
        site.set("kafka.session_timeout", "6s");
    }
}

/// These tests measure themselves against the clock, so they take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
