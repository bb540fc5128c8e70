//! A broker with an authorizer: the ACLs in docs/kafka.md suffice, and each missing ACL is reported with the command
//! that adds it.

use std::fs;
use std::time::Duration;

use harness::{Answer, Broker, Cluster, Ended, Receiver, Request, Site, eventually, inserted_orders, order};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use toml::{Table, Value};

use crate::{OUTHOOK, SOON};

const USER: (&str, &str) = ("outhook", "hunter2");

/// The topic of row changes. docs/kafka.md lists the ACL for topics with the prefix `shop.public.`.
const CHANGES: &str = "shop.public.orders";

/// A site with the default names, on a cluster without any ACLs.
struct Secured {
    cluster: Cluster,
    address: String,
    site: Site,
}

impl Secured {
    fn start() -> Self {
        let (cluster, address) = Cluster::with_authorizer(USER).expect("Kafka starts");
        let mut site = Site::on(cluster.site_broker(), OUTHOOK, 1);
        cluster.broker().create_topic(CHANGES, 1, &[]);
        site.set("kafka.brokers", address.as_str());
        let login = [("sasl.mechanism", "PLAIN"), ("sasl.username", USER.0), ("sasl.password", USER.1)];
        let properties = [("security.protocol", "sasl_plaintext")].into_iter().chain(login);
        let properties = properties.map(|(name, value)| (name.to_owned(), value.into()));
        site.set("kafka.properties", Table::from_iter(properties));
        for (key, name) in [
            ("kafka.group", "outhook"),
            ("definitions.topic", "outhook.definitions"),
            ("dead_letters.topic", "outhook.dead-letters"),
            ("stats.topic", "outhook.stats"),
            ("operator_events.topic", "outhook.operator-events"),
            ("message_log.topic", "outhook.deliveries"),
            ("retries.topic", "outhook.retry"),
            ("overflow.topic", "outhook.overflow"),
            ("row_order.topic", "outhook.row-order"),
        ] {
            site.set(key, name);
        }
        let source = [("topics", Value::from(vec![CHANGES])), ("format", "outhook".into()), ("account", "acme".into())];
        site.set("sources", vec![Table::from_iter(source.map(|(key, value)| (key.to_owned(), value)))]);
        (site.changes, site.group) = (CHANGES.to_owned(), "outhook".to_owned());
        Self { cluster, address, site }
    }

    /// Runs those `kafka-acls.sh` commands of the page that `is_meant` selects.
    fn add_documented_acls(&self, is_meant: impl Fn(&str) -> bool) {
        let page = fs::read_to_string("docs/kafka.md").expect("the page exists");
        let block =
            page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page contains commands");
        let lines: Vec<&str> = block.lines().filter(|line| line.starts_with("acls=") || is_meant(line)).collect();
        assert!(lines.len() > 1, "none of these lines is selected:\n{block}");
        self.cluster.acls(&lines.join("\n").replace("kafka:9092", &self.address));
    }

    fn remove(&self, acls: &str) {
        let address = &self.address;
        self.cluster.acls(&format!(
            "kafka-acls.sh --bootstrap-server {address} --remove --force --allow-principal User:outhook {acls}"
        ));
    }

    /// Creates the topics, and a webhook to the receiver. Called before an instance starts, so that it knows the
    /// webhook.
    #[track_caller]
    fn define(&self, receiver: &Receiver) {
        let created = self.site.run(&["topics", "create"]);
        assert_eq!(created.code, Some(0), "{}{}", created.stdout, created.stderr);
        self.site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    }

    #[track_caller]
    fn check(&self, code: i32) -> Ended {
        let check = self.site.run(&["check"]);
        assert_eq!(check.code, Some(code), "{}{}", check.stdout, check.stderr);
        assert!(!check.stdout.contains("not known"), "{}", check.stdout);
        check
    }

    /// Checks that `run` fails and reports the reason.
    #[track_caller]
    fn assert_refused(&self, lacks: &str) {
        let run = self.site.launch().wait();
        assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(lacks), "{lacks}\nis not in:\n{}", run.stderr);
    }
}

/// The text after a prefix, for each line that contains it.
fn behind<'t>(text: &'t str, prefix: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| Some(line.split_once(prefix)?.1)).collect()
}

