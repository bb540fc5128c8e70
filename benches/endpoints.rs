//! A hundred thousand endpoints, each with a webhook and a table: memory and CPU of the program before and after each
//! gets a message, and when all of them fail.
//!
//! Each endpoint is a different URL, so it has its own lane, and its own connection during a call. The bench fails if
//! a message is missing or duplicate, if a lane or a connection outlives its idle time, if the program keeps more
//! memory than it should, or if it uses CPU when it has nothing to do.

#[path = "isolation/endpoints.rs"]
mod endpoints;
#[path = "isolation/feed.rs"]
mod feed;
#[path = "isolation/played.rs"]
mod played;
#[path = "endpoints/reading.rs"]
mod reading;
#[path = "endpoints/rest.rs"]
mod rest;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Broker, Site, eventually};

use endpoints::{Counted, Trouble};
use played::Endpoints;
use reading::{MIB, Reading, highest_while};
use rest::{at_rest, cpu};

const ENDPOINTS: usize = 100_000;
/// The trouble affects all endpoints.
const TROUBLED: usize = ENDPOINTS;
const PARTITIONS: i32 = 12;

/// `delivery.idle_timeout`: each endpoint's connection stays open this long. Short, so that few connections are open
/// at the same time.
const IDLE: &str = "1s";
/// `delivery.max_calls`: concurrent calls, each with a connection here. The number of connections that may wait to be
/// accepted.
const MAX_CALLS: i64 = 1000;

/// Max bytes kept for an endpoint that had a message: its event's counts of the hour.
const KEPT_BYTES: f64 = 768.0;
/// Max other growth of the program's memory once it has worked, in MiB, for any number of endpoints: the newest row
/// changes of 10,000 tables, buffers of Kafka's clients, and memory that the allocator has not returned yet.
const BESIDE_MIB: f64 = 96.0;
/// Max bytes of a lane whose endpoint fails and that has no call.
const REMEMBERED_BYTES: f64 = 2048.0;
/// Max difference of two idle resident sets, in MiB: the amount that Kafka's clients fetch varies.
const STIR_MIB: f64 = 64.0;
/// Connections to Kafka that open on first use.
const BROKER_DESCRIPTORS: f64 = 32.0;

/// Max share of a core for Kafka's clients in an idle program. Their threads poll ten times a second. A higher value
/// is measured again.
const FLOOR: f64 = 0.02;

/// Size of a run, and its limits.
struct Size {
    endpoints: usize,
    /// Row changes per second, one message each. Row changes above the program's own pace wait in Kafka.
    rate: usize,
    /// File descriptors that a process must be allowed.
    descriptors: usize,
    /// Delay of calls that were refused twice: longer than it takes until all are refused and the readings are taken.
    wait: &'static str,
    /// How long the resident set must stay the same before it is read.
    steady: Duration,
    /// How long the idle program is observed.
    watched: Duration,
    /// Max share of a core above what Kafka's clients always use. None where other programs use the machine.
    cpu: Option<f64>,
}

const FULL: Size = Size {
    endpoints: ENDPOINTS,
    rate: ENDPOINTS,
    descriptors: 16_000,
    wait: "4m",
    steady: Duration::from_secs(4),
    watched: Duration::from_secs(5),
    cpu: Some(0.02),
};
/// The limit of descriptors is 1024 on many machines; that is enough at this rate.
const SMALL: Size = Size {
    endpoints: 2000,
    rate: 500,
    descriptors: 1000,
    wait: "20s",
    steady: Duration::from_millis(500),
    watched: Duration::from_secs(1),
    cpu: None,
};

impl Size {
    /// Max share of a core for an idle program that used `floor` just after its start.
    fn idle(&self, floor: f64) -> f64 {
        self.cpu.map_or(f64::INFINITY, |more| floor + more)
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("endpoints") => endpoints::run(
            args[2].parse().expect("a kind of trouble"),
            args[3].parse().expect("the endpoints to count"),
        ),
        _ if args.iter().any(|arg| arg == "--test") => both(&SMALL),
        _ => both(&FULL),
    }
}

fn both(size: &Size) {
    let limit = descriptor_limit();
    assert!(
        limit >= size.descriptors,
        "a process may have {limit} files open, and this needs {}: raise the limit (ulimit -n)",
        size.descriptors
    );
    println!("{} endpoints; idle_timeout {IDLE}, max_calls {MAX_CALLS}", size.endpoints);
    let floor = working(size);
    failing(size, floor);
}

/// Max open files of a process here.
fn descriptor_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux has this file");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("the line is there");
    let soft = line.split_whitespace().next().expect("a soft limit");
    soft.parse().unwrap_or(usize::MAX)
}

