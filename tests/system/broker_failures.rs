//! Brokers stop and return, or hang, while row changes are written. The program recovers without help, loses nothing,
//! and commits no unsettled records.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use harness::{Answer, Broker, Cluster, Instance, Receiver, Site, Stored, eventually, order, webhooks};

use crate::OUTHOOK;

/// How long brokers are stopped.
const AWAY: Duration = Duration::from_secs(12);
/// How long all brokers hang: they accept connections and do not answer.
const HANGING: Duration = Duration::from_secs(6);
/// Timeout for the recovery of Kafka, its clients and the program.
const RECOVERY: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn brokers_that_restart_stop_or_hang_lose_nothing() {
    let cluster = Cluster::start(3).expect("three brokers start");
    let mut trouble = Trouble::start(cluster);
    thread::sleep(Duration::from_secs(2));

    for node in 0..3 {
        trouble.cluster.stop(node, "TERM");
        trouble.cluster.restart(node).expect("the broker restarts with its data");
    }
    trouble.goes_on("after every leader has moved");

    trouble.cluster.stop(1, "KILL");
    trouble.goes_on("with a broker away");
    trouble.cluster.restart(1).expect("the broker restarts with its data");
    trouble.goes_on("with that broker back");

    trouble.cluster.signal(2, "STOP");
    trouble.goes_on("with a broker that hangs");
    trouble.cluster.signal(2, "CONT");

    (0..3).for_each(|node| trouble.cluster.stop(node, "KILL"));
    thread::sleep(AWAY);
    trouble.cluster.restart_all().expect("the brokers restart with their data");
    trouble.goes_on("after all brokers were away");

    let told = trouble.logged_commit_failures();
    // Whether a commit is in flight when the brokers hang is random.
    for _ in 0..3 {
        (0..3).for_each(|node| trouble.cluster.signal(node, "STOP"));
        thread::sleep(HANGING);
        (0..3).for_each(|node| trouble.cluster.signal(node, "CONT"));
        trouble.goes_on("after all brokers hung");
        if trouble.logged_commit_failures() > told {
            break;
        }
    }
    assert!(trouble.logged_commit_failures() > told, "a commit without an answer is logged");

    trouble.end();
}

struct Trouble {
    cluster: Cluster,
    broker: &'static Broker,
    site: Arc<Site>,
    heard: Arc<Mutex<Heard>>,
    instances: [Instance; 2],
    /// Number of acknowledged row changes.
    written: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
    feeding: thread::JoinHandle<()>,
    _receiver: Receiver,
}

/// The orders that each path has accepted, and the number of repeated deliveries.
#[derive(Default)]
struct Heard {
    sound: HashSet<usize>,
    failing: HashSet<usize>,
    repeated: usize,
}

