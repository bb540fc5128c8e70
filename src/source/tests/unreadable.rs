//! Batches that Kafka's client can't read, on a broker that stores them unchanged.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use super::waiting::{Gates, start as start_waiting, stop as stop_waiting};
use super::*;

/// How long a test waits for a result that should take seconds.
const SOON: Duration = Duration::from_secs(30);

/// A batch with this number of records, which no client would write.
#[derive(Clone)]
struct Batch {
    records: i32,
    codec: i16,
    body: Vec<u8>,
}

impl Batch {
    fn encoded(&self) -> Vec<u8> {
        let mut batch = Vec::new();
        batch.extend(0i64.to_be_bytes());
        batch.extend((49 + self.body.len() as i32).to_be_bytes());
        batch.extend(0i32.to_be_bytes());
        batch.push(2);
        // The CRC is checked only with `check.crcs`.
        batch.extend(0i32.to_be_bytes());
        batch.extend(self.codec.to_be_bytes());
        batch.extend((self.records - 1).to_be_bytes());
        batch.extend(1_767_323_045_900i64.to_be_bytes().repeat(2));
        batch.extend((-1i64).to_be_bytes());
        batch.extend((-1i16).to_be_bytes());
        batch.extend((-1i32).to_be_bytes());
        batch.extend(self.records.to_be_bytes());
        batch.extend(&self.body);
        batch
    }

    /// Appends the batch to a partition with a Produce request, version 3.
    fn write(&self, broker: &Broker, partition: i32) {
        let text = |text: &str| [&(text.len() as i16).to_be_bytes(), text.as_bytes()].concat();
        let batch = self.encoded();
        let mut request = Vec::new();
        request.extend([0i16.to_be_bytes(), 3i16.to_be_bytes()].concat());
        request.extend(1i32.to_be_bytes());
        request.extend(text("test"));
        request.extend((-1i16).to_be_bytes());
        request.extend(1i16.to_be_bytes());
        request.extend(5000i32.to_be_bytes());
        request.extend(1i32.to_be_bytes());
        request.extend(text(TOPIC));
        request.extend(1i32.to_be_bytes());
        request.extend(partition.to_be_bytes());
        request.extend((batch.len() as i32).to_be_bytes());
        request.extend(batch);
        let mut stream = TcpStream::connect(broker.bootstrap_servers()).unwrap();
        stream.write_all(&(request.len() as i32).to_be_bytes()).unwrap();
        stream.write_all(&request).unwrap();
        let mut size = [0; 4];
        stream.read_exact(&mut size).unwrap();
        let mut answer = vec![0; i32::from_be_bytes(size) as usize];
        stream.read_exact(&mut answer).unwrap();
        let code = 4 + 4 + 2 + TOPIC.len() + 4 + 4;
        assert_eq!(answer[code..code + 2], [0, 0], "the broker refuses the batch: {answer:?}");
    }
}

/// A batch that can't be decompressed.
fn broken(codec: i16, records: i32) -> Batch {
    Batch { records, codec, body: b"this is compressed by nothing".to_vec() }
}

async fn values(broker: &Broker, values: std::ops::Range<u32>) {
    produce(broker, values.map(|value| (0, value.to_string()))).await;
}

/// Errors repeat faster than by librdkafka's default.
fn hasty(broker: &Broker) -> Config {
    let mut config = config(broker);
    config.client.insert("fetch.error.backoff.ms".to_owned(), "50".to_owned());
    config
}

