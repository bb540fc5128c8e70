//! A backlog and the endpoint that it waits for: does it move at the pace that the endpoint takes?
//!
//! Row changes wait in Kafka before the instance starts, far more than it may hold in memory. The endpoints are a
//! process of their own that takes a known number of requests a second (`backlog/knee.rs`); what comes is held
//! against that, with the Kafka writes that a call cost and the memory that the instance took. One line a scenario;
//! the bench goes on after a failure and names all at the end.
//!
//! `cargo bench --bench backlog -- delay-200` runs the scenarios whose name contains that. A full run takes about ten
//! minutes, and as long again for the endpoint that is away.

#[path = "backlog/healthy.rs"]
mod healthy;
#[path = "backlog/knee.rs"]
mod knee;
#[path = "endpoints/reading.rs"]
mod reading;
#[path = "backlog/receiver.rs"]
mod receiver;
#[path = "backlog/receivers.rs"]
mod receivers;
#[path = "backlog/spec.rs"]
mod spec;
#[path = "backlog/stage.rs"]
mod stage;
#[path = "backlog/unusual.rs"]
mod unusual;

use std::time::{Duration, Instant};

use harness::Broker;

/// How long the endpoint is away in seconds, if this is set.
const AWAY: &str = "OUTHOOK_BACKLOG_AWAY";

/// How large a run is.
#[derive(Clone, Copy)]
pub struct Size {
    /// Row changes that wait.
    changes: usize,
    /// The same where endpoints answer at once, where CallThrottling slows them, and for a replay.
    fast_changes: usize,
    throttled_changes: usize,
    replayed_changes: usize,
    tiers: &'static [&'static str],
    /// `delivery.retry`, unless it is the default.
    retry: Option<&'static [&'static str]>,
    settings: &'static [(&'static str, i64)],
    /// How long after its first request the endpoint stalls, and for how long.
    stall: (Duration, Duration),
    /// For how long it answers some requests with 503.
    unavailable: Duration,
    away: Duration,
    /// How long what should take no time may take, before it is given up.
    patience: Duration,
    /// Whether more is demanded than that everything comes.
    demands: bool,
}

const FULL: Size = Size {
    changes: 20_000,
    fast_changes: 300_000,
    throttled_changes: 1_500,
    replayed_changes: 100_000,
    tiers: &["1s", "5s", "30s", "5m", "30m"],
    retry: None,
    settings: &[],
    stall: (Duration::from_secs(5), Duration::from_secs(5)),
    unavailable: Duration::from_secs(30),
    away: Duration::from_secs(600),
    patience: Duration::from_secs(60),
    demands: true,
};
/// Demands only that everything comes: a few seconds beside others on a machine are no measure. Queues are so short
/// that most of what waits does not fit in.
const SMALL: Size = Size {
    changes: 200,
    fast_changes: 2_000,
    throttled_changes: 75,
    replayed_changes: 2_000,
    tiers: &["200ms", "1s"],
    retry: Some(&["0s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]),
    settings: &[("delivery.concurrency", 16), ("delivery.queue_calls", 16)],
    stall: (Duration::from_millis(300), Duration::from_secs(1)),
    unavailable: Duration::from_secs(1),
    away: Duration::from_secs(10),
    patience: Duration::from_secs(60),
    demands: false,
};

type Scenario = (&'static str, fn(&Size) -> Vec<String>);

const SCENARIOS: [Scenario; 15] = [
    ("delay-0-webhooks-1", |size| healthy::fast(size, 1)),
    ("delay-0-webhooks-10", |size| healthy::fast(size, 10)),
    ("delay-20-webhooks-1", |size| healthy::delay(size, 20, 1)),
    ("delay-20-webhooks-10", |size| healthy::delay(size, 20, 10)),
    ("delay-200-webhooks-1", |size| healthy::delay(size, 200, 1)),
    ("delay-200-webhooks-10", |size| healthy::delay(size, 200, 10)),
    ("delay-1000-webhooks-1", |size| healthy::delay(size, 1000, 1)),
    ("delay-1000-webhooks-10", |size| healthy::delay(size, 1000, 10)),
    ("starved", healthy::starved),
    ("stall", healthy::stall),
    ("unavailable", healthy::unavailable),
    ("throttled", healthy::throttled),
    ("beside", healthy::beside),
    ("replay", unusual::replay),
    ("killed", unusual::killed),
];
/// Apart, because it alone takes as long as the others together.
const RECOVERY: Scenario = ("recovery", unusual::recovery);
/// What a `--test` run leaves out: each differs from others in its numbers alone, and nothing waits for an endpoint that
/// answers at once.
const LEFT_OUT: [&str; 7] = [
    "delay-0-webhooks-1",
    "delay-0-webhooks-10",
    "delay-20-webhooks-1",
    "delay-20-webhooks-10",
    "delay-200-webhooks-1",
    "delay-1000-webhooks-1",
    "delay-1000-webhooks-10",
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).is_some_and(|arg| arg == "receivers") {
        return receiver::run(&args[2]);
    }
    let is_small = args.iter().any(|arg| arg == "--test");
    let wanted: Vec<_> = args[1..].iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        let left_out = is_small && LEFT_OUT.contains(&name);
        if wanted.is_empty() { !left_out } else { wanted.iter().any(|wanted| name.contains(wanted.as_str())) }
    };
    let mut size = if is_small { SMALL } else { FULL };
    if let Ok(seconds) = std::env::var(AWAY) {
        size.away = Duration::from_secs(seconds.parse().expect("a number of seconds"));
    }
    println!("broker: {:?}; {} row changes wait", Broker::get().kind(), size.changes);
    let scenarios = SCENARIOS.into_iter().chain([RECOVERY]).filter(|(name, _)| is_wanted(name));
    let failures: Vec<_> = scenarios.flat_map(|scenario| run(scenario, &size)).collect();
    assert!(failures.is_empty(), "a backlog does not move as it should: {failures:#?}");
}

fn run((name, scenario): Scenario, size: &Size) -> Vec<String> {
    let started = Instant::now();
    let failures = scenario(size);
    println!("  {name} took {:.0?}", started.elapsed());
    failures.into_iter().map(|failure| format!("{name}: {failure}")).collect()
}
