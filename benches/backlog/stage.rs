//! Setup of every scenario: endpoints, an installation with a backlog of row changes, and the measurements at the
//! end.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use harness::{Broker, Instance, Site};

use crate::Size;
use crate::reading::{Reading, highest_while};
use crate::receivers::Receivers;
use crate::spec::{Endpoint, Report};

const PARTITIONS: i32 = 12;

/// `memory.budget_mib`, small enough that a backlog would not fit in memory.
const BUDGET_MIB: u64 = 64;
/// Memory for the program without its budget and its connections, in MiB, and memory of an active connection with its
/// worker and its call. Both as in the bench `outage`, which explains them.
const BESIDE_MIB: f64 = 160.0;
const CONNECTION_MIB: f64 = 36.0 / 1024.0;

/// Max Kafka writes per call while its endpoint works.
const WRITES: f64 = 2.0;

pub struct Stage {
    pub site: Site,
    pub receivers: Receivers,
    endpoints: Vec<Endpoint>,
    tiers: Vec<&'static str>,
}

/// Results of a scenario.
pub struct Measured {
    pub report: Report,
    /// Messages that should arrive.
    pub expected: usize,
    /// Highest reading during the run.
    highest: Reading,
    /// Records in the topics of waiting calls.
    written: i64,
    pub deferred: f64,
}

impl Stage {
    /// A stage without webhooks.
    pub fn new(size: &Size, endpoints: &[Endpoint]) -> Self {
        let mut site = Site::new(env!("CARGO_BIN_EXE_outhook"), PARTITIONS);
        site.set("memory.budget_mib", BUDGET_MIB as i64);
        // After a kill its partitions are reassigned sooner.
        site.set("kafka.session_timeout", "6s");
        // The default, set because it matters here: endpoints share partitions.
        site.set("overflow.partitions", 16);
        site.set("retries.tiers", size.tiers.to_vec());
        for (key, value) in size.settings {
            site.set(key, *value);
        }
        if let Some(retry) = size.retry {
            site.set("delivery.retry", retry.to_vec());
        }
        let receivers = Receivers::start(endpoints);
        Self { site, receivers, endpoints: endpoints.to_vec(), tiers: size.tiers.to_vec() }
    }

    /// Applies one webhook per endpoint, for inserts into the table with its number.
    pub fn apply(&self) {
        self.site.apply(&self.webhooks());
    }

    pub fn webhooks(&self) -> String {
        let webhook = |number: usize| {
            let event = format!("EventType: table.recordInsert, ObjectName: table_{number}");
            (format!("endpoint {number}"), [self.receivers.url(number)], event)
        };
        let named: Vec<_> = (0..self.endpoints.len()).map(webhook).collect();
        let events: Vec<_> = named.iter().map(|(_, _, event)| [event.as_str()]).collect();
        let all = named.iter().zip(&events).map(|((name, url, _), event)| (name.as_str(), &url[..], &event[..]));
        harness::webhooks(&all.collect::<Vec<_>>())
    }

    /// Writes inserts of rows with these numbers, each into the table that `table` returns.
    pub fn insert(&self, rows: Range<usize>, table: impl Fn(usize) -> usize) {
        self.site.produce(rows.map(|row| (row.to_string(), insert(row, table(row)))));
    }

    /// Writes inserts of `rows` rows, for each endpoint in turn.
    pub fn insert_in_turn(&self, rows: usize) {
        self.insert(0..rows, |row| row % self.endpoints.len());
    }

    /// Requests per second of all endpoints together. None if one of them has no limit.
    pub fn capacity(&self) -> Option<f64> {
        self.endpoints.iter().map(Endpoint::capacity).sum()
    }

    /// Waits until `expected` messages have arrived, or until `patience` ends.
    pub fn wait_for(&self, expected: usize, patience: Duration) -> Report {
        self.receivers.wait_for(patience, |report| report.distinct() >= expected)
    }

    /// Runs `work`, and returns its report with the readings of the instance.
    pub fn measure(&self, instance: &Instance, expected: usize, work: impl FnOnce() -> Report) -> Measured {
        let (highest, report) = highest_while(instance, work);
        let deferred = instance.metric("outhook_calls_deferred_total");
        Measured { report, expected, highest, written: self.written(), deferred }
    }

    /// All records ever written to the topics of waiting calls.
    fn written(&self) -> i64 {
        let tiers = self.tiers.iter().map(|tier| format!("{}.{tier}", self.site.retries));
        // A topic that does not exist has no partitions.
        tiers.chain([self.site.overflow.clone()]).flat_map(|topic| Broker::get().ends(&topic)).sum()
    }
}

impl Measured {
    fn writes(&self) -> f64 {
        self.written as f64 / self.expected as f64
    }

    /// Checked in every scenario: no message is lost.
    pub fn lost(&self) -> Vec<String> {
        let missing = self.expected.saturating_sub(self.report.distinct());
        if missing == 0 { Vec::new() } else { vec![format!("{missing} of {} messages did not arrive", self.expected)] }
    }

    /// Checked in full runs with working endpoints.
    pub fn too_much(&self) -> Vec<String> {
        let writes = (self.writes() > WRITES).then(|| format!("{:.2} Kafka writes per call", self.writes()));
        writes.into_iter().chain(self.too_large()).collect()
    }

    /// Memory, checked in all full runs.
    pub fn too_large(&self) -> Option<String> {
        let most = BUDGET_MIB as f64 + BESIDE_MIB + self.highest.descriptors * CONNECTION_MIB;
        let resident = self.highest.resident_mib;
        (resident > most).then(|| format!("{resident:.0} MiB resident, more than {most:.0}"))
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { report, expected, highest, deferred, .. }, writes) = (self, self.writes());
        let (distinct, repeated) = (report.distinct(), report.repeated());
        write!(f, "{distinct} of {expected} messages, {repeated} duplicates; {writes:.2} Kafka writes per call, ")?;
        write!(f, "{deferred:.0} deferred; at most {highest}")
    }
}

/// Failure text if the ratio is too low.
pub fn at_least(what: &str, ratio: f64, least: f64) -> Option<String> {
    (ratio < least).then(|| format!("{what} is {ratio:.3}, less than {least}"))
}

fn insert(number: usize, table: usize) -> String {
    format!(
        r#"{{"table":"table_{table}","operation":"insert","after":{{"id":{number},"email":"customer-{number}@example.com","first_name":"Ada","last_name":"Lovelace","status":"active","credit":12.50,"notes":"prefers calls in the morning"}}}}"#
    )
}
