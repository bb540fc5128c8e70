//! The metrics in docs/operations.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::{assert_listed, cell};

/// Records the descriptions of metrics.
#[derive(Default)]
struct Described(Mutex<BTreeMap<String, (&'static str, String)>>);

impl Described {
    fn note(&self, kind: &'static str, name: &KeyName, description: &str) {
        let before = self.0.lock().unwrap().insert(name.as_str().to_owned(), (kind, description.to_owned()));
        assert_eq!(before, None, "{} is described twice", name.as_str());
    }
}

impl Recorder for Described {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.note("counter", &name, &description);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.note("gauge", &name, &description);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.note("histogram", &name, &description);
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn described() -> BTreeMap<String, (&'static str, String)> {
    let described = Described::default();
    metrics::with_local_recorder(&described, || {
        outhook::app::describe_metrics();
        outhook::telemetry::describe_metrics();
    });
    described.0.into_inner().unwrap()
}

/// The same checks as `promtool check metrics`.
#[test]
fn metric_names_follow_prometheus_conventions() {
    for (name, (kind, description)) in described() {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(
            !["_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end)),
            "{name} has a suffix that Prometheus reserves for parts of a metric"
        );
        let has = |word: &str| name.split('_').any(|part| part == word);
        assert!(
            !["ms", "milliseconds", "kib", "mib", "minutes", "counter", "gauge"].iter().any(|word| has(word)),
            "{name}"
        );
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!description.is_empty(), "{name} has no help");
    }
}

#[test]
fn documented_metrics_match_the_code() {
    let described = described();
    assert!(described.contains_key("outhook_records_total"), "{described:?}");
    let mut table = "| metric | kind | what it is |\n|---|---|---|\n".to_owned();
    for (name, (kind, description)) in described {
        writeln!(table, "| `{name}` | {kind} | {} |", cell(&description)).unwrap();
    }
    assert_listed("docs/operations.md", "metrics", &table);
}
