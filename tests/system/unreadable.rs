//! Records that Kafka stores but its client can't read: their partition continues after them, and a dead letter
//! reports them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::{Broker, Cluster, Instance, Receiver, Site, Stored, eventually, inserted_orders, order};

use crate::OUTHOOK;

/// Timeout until an unreadable record is skipped: errors at one offset occur twice a second, and then the extent of
/// the unreadable records is determined.
const GIVEN_UP: Duration = Duration::from_secs(90);

/// Two of these are larger than `receive.message.max.bytes`, 100 MB.
const LARGE: usize = 51_000_000;

/// Class, offset, last offset and cause of each dead letter.
fn letters(broker: &Broker, site: &Site) -> Vec<(String, String, String, String)> {
    let told = |letter: &Stored| {
        let headers: HashMap<String, String> =
            letter.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let header = |name: &str| headers.get(&format!("outhook-{name}")).cloned().unwrap_or_default();
        assert_eq!(
            (header("kind"), header("topic"), header("partition")),
            ("record".into(), site.changes.clone(), "0".into())
        );
        (header("class"), header("offset"), header("last-offset"), header("cause"))
    };
    let mut letters: Vec<_> = broker.read_all(&site.dead_letters).iter().map(told).collect();
    letters.sort();
    letters
}

fn await_named(instance: &Instance, site: &Site, offset: i64) {
    let name = format!("records readable at {}/0 offset {offset}", site.changes);
    eventually(&format!("{name} are reported as missing"), GIVEN_UP, || {
        instance.readiness().contains(&name).then_some(())
    });
}

#[test]
fn batch_too_large_when_decompressed_does_not_stop_the_partition() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    site.produce([order(1)]);
    let zeros = vec![b'0'; LARGE];
    Broker::get().produce_in_one_batch(&site.changes, &[&zeros, b"{}", &zeros]);
    site.produce([order(2)]);

    let instance = site.start();
    await_named(&instance, &site, 1);
    receiver.wait("/orders", 2, GIVEN_UP);
    site.await_settled(GIVEN_UP);
    assert!(instance.is_ready(), "{}", instance.readiness());
    let letters_then = letters(Broker::get(), &site);
    let [(class, first, last, cause)] = letters_then.as_slice() else { panic!("one letter, not {letters_then:?}") };
    assert_eq!((class.as_str(), first.as_str(), last.as_str()), ("unreadable", "1", "3"));
    assert!(cause.contains("Decompression") && cause.contains("receive.message.max.bytes"), "{cause}");
    assert_eq!(instance.metric("outhook_records_unreadable_total"), 3.0);
    let said = instance.stop();
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);

    let instance = site.start();
    site.produce([order(3)]);
    receiver.wait("/orders", 3, GIVEN_UP);
    site.await_settled(GIVEN_UP);
    assert_eq!(letters(Broker::get(), &site), letters_then, "it is not read again");
    assert_eq!(instance.metric("outhook_records_unreadable_total"), 0.0);
}

#[test]
fn batches_corrupted_on_the_brokers_disk_do_not_stop_the_partition() {
    let mut cluster = Cluster::start(1).expect("the broker starts");
    let broker = cluster.site_broker();
    let (site, receiver) = (Site::on(broker, OUTHOOK, 1), Receiver::start());
    site.apply(&inserted_orders("shipping", &[receiver.url("/orders")]));
    // Each record is a separate batch.
    (1..=5).for_each(|number| {
        let (key, change) = order(number);
        site.produce([(key, change.replace("Café au lait", &"tea ".repeat(500)))]);
    });
    cluster.stop(0, "TERM");
    let file = cluster.log_file(0, &site.changes, 0);
    // Overwrites the compressed bytes of the first batch, and the codec of the second.
    overwrite(&file, 1, 61, &[0xff; 16]);
    overwrite(&file, 3, 22, &[7]);
    cluster.restart(0).expect("the broker restarts with its data");

    let instance = site.start();
    receiver.wait("/orders", 3, GIVEN_UP);
    site.await_settled(GIVEN_UP);
    let letters = letters(broker, &site);
    let places: Vec<_> = letters.iter().map(|(class, first, last, _)| [class.as_str(), first, last]).collect();
    assert_eq!(places, [["unreadable", "1", "1"], ["unreadable", "3", "3"]], "{letters:?}");
    assert_eq!(instance.metric("outhook_records_unreadable_total"), 2.0);
}

/// Changes bytes of the batch that begins with this offset.
fn overwrite(file: &Path, offset: i64, at: usize, bytes: &[u8]) {
    let mut log = fs::read(file).expect("the broker has written the partition's log");
    let mut start = 0;
    loop {
        let number = |from: usize, count: usize| {
            log[start + from..start + from + count].iter().fold(0i64, |number, byte| number << 8 | i64::from(*byte))
        };
        if number(0, 8) == offset {
            break;
        }
        start += 12 + number(8, 4) as usize;
    }
    log[start + at..start + at + bytes.len()].copy_from_slice(bytes);
    fs::write(file, log).expect("the log can be written");
}