impl Trouble {
    /// Defines two webhooks. One endpoint works, and half of the attempts at the other fail, so that retry topics are
    /// used. The failures are random. Some calls fail a dozen times in a row, so the schedule is longer than that.
    fn start(cluster: Cluster) -> Self {
        let broker = cluster.site_broker();
        let mut site = Site::on(broker, OUTHOOK, 6);
        site.set("kafka.session_timeout", "6s");
        site.set("delivery.retry", vec!["200ms"; 60]);
        let heard = Arc::<Mutex<Heard>>::default();
        let observing = heard.clone();
        let receiver = Receiver::observed(move |request| {
            if request.answer.is_success() {
                let mut heard = observing.lock().expect("no holder panics");
                let order = number(&request.body);
                let taken = if request.path == "/sound" { &mut heard.sound } else { &mut heard.failing };
                let new = taken.insert(order);
                heard.repeated += usize::from(!new);
            }
        });
        // Pseudorandom: with every second attempt, the same call could fail each time, because retries are periodic.
        let chance = |n: u32| BuildHasherDefault::<DefaultHasher>::new().hash_one(n);
        let answer = |n: u32| if chance(n).is_multiple_of(2) { 500 } else { 204 };
        receiver.answer_first("/failing", (0..20_000).map(answer).map(Answer::Status));
        let events: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];
        let (sound, failing) = ([receiver.url("/sound")], [receiver.url("/failing")]);
        site.apply(&webhooks(&[("sound", &sound, events), ("failing", &failing, events)]));
        let instances = [site.start(), site.start()];
        let (site, written, done) = (Arc::new(site), Arc::default(), Arc::default());
        let feeding = Self::feed(&site, &written, &done);
        Self { cluster, broker, site, heard, instances, written, done, feeding, _receiver: receiver }
    }

    /// Writes orders until `done` is set, also while no broker accepts them.
    fn feed(site: &Arc<Site>, written: &Arc<AtomicUsize>, done: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
        let (site, written, done) = (site.clone(), written.clone(), done.clone());
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                let first = written.load(Ordering::Acquire);
                site.produce((first..first + 20).map(order));
                written.store(first + 20, Ordering::Release);
                thread::sleep(PAUSE);
            }
        })
    }

    /// Waits until row changes are written again, and until all orders so far have arrived.
    #[track_caller]
    fn goes_on(&self, when: &str) {
        let before = self.written.load(Ordering::Acquire);
        let more = eventually(&format!("row changes are written {when}"), RECOVERY, || {
            assert!(!self.feeding.is_finished(), "a row change was not acknowledged {when}");
            Some(self.written.load(Ordering::Acquire)).filter(|written| *written >= before + 40)
        });
        let all_of = |what: &str, taken: fn(&Heard) -> &HashSet<usize>| {
            eventually(&format!("{more} orders {what} {when}"), RECOVERY, || {
                let heard = self.heard.lock().expect("no holder panics");
                (0..more).all(|order| taken(&heard).contains(&order)).then_some(())
            });
        };
        all_of("arrive", |heard| &heard.sound);
        all_of("arrive where half of the attempts fail", |heard| &heard.failing);
        self.committed_is_settled();
        println!("{more} orders arrived {when}");
    }

    /// Checks that each committed order was accepted, or waits in a retry topic.
    fn committed_is_settled(&self) {
        let committed = self.broker.committed(&self.site.group, &self.site.changes);
        let heard = self.heard.lock().expect("no holder panics").sound.clone();
        let waiting: HashSet<usize> = ["200ms", "1s"]
            .iter()
            .flat_map(|tier| self.broker.read_all(&format!("{}.{tier}", self.site.retries)))
            .map(|kept| number(kept.value.as_deref().expect("a stored call has its body")))
            .collect();
        let behind = |record: &&Stored| committed[record.partition as usize].is_some_and(|end| record.offset < end);
        let records = self.broker.read_all(&self.site.changes);
        for record in records.iter().filter(behind) {
            let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            let order: usize = key.and_then(|key| key.parse().ok()).expect("an order's key is its number");
            assert!(heard.contains(&order) || waiting.contains(&order), "{order} is committed and not settled");
        }
    }

    /// Number of log lines about unanswered commits.
    fn logged_commit_failures(&self) -> usize {
        let told = |instance: &Instance| instance.said().matches("a commit has no answer yet").count();
        self.instances.iter().map(told).sum()
    }

    fn end(self) {
        self.done.store(true, Ordering::Release);
        self.feeding.join().expect("every row change is acknowledged");
        self.site.await_settled(RECOVERY);
        let written = self.written.load(Ordering::Acquire);
        eventually("every order arrives", RECOVERY, || {
            let heard = self.heard.lock().expect("no holder panics");
            (heard.sound.len() == written && heard.failing.len() == written).then_some(())
        });
        for instance in self.instances {
            let ended = instance.stop();
            assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        }
        assert_eq!(self.broker.read_all(&self.site.dead_letters).len(), 0);
        println!(
            "{written} orders to two endpoints; {} repeated deliveries",
            self.heard.lock().expect("no holder panics").repeated
        );
    }
}

/// The number of the order in a message's body.
fn number(body: &[u8]) -> usize {
    let message: serde_json::Value = serde_json::from_slice(body).expect("a message's body is JSON");
    message["data"][0]["id"].as_u64().expect("an order has a number") as usize
}
