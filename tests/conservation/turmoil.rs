//! Everything at once: row changes all the time, endpoints in every kind of trouble, instances killed and stopped,
//! brokers killed and restarted, definitions changed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Answer, Broker, Cluster, Instance, Receiver, SECRET, Site, eventually};

use crate::definitions::Definitions;
use crate::oracle::{Oracle, Verdict};
use crate::random::Random;
use crate::{OUTHOOK, from_environment, seed, turn};

/// For how many seconds row changes come and steps are taken, if this is set.
const SECONDS: &str = "OUTHOOK_CONSERVATION_SECONDS";

/// Row changes that are written at once, and how long until the next are.
const BATCH: usize = 150;
const PAUSE: Duration = Duration::from_millis(100);

/// Longer than an attempt may take, so none that was under way before can arrive after.
const ATTEMPT: Duration = Duration::from_millis(2500);

/// Where webhooks that stay send, and the rows of which table. The first endpoint always answers well, the second
/// never; the moods of the others change. The last one wants row order.
const RESIDENTS: [(&str, &str); 7] = [
    ("/well", "orders"),
    ("/never", "orders"),
    ("/moody-1", "orders"),
    ("/moody-2", "orders"),
    ("/moody-3", "returns"),
    ("/moody-4", "returns"),
    ("/ordered", "returns"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Mood,
    Kill,
    Stop,
    Broker,
    Guest,
    Farewell,
}

#[test]
fn every_call_is_delivered_or_a_dead_letter_whatever_is_killed() {
    use Step::{Broker, Farewell, Guest, Kill, Mood, Stop};
    let steps = [Mood, Mood, Mood, Mood, Kill, Kill, Stop, Broker, Broker, Guest, Farewell];
    let verdict = Turmoil::run(3, 60, &steps);
    if let Some(verdict) = verdict {
        verdict.assert_clean();
    }
}

#[test]
fn without_kills_nothing_comes_twice() {
    use Step::{Farewell, Guest, Mood, Stop};
    let verdict = Turmoil::run(2, 25, &[Mood, Mood, Mood, Mood, Mood, Stop, Guest, Farewell]);
    if let Some(verdict) = verdict {
        verdict.assert_clean();
        assert!(verdict.duplicates * 1000 <= verdict.delivered, "more than 0.1 % came twice: {verdict:?}");
    }
}

/// What is running, and what is being done to it.
struct Turmoil {
    random: Random,
    cluster: Cluster,
    broker: &'static Broker,
    site: Arc<Site>,
    receiver: Receiver,
    oracle: Arc<Mutex<Oracle>>,
    definitions: Definitions,
    instances: Vec<Instance>,
    /// The broker that is away.
    away: Option<usize>,
    /// The number of the next row change.
    next: Arc<AtomicUsize>,
    /// Guests that have not left, and the first row change that each must get.
    guests: Vec<(String, &'static str, usize)>,
    started: Instant,
}

impl Turmoil {
    /// Takes steps for the given seconds; None where there is no real Kafka.
    fn run(instances: usize, seconds: u64, steps: &[Step]) -> Option<Verdict> {
        let _turn = turn();
        if !Broker::get().is_kafka_for("conservation in a turmoil") {
            return None;
        }
        let seconds = from_environment(SECONDS).unwrap_or(seconds);
        let mut turmoil = Self::start(instances, Random(seed()));
        let done = Arc::new(AtomicBool::new(false));
        let feeding = turmoil.feed(done.clone());
        let mut deck = Vec::new();
        while turmoil.started.elapsed() < Duration::from_secs(seconds) {
            if deck.is_empty() {
                deck = steps.to_vec();
                turmoil.random.shuffle(&mut deck);
            }
            let step = deck.pop().expect("just filled");
            turmoil.step(step);
            thread::sleep(Duration::from_millis(200 + turmoil.random.below(1000) as u64));
        }
        done.store(true, Ordering::Release);
        feeding.join().expect("every row change is acknowledged");
        Some(turmoil.end())
    }

    fn start(instances: usize, random: Random) -> Self {
        let cluster = Cluster::start(3).expect("three brokers start where one does");
        let broker = cluster.site_broker();
        let site = site(broker);
        let oracle = Arc::<Mutex<Oracle>>::default();
        let observing = oracle.clone();
        let receiver =
            Receiver::observed(move |request| observing.lock().expect("the oracle does not panic").arrived(request));
        for (path, table) in RESIDENTS {
            receiver.verify(path, SECRET);
            oracle.lock().expect("the oracle does not panic").expect(path, table);
        }
        oracle.lock().expect("the oracle does not panic").expect_order("/ordered", row_of);
        receiver.answer("/never", Answer::Status(422));
        let definitions = Definitions::new(&site, &receiver, &RESIDENTS);
        let instances = (0..instances).map(|_| site.start()).collect();
        let started = Instant::now();
        Self {
            random,
            cluster,
            broker,
            site: Arc::new(site),
            receiver,
            oracle,
            definitions,
            instances,
            away: None,
            next: Arc::default(),
            guests: Vec::new(),
            started,
        }
    }

    /// Writes row changes until it is told that this is done.
    fn feed(&self, done: Arc<AtomicBool>) -> thread::JoinHandle<()> {
        let (site, next) = (self.site.clone(), self.next.clone());
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                // They are counted before they are written: what is defined by now, they must all go to.
                let first = next.fetch_add(BATCH, Ordering::AcqRel);
                site.produce((first..first + BATCH).map(change));
                thread::sleep(PAUSE);
            }
        })
    }

    fn step(&mut self, step: Step) {
        let told = match step {
            Step::Mood => self.change_a_mood(),
            Step::Kill => {
                let place = self.random.below(self.instances.len());
                self.instances.swap_remove(place).kill();
                self.start_anew();
                "killed with -9".to_owned()
            }
            Step::Stop => {
                let place = self.random.below(self.instances.len());
                let ended = self.instances.swap_remove(place).stop();
                self.start_anew();
                format!("stopped: {:?}", ended.code)
            }
            Step::Broker => self.break_or_mend_a_broker(),
            Step::Guest => self.welcome_a_guest(),
            Step::Farewell => self.dismiss_a_guest(),
        };
        println!("{:6.1?} {step:?}: {told}", self.started.elapsed());
    }

    /// Starts an instance, again and again if Kafka does not answer it in time, as who runs it would.
    fn start_anew(&mut self) {
        let instance = eventually("an instance starts", Duration::from_secs(180), || {
            let mut instance = self.site.launch();
            let ready = instance.is_ready_before_it_ends();
            if !ready {
                println!("a start failed: {}", instance.said());
            }
            ready.then_some(instance)
        });
        self.instances.push(instance);
    }

    fn change_a_mood(&mut self) -> String {
        let moods = [
            Answer::Status(204),
            Answer::Status(500),
            Answer::Status(503),
            Answer::With(429, "retry-after", "1".to_owned()),
            Answer::Hang,
            Answer::Close,
            Answer::Garbage,
            Answer::Late(Duration::from_millis(150), 200),
        ];
        let mood = self.random.pick(&moods);
        let (path, _) = RESIDENTS[2 + self.random.below(RESIDENTS.len() - 2)];
        self.receiver.answer(path, mood.clone());
        format!("{path} answers {mood:?}")
    }

    /// At most one broker is away at a time: two of three are a majority.
    fn break_or_mend_a_broker(&mut self) -> String {
        if let Some(node) = self.away.take() {
            self.cluster.restart(node).expect("a broker starts again on its data");
            return format!("{node} is back");
        }
        let (node, signal) = (self.random.below(3), self.random.pick(&["KILL", "TERM"]));
        self.cluster.stop(node, signal);
        self.away = Some(node);
        format!("{node} is away by SIG{signal}")
    }

    fn welcome_a_guest(&mut self) -> String {
        let table = self.random.pick(&["orders", "returns"]);
        let coming = self.definitions.next_path();
        self.judge().expect(&coming, table);
        let path = self.definitions.welcome(&self.site, &self.receiver, table, self.instances.iter());
        self.guests.push((path.clone(), table, self.next.load(Ordering::Acquire)));
        format!("{path} of {table}")
    }

    fn dismiss_a_guest(&mut self) -> String {
        let delete = self.random.below(2) == 0;
        let Some(path) = self.definitions.dismiss(&self.site, delete, self.instances.iter()) else {
            return "nobody is there".to_owned();
        };
        thread::sleep(ATTEMPT);
        self.judge().silence(&path);
        self.guests.retain(|(guest, ..)| *guest != path);
        let had = self.judge().delivered_to(&path);
        format!("{path} is {} after {had} messages", if delete { "deleted" } else { "disabled" })
    }

    /// Lets everything become well, waits until nothing is left to do, and judges.
    fn end(mut self) -> Verdict {
        if self.away.is_some() {
            self.break_or_mend_a_broker();
        }
        RESIDENTS[2..].iter().for_each(|(path, _)| self.receiver.answer(path, Answer::Status(204)));
        let changes = self.next.load(Ordering::Acquire);
        println!("{:6.1?} {changes} row changes are written, and all is well again", self.started.elapsed());
        self.site.await_settled(Duration::from_secs(120));
        eventually("every call is delivered or a dead letter", Duration::from_secs(180), || {
            thread::sleep(Duration::from_secs(1));
            (self.verdict(changes).lost == 0).then_some(())
        });
        for instance in std::mem::take(&mut self.instances) {
            let ended = instance.stop();
            assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        }
        let verdict = self.verdict(changes);
        println!("{:6.1?} {verdict:?}", self.started.elapsed());
        verdict
    }

    fn verdict(&self, changes: usize) -> Verdict {
        let letters = self.broker.read_all(&self.site.dead_letters);
        let residents = RESIDENTS.iter().map(|(path, table)| (path.to_owned(), *table, 0));
        let guests = self.guests.iter().map(|(path, table, from)| (path.as_str(), *table, *from));
        let expected = residents.chain(guests).flat_map(|(path, table, from)| {
            (from..changes)
                .filter(move |change| table_of(*change) == table)
                .map(move |change| (change, path.to_owned()))
        });
        self.judge().verdict(expected, &letters)
    }

    fn judge(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().expect("the oracle does not panic")
    }
}

