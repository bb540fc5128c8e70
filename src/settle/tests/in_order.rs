//! The row-order topic on librdkafka's mock cluster: no call is in it for the first time behind a later one.

use std::collections::HashMap;

use super::*;

const TOPIC: &str = "outhook.row-order";
const CALLS: i64 = 300;
const ROWS: i64 = 7;

impl Bench {
    /// The call of the record at this offset. Calls are about one of a few rows.
    pub(super) fn ordered(&self, offset: i64) -> Call {
        let mut call = self.call();
        call.source_position.offset = offset;
        call.row_key =
            Some(RowKey::of(call.message.target.webhook, &call.source_position, Some(&[(offset % ROWS) as u8])));
        call
    }

    /// The offsets of each row's calls in a topic, once this number of calls is in it.
    pub(super) async fn rows(&self, topic: &str, calls: usize) -> HashMap<String, Vec<i64>> {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "rows")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&[topic]).unwrap();
        let mut rows = HashMap::<String, Vec<i64>>::new();
        while rows.values().map(Vec::len).sum::<usize>() < calls {
            let record = consumer.recv().await.unwrap().detach();
            let headers = headers(&record);
            let call = StoredCall::read(|name| headers.get(name).map(String::as_bytes)).unwrap();
            let (row, offset) = (call.row_key.unwrap(), call.source_position.offset);
            assert_eq!(record.key(), Some(&row.bytes()[..]));
            let row = rows.entry(row.to_string()).or_default();
            // Only the first copy counts.
            if !row.contains(&offset) {
                row.push(offset);
            }
        }
        rows
    }
}

/// Writes all calls. From each of these calls on, the broker answers some requests with these errors.
async fn write_despite_errors(errors: &[RDKafkaRespErr], from: &[i64]) -> Bench {
    let bench = Bench::new();
    for offset in 0..CALLS {
        if from.contains(&offset) {
            bench.cluster.request_errors(RDKafkaApiKey::Produce, errors);
        }
        bench.settle.write_in_row_order(bench.ordered(offset)).await;
        // Splits the calls into several requests.
        if offset % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    }
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, CALLS as usize, 0]);
    bench
}

impl Bench {
    /// Checks that all calls except this number are in the topic, and each row's in order.
    async fn assert_in_order(&self, but: usize) -> HashMap<String, Vec<i64>> {
        let rows = self.rows(TOPIC, CALLS as usize - but).await;
        for (row, offsets) in &rows {
            assert!(offsets.is_sorted(), "row {row}: {offsets:?}");
        }
        rows
    }

    /// Offsets of the source records whose calls became dead letters.
    async fn dead(&self) -> Vec<i64> {
        let client = [("bootstrap.servers".to_owned(), self.cluster.bootstrap_servers())].into();
        let bounds = PageLimits { max_found: 999, max_bytes: u64::MAX, max_time: Duration::from_secs(30) };
        let page = DeadLetterReader::new(&DeadLettersConfig::default(), &client)
            .page(DeadLetterFilter::default(), None, bounds)
            .await
            .unwrap();
        page.found.iter().map(|letter| letter.offset.unwrap()).collect()
    }
}

const THREE_TIMES: &[i64] = &[50, 150, 250];

#[tokio::test]
async fn calls_are_written_in_arrival_order() {
    write_despite_errors(&[], THREE_TIMES).await.assert_in_order(0).await;
}

#[tokio::test]
async fn retried_produce_requests_keep_the_order() {
    write_despite_errors(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 2], THREE_TIMES)
        .await
        .assert_in_order(0)
        .await;
}

#[tokio::test]
async fn records_that_a_broker_refuses_are_rewritten_before_later_ones() {
    write_despite_errors(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED], THREE_TIMES)
        .await
        .assert_in_order(0)
        .await;
}

#[tokio::test]
async fn new_producer_continues_in_order_after_a_fatal_error() {
    write_despite_errors(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER], THREE_TIMES)
        .await
        .assert_in_order(0)
        .await;
}

#[tokio::test]
async fn batch_refused_for_its_size_is_written_one_by_one() {
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    write_despite_errors(&refused, &[50]).await.assert_in_order(0).await;
}

#[tokio::test]
async fn record_refused_alone_is_dead_lettered_and_others_continue_in_order() {
    // One batch of each partition may be refused before the others are written one by one.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 4];
    let bench = write_despite_errors(&refused, &[50]).await;
    let dead = bench.dead().await;
    assert!((2..=3).contains(&dead.len()), "{dead:?}");
    let rows = bench.assert_in_order(dead.len()).await;
    assert!(rows.values().flatten().all(|offset| !dead.contains(offset)), "{dead:?}: {rows:?}");

    let letter = bench.next_dead_letter().await;
    let headers = headers(&letter);
    assert_eq!((&*headers["outhook-class"], letter.payload()), ("too_large", Some(&b"{}"[..])));
    assert!(headers["outhook-cause"].starts_with("topic outhook.row-order refuses a record of its size, "));
    let header = |name: &str| letter.headers().unwrap().iter().find(|header| header.key == name)?.value;
    let call = bench.ordered(headers["outhook-offset"].parse().unwrap());
    assert_eq!(
        StoredCall::parse_dead_letter(header),
        Ok(StoredCall::of(&call)),
        "it is redriven in the order of its row"
    );
}

#[tokio::test]
async fn record_too_large_for_the_client_is_dead_lettered_immediately() {
    let bench = Bench::new();
    let mut call = bench.ordered(0);
    call.message.body = vec![b' '; MAX_RECORD_BYTES + 1].into();
    bench.settle.write_in_row_order(call).await;
    bench.settle.write_in_row_order(bench.ordered(1)).await;
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 2, 0]);
    assert_eq!(bench.rows(TOPIC, 1).await.into_values().collect::<Vec<_>>(), [[1]]);
    let headers = headers(&bench.next_dead_letter().await);
    assert_eq!(headers["outhook-value-left-out"], (MAX_RECORD_BYTES + 1).to_string());
}

#[tokio::test]
async fn unwritten_calls_stay_unsettled_at_a_stop() {
    let bench = Bench::new();
    bench.cluster.broker_down(1).unwrap();
    for offset in 0..3 {
        bench.settle.write_in_row_order(bench.ordered(offset)).await;
    }
    bench.settle.stop();
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts()[1], 0);
    bench.settle.write_in_row_order(bench.ordered(3)).await;
    assert_eq!(bench.book.counts()[1], 0);
}