/// Waits until `end` is committed for partition 0, and returns the first and last offsets of its unreadable ranges.
async fn passed_over(broker: &Broker, seen: &Seen, end: i64) -> Vec<(i64, i64)> {
    let began = Instant::now();
    while committed(broker).await[0] != Some(end) {
        assert!(began.elapsed() < SOON, "{end} is not committed, but {:?}", committed(broker).await[0]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    of_partition(seen, 0)
}

fn of_partition(seen: &Seen, partition: i32) -> Vec<(i64, i64)> {
    let unreadable = seen.unreadable.lock().unwrap();
    let own = unreadable.iter().filter(|offsets| offsets.first.partition == partition);
    own.map(|offsets| (offsets.first.offset, offsets.last_offset)).collect()
}

async fn leave(source: Source<Recorders>) -> LeaveResult {
    let drained = source.drain().await;
    source.leave(drained).await
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_batches_of_every_codec_are_skipped() {
    let (broker, seen) = (broker(), Arc::<Seen>::default());
    // One partition each with gzip, Snappy, LZ4 and Zstandard.
    for (partition, codec) in (0..PARTITIONS).zip(1..) {
        let value = |number: i32| (partition, format!("{partition}-{number}"));
        produce(&broker, (0..3).map(value)).await;
        broken(codec, 3).write(&broker, partition);
        produce(&broker, (3..5).map(value)).await;
        // And two codecs that do not exist.
        broken(5, 1).write(&broker, partition);
        broken(7, 1).write(&broker, partition);
        produce(&broker, (5..7).map(value)).await;
    }
    let source = join_with(&seen, &hasty(&broker));
    let began = Instant::now();
    while committed(&broker).await != [Some(12); 4] {
        assert!(began.elapsed() < SOON, "not everything is committed: {:?}", committed(&broker).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for partition in 0..PARTITIONS {
        assert_eq!(of_partition(&seen, partition), [(3, 5), (8, 8), (9, 9)], "partition {partition}");
    }
    let all = (0..PARTITIONS).flat_map(|partition| (0..7).map(move |number| format!("{partition}-{number}")));
    assert_eq!(seen.values(), all.collect());
    assert_eq!(leave(source).await, LeaveResult { unsettled: 0, all_committed: true });
    for UnreadableRange { first: place, cause, .. } in &*seen.unreadable.lock().unwrap() {
        assert!(cause.contains(&format!("of message at {} of 29 bytes failed", place.offset)), "{place}: {cause}");
    }

    // The partition's next owner does not read them again.
    let later = Arc::<Seen>::default();
    let source = join_with(&later, &hasty(&broker));
    values(&broker, 7..8).await;
    assert_eq!(passed_over(&broker, &later, 13).await, []);
    leave(source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_batch_at_the_end_is_skipped_and_later_records_are_read() {
    let (broker, seen) = (broker(), Arc::<Seen>::default());
    broken(4, 2).write(&broker, 0);
    let source = join_with(&seen, &hasty(&broker));
    assert_eq!(passed_over(&broker, &seen, 2).await, [(0, 1)]);
    values(&broker, 0..1).await;
    assert_eq!(passed_over(&broker, &seen, 3).await, [(0, 1)]);
    leave(source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_offsets_are_named_and_committed_only_once_settled() {
    let (broker, seen) = (broker(), Arc::<Seen>::default());
    values(&broker, 0..1).await;
    broken(4, 2).write(&broker, 0);
    values(&broker, 1..2).await;
    seen.keep_unreadable.store(true, Ordering::SeqCst);
    let config = hasty(&broker);
    let source = join_with(&seen, &config);
    let began = Instant::now();
    while config.readiness.unmet_conditions() != ["records readable at changes/0 offset 1"] {
        assert!(began.elapsed() < SOON, "{:?}", config.readiness.unmet_conditions());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen.until(2).await;
    assert!(config.readiness.unmet_conditions().is_empty());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(committed(&broker).await[0], Some(1), "its dead letter is not acknowledged");
    seen.kept.lock().unwrap().drain(..).for_each(Receipt::settle);
    assert_eq!(passed_over(&broker, &seen, 4).await, [(1, 2)]);
    leave(source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_crc_is_reported_if_crcs_are_checked() {
    let (broker, seen) = (broker(), Arc::<Seen>::default());
    values(&broker, 0..2).await;
    broken(0, 2).write(&broker, 0);
    values(&broker, 2..4).await;
    let mut config = hasty(&broker);
    config.client.insert("check.crcs".to_owned(), "true".to_owned());
    let source = join_with(&seen, &config);
    assert_eq!(passed_over(&broker, &seen, 6).await, [(2, 3)]);
    assert_eq!(seen.values(), (0..4).map(|value| value.to_string()).collect());
    leave(source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_errors_count_only_if_they_concern_a_record() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_INVALID_MSG, RD_KAFKA_RESP_ERR_UNKNOWN};
    for (error, is_of_a_record) in [(RD_KAFKA_RESP_ERR_INVALID_MSG, true), (RD_KAFKA_RESP_ERR_UNKNOWN, false)] {
        let (broker, seen) = (broker(), Arc::<Seen>::default());
        values(&broker, 0..3).await;
        broker.request_errors(RDKafkaApiKey::Fetch, &[error; 20]);
        let source = join_with(&seen, &hasty(&broker));
        let unreadable = passed_over(&broker, &seen, 3).await;
        assert_eq!(!unreadable.is_empty(), is_of_a_record, "{error:?}: {unreadable:?}");
        assert_eq!(seen.values().len(), 3 - unreadable.len(), "{error:?}");
        leave(source).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_records_are_read_behind_unreadable_ones() {
    let (broker, gates) = (broker(), Arc::<Gates>::default());
    gates.open(1, 10);
    produce(&broker, [(0, "1-a".to_owned())]).await;
    broken(4, 3).write(&broker, 0);
    produce(&broker, [(0, "1-b".to_owned())]).await;
    let source = start_waiting(&broker, &gates);
    assert_eq!(gates.until(2).await, ["1-a", "1-b"]);
    assert_eq!(stop_waiting(source).await, 0);
    let unreadable = gates.unreadable.lock().unwrap();
    assert_eq!(unreadable.iter().map(|it| (it.first.offset, it.last_offset)).collect::<Vec<_>>(), [(1, 3)]);
}
