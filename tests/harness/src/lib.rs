//! What the tests stand on: a broker, a receiver and the built program.
//!
//! Everything here blocks, so a test reads from top to bottom and may hold a client, a child process and a
//! receiver at once without a runtime of its own. A crate and not a module of each test binary: it is
//! compiled once, and what one binary leaves unused is no dead code.

pub mod api;
mod broker;
mod cluster;
mod embedded;
mod fixture;
mod jars;
mod process;
mod receiver;
mod site;

use std::time::{Duration, Instant};

pub use self::api::{Api, ApiAnswer, Credentials};
pub use self::broker::{Broker, Kind, Stored};
pub use self::cluster::Cluster;
pub use self::fixture::{SECRET, inserted_orders, order, webhooks};
pub use self::process::Ended;
pub use self::receiver::{Answer, Receiver, Request, Signature};
pub use self::site::{Instance, Running, Site};

/// Asks `probe` again and again until it has an answer.
///
/// # Panics
/// When `within` has passed, with `what` was waited for: a test has failed.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port of 127.0.0.1 that nobody listens on now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}
