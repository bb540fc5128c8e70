//! Test harness: a broker, a receiver and the built program.
//!
//! All calls here block. A test therefore reads from top to bottom, and can hold a client, a child process and a
//! receiver at the same time without a runtime. The harness is a crate, not a module of each test binary: it is
//! compiled once, and an item that one binary does not use causes no dead-code warning.

pub mod api;
mod broker;
mod cluster;
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
pub use self::broker::{Broker, Position, Stored};
pub use self::cluster::Cluster;
pub use self::fixture::{SECRET, inserted_orders, large_order, order, webhooks};
pub use self::process::Ended;
pub use self::receiver::{Answer, Receiver, Request, Signature};
pub use self::site::{Instance, Running, Site};

/// Well over the time until a change of a definition is effective everywhere. 1 s is promised, which the test
/// `rest_writers` measures.
pub const EFFECTIVE: Duration = Duration::from_secs(4);

/// Timeout for steps that should happen immediately. It is long because the machine may be slow.
pub const SOON: Duration = Duration::from_secs(30);

/// Calls `probe` repeatedly until it returns a value.
///
/// # Panics
/// When `within` has passed. The message names `what` was expected.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns a free port of 127.0.0.1 outside the range of outgoing connections.
///
/// Outgoing connections get ports from 32768 on (Linux' `ip_local_port_range`). One of them could take the port of a
/// stopped broker, and would keep it if it is a connection to that broker.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 12_000..32_000;
    // Parallel test processes start at different ports.
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
