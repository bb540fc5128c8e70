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
mod late;
pub mod pace;
mod process;
mod receiver;
mod site;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use self::api::{Api, ApiAnswer, Credentials};
pub use self::broker::{Broker, Kind, Position, Stored};
pub use self::cluster::Cluster;
pub use self::fixture::{SECRET, inserted_orders, large_order, order, webhooks};
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

/// A port of 127.0.0.1 that nobody listens on now, nor is given to anybody's outgoing connection: those have ports from
/// 32768 on (Linux' `ip_local_port_range`), and would now and then take that of a broker which is away, for good if it is
/// the broker that they call.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 12_000..32_000;
    // Test processes that run side by side begin at different ones.
    let first = std::process::id().wrapping_mul(7919);
    for _ in PORTS {
        let next = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (PORTS.start + next % (PORTS.end - PORTS.start)) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("loopback has no free port in {PORTS:?}");
}
