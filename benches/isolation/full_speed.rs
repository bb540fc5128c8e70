//! At full speed: ten endpoints, each with more row changes waiting than the program can send, one of them in
//! trouble. Measures the goodput of the other nine, compared with runs without trouble.
//!
//! With `taskset` the program has the first core for itself. Kafka, the endpoints and this bench share the second;
//! the bench starts itself again there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Broker, Site, eventually};

use crate::endpoints::{Counted, Trouble};
use crate::played::{self, Endpoints};
use crate::reading::highest_while;
use crate::{PARTITIONS, feed};

const OUTHOOK: &str = env!("CARGO_BIN_EXE_outhook");

const ENDPOINTS: usize = 10;
/// As fast as Kafka takes them.
const RATE: usize = 10_000_000;

/// Size of a run, and its limits.
pub struct Size {
    rounds: usize,
    /// Waiting row changes; each endpoint gets a tenth of them.
    changes: usize,
    /// Messages before the window begins: by then all connections are open.
    warm_up: usize,
    window: Duration,
    troubles: &'static [Trouble],
    demands: Option<Demands>,
}

struct Demands {
    /// Min goodput, as a share of the goodput without trouble.
    goodput: f64,
    /// Max deferrals per call to the endpoint in trouble.
    deferred: f64,
}

pub const FULL: Size = Size {
    rounds: 3,
    changes: 400_000,
    warm_up: 20_000,
    window: Duration::from_secs(5),
    troubles: &[Trouble::Hangs, Trouble::Refuses, Trouble::Trickles, Trouble::Slow],
    demands: Some(Demands { goodput: 0.95, deferred: 1.1 }),
};
/// Checks only that each message arrives.
pub const SMALL: Size = Size {
    rounds: 1,
    changes: 5_000,
    warm_up: 500,
    window: Duration::from_millis(100),
    troubles: &[Trouble::Hangs, Trouble::Slow],
    demands: None,
};

/// Results of a run.
struct Outcome {
    /// Messages per second of the nine.
    goodput: f64,
    /// Deferrals per call to the tenth.
    deferred: f64,
    resident_mib: f64,
}

/// Replaces this process by the bench on the second core. All that it starts runs there too, the broker first.
///
/// # Panics
/// The bench can't be started again.
pub fn apart(is_small: bool) -> ! {
    let this = std::env::current_exe().expect("the bench's own path").to_string_lossy().into_owned();
    let [program, arguments @ ..] = &pinned("1", &this)[..] else { unreachable!("there is a program at least") };
    let size = if is_small { "small" } else { "full" };
    // Exec, not a child: a child would survive if this process were killed. Processes started before end with their
    // pipes.
    panic!("{}", Command::new(program).args(arguments).args(["full-speed-here", size]).exec())
}

pub fn compare(size: &Size) {
    let program = pinned_outhook();
    println!(
        "at full speed: {} messages wait for {ENDPOINTS} endpoints, one of which is in trouble; the \
         goodput is that of the others in {:?}, the best of {}",
        size.changes, size.window, size.rounds
    );
    // Each round has all kinds in turn, so that other work of the machine affects all alike.
    let kinds = [&[Trouble::None], size.troubles].concat();
    let rounds: Vec<Vec<_>> =
        (0..size.rounds).map(|_| kinds.iter().map(|trouble| run(size, program, *trouble)).collect()).collect();
    let of = |kind: usize| rounds.iter().map(move |round| &round[kind]);
    let best = |kind| of(kind).map(|outcome| outcome.goodput).fold(0.0, f64::max);
    let mut failures = Vec::new();
    for (kind, trouble) in kinds.iter().enumerate().skip(1) {
        let goodput = best(kind) / best(0);
        let deferred = of(kind).map(|outcome| outcome.deferred).fold(0.0, f64::max);
        let resident = of(kind).map(|outcome| outcome.resident_mib).fold(0.0, f64::max);
        println!(
            "{trouble:?}: goodput {goodput:.3} of {:.0}/s; {deferred:.2} deferrals per call to it; at most \
             {resident:.0} MiB",
            best(0)
        );
        let Some(demands) = &size.demands else { continue };
        if goodput < demands.goodput {
            failures.push(format!("{trouble:?}: goodput {goodput:.3}, less than {}", demands.goodput));
        }
        if deferred > demands.deferred {
            failures.push(format!("{trouble:?}: {deferred:.2} deferrals per call, more than {}", demands.deferred));
        }
    }
    assert!(failures.is_empty(), "the endpoint in trouble affects the healthy ones: {failures:#?}");
}

