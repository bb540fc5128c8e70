//! All disturbances in one test: row changes are written throughout, endpoints fail in every way, instances are
//! killed and stopped, brokers are killed and restarted, definitions change.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use harness::{Answer, Broker, Cluster, Instance, Position, Receiver, SECRET, Site, eventually};

use crate::crashes::Crash;
use crate::definitions::Definitions;
use crate::feed::Feed;
use crate::oracle::{Call, Oracle};
use crate::permanent_webhooks::{NEVER, RESIDENTS};
use crate::verdict::Verdict;
use crate::{OUTHOOK, from_environment, run_group, seed, turn};

/// Environment variable with the duration of the steps in seconds. Optional.
const SECONDS: &str = "OUTHOOK_CONSERVATION_SECONDS";

const SOME: &str = "there is something to choose from";

/// Pause between batches of row changes.
const PAUSE: Duration = Duration::from_millis(100);

/// Longer than an attempt may take: an attempt that was under way before can't arrive after it.
const ATTEMPT: Duration = Duration::from_millis(2500);

/// How long commits may wait: with the classic protocol until the group removes a killed member.
const NOT_COMMITTED: Duration = Duration::from_secs(6);

/// After a broker is back, the group may still remove a member and assign its partitions to others for this time: the
/// session timeout of 6 s, and some slack.
const RECOVERY: Duration = Duration::from_secs(10);

/// Timeout for the remaining work at the end. The duration of the run is added to it, because working off the backlog
/// takes no longer than it took to build up.
const PATIENCE: Duration = Duration::from_secs(120);

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
fn every_call_is_delivered_or_dead_lettered_despite_kills() {
    use Step::{Broker, Farewell, Guest, Kill, Mood, Stop};
    let steps = [Mood, Mood, Mood, Mood, Kill, Kill, Stop, Broker, Broker, Guest, Farewell];
    let verdict = Chaos::run(3, 60, &steps);
    verdict.assert_clean();
    verdict.assert_explained();
}

#[test]
fn without_kills_almost_no_message_is_repeated() {
    use Step::{Farewell, Guest, Mood, Stop};
    let verdict = Chaos::run(2, 25, &[Mood, Mood, Mood, Mood, Mood, Stop, Guest, Farewell]);
    verdict.assert_clean();
    assert!(verdict.duplicates * 1000 <= verdict.delivered, "more than 0.1 % were delivered twice: {verdict:?}");
}

/// The running parts, and the state of the disturbances.
struct Chaos {
    random: Rng,
    cluster: Cluster,
    broker: &'static Broker,
    site: Arc<Site>,
    receiver: Receiver,
    oracle: Arc<Mutex<Oracle>>,
    definitions: Definitions,
    instances: Vec<Instance>,
    /// The stopped broker, and since when.
    away: Option<(usize, Instant)>,
    feed: Arc<Feed>,
    /// Guests that are still defined, with the number of row changes at the time when each was added.
    guests: Vec<(String, &'static str, usize)>,
    /// How far the oracle has read the dead letters.
    letters: RefCell<Position>,
    started: Instant,
}

impl Chaos {
    /// Takes steps for this number of seconds.
    fn run(instances: usize, seconds: u64, steps: &[Step]) -> Verdict {
        let _turn = turn();
        let seconds = from_environment(SECONDS).unwrap_or(seconds);
        let mut chaos = Self::start(instances, Rng::with_seed(seed()));
        let done = Arc::new(AtomicBool::new(false));
        let feeding = chaos.feed(done.clone());
        let mut deck = Vec::new();
        while chaos.started.elapsed() < Duration::from_secs(seconds) {
            if deck.is_empty() {
                chaos.read_letters();
                chaos.tell();
                deck = steps.to_vec();
                chaos.random.shuffle(&mut deck);
            }
            let step = deck.pop().expect("just filled");
            chaos.step(step);
            thread::sleep(Duration::from_millis(200 + chaos.random.u64(..1000)));
        }
        done.store(true, Ordering::Release);
        feeding.join().expect("every row change is acknowledged");
        chaos.end()
    }

