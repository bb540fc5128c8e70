//! Two instances that are repeatedly killed with SIGKILL.

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Broker, Instance, Receiver, SECRET, Site, order, webhooks};

use crate::crashes::Crash;
use crate::oracle::Oracle;
use crate::verdict::Verdict;
use crate::{OUTHOOK, from_environment, run_group, seed, turn};

/// Environment variable with the number of row changes. Optional.
const CHANGES: &str = "OUTHOOK_CONSERVATION_CHANGES";

const PATHS: [&str; 2] = ["/one", "/two"];
const KILLS: usize = 4;
const PARTITIONS: i32 = 8;

/// Settled records are committed every 250 ms. The rest is slack for a busy machine.
const NOT_COMMITTED: Duration = Duration::from_secs(1);

#[test]
fn repeated_kills_of_an_instance_lose_nothing() {
    let _turn = turn();
    let changes: usize = from_environment(CHANGES).unwrap_or(100_000);
    println!("{changes} changes");
    let mut random = fastrand::Rng::with_seed(seed());
    let judged = Judged::start("classic", |_| {});
    let survivor = judged.site.start();
    let mut victim = judged.site.start();
    for kill in 0..KILLS {
        let (from, to) = (changes * kill / KILLS, changes * (kill + 1) / KILLS);
        // A random moment in the middle of this part's messages.
        let moment = judged.delivered() + (to - from) * PATHS.len() / 8 * (1 + random.usize(..4)) / 2;
        judged.site.produce((from..to).map(order));
        harness::eventually("it is time for the kill", Duration::from_secs(120), || {
            (judged.delivered() >= moment).then_some(())
        });
        judged.kill(victim);
        victim = judged.site.start();
    }
    assert_all_was_in_flight(&judged.end(changes, [survivor, victim]));
}

/// The second instance keeps running while a new member joins the group, which has not noticed the first kill yet.
/// Then it is killed too. With the classic protocol its commits would wait for the join, and therefore until the
/// first instance's session ends.
#[test]
fn messages_repeated_after_two_close_kills_were_in_flight() {
    let _turn = turn();
    let judged = Judged::start("consumer", |_| {});
    let (changes, instances) = judged.kill_two_instances_shortly_after_each_other();
    assert_all_was_in_flight(&judged.end(changes, instances));
}

/// With the classic protocol commits wait in this case, and the partitions pause. The number of repeated deliveries
/// is therefore limited here too.
#[test]
fn repeats_after_a_kill_are_limited_by_max_uncommitted() {
    const UNCOMMITTED: usize = 5;
    const QUEUE: usize = 32;
    /// Calls without room in the queue go to two topics of two partitions each.
    const RETRY_PARTITIONS: usize = 4;
    let _turn = turn();
    let judged = Judged::start("classic", |site| {
        site.set("kafka.max_uncommitted", UNCOMMITTED as i64);
        site.set("delivery.queue_calls", QUEUE as i64);
    });
    let (changes, instances) = judged.kill_two_instances_shortly_after_each_other();
    let verdict = judged.end(changes, instances);
    // Per partition: the uncommitted records and the current one. Per path: the queue. The bound is generous: an
    // instance has half of the partitions, and its queues are full only while it catches up.
    let records = (PATHS.len() * PARTITIONS as usize + RETRY_PARTITIONS) * (UNCOMMITTED + 1);
    let after_a_kill = records + PATHS.len() * QUEUE;
    assert!(verdict.duplicates <= KILLS * after_a_kill, "more than {KILLS} times {after_a_kill}: {verdict:?}");
}

fn assert_all_was_in_flight(verdict: &Verdict) {
    verdict.assert_explained();
    assert!(
        verdict.duplicates <= verdict.uncertain,
        "more were delivered again than could be uncommitted: {verdict:?}"
    );
}

/// A site with two webhooks, and the oracle for their messages.
struct Judged {
    site: Site,
    /// Kept, because dropping it stops the server.
    _receiver: Receiver,
    oracle: Arc<Mutex<Oracle>>,
    started: Instant,
}

impl Judged {
    /// Starts a site whose group has this protocol, with further settings by `set`.
    fn start(protocol: &str, set: impl FnOnce(&mut Site)) -> Self {
        let oracle = Arc::<Mutex<Oracle>>::default();
        let observing = oracle.clone();
        let receiver =
            Receiver::observed(move |request| observing.lock().expect("the oracle does not panic").arrived(request));
        let mut site = Site::new(OUTHOOK, PARTITIONS);
        run_group(&mut site, protocol);
        set(&mut site);
        let (one, two) = ([receiver.url(PATHS[0])], [receiver.url(PATHS[1])]);
        let events: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];
        site.apply(&webhooks(&[("one", &one, events), ("two", &two, events)]));
        for path in PATHS {
            receiver.verify(path, SECRET);
            oracle.lock().expect("the oracle does not panic").expect(path, "orders");
        }
        Self { site, _receiver: receiver, oracle, started: Instant::now() }
    }

    fn judge(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().expect("the oracle does not panic")
    }

    fn delivered(&self) -> usize {
        self.judge().delivered()
    }

    fn kill(&self, victim: Instance) {
        self.judge().crashed(Crash::now(NOT_COMMITTED));
        victim.kill();
        println!("killed at {} messages, {:.1?}", self.delivered(), self.started.elapsed());
    }

    /// Kills both of two instances, 3 s apart. Each is replaced immediately. Then does the same once more. Row
    /// changes are written throughout. Returns their number, and the running instances.
    fn kill_two_instances_shortly_after_each_other(&self) -> (usize, [Instance; 2]) {
        /// Seconds before each pair of kills. The second is longer, because the group has to stabilize first.
        const CALM: [u64; KILLS / 2] = [3, 8];
        let mut instances = [self.site.start(), self.site.start()];
        let mut changes = 0;
        let mut feed_for = |seconds| {
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(seconds) {
                self.site.produce((changes..changes + 100).map(order));
                changes += 100;
                thread::sleep(Duration::from_millis(50));
            }
        };
        for calm in CALM {
            feed_for(calm);
            for instance in &mut instances {
                self.kill(std::mem::replace(instance, self.site.launch()));
                feed_for(3);
            }
            instances.iter_mut().for_each(Instance::await_ready);
        }
        (changes, instances)
    }

    /// Waits until the changes have arrived, and returns the verdict.
    fn end(self, changes: usize, instances: [Instance; 2]) -> Verdict {
        self.site.await_settled(Duration::from_secs(300));
        // A call that briefly found no room waits in a retry topic. That is not a loss.
        harness::eventually("the calls in retry topics arrive", Duration::from_secs(60), || {
            (self.delivered() >= changes * PATHS.len()).then_some(())
        });
        let seconds = self.started.elapsed().as_secs_f64();
        for ended in instances.map(Instance::stop) {
            assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        }
        let expected = (0..changes).flat_map(|change| PATHS.map(|path| (path, change)));
        let verdict = self.judge().verdict(expected);
        println!("{verdict:?} in {seconds:.1} s");
        verdict.assert_clean();
        assert_eq!(Broker::get().read_all(&self.site.dead_letters).len(), 0);
        verdict
    }
}
