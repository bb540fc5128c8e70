//! Definitions over REST: latency of one client that creates them one after the other, throughput of 32 clients,
//! whether readers wait for writers, and the time of a long list.
//!
//! Runs the built program on Kafka, as its users do. Clients, program and broker share the machine.
//! `cargo bench --bench rest`

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::{Api, Site};
use serde_json::json;

/// Definitions that each part creates in a full run, and in a `--test` run.
const DEFINITIONS: [usize; 2] = [10_000, 200];
const CONNECTIONS: usize = 32;
/// Number of webhooks that get the events of the second part.
const OWNERS: usize = 100;
/// Pause between two reads of the client that reads during the writes.
const PAUSE: Duration = Duration::from_millis(1);
const LIST: &str = "/v2/outgoingWebhooks";

fn main() {
    let count = DEFINITIONS[usize::from(std::env::args().any(|argument| argument == "--test"))];
    let site = Site::new(env!("CARGO_BIN_EXE_outhook"), 1);
    let credentials = site.client(&[]);
    let instance = site.start();
    let api = instance.api(&credentials);
    let first = create_webhook(&api, "the webhook that is read");

    let (made, reads) = beside_reads(&api, &first, || one_after_the_other(&api, count));
    println!("{count} webhooks over 1 connection: {:.0}/s; each {}", made.per_second, Waits::of(made.waits));
    println!("  GET of one webhook meanwhile: {}", Waits::of(reads));
    let ids = list_all(&api, count + 1);

    let (made, reads) = beside_reads(&api, &first, || all_at_once(&api, &ids, count));
    println!("{count} events over {CONNECTIONS} connections: {:.0}/s; each {}", made.per_second, Waits::of(made.waits));
    println!("  GET of one webhook meanwhile: {}", Waits::of(reads));
    let listed = |id: &String| api.get(&format!("{LIST}/{id}/events")).body.as_array().expect("a list").len();
    assert_eq!(ids.iter().take(OWNERS).map(listed).sum::<usize>(), count, "every event is listed");
    assert_eq!(instance.stop().code, Some(0));
}

/// Throughput and latencies of creating definitions.
struct Made {
    per_second: f64,
    waits: Vec<Duration>,
}

fn create_webhook(api: &Api, name: &str) -> String {
    let made = api.post(LIST, &json!({"Name": name, "OutgoingUrls": ["https://hooks.example.com/inbound"]}));
    assert_eq!(made.status, 201, "{made:?}");
    made.text("Id")
}

fn one_after_the_other(api: &Api, count: usize) -> Made {
    let started = Instant::now();
    let waits = (0..count).map(|number| timed(|| create_webhook(api, &format!("CRM of branch {number}")))).collect();
    Made { per_second: count as f64 / started.elapsed().as_secs_f64(), waits }
}

/// Creates events on the first webhooks. Each client takes the next number.
fn all_at_once(api: &Api, webhooks: &[String], count: usize) -> Made {
    let next = AtomicUsize::new(0);
    let client = || {
        let api = api.fork();
        let mut waits = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return waits;
            }
            let event = json!({"EventType": "table.recordInsert", "ObjectName": format!("Customer_Orders_{number}")});
            let path = format!("{LIST}/{}/events", webhooks[number % OWNERS]);
            waits.push(timed(|| assert_eq!(api.post(&path, &event).status, 201)));
        }
    };
    let started = Instant::now();
    let waits = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect()
    });
    Made { per_second: count as f64 / started.elapsed().as_secs_f64(), waits }
}

/// Runs `work` while another connection reads one webhook repeatedly. Returns how long each read took.
fn beside_reads<T>(api: &Api, webhook: &str, work: impl FnOnce() -> T) -> (T, Vec<Duration>) {
    let done = AtomicBool::new(false);
    let read = || {
        let (api, path) = (api.fork(), format!("{LIST}/{webhook}"));
        let mut waits = Vec::new();
        while !done.load(Ordering::Relaxed) {
            waits.push(timed(|| assert_eq!(api.get(&path).status, 200)));
            std::thread::sleep(PAUSE);
        }
        waits
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(read);
        let outcome = work();
        done.store(true, Ordering::Relaxed);
        (outcome, reader.join().expect("the reader does not panic"))
    })
}

/// Lists all webhooks and returns their ids.
fn list_all(api: &Api, count: usize) -> Vec<String> {
    let mut answer = None;
    let waits: Vec<_> = (0..3).map(|_| timed(|| answer = Some(api.get(LIST)))).collect();
    let answer = answer.expect("the list was requested");
    println!("GET of all {count} webhooks, {} kB: {}", answer.text.len() / 1000, Waits::of(waits));
    let webhooks = answer.body.as_array().expect("a list");
    assert_eq!(webhooks.len(), count, "every webhook is listed");
    webhooks.iter().map(|webhook| webhook["Id"].as_str().expect("an id").to_owned()).collect()
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Distribution of response times.
struct Waits {
    count: usize,
    median: Duration,
    p99: Duration,
    max: Duration,
}

impl Waits {
    fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let at = |share: usize| waits[(waits.len() - 1) * share / 100];
        Self { count: waits.len(), median: at(50), p99: at(99), max: at(100) }
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, median, p99, max } = self;
        write!(f, "median {median:.2?}, p99 {p99:.2?}, max {max:.2?} of {count}")
    }
}
