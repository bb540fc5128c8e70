//! A hundred endpoints with messages from the same partitions, ten of them in trouble: how the other ninety are
//! affected.
//!
//! The built program gets row changes from Kafka at a fixed rate that it handles easily, one table per endpoint, in
//! turn. The endpoints run in a separate process. Its ninety healthy ones count messages. After the warm-up they
//! measure latency from the moment at which the row change was handed to the producer. Each kind of trouble is
//! compared with the same number of runs in which all hundred answer. The bench fails if the ninety get too few
//! messages, get them too late, or miss some.
//!
//! The second part measures the same at the program's full speed (`isolation/full_speed.rs`). `cargo bench --bench
//! isolation -- steady` or `-- full-speed` runs one part alone.

#[path = "isolation/endpoints.rs"]
mod endpoints;
#[path = "isolation/feed.rs"]
mod feed;
#[path = "isolation/full_speed.rs"]
mod full_speed;
#[path = "isolation/played.rs"]
mod played;
#[path = "endpoints/reading.rs"]
mod reading;

use std::time::Duration;

use harness::{Broker, Site, eventually};

use endpoints::{Counted, Trouble};
use played::Endpoints;

const ENDPOINTS: usize = 100;
const TROUBLED: usize = 10;
const PARTITIONS: i32 = 12;
/// Row changes per second, one message each.
const RATE: usize = 3000;

/// Size of a run, and its limits.
struct Size {
    rounds: usize,
    seconds: usize,
    demands: Option<Demands>,
}

struct Demands {
    /// Min goodput, as a share of the goodput without trouble.
    goodput: f64,
    /// Max 99th percentile, as a multiple of the one without trouble. A percentile below `unseen` always passes.
    late: f64,
    unseen: Duration,
}

const FULL: Size = Size {
    rounds: 3,
    seconds: 20,
    demands: Some(Demands { goodput: 0.95, late: 2.0, unseen: Duration::from_millis(20) }),
};
/// Checks only that each message arrives once: a few seconds on a shared machine are not a measurement.
const SMALL: Size = Size { rounds: 1, seconds: 4, demands: None };

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("endpoints") => {
            return endpoints::run(
                args[2].parse().expect("a kind of trouble"),
                args[3].parse().expect("the endpoints to count"),
            );
        }
        Some("full-speed-here") if args[2] == "small" => return full_speed::compare(&full_speed::SMALL),
        Some("full-speed-here") => return full_speed::compare(&full_speed::FULL),
        _ => {}
    }
    let is_small = args.iter().any(|arg| arg == "--test");
    let wanted: Vec<_> = args[1..].iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|wanted| part.contains(wanted.as_str()));
    if is_wanted("steady") {
        compare(if is_small { &SMALL } else { &FULL });
    }
    if is_wanted("full-speed") {
        full_speed::apart(is_small);
    }
}

/// What the healthy endpoints got in a run.
struct Outcome {
    /// Their messages per second while row changes were written.
    goodput: f64,
    p50: Duration,
    p99: Duration,
}

fn compare(size: &Size) {
    println!(
        "{RATE} messages per second to {ENDPOINTS} endpoints for {} s; latencies are from the \
         producer, without the first second; the best of {}",
        size.seconds, size.rounds
    );
    let mut failures = Vec::new();
    for trouble in [Trouble::Refuses, Trouble::Hangs, Trouble::Trickles] {
        let rounds: Vec<_> = (0..size.rounds).map(|_| [run(size, Trouble::None), run(size, trouble)]).collect();
        let [without, with] = [0, 1].map(|side| best(rounds.iter().map(|round| &round[side])));
        let goodput = with.goodput / without.goodput;
        let late = with.p99.as_secs_f64() / without.p99.as_secs_f64();
        println!(
            "{trouble:?}: goodput {goodput:.3} of {:.0}/s; p99 {late:.2} of {:.1?}; p50 {:.2} of {:.1?}",
            without.goodput,
            without.p99,
            with.p50.as_secs_f64() / without.p50.as_secs_f64(),
            without.p50,
        );
        let Some(demands) = &size.demands else { continue };
        if goodput < demands.goodput {
            failures.push(format!("{trouble:?}: goodput {goodput:.3}, less than {}", demands.goodput));
        }
        if late > demands.late && with.p99 > demands.unseen {
            failures.push(format!("{trouble:?}: p99 {late:.2} times, more than {}", demands.late));
        }
    }
    assert!(failures.is_empty(), "endpoints in trouble affect the healthy ones: {failures:#?}");
}

/// The best of each number: the program is not charged for other work of the machine.
fn best<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Outcome {
    let better = |one: Outcome, other: &Outcome| Outcome {
        goodput: one.goodput.max(other.goodput),
        p50: one.p50.min(other.p50),
        p99: one.p99.min(other.p99),
    };
    outcomes.fold(Outcome { goodput: 0.0, p50: Duration::MAX, p99: Duration::MAX }, better)
}

fn run(size: &Size, trouble: Trouble) -> Outcome {
    let endpoints = Endpoints::start(trouble, TROUBLED, Counted::Sound);
    let site = site(&endpoints);
    let instance = site.start();
    let changes = size.seconds * RATE;
    feed::feed(Broker::get().bootstrap(), &site.changes, changes, RATE, ENDPOINTS);
    let in_time = endpoints.report().distinct;
    let expected = (0..changes).filter(|change| change % ENDPOINTS >= TROUBLED).count();
    eventually("all messages of the healthy endpoints arrive", Duration::from_secs(60), || {
        (endpoints.report().distinct >= expected).then_some(())
    });
    let report = endpoints.report();
    assert_eq!((report.count, report.distinct), (expected, expected), "each message arrives once");
    println!("  {trouble:?}: {in_time} of {expected} in time; {report:.1?}; {}", played::told(&instance));
    Outcome { goodput: in_time as f64 / size.seconds as f64, p50: report.p50, p99: report.p99 }
}

fn site(endpoints: &Endpoints) -> Site {
    let mut site = Site::new(env!("CARGO_BIN_EXE_outhook"), PARTITIONS);
    site.set("retries.tiers", vec!["1s", "5s", "30s", "5m", "30m"]);
    site.apply(&played::webhooks(endpoints, ENDPOINTS));
    site
}
