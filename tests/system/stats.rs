//! The counts of events, and the known tables, over several instances and their restarts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use harness::{Answer, Broker, Instance, Receiver, Site, eventually, inserted_orders, order, webhooks};
use outhook::catalogue::Catalogue;
use outhook::id::EventId;
use outhook::matching::Index;
use outhook::stats::{Config, Stats, Totals};
use serde_json::Value;

use crate::{OUTHOOK, SOON};

/// Reads a site's stats topic in the same way as a starting instance.
struct Reader {
    stats: Arc<Stats>,
    catalogue: Arc<Catalogue>,
}

impl Reader {
    fn start(site: &Site) -> Self {
        let config = Config { topic: site.stats.clone(), replication_factor: None };
        let kafka = HashMap::from([("bootstrap.servers".to_owned(), Broker::get().bootstrap().to_owned())]);
        let catalogue = Arc::<Catalogue>::default();
        let stats =
            Stats::start(&config, &kafka, Arc::new(Index::default()), catalogue.clone(), Arc::default()).unwrap();
        eventually("the stats topic is read", SOON, || stats.is_caught_up().then_some(()));
        Self { stats, catalogue }
    }

    #[track_caller]
    fn await_totals(&self, event: EventId, messages: u64, calls: u64, errors: u64) {
        let expected = Totals { messages, calls, errors };
        let start = std::time::Instant::now();
        while self.stats.totals_of(event) != expected {
            let found = self.stats.totals_of(event);
            assert!(start.elapsed() < SOON, "{found:?} and not {expected:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The fields of a table of `acme`, as `name TYPE`.
    fn fields(&self, table: &str) -> Vec<String> {
        let fields = self.catalogue.fields("acme", table).unwrap_or_default();
        fields.iter().map(|field| format!("{} {}", field.name, field.kind)).collect()
    }
}

/// The site's events by their webhooks' names.
fn events(site: &Site) -> HashMap<String, EventId> {
    let records = Broker::get().read_all(&site.definitions);
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().unwrap_or_default()).unwrap();
    let of_kind = |kind: &'static str| {
        let parse = move |record: &harness::Stored| {
            let id = text(&record.key).strip_prefix(kind)?.to_owned();
            Some((id, serde_json::from_str::<Value>(&text(&record.value)).ok()?))
        };
        records.iter().filter_map(parse).collect::<HashMap<_, _>>()
    };
    let webhooks = of_kind("webhook/");
    let named = |(id, event): (String, Value)| {
        let webhook = &webhooks[event["webhook"].as_str().expect("an event names its webhook")];
        (webhook["name"].as_str().expect("a webhook has a name").to_owned(), id.parse().unwrap())
    };
    of_kind("event/").into_iter().map(named).collect()
}

fn stop(instance: Instance) {
    let ended = instance.stop();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn counts_cover_all_instances_and_survive_restarts() {
    let (mut site, receiver) = (Site::new(OUTHOOK, 4), Receiver::start());
    site.set("delivery.retry", vec!["0s", "0s"]);
    // Every call is attempted, even after many failures.
    site.set("delivery.breaker_failures", 0);
    receiver.answer("/broken", Answer::Status(500));
    let event: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];
    let (sound, broken) = ([receiver.url("/one"), receiver.url("/two")], [receiver.url("/broken")]);
    site.apply(&webhooks(&[("sound", &sound, event), ("broken", &broken, event)]));
    let events = events(&site);
    let (sound, broken) = (events["sound"], events["broken"]);
    let (first, second) = (site.start(), site.start());
    eventually("both have partitions", SOON, || {
        let owned = |instance: &Instance| instance.metrics()[r#"outhook_assigned_partitions{of="changes"}"#] >= 2.0;
        (owned(&first) && owned(&second)).then_some(())
    });

    let reader = Reader::start(&site);
    site.produce((0..40).map(order));
    site.await_settled(SOON);
    // One message per match, one call per URL, one error per failed attempt.
    reader.await_totals(sound, 40, 80, 0);
    reader.await_totals(broken, 40, 40, 120);

    site.produce((40..50).map(order));
    site.await_settled(SOON);
    stop(first);
    let third = site.start();
    site.produce((50..60).map(order));
    site.await_settled(SOON);
    stop(second);
    stop(third);
    let reader = Reader::start(&site);
    assert_eq!(reader.stats.totals_of(sound), Totals { messages: 60, calls: 120, errors: 0 });
    assert_eq!(reader.stats.totals_of(broken), Totals { messages: 60, calls: 60, errors: 180 });
    assert_eq!(reader.stats.totals_of_all([sound, broken]), Totals { messages: 120, calls: 180, errors: 180 });
}

#[test]
fn counts_written_before_a_kill_are_kept() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let event = events(&site)["shipping"];
    let instance = site.start();
    site.produce((0..10).map(order));
    site.await_settled(SOON);
    // The instance writes it within seconds.
    Reader::start(&site).await_totals(event, 10, 10, 0);
    instance.kill();
    let instance = site.start();
    site.produce((10..15).map(order));
    site.await_settled(SOON);
    stop(instance);
    assert_eq!(Reader::start(&site).stats.totals_of(event), Totals { messages: 15, calls: 15, errors: 0 });
}

#[test]
fn tables_and_their_fields_survive_a_restart() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    let instance = site.start();
    let visit = r#"{"table":"Visits/2026","operation":"insert","after":{"at":"2026-01-02T03:04:05Z","visitor":7}}"#;
    site.produce([order(1), ("v".to_owned(), visit.to_owned())]);
    site.await_settled(SOON);
    stop(instance);
    let orders = ["id INTEGER", "item STRING", "total NUMBER", "shipped YES/NO", "note STRING"];
    let reader = Reader::start(&site);
    assert_eq!(reader.catalogue.tables("acme"), ["Visits/2026", "orders"]);
    assert_eq!(reader.fields("orders"), orders);
    assert_eq!(reader.fields("Visits/2026"), ["at DATE/TIME", "visitor INTEGER"]);