/// Each endpoint gets one message, then the program is idle. Returns the share of a core that it used just after its
/// start.
fn working(size: &Size) -> f64 {
    let endpoints = Endpoints::start(Trouble::None, TROUBLED, Counted::All);
    let site = site(size, &endpoints);
    let instance = site.start();
    let before = at_rest(&instance, 0, size.steady);
    let floor = cpu(&instance, size.watched, FLOOR);
    println!("started: {before}, {:.2} % of a core", floor * 100.0);

    let started = Instant::now();
    let (highest, ()) = highest_while(&instance, || {
        feed::feed(Broker::get().bootstrap(), &site.changes, size.endpoints, size.rate, size.endpoints);
        await_all(size, &endpoints, Duration::from_secs(60 + size.endpoints as u64 / 500));
    });
    let took = started.elapsed();
    println!("all delivered once in {took:.1?}, {:.0} per second; at most {highest}", a_second(size, took));

    let after = at_rest(&instance, 0, size.steady);
    let used = cpu(&instance, size.watched, size.idle(floor));
    println!(
        "idle: {after}, {:.2} % of a core; {:.0} bytes per endpoint more than at the start",
        used * 100.0,
        each(size, before, after)
    );
    assert!(after.descriptors <= before.descriptors + BROKER_DESCRIPTORS, "connections outlive their lanes");
    let bound = before.resident_mib + BESIDE_MIB + size.endpoints as f64 * KEPT_BYTES / MIB;
    assert!(after.resident_mib <= bound, "idle endpoints take too much memory: over {bound:.0} MiB");
    assert!(used <= size.idle(floor), "idle endpoints use CPU time");
    assert_once(size, &endpoints);
    floor
}

/// No endpoint accepts a connection; the program then only waits; then all endpoints work again.
fn failing(size: &Size, floor: f64) {
    let endpoints = Endpoints::start(Trouble::Refuses, TROUBLED, Counted::All);
    let site = site(size, &endpoints);
    let instance = site.start();
    let attempts = || instance.metric("outhook_attempts_total");

    let started = Instant::now();
    let expected = 2.0 * size.endpoints as f64;
    let (highest, ()) = highest_while(&instance, || {
        feed::feed(Broker::get().bootstrap(), &site.changes, size.endpoints, size.rate, size.endpoints);
        let patience = Duration::from_secs(60 + size.endpoints as u64 / 500);
        eventually("each endpoint has refused its message twice", patience, || {
            thread::sleep(Duration::from_millis(100));
            (attempts() >= expected).then_some(())
        });
    });
    println!("all refused twice in {:.1?}; at most {highest}; {}", started.elapsed(), played::told(&instance));
    let remembering = at_rest(&instance, size.endpoints, size.steady);
    let used = cpu(&instance, size.watched, size.idle(floor));
    let idle = attempts() == expected;
    assert!(idle || size.cpu.is_none(), "calls were retried before the program was idle: make the wait longer");

    endpoints.get("/recover");
    let recovered = Instant::now();
    await_all(size, &endpoints, Duration::from_secs(300));
    let back = recovered.elapsed();
    let forgotten = at_rest(&instance, 0, size.steady);
    let lane = each(size, forgotten, remembering);
    println!("failing: {remembering}, {:.2} % of a core; {lane:.0} bytes per lane", used * 100.0);
    println!("all delivered once {back:.1?} after the recovery, after a wait of {} each; then {forgotten}", size.wait);
    let bound = forgotten.resident_mib + STIR_MIB + size.endpoints as f64 * REMEMBERED_BYTES / MIB;
    assert!(
        remembering.resident_mib <= bound,
        "idle lanes of failing endpoints take too much memory: over {bound:.0} MiB"
    );
    assert!(used <= size.idle(floor), "idle lanes of failing endpoints use CPU time");
    assert_once(size, &endpoints);
    assert_eq!(Broker::get().read_all(&site.dead_letters).len(), 0, "no call may become a dead letter");
}

fn site(size: &Size, endpoints: &Endpoints) -> Site {
    let mut site = Site::new(env!("CARGO_BIN_EXE_outhook"), PARTITIONS);
    site.set("delivery.idle_timeout", IDLE);
    site.set("delivery.max_calls", MAX_CALLS);
    // On a slow machine a call waits in its lane and is not deferred, which would take longer.
    site.set("delivery.queue_wait", "1m");
    site.set("delivery.retry", [vec!["0s"], vec![size.wait; 10]].concat());
    site.set("retries.tiers", vec!["1s", size.wait]);
    site.set("retries.partitions", 4);
    site.apply(&played::webhooks(endpoints, size.endpoints));
    site
}

fn await_all(size: &Size, endpoints: &Endpoints, patience: Duration) {
    eventually("each endpoint has its message", patience, || {
        thread::sleep(Duration::from_millis(100));
        (endpoints.report().distinct >= size.endpoints).then_some(())
    });
}

fn assert_once(size: &Size, endpoints: &Endpoints) {
    let report = endpoints.report();
    assert_eq!((report.count, report.distinct), (size.endpoints, size.endpoints), "each message arrives once");
}

fn a_second(size: &Size, took: Duration) -> f64 {
    size.endpoints as f64 / took.as_secs_f64()
}

/// Difference of two resident sets, in bytes per endpoint.
fn each(size: &Size, less: Reading, more: Reading) -> f64 {
    (more.resident_mib - less.resident_mib) * MIB / size.endpoints as f64
}