fn run(size: &Size, program: &'static str, trouble: Trouble) -> Outcome {
    let endpoints = Endpoints::start(trouble, 1, Counted::Sound);
    let mut site = Site::new(program, PARTITIONS);
    site.set("retries.tiers", vec!["1s", "5s", "30s", "5m", "30m"]);
    site.apply(&played::webhooks(&endpoints, ENDPOINTS));
    feed::feed(Broker::get().bootstrap(), &site.changes, size.changes, RATE, ENDPOINTS);
    let instance = site.start();
    let of_each = size.changes / ENDPOINTS;
    let expected = of_each * (ENDPOINTS - 1);
    let (highest, goodput) = highest_while(&instance, || {
        let goodput = window(size, &endpoints, expected);
        eventually("all messages of the healthy endpoints arrive", Duration::from_secs(120), || {
            thread::sleep(Duration::from_millis(100));
            (endpoints.report().distinct >= expected).then_some(())
        });
        goodput
    });
    let report = endpoints.report();
    assert_eq!((report.count, report.distinct), (expected, expected), "each message arrives once");
    println!("  {trouble:?}: {goodput:.0}/s; {}; at most {highest}", played::told(&instance));
    let deferred = instance.metric("outhook_calls_deferred_total") / of_each as f64;
    if size.demands.as_ref().is_some_and(|demands| deferred > demands.deferred) {
        eprintln!("{deferred:.2} deferrals per call; log of the instance:\n{}", instance.said());
    }
    Outcome { goodput, deferred, resident_mib: highest.resident_mib }
}

/// Goodput in a window that begins after the warm-up, and in which messages never run out.
fn window(size: &Size, endpoints: &Endpoints, expected: usize) -> f64 {
    let (began, before) = eventually("the endpoints are warm", Duration::from_secs(60), || {
        let distinct = endpoints.report().distinct;
        (distinct >= size.warm_up).then(|| (Instant::now(), distinct))
    });
    thread::sleep(size.window);
    let after = endpoints.report().distinct;
    let goodput = (after - before) as f64 / began.elapsed().as_secs_f64();
    let is_scarce = after == expected && size.demands.is_some();
    assert!(!is_scarce, "{expected} messages last for less than {:?} on this machine: let more wait", size.window);
    goodput
}

/// A command and its first arguments, pinned to a core if `taskset` and the core exist.
fn pinned(core: &str, program: &str) -> Vec<String> {
    let can = Command::new("taskset").args(["-c", core, "true"]).stderr(Stdio::null()).status();
    let pinned = if can.is_ok_and(|status| status.success()) { vec!["taskset", "-c", core] } else { Vec::new() };
    pinned.into_iter().chain([program]).map(str::to_owned).collect()
}

/// A program that executes Outhook on the first core.
fn pinned_outhook() -> &'static str {
    let [command @ .., _] = &pinned("0", OUTHOOK)[..] else { unreachable!("there is a program at least") };
    if command.is_empty() {
        return OUTHOOK;
    }
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outhook-on-the-first-core");
    let text = format!("#!/bin/sh\nexec {} '{OUTHOOK}' \"$@\"\n", command.join(" "));
    fs::write(&script, text).expect("the script is written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the script can be made executable");
    // Leaked once per process.
    script.to_string_lossy().into_owned().leak()
}