/// Small queues and short waits, so that everything is met within a minute.
fn site(broker: &'static Broker) -> Site {
    let mut site = Site::on(broker, OUTHOOK, 6);
    site.set("kafka.session_timeout", "6s");
    site.set("drain.deadline", "8s");
    site.set("retries.tiers", vec!["200ms", "1s", "3s"]);
    site.set("delivery.retry", vec!["0s", "300ms", "1s", "2s", "3s", "3s"]);
    site.set("delivery.connect_timeout", "1s");
    site.set("delivery.first_byte_timeout", "1500ms");
    site.set("delivery.timeout", "2s");
    site.set("delivery.breaker_pause", "2s");
    site.set("delivery.queue_calls", 64);
    site.set("delivery.order_patience", "5s");
    site
}

fn table_of(change: usize) -> &'static str {
    if change % 3 == 2 { "returns" } else { "orders" }
}

/// The row that a change is of: there are 100, and each has changes of one table alone.
fn row_of(change: usize) -> usize {
    change % 300
}

/// An insert, as key and value of a record.
fn change(number: usize) -> (String, String) {
    let table = table_of(number);
    let row = format!(r#"{{"id":{number},"item":"Café au lait \"grande\"","total":12.50,"note":null}}"#);
    (row_of(number).to_string(), format!(r#"{{"id":"{number}","table":"{table}","operation":"insert","after":{row}}}"#))
}