    fn start(instances: usize, random: Rng) -> Self {
        let cluster = Cluster::start(3).expect("three brokers start where one does");
        let broker = cluster.site_broker();
        let site = site(broker);
        let oracle = Arc::<Mutex<Oracle>>::default();
        let observing = oracle.clone();
        let receiver =
            Receiver::observed(move |request| observing.lock().expect("the oracle does not panic").arrived(request));
        for resident in &RESIDENTS {
            receiver.verify(resident.path, SECRET);
            oracle.lock().expect("the oracle does not panic").expect_resident(resident);
        }
        receiver.answer(NEVER, Answer::Status(422));
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
            feed: Arc::default(),
            guests: Vec::new(),
            letters: RefCell::default(),
            started,
        }
    }

    /// Writes row changes until `done` is set.
    fn feed(&self, done: Arc<AtomicBool>) -> thread::JoinHandle<()> {
        let (site, feed, oracle) = (self.site.clone(), self.feed.clone(), self.oracle.clone());
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                let changes = feed.next(&oracle.lock().expect("the oracle does not panic"));
                site.produce(changes);
                thread::sleep(PAUSE);
            }
        })
    }

    fn step(&mut self, step: Step) {
        let told = match step {
            Step::Mood => self.change_an_endpoint_behaviour(),
            Step::Kill => {
                let place = self.random.usize(..self.instances.len());
                self.judge().crashed(Crash::now(NOT_COMMITTED));
                self.instances.swap_remove(place).kill();
                self.start_instance_with_retries();
                "killed with -9".to_owned()
            }
            Step::Stop => {
                let place = self.random.usize(..self.instances.len());
                let from = Instant::now();
                let ended = self.instances.swap_remove(place).stop();
                if ended.code != Some(0) {
                    self.judge().crashed(Crash { from, to: Instant::now(), not_committed: NOT_COMMITTED });
                }
                self.start_instance_with_retries();
                format!("stopped: {:?}", ended.code)
            }
            Step::Broker => self.kill_or_restart_a_broker(),
            Step::Guest => self.add_a_temporary_webhook(),
            Step::Farewell => self.remove_a_temporary_webhook(),
        };
        println!("{:6.1?} {step:?}: {told}", self.started.elapsed());
    }

    /// Starts an instance. Repeats that if Kafka does not answer it in time, as an operator would.
    fn start_instance_with_retries(&mut self) {
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

    fn change_an_endpoint_behaviour(&mut self) -> String {
        let moods = [
            Answer::Status(204),
            Answer::Status(500),
            Answer::Status(503),
            Answer::With(429, "retry-after", "1".to_owned()),
            Answer::Hang,
            Answer::Close,
            Answer::Garbage,
            Answer::Late(Duration::from_millis(150), 200),
            Answer::Late(Duration::from_millis(900), 200),
        ];
        let mood = self.random.choice(moods).expect(SOME);
        let moody: Vec<_> = moody().collect();
        let path = self.random.choice(moody).expect(SOME);
        self.receiver.answer(path, mood.clone());
        format!("{path} answers {mood:?}")
    }

    /// At most one broker is away at a time: the other two of three are a majority.
    fn kill_or_restart_a_broker(&mut self) -> String {
        if let Some((node, from)) = self.away.take() {
            self.cluster.restart(node).expect("a broker starts again on its data");
            self.judge().crashed(Crash { from, to: Instant::now() + RECOVERY, not_committed: NOT_COMMITTED });
            return format!("{node} is back");
        }
        let (node, signal) = (self.random.usize(..3), self.random.choice(["KILL", "TERM"]).expect(SOME));
        self.away = Some((node, Instant::now()));
        self.cluster.stop(node, signal);
        format!("{node} is away by SIG{signal}")
    }

    fn add_a_temporary_webhook(&mut self) -> String {
        let table = self.random.choice(["orders", "returns"]).expect(SOME);
        let coming = self.definitions.next_path();
        self.judge().expect(&coming, table);
        let path = self.definitions.welcome(&self.site, &self.receiver, table, self.instances.iter());
        self.guests.push((path.clone(), table, self.feed.count(table)));
        format!("{path} of {table}")
    }

    fn remove_a_temporary_webhook(&mut self) -> String {
        let delete = self.random.bool();
        let Some(path) = self.definitions.dismiss(&self.site, delete, self.instances.iter()) else {
            return "there is no guest".to_owned();
        };
        thread::sleep(ATTEMPT);
        self.judge().silence(&path);
        self.guests.retain(|(guest, ..)| *guest != path);
        let had = self.judge().delivered_to(&path);
        format!("{path} is {} after {had} messages", if delete { "deleted" } else { "disabled" })
    }

    /// Ends all disturbances, waits until nothing is left to do, and returns the verdict.
    fn end(mut self) -> Verdict {
        if self.away.is_some() {
            self.kill_or_restart_a_broker();
        }
        moody().for_each(|path| self.receiver.answer(path, Answer::Status(204)));
        println!("{:6.1?} all disturbances are over", self.started.elapsed());
        self.tell();
        let patience = PATIENCE + self.started.elapsed();
        self.site.await_settled(patience);
        println!("{:6.1?} every row change is settled", self.started.elapsed());
        self.await_calls(patience);
        for instance in std::mem::take(&mut self.instances) {
            let ended = instance.stop();
            assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        }
        self.read_letters();
        let overflowed: i64 = self.broker.ends(&self.site.overflow).iter().sum();
        println!("{:6.1?} {overflowed} calls went through the overflow log", self.started.elapsed());
        assert!(overflowed > 0, "no call waited for its endpoint");
        let verdict = self.judge().verdict(self.expected());
        println!("{:6.1?} {verdict:?}", self.started.elapsed());
        verdict.paces.iter().for_each(|pace| println!("       {pace}"));
        verdict
    }

    /// Waits until every call is delivered or dead-lettered. A settled call is not checked again.
    fn await_calls(&self, patience: Duration) {
        let mut waiting = self.expected().peekable();
        eventually("every call is delivered or a dead letter", patience, || {
            self.read_letters();
            while waiting.next_if(|call| self.judge().is_settled(*call)).is_some() {}
            let Some((path, change)) = waiting.peek() else { return Some(()) };
            println!("{:6.1?} {path} waits for {change}", self.started.elapsed());
            thread::sleep(Duration::from_secs(3));
            None
        });
    }

    /// Prints the current totals.
    fn tell(&self) {
        let judge = self.judge();
        let (delivered, dead) = (judge.delivered(), judge.dead_letters());
        let paces = judge.paces();
        drop(judge);
        let (at, changes) = (self.started.elapsed(), self.feed.total());
        println!("{at:6.1?} {changes} row changes, {delivered} delivered, {dead} dead letters");
        paces.iter().for_each(|pace| println!("       {pace}"));
    }

    /// Passes new dead letters to the oracle.
    fn read_letters(&self) {
        let see = |letter| self.judge().died(&letter);
        self.broker.read_on(&self.site.dead_letters, &mut self.letters.borrow_mut(), see);
    }

    /// All expected calls.
    fn expected(&self) -> impl Iterator<Item = Call<'_>> {
        let residents = RESIDENTS.iter().map(|resident| (resident.path, resident.table, 0));
        let guests = self.guests.iter().map(|(path, table, from)| (path.as_str(), *table, *from));
        residents
            .chain(guests)
            .flat_map(|(path, table, from)| self.feed.of_table(table, from).map(move |change| (path, change)))
    }

    fn judge(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().expect("the oracle does not panic")
    }
}

/// The paths of the endpoints whose answers change.
fn moody() -> impl Iterator<Item = &'static str> {
    RESIDENTS.iter().filter(|resident| resident.is_moody).map(|resident| resident.path)
}

/// Small queues and short waits, so that all cases occur within a minute.
fn site(broker: &'static Broker) -> Site {
    let mut site = Site::on(broker, OUTHOOK, 6);
    run_group(&mut site, "classic");
    site.set("kafka.max_uncommitted", 100);
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
