//! Two instances that catch up with many row changes, one of them killed with -9 again and again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::{Broker, Receiver, SECRET, Site, order, webhooks};

use crate::crashes::Crash;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::{OUTHOOK, from_environment, seed, turn};

/// How many row changes, if this is set.
const CHANGES: &str = "OUTHOOK_CONSERVATION_CHANGES";

const PATHS: [&str; 2] = ["/one", "/two"];
const KILLS: usize = 4;

/// What has settled is committed every quarter of a second; the rest is for a machine that is busy.
const NOT_COMMITTED: Duration = Duration::from_secs(1);

#[test]
fn nothing_is_lost_when_an_instance_is_killed_again_and_again() {
    let _turn = turn();
    if !Broker::get().is_kafka_for("conservation under kill -9 with two instances") {
        return;
    }
    let changes: usize = from_environment(CHANGES).unwrap_or(100_000);
    println!("{changes} changes");
    let mut random = Random(seed());

    let oracle = Arc::new(Mutex::new(Oracle::default()));
    let receiver = {
        let oracle = oracle.clone();
        Receiver::observed(move |request| oracle.lock().expect("the oracle does not panic").arrived(request))
    };
    let mut site = Site::new(OUTHOOK, 8);
    site.set("kafka.session_timeout", "6s");
    let (one, two) = ([receiver.url(PATHS[0])], [receiver.url(PATHS[1])]);
    let events: &[&str] = &["EventType: table.recordInsert, ObjectName: orders"];
    site.apply(&webhooks(&[("one", &one, events), ("two", &two, events)]));
    for path in PATHS {
        receiver.verify(path, SECRET);
        oracle.lock().expect("the oracle does not panic").expect(path, "orders");
    }

    let started = Instant::now();
    let survivor = site.start();
    let mut victim = site.start();
    for kill in 0..KILLS {
        let (from, to) = (changes * kill / KILLS, changes * (kill + 1) / KILLS);
        let arrived = || oracle.lock().expect("the oracle does not panic").delivered();
        // Somewhere in the middle of this part's messages.
        let moment = arrived() + (to - from) * PATHS.len() / 8 * (1 + random.below(4)) / 2;
        site.produce((from..to).map(order));
        harness::eventually("the kill's moment comes", Duration::from_secs(120), || {
            (arrived() >= moment).then_some(())
        });
        let killed = Instant::now();
        oracle.lock().expect("the oracle does not panic").crashed(Crash {
            from: killed,
            to: killed,
            not_committed: NOT_COMMITTED,
        });
        victim.kill();
        println!("kill {} at {} messages, {:.1?}", kill + 1, arrived(), started.elapsed());
        victim = site.start();
    }
    site.await_settled(Duration::from_secs(300));
    // What found no room for a moment waits in a retry topic, which is no loss.
    harness::eventually("what waits in retry topics arrives", Duration::from_secs(60), || {
        (oracle.lock().expect("the oracle does not panic").delivered() >= changes * PATHS.len()).then_some(())
    });
    let seconds = started.elapsed().as_secs_f64();
    for ended in [survivor.stop(), victim.stop()] {
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    }
    let expected = (0..changes).flat_map(|change| PATHS.map(|path| (path, change)));
    let verdict = oracle.lock().expect("the oracle does not panic").verdict(expected);
    println!("{verdict:?} in {seconds:.1} s");
    verdict.assert_clean();
    verdict.assert_explained();
    let undone = oracle.lock().expect("the oracle does not panic").undone();
    println!("{undone} messages were delivered shortly before a kill");
    assert!(verdict.duplicates <= undone, "more came again than may not have been committed: {verdict:?}");
    assert_eq!(Broker::get().read_all(&site.dead_letters).len(), 0);
}
