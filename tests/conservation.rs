//! What goes in comes out: row changes on real Kafka, two instances, one of them killed with -9 again and
//! again. A receiver judges: nothing lost, and the same message id whenever a message comes again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use harness::{Broker, Receiver, Request, SECRET, Signature, Site, order, webhooks};

/// How many row changes, if this is set.
const CHANGES: &str = "OUTHOOK_CONSERVATION_CHANGES";
/// The seed of the times of the kills, if this is set.
const SEED: &str = "OUTHOOK_CONSERVATION_SEED";

const PATHS: [&str; 2] = ["/one", "/two"];
const KILLS: usize = 4;

#[test]
fn nothing_is_lost_when_an_instance_is_killed_again_and_again() {
    if !Broker::get().is_kafka_for("conservation under kill -9 with two instances") {
        return;
    }
    let changes: usize = from_environment(CHANGES).unwrap_or(100_000);
    let seed = from_environment(SEED).unwrap_or_else(now_as_seed);
    println!("{changes} changes; seed {seed} ({SEED}={seed} kills at the same moments)");

    let oracle = Arc::new(Mutex::new(Oracle::default()));
    let receiver = {
        let oracle = oracle.clone();
        Receiver::observed(move |request| oracle.lock().expect("the oracle does not panic").arrived(request))
    };
    let mut site = Site::new(env!("CARGO_BIN_EXE_outhook"), 8);
    site.set("kafka.session_timeout", "6s");
    let (one, two) = ([receiver.url(PATHS[0])], [receiver.url(PATHS[1])]);
    let events: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];
    site.apply(&webhooks(&[("one", &one, events), ("two", &two, events)]));
    PATHS.iter().for_each(|path| receiver.verify(path, SECRET));

    let started = Instant::now();
    let survivor = site.start();
    let mut victim = site.start();
    let mut random = Random(seed);
    for kill in 0..KILLS {
        let (from, to) = (changes * kill / KILLS, changes * (kill + 1) / KILLS);
        let arrived = || oracle.lock().expect("the oracle does not panic").unique();
        // Somewhere in the middle of this part's messages.
        let moment = arrived() + (to - from) * PATHS.len() / 8 * (1 + random.below(4)) / 2;
        site.produce((from..to).map(order));
        harness::eventually("the kill's moment comes", Duration::from_secs(120), || {
            (arrived() >= moment).then_some(())
        });
        victim.kill();
        println!("kill {} at {} messages, {:.1?}", kill + 1, arrived(), started.elapsed());
        victim = site.start();
    }
    site.await_settled(Duration::from_secs(300));
    let seconds = started.elapsed().as_secs_f64();

    for ended in [survivor.stop(), victim.stop()] {
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    }
    let verdict = oracle.lock().expect("the oracle does not panic").verdict(changes);
    println!("{verdict:?} in {seconds:.1} s");
    assert_eq!((verdict.lost, verdict.renamed, verdict.badly_signed), (0, 0, 0));
    assert_eq!(Broker::get().read_all(&site.dead_letters).len(), 0);
}

/// Judges what arrived by what was sent.
#[derive(Default)]
struct Oracle {
    /// The message id of each change and path.
    ids: HashMap<(usize, String), String>,
    duplicates: usize,
    renamed: usize,
    badly_signed: usize,
}

/// How many messages of each kind.
#[derive(Debug)]
#[expect(dead_code, reason = "printed whole by Debug")]
struct Verdict {
    sent: usize,
    unique: usize,
    duplicates: usize,
    lost: usize,
    /// Came again under another message id.
    renamed: usize,
    badly_signed: usize,
}

impl Oracle {
    fn arrived(&mut self, request: &Request) {
        let message: serde_json::Value = serde_json::from_slice(&request.body).expect("a message's body is JSON");
        let change = message["data"][0]["id"].as_u64().expect("an order has a number") as usize;
        self.badly_signed += usize::from(request.signature != Signature::Good);
        match self.ids.insert((change, request.path.clone()), request.message_id.clone()) {
            None => {}
            Some(before) => {
                self.duplicates += 1;
                self.renamed += usize::from(before != request.message_id);
            }
        }
    }

    fn unique(&self) -> usize {
        self.ids.len()
    }

    fn verdict(&self, changes: usize) -> Verdict {
        let expected = (0..changes).flat_map(|change| PATHS.map(|path| (change, path.to_owned())));
        Verdict {
            sent: changes * PATHS.len(),
            unique: self.unique(),
            duplicates: self.duplicates,
            lost: expected.filter(|message| !self.ids.contains_key(message)).count(),
            renamed: self.renamed,
            badly_signed: self.badly_signed,
        }
    }
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn now_as_seed() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_nanos() as u64
}

/// SplitMix64: enough for the moments of kills, and the same for the same seed everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % limit
    }
}