    let instance = site.start();
    let visit = r#"{"table":"Visits/2026","operation":"insert","after":{"at":"soon","visitor":7,"from":"x"}}"#;
    site.produce([("v", visit)]);
    site.await_settled(SOON);
    eventually("the restarted instance knows both tables", SOON, || {
        (instance.metric("outhook_catalogue_tables") == 2.0).then_some(())
    });
    stop(instance);
    let reader = Reader::start(&site);
    assert_eq!(reader.fields("orders"), orders, "fields that were not seen again are still known");
    assert_eq!(reader.fields("Visits/2026"), ["at STRING", "visitor INTEGER", "from STRING"]);
}

#[test]
fn stats_topic_is_created_correctly_and_a_wrong_one_is_rejected() {
    let mut site = Site::new(OUTHOOK, 1);
    let (new, wrong) = (Broker::get().unique("new-stats"), Broker::get().unique("wrong-stats"));
    site.set("stats.topic", new.clone());
    let planned = site.run(&["check"]);
    assert!(planned.stdout.contains(&format!("create the topic {new} (1 partition")), "{}", planned.stdout);
    let created = site.run(&["topics", "create"]);
    assert!(created.stdout.contains(&format!("created  {new} (1 partition")), "{}{}", created.stdout, created.stderr);
    let checked = site.run(&["topics", "check"]);
    let right = format!("right    {new}: 1 partition, cleanup.policy = compact,delete");
    assert!(checked.code == Some(0) && checked.stdout.contains(&right), "{}", checked.stdout);

    Broker::get().create_topic(&wrong, 1, &[]);
    site.set("stats.topic", wrong.clone());
    let refused = site.launch().wait();
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains(&wrong) && refused.stderr.contains("[compact,delete]"), "{}", refused.stderr);
}
