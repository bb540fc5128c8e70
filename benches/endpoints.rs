//! A hundred thousand endpoints, each with a webhook and a table of its own: what the built program takes for
//! them before and after each of them got a message, and when all of them fail.
//!
//! Every endpoint is a URL of its own, so each has a lane and a connection of its own while it has a call. The
//! bench fails if a message is missing or comes twice, if a lane or a connection outlives its idle time, if what is
//! left takes more memory than it should, or if the program does more than nothing when there is nothing to do.

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
/// What befalls the endpoints befalls all of them.
const TROUBLED: usize = ENDPOINTS;
const PARTITIONS: i32 = 12;

/// `delivery.idle_timeout`, so that few connections are open at once: each endpoint's stays open for so long.
const IDLE: &str = "1s";
/// `delivery.max_calls`: calls at once, each of which has a connection here. As many as may wait to be accepted.
const MAX_CALLS: i64 = 1000;

/// What may stay of an endpoint that had a message, in bytes: its event's counts of the hour.
const KEPT_BYTES: f64 = 768.0;
/// What the program may take beside it, in MiB, when it has once worked, however few the endpoints are: the newest row
/// changes of 10,000 tables, what Kafka's clients keep, and what the allocator has not given back yet.
const BESIDE_MIB: f64 = 96.0;
/// What one lane may take whose endpoint fails and has no call, in bytes.
const REMEMBERED_BYTES: f64 = 2048.0;
/// By how much two resident sets may differ with nothing between them, in MiB: Kafka's clients fetch as much or as little
/// as comes.
const STIR_MIB: f64 = 64.0;
/// Connections to Kafka that are opened when they are first used.
const BROKER_DESCRIPTORS: f64 = 32.0;

/// What part of a core a program with nothing to do may use for Kafka's clients, whose threads look for news ten times a
/// second; it is measured for longer where it seems to be more.
const FLOOR: f64 = 0.02;

/// How large a run is, and what it demands.
struct Size {
    endpoints: usize,
    /// Row changes a second, each of which is one message; what is over the program's own pace waits in Kafka.
    rate: usize,
    /// File descriptors that a process must be allowed.
    descriptors: usize,
    /// How long calls wait that were refused twice: longer than it takes until all are, and what is read then.
    wait: &'static str,
    /// For how long the resident set must have stayed the same when it is read.
    steady: Duration,
    /// For how long the program is watched that has nothing to do.
    watched: Duration,
    /// What part of a core it may use then beside what Kafka's clients always use: no matter where the machine has other
    /// things to do.
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
/// The limit of descriptors is 1024 on many machines, which is enough at this rate.
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
    /// What part of a core the program may use that has nothing to do, if it used so much when it had just started.
    fn idle(&self, floor: f64) -> f64 {
        self.cpu.map_or(f64::INFINITY, |more| floor + more)
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("endpoints") => {
            endpoints::run(args[2].parse().expect("a kind of trouble"), args[3].parse().expect("whom to count"))
        }
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
    println!(
        "broker: {:?}; {} endpoints; idle_timeout {IDLE}, max_calls {MAX_CALLS}",
        Broker::get().kind(),
        size.endpoints
    );
    let floor = working(size);
    failing(size, floor);
}

/// How many files a process may have open here.
fn descriptor_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux tells a process's limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("the line is there");
    let soft = line.split_whitespace().next().expect("a soft limit");
    soft.parse().unwrap_or(usize::MAX)
}

/// Each endpoint gets one message, and then there is nothing to do. Returns what part of a core the program used when it
/// had just started.
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
    println!("all delivered once in {took:.1?}, {:.0} a second; at most {highest}", a_second(size, took));

    let after = at_rest(&instance, 0, size.steady);
    let used = cpu(&instance, size.watched, size.idle(floor));
    println!(
        "idle: {after}, {:.2} % of a core; {:.0} bytes an endpoint more than at the start",
        used * 100.0,
        each(size, before, after)
    );
    assert!(after.descriptors <= before.descriptors + BROKER_DESCRIPTORS, "connections outlive their lanes");
    let bound = before.resident_mib + BESIDE_MIB + size.endpoints as f64 * KEPT_BYTES / MIB;
    assert!(after.resident_mib <= bound, "endpoints that have nothing to get take memory: over {bound:.0} MiB");
    assert!(used <= size.idle(floor), "endpoints that have nothing to get take time");
    assert_once(size, &endpoints);
    floor
}

/// No endpoint accepts a connection, then there is nothing to do but to wait, and then all of them work again.
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
    assert!(idle || size.cpu.is_none(), "calls came back from their wait before the program was idle: wait longer");

    endpoints.get("/recover");
    let recovered = Instant::now();
    await_all(size, &endpoints, Duration::from_secs(300));
    let back = recovered.elapsed();
    let forgotten = at_rest(&instance, 0, size.steady);
    let lane = each(size, forgotten, remembering);
    println!("remembered: {remembering}, {:.2} % of a core; {lane:.0} bytes a lane", used * 100.0);
    println!("all delivered once {back:.1?} after they came back, having waited {} each; then {forgotten}", size.wait);
    let bound = forgotten.resident_mib + STIR_MIB + size.endpoints as f64 * REMEMBERED_BYTES / MIB;
    assert!(remembering.resident_mib <= bound, "lanes that are only remembered take memory: over {bound:.0} MiB");
    assert!(used <= size.idle(floor), "lanes that are only remembered take time");
    assert_once(size, &endpoints);
    assert_eq!(Broker::get().read_all(&site.dead_letters).len(), 0, "nothing had to become a dead letter");
}

fn site(size: &Size, endpoints: &Endpoints) -> Site {
    let mut site = Site::new(env!("CARGO_BIN_EXE_outhook"), PARTITIONS);
    site.set("delivery.idle_timeout", IDLE);
    site.set("delivery.max_calls", MAX_CALLS);
    // On a machine that is slow a call waits in its lane, and is not sent to wait elsewhere, which would take longer.
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
    assert_eq!((report.count, report.distinct), (size.endpoints, size.endpoints), "each message comes once");
}

fn a_second(size: &Size, took: Duration) -> f64 {
    size.endpoints as f64 / took.as_secs_f64()
}

/// What the one reading has more than the other, in bytes an endpoint.
fn each(size: &Size, less: Reading, more: Reading) -> f64 {
    (more.resident_mib - less.resident_mib) * MIB / size.endpoints as f64
}
