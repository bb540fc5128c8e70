//! Full input while all endpoints are down: the program's memory meanwhile, and whether all messages arrive after the
//! recovery.
//!
//! Row changes are written as fast as Kafka accepts them, up to a rate, and all hundred endpoints refuse connections,
//! or hang. The resident set is read all the time. Then the endpoints recover. The bench fails if a message is
//! missing, or if memory ever exceeded its budget plus the other needs of the program.

#[path = "isolation/endpoints.rs"]
mod endpoints;
#[path = "isolation/feed.rs"]
mod feed;
#[path = "isolation/played.rs"]
mod played;
#[path = "endpoints/reading.rs"]
mod reading;

use std::thread;
use std::time::{Duration, Instant};

use harness::{Broker, Site, eventually};

use endpoints::{Counted, Trouble};
use played::Endpoints;
use reading::highest_while;

const ENDPOINTS: usize = 100;
/// All endpoints are in trouble.
const TROUBLED: usize = ENDPOINTS;
const PARTITIONS: i32 = 12;

/// `memory.budget_mib`, small enough that a backlog would not fit.
const BUDGET_MIB: u64 = 32;
/// Memory for the program without its budget and its connections, in MiB: code, threads, the definitions, records
/// that librdkafka has prefetched (1 MiB per partition, of changes and of retries) and the queues of the producers of
/// retries and dead letters (32 MiB each).
const BESIDE_MIB: f64 = 160.0;
/// Memory of an active connection with its worker and its call, in MiB, as measured by the bench `endpoints`.
const CONNECTION_MIB: f64 = 36.0 / 1024.0;

/// Environment variable: seconds without an endpoint in a full run.
const SECONDS: &str = "OUTHOOK_OUTAGE_SECONDS";
/// Environment variable: the only trouble to run, `Refuses` or `Hangs`.
const TROUBLE: &str = "OUTHOOK_OUTAGE_TROUBLE";

struct Size {
    seconds: usize,
    /// Row changes per second.
    rate: usize,
    /// Delays of retries. Repeatedly failing calls wait up to the longest one, or 5 minutes.
    tiers: &'static [&'static str],
}

const FULL: Size = Size { seconds: 600, rate: 4000, tiers: &["1s", "5s", "30s", "5m"] };
const SMALL: Size = Size { seconds: 8, rate: 3000, tiers: &["1s", "5s", "10s"] };

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("endpoints") => endpoints::run(
            args[2].parse().expect("a kind of trouble"),
            args[3].parse().expect("the endpoints to count"),
        ),
        _ if args.iter().any(|arg| arg == "--test") => both(&SMALL),
        _ => {
            let seconds = std::env::var(SECONDS).ok().map(|seconds| seconds.parse().expect("a number of seconds"));
            both(&Size { seconds: seconds.unwrap_or(FULL.seconds), ..FULL });
        }
    }
}

fn both(size: &Size) {
    let Size { seconds, rate, .. } = size;
    println!("{rate} row changes per second for {seconds} s, no endpoint works");
    let only = std::env::var(TROUBLE).ok();
    for trouble in [Trouble::Refuses, Trouble::Hangs] {
        if only.as_ref().is_none_or(|only| *only == format!("{trouble:?}")) {
            outage(trouble, size);
        }
    }
}

fn outage(trouble: Trouble, size: &Size) {
    let endpoints = Endpoints::start(trouble, TROUBLED, Counted::All);
    let site = site(size, &endpoints);
    let instance = site.start();
    let changes = size.seconds * size.rate;
    let (highest, back) = highest_while(&instance, || {
        feed::feed(Broker::get().bootstrap(), &site.changes, changes, size.rate, ENDPOINTS);
        site.await_settled(Duration::from_secs(120));
        println!("  {trouble:?}: all row changes are settled; {}", played::told(&instance));
        endpoints.get("/recover");
        let recovered = Instant::now();
        let patience = Duration::from_secs(600 + changes as u64 / 500);
        eventually("all messages arrive after the recovery of the endpoints", patience, || {
            thread::sleep(Duration::from_millis(200));
            (endpoints.report().distinct >= changes).then_some(())
        });
        recovered.elapsed()
    });
    let letters = Broker::get().read_all(&site.dead_letters).len();
    println!(
        "{trouble:?}: {changes} messages, {} duplicates; at most {highest} with a budget of {BUDGET_MIB} MiB; all \
         arrived {back:.1?} after the recovery",
        endpoints.report().count - changes
    );
    assert_eq!(letters, 0, "no call may become a dead letter");
    let most = BUDGET_MIB as f64 + BESIDE_MIB + highest.descriptors * CONNECTION_MIB;
    assert!(highest.resident_mib <= most, "more than {most:.0} MiB, the budget plus the other needs of the program");
}

fn site(size: &Size, endpoints: &Endpoints) -> Site {
    let mut site = Site::new(env!("CARGO_BIN_EXE_outhook"), PARTITIONS);
    site.set("memory.budget_mib", BUDGET_MIB as i64);
    site.set("retries.tiers", size.tiers.to_vec());
    site.set("retries.partitions", 4);
    // Longer than any outage here, so that no call is dead-lettered.
    site.set("delivery.retry", [vec!["0s"], vec!["10s"; 200]].concat());
    site.set("delivery.breaker_pause", "5s");
    site.apply(&played::webhooks(endpoints, ENDPOINTS));
    site
}
