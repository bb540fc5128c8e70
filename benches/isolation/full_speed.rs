//! At full speed: ten endpoints, all with more row changes waiting than the program can send, and one of them in
//! trouble. What do the nine others get of what they get without it?
//!
//! The program has the first core for itself where `taskset` is there; Kafka, the endpoints and this bench share the
//! second, for which the bench starts anew.

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

/// How large a run is, and what it demands.
pub struct Size {
    rounds: usize,
    /// Row changes that wait, of which each endpoint gets a tenth.
    changes: usize,
    /// How many messages come before the window begins: by then all connections are open.
    warm_up: usize,
    window: Duration,
    troubles: &'static [Trouble],
    demands: Option<Demands>,
}

struct Demands {
    /// Of the goodput without trouble, at least.
    goodput: f64,
    /// Deferrals for each call to the endpoint in trouble, at most.
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
/// Demands only that each message comes.
pub const SMALL: Size = Size {
    rounds: 1,
    changes: 5_000,
    warm_up: 500,
    window: Duration::from_millis(100),
    troubles: &[Trouble::Hangs, Trouble::Slow],
    demands: None,
};

/// What came of a run.
struct Outcome {
    /// Messages of the nine a second.
    goodput: f64,
    /// Deferrals for each call to the tenth.
    deferred: f64,
    resident_mib: f64,
}

/// Becomes this bench on the second core, where everything that it starts is too, the broker first of all.
///
/// # Panics
/// The bench can't be started again.
pub fn apart(is_small: bool) -> ! {
    let this = std::env::current_exe().expect("the bench's own path").to_string_lossy().into_owned();
    let [program, arguments @ ..] = &pinned("1", &this)[..] else { unreachable!("there is a program at least") };
    let size = if is_small { "small" } else { "full" };
    // No process that would be left if this one were killed. What this one has started ends with its pipes.
    panic!("{}", Command::new(program).args(arguments).args(["full-speed-here", size]).exec())
}

pub fn compare(size: &Size) {
    let program = pinned_outhook();
    println!(
        "at full speed: broker: {:?}; {} messages wait for {ENDPOINTS} endpoints, one of which is in trouble; goodput is that \
         of the others in {:?}, the best of {}",
        Broker::get().kind(),
        size.changes,
        size.window,
        size.rounds
    );
    // Each round has all of them in turn: what else the machine does befalls all alike.
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
            "{trouble:?}: goodput {goodput:.3} of {:.0}/s; {deferred:.2} calls deferred for each call to it; at most \
             {resident:.0} MiB",
            best(0)
        );
        let Some(demands) = &size.demands else { continue };
        if goodput < demands.goodput {
            failures.push(format!("{trouble:?}: goodput {goodput:.3}, less than {}", demands.goodput));
        }
        if deferred > demands.deferred {
            failures.push(format!("{trouble:?}: {deferred:.2} deferrals a call, more than {}", demands.deferred));
        }
    }
    assert!(failures.is_empty(), "the sound endpoints notice the other: {failures:#?}");
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
        eventually("all messages of the sound endpoints arrive", Duration::from_secs(120), || {
            thread::sleep(Duration::from_millis(100));
            (endpoints.report().distinct >= expected).then_some(())
        });
        goodput
    });
    let report = endpoints.report();
    assert_eq!((report.count, report.distinct), (expected, expected), "each message once");
    println!("  {trouble:?}: {goodput:.0}/s; {}; at most {highest}", played::told(&instance));
    let deferred = instance.metric("outhook_calls_deferred_total") / of_each as f64;
    if size.demands.as_ref().is_some_and(|demands| deferred > demands.deferred) {
        eprintln!("{deferred:.2} deferrals a call; the instance said:\n{}", instance.said());
    }
    Outcome { goodput, deferred, resident_mib: highest.resident_mib }
}

/// The goodput in a window that begins when everybody is warm, and in which messages are never scarce.
fn window(size: &Size, endpoints: &Endpoints, expected: usize) -> f64 {
    let (began, before) = eventually("the endpoints are warm", Duration::from_secs(60), || {
        let distinct = endpoints.report().distinct;
        (distinct >= size.warm_up).then(|| (Instant::now(), distinct))
    });
    thread::sleep(size.window);
    let after = endpoints.report().distinct;
    let goodput = (after - before) as f64 / began.elapsed().as_secs_f64();
    let is_scarce = after == expected && size.demands.is_some();
    assert!(!is_scarce, "{expected} messages last less than {:?} on this machine: let more wait", size.window);
    goodput
}

/// A command and its first arguments, pinned to a core where `taskset` and the core are there.
fn pinned(core: &str, program: &str) -> Vec<String> {
    let can = Command::new("taskset").args(["-c", core, "true"]).stderr(Stdio::null()).status();
    let pinned = if can.is_ok_and(|status| status.success()) { vec!["taskset", "-c", core] } else { Vec::new() };
    pinned.into_iter().chain([program]).map(str::to_owned).collect()
}

/// A program that becomes Outhook on the first core.
fn pinned_outhook() -> &'static str {
    let [command @ .., _] = &pinned("0", OUTHOOK)[..] else { unreachable!("there is a program at least") };
    if command.is_empty() {
        return OUTHOOK;
    }
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outhook-on-the-first-core");
    let text = format!("#!/bin/sh\nexec {} '{OUTHOOK}' \"$@\"\n", command.join(" "));
    fs::write(&script, text).expect("the script is written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the script can be made executable");
    // Once in the life of this process.
    script.to_string_lossy().into_owned().leak()
}
