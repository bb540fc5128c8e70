//! A backlog and the endpoint that it waits for: does the backlog move at the endpoint's pace?
//!
//! Row changes wait in Kafka before the instance starts, far more than fit in its memory. The endpoints run in a
//! separate process that takes a known number of requests per second (`backlog/knee.rs`). The bench compares the
//! goodput with that number, and checks Kafka writes per call and memory of the instance. It prints one line per
//! scenario, continues after a failure, and lists all failures at the end.
//!
//! `cargo bench --bench backlog -- delay-200` runs the scenarios with that text in their names. A full run takes
//! about ten minutes, and as long again for the scenario `recovery`.

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

/// Environment variable: seconds that the endpoint is away.
const AWAY: &str = "OUTHOOK_BACKLOG_AWAY";

/// Size of a run.
#[derive(Clone, Copy)]
pub struct Size {
    /// Row changes in the backlog.
    changes: usize,
    /// The same for endpoints that answer immediately, for CallThrottling, and for a replay.
    fast_changes: usize,
    throttled_changes: usize,
    replayed_changes: usize,
    tiers: &'static [&'static str],
    /// `delivery.retry`. None is the default.
    retry: Option<&'static [&'static str]>,
    settings: &'static [(&'static str, i64)],
    /// Time from the endpoint's first request to its stall, and length of the stall.
    stall: (Duration, Duration),
    /// How long the endpoint answers some requests with 503.
    unavailable: Duration,
    away: Duration,
    /// Max time for steps that should take no time; then the scenario fails.
    patience: Duration,
    /// Whether the run checks more than that all messages arrive.
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
/// Checks only that all messages arrive: a few seconds on a shared machine are not a measurement. Queues are so short
/// that most of the backlog does not fit.
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
/// Separate, because it takes as long as all others together.
const RECOVERY: Scenario = ("recovery", unusual::recovery);
/// Scenarios that a `--test` run skips. Each differs from another only in its numbers, and calls never wait for an
/// endpoint that answers immediately.
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
    println!("{} row changes wait", size.changes);
    let scenarios = SCENARIOS.into_iter().chain([RECOVERY]).filter(|(name, _)| is_wanted(name));
    let failures: Vec<_> = scenarios.flat_map(|scenario| run(scenario, &size)).collect();
    assert!(failures.is_empty(), "a backlog is too slow or incomplete: {failures:#?}");
}

fn run((name, scenario): Scenario, size: &Size) -> Vec<String> {
    let started = Instant::now();
    let failures = scenario(size);
    println!("  {name} took {:.0?}", started.elapsed());
    failures.into_iter().map(|failure| format!("{name}: {failure}")).collect()
}