const LACKS: &str = "wrong    access         this client lacks ";
const MEND: &str = "to fix it: ";

#[test]
fn documented_acls_suffice_and_missing_ones_are_named_with_the_command() {
    let secured = Secured::start();
    let site = &secured.site;
    let nothing = secured.check(1);
    let lacks = behind(&nothing.stdout, LACKS);
    assert_eq!(lacks.len(), 4, "{}", nothing.stdout);
    assert!(lacks[0].starts_with("Read, Write and DescribeConfigs on topics outhook.dead-letters, "), "{}", lacks[0]);
    assert_eq!(lacks[1], "Read on groups outhook, outhook-overflow, outhook-retries");
    assert_eq!(lacks[2..], ["Write on transactional id outhook.definitions", "Read on topic shop.public.orders"]);
    secured.assert_refused("this client lacks Read, Write and DescribeConfigs on topics outhook.dead-letters, ");

    secured.add_documented_acls(|line| !line.contains("--operation Create"));
    let may_not_create = secured.check(1);
    let lacks = behind(&may_not_create.stdout, LACKS);
    assert!(lacks.len() == 1 && lacks[0].starts_with("Create on topics outhook."), "{}", may_not_create.stdout);
    secured.assert_refused("this client lacks Create on topic outhook.definitions; to fix it:");

    secured.add_documented_acls(|line| line.contains("--operation Create"));
    let receiver = Receiver::start();
    secured.define(&receiver);
    let instance = site.start();
    site.produce([order(1)]);
    receiver.wait("/orders", 1, SOON);
    site.await_settled(SOON);
    let right = secured.check(0);
    assert!(right.stdout.contains("\n0 wrong, ") && !right.stdout.contains("access "), "{}", right.stdout);
    let stopped = instance.stop();
    assert!(!stopped.stdout.contains("uthorization") && !stopped.stderr.contains("uthorization"), "{stopped:?}");

    let own = "--topic outhook. --resource-pattern-type prefixed";
    for (taken, lacks) in [
        (format!("--operation Read {own}"), "Read on topics outhook.dead-letters, outhook.definitions, "),
        (format!("--operation Write {own}"), "Write on topics outhook.dead-letters, outhook.definitions, "),
        (format!("--operation DescribeConfigs {own}"), "DescribeConfigs on topics outhook.dead-letters, "),
        ("--operation Read --group outhook".to_owned(), "Read on group outhook"),
        ("--operation Read --group outhook-retries".to_owned(), "Read on group outhook-retries"),
        ("--operation Read --group outhook-overflow".to_owned(), "Read on group outhook-overflow"),
        (
            "--operation Write --transactional-id outhook.definitions".to_owned(),
            "Write on transactional id outhook.definitions",
        ),
    ] {
        secured.remove(&taken);
        let check = secured.check(1);
        let found = behind(&check.stdout, LACKS);
        assert!(found.len() == 1 && found[0].starts_with(lacks), "{taken}\n{}", check.stdout);
        // An instance writes no definitions unless a request asks for it.
        if !taken.contains("transactional-id") {
            secured.assert_refused(&format!("this client lacks {lacks}"));
        }
        let mend = behind(&check.stdout, MEND).join("\n");
        assert!(mend.ends_with(&taken), "{taken}\nis not the ACL of the command:\n{mend}");
        secured.cluster.acls(&mend);
    }
    secured.check(0);
}

#[test]
fn source_topic_without_read_access_is_named_and_others_are_read() {
    let mut secured = Secured::start();
    secured.cluster.broker().create_topic("crm.customers", 1, &[]);
    let topics = Value::from(vec![CHANGES, "crm.customers"]);
    let source = [("topics", topics), ("format", "outhook".into()), ("account", "acme".into())];
    secured.site.set("sources", vec![Table::from_iter(source.map(|(key, value)| (key.to_owned(), value)))]);
    secured.add_documented_acls(|_| true);
    let receiver = Receiver::start();
    secured.define(&receiver);
    let instance = secured.site.start();
    let lacks = "this client lacks Read on topic crm.customers";
    assert!(instance.said().contains(&format!("{lacks}: nothing is read there")), "{}", instance.said());
    secured.site.produce([order(1)]);
    receiver.wait("/orders", 1, SOON);
    let check = secured.check(1);
    assert_eq!(behind(&check.stdout, LACKS), ["Read on topic crm.customers"], "{}", check.stdout);
    secured.cluster.acls(behind(&check.stdout, MEND)[0]);
    secured.check(0);
    secured.cluster.broker().produce("crm.customers", [order(2)]);
    receiver.wait("/orders", 2, SOON);
}

