//! A million definitions: the time from a start until all are in force, the memory of each, and the time to find a
//! row change's events, compared with a thousand definitions.
//!
//! The definitions are in a Kafka topic. Each side reads them in a separate process, so that its memory contains
//! nothing else. `cargo bench --bench definitions`

#[path = "definitions/lookup.rs"]
mod lookup;
#[path = "definitions/made.rs"]
mod made;

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::Broker;
use outhook::matching::Index;
use outhook::store::{Config, Store};

use self::lookup::Lookup;

/// Definitions of a full run, and of a `--test` run.
const DEFINITIONS: [usize; 2] = [1_000_000, 20_000];
/// Definitions of the side that matching is compared with.
const FEW: usize = 1_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("follow") => println!("{}", follow(&args[2], &args[3], args[4].parse().expect("a number of definitions"))),
        _ => compare(DEFINITIONS[usize::from(args.iter().any(|arg| arg == "--test"))]),
    }
}

fn compare(definitions: usize) {
    let broker = Broker::get();
    let (few, many) = (in_child(broker, FEW), in_child(broker, definitions));
    println!(
        "start: {definitions} definitions in force after {:.2} s, {:.0} per second",
        many.seconds,
        definitions as f64 / many.seconds
    );
    println!(
        "memory: {:.0} bytes per definition ({:.0} MB), {:.0} bytes at the highest",
        many.resident / definitions as f64,
        many.resident / 1e6,
        many.highest / definitions as f64
    );
    for (what, few, many) in [
        ("always the same table", few.lookup.one_table, many.lookup.one_table),
        ("all tables in turn", few.lookup.all_tables, many.lookup.all_tables),
    ] {
        println!(
            "lookup and match, {what}: {many:.0} ns, compared with {few:.0} ns at {FEW} definitions: {:.2}",
            many / few
        );
    }
}

/// Results of a process that follows the log.
struct Followed {
    /// Seconds from the start until every definition is in force.
    seconds: f64,
    /// Bytes of resident memory added by the definitions.
    resident: f64,
    /// The same at its highest.
    highest: f64,
    lookup: Lookup,
}

impl std::fmt::Display for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seconds, resident, highest, lookup } = self;
        write!(f, "{seconds} {resident} {highest} {} {}", lookup.one_table, lookup.all_tables)
    }
}

/// Produces definitions and follows them in a new process.
fn in_child(broker: &Broker, definitions: usize) -> Followed {
    let topic = broker.unique("definitions");
    broker.create_topic(&topic, 1, &[("cleanup.policy", "compact")]);
    broker.produce(&topic, made::records(definitions));
    let mut command = Command::new(std::env::current_exe().expect("the bench's own path"));
    command.args(["follow", broker.bootstrap(), &topic, &definitions.to_string()]);
    let child = command.stderr(Stdio::inherit()).output().expect("the follower runs");
    let said = String::from_utf8(child.stdout).expect("numbers are text");
    assert!(child.status.success(), "the follower failed: {said}");
    let numbers: Vec<f64> = said.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [seconds, resident, highest, one_table, all_tables] = numbers[..] else { panic!("five numbers: {said}") };
    Followed { seconds, resident, highest, lookup: Lookup { one_table, all_tables } }
}

/// Follows the log until all definitions are in force, then checks their number.
#[tokio::main]
async fn follow(brokers: &str, topic: &str, definitions: usize) -> Followed {
    let config = Config { topic: topic.to_owned(), ..Config::default() };
    let kafka = HashMap::from([("bootstrap.servers".to_owned(), brokers.to_owned())]);
    let index = Arc::new(Index::default());
    let before = memory("VmRSS:");
    let started = Instant::now();
    let store = Store::start(&config, &kafka, index.clone()).expect("the store starts");
    let caught_up = tokio::time::timeout(Duration::from_secs(300), store.wait_until_caught_up());
    caught_up.await.expect("it catches up in time").expect("the store is not stopped");
    let seconds = started.elapsed().as_secs_f64();
    let (resident, highest) = (memory("VmRSS:") - before, memory("VmHWM:") - before);

    let status = store.status();
    assert_eq!((status.webhooks + status.events, status.bad_total), (definitions, 0));
    assert_eq!(status.webhooks, made::webhooks(definitions));
    let lookup = lookup::measure(&index, definitions);
    store.stop().await;
    Followed { seconds, resident, highest, lookup }
}

/// A line of this process's `/proc/self/status`, in bytes.
fn memory(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has this file");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
    let kilobytes = line.trim().strip_suffix(" kB").expect("it is in kB");
    kilobytes.trim().parse::<f64>().expect("a number") * 1024.0
}