#[test]
fn acls_removed_while_running_are_reported_and_nothing_is_lost() {
    let mut secured = Secured::start();
    // Long enough that a call waits in a topic.
    secured.site.set("delivery.retry", vec!["2s"; 5]);
    let (site, receiver) = (&secured.site, Receiver::start());
    secured.add_documented_acls(|_| true);
    secured.define(&receiver);
    let instance = site.start();
    for (id, taken, told) in [
        (1, "--operation Read --topic shop.public. --resource-pattern-type prefixed", "Topic authorization failed"),
        (2, "--operation Write --topic outhook. --resource-pattern-type prefixed", "retries can't be written"),
        (3, "--operation Read --group outhook --group outhook-retries", "commits fail"),
    ] {
        secured.remove(taken);
        receiver.answer_first("/orders", [Answer::Status(503)]);
        site.produce([order(id)]);
        let is_told = |line: &str| line.contains(told) && line.contains("this client lacks an ACL: `outhook check`");
        eventually(told, SOON, || instance.said().lines().any(is_told).then_some(()));
        let (address, add) = (&secured.address, "--add --allow-principal User:outhook");
        secured.cluster.acls(&format!("kafka-acls.sh --bootstrap-server {address} {add} {taken}"));
        let order = format!(r#""id":{id},"#);
        let is_it = |request: &Request| String::from_utf8_lossy(&request.body).contains(&order);
        eventually("the order is sent, and again after the failure", 2 * SOON, || {
            (receiver.requests("/orders").iter().filter(|request| is_it(request)).count() >= 2).then_some(())
        });
        site.await_settled(2 * SOON);
    }
}

#[test]
fn definitions_writer_needs_few_acls_and_is_not_fenced_by_a_check() {
    let secured = Secured::start();
    let (cluster, address, site) = (&secured.cluster, &secured.address, &secured.site);
    cluster.broker().create_topic("outhook.definitions", 1, &[("cleanup.policy", "compact")]);
    let allow = format!("kafka-acls.sh --bootstrap-server {address} --add --allow-principal User:outhook");
    cluster.acls(&format!("{allow} --operation Read --topic outhook.definitions"));
    let got = site.run(&["get"]);
    assert_eq!(got.code, Some(0), "{}{}", got.stdout, got.stderr);
    let yaml = inserted_orders("shipping", &["https://shop.example/hooks".to_owned()]);
    let file = site.file("yaml", &yaml).display().to_string();
    let refused = site.run(&["apply", "-f", &file]);
    assert!(refused.stderr.contains("allow this client Write on the topic and on the transactional id"), "{refused:?}");
    cluster
        .acls(&format!("{allow} --operation Write --topic outhook.definitions --transactional-id outhook.definitions"));
    site.apply(&yaml);

    let writer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .set("transactional.id", "outhook.definitions")
        .create()
        .expect("the settings are librdkafka's");
    let write = |beside: &dyn Fn()| {
        writer.begin_transaction().expect("no transaction is open");
        let record = BaseRecord::to("outhook.definitions").key("webhook/zzzzzz").payload("");
        writer.send(record).map_err(|(error, _)| error).expect("the queue has room");
        writer.flush(SOON).expect("the broker acknowledges");
        beside();
        writer.commit_transaction(Duration::from_secs(10))
    };
    writer.init_transactions(SOON).expect("the broker supports transactions");
    let checked = write(&|| assert!(secured.check(1).stdout.contains("this client lacks ")));
    assert!(checked.is_ok(), "a check has fenced a writer: {checked:?}");
    let fenced = write(&|| assert_eq!(site.run(&["clients", "create", "--name", "CI"]).code, Some(0)));
    assert!(fenced.is_err(), "another writer fences this one, so the test would notice if a check did");
}
