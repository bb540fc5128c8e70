//! The topic of row order on librdkafka's mock cluster: nothing is in it for the first time behind what came later.

use std::collections::HashMap;

use super::*;

const CALLS: i64 = 300;
const ROWS: i64 = 7;

impl Bench {
    /// The call of the record at this offset, about one of a few rows.
    fn ordered(&self, offset: i64) -> Call {
        let mut call = self.call();
        call.place.offset = offset;
        call.row = Some(Row::of(call.message.target.webhook, &call.place, Some(&[(offset % ROWS) as u8])));
        call
    }

    /// What came to each row, as the topic has it, once all calls are in it.
    async fn rows(&self) -> HashMap<String, Vec<i64>> {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "rows")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&["outhook.row-order"]).unwrap();
        let mut rows = HashMap::<String, Vec<i64>>::new();
        while rows.values().map(Vec::len).sum::<usize>() < CALLS as usize {
            let record = consumer.recv().await.unwrap().detach();
            let headers = headers(&record);
            let (row, offset) = (headers["outhook-row"].clone(), headers["outhook-offset"].parse().unwrap());
            assert_eq!(record.key(), Some(&u64::from_str_radix(&row, 16).unwrap().to_be_bytes()[..]));
            let row = rows.entry(row).or_default();
            // It is the first time that counts.
            if !row.contains(&offset) {
                row.push(offset);
            }
        }
        rows
    }
}

/// Writes all calls while the broker answers some requests with these errors.
async fn written_in_spite_of(errors: &[RDKafkaRespErr]) {
    let bench = Bench::new();
    for offset in 0..CALLS {
        if offset % 100 == 50 {
            bench.cluster.request_errors(RDKafkaApiKey::Produce, errors);
        }
        bench.settle.in_order(bench.ordered(offset)).await;
        // So that they go out in several requests.
        if offset % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    }
    bench.settle.drained().await;
    assert_eq!(bench.book.counts(), [0, CALLS as usize, 0]);
    for (row, offsets) in bench.rows().await {
        assert!(offsets.is_sorted(), "row {row}: {offsets:?}");
    }
}

#[tokio::test]
async fn calls_are_in_the_topic_in_the_order_in_which_they_came() {
    written_in_spite_of(&[]).await;
}

#[tokio::test]
async fn requests_that_fail_and_are_tried_again_keep_the_order() {
    written_in_spite_of(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 2]).await;
}

#[tokio::test]
async fn what_a_broker_refuses_is_written_again_before_what_came_behind_it() {
    written_in_spite_of(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]).await;
}

#[tokio::test]
async fn after_a_fatal_error_another_producer_goes_on_in_order() {
    written_in_spite_of(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]).await;
}

#[tokio::test]
async fn what_is_not_in_the_topic_at_the_stop_stays_unsettled() {
    let bench = Bench::new();
    bench.cluster.broker_down(1).unwrap();
    for offset in 0..3 {
        bench.settle.in_order(bench.ordered(offset)).await;
    }
    bench.settle.stop();
    bench.settle.drained().await;
    assert_eq!(bench.book.counts()[1], 0);
    bench.settle.in_order(bench.ordered(3)).await;
    assert_eq!(bench.book.counts()[1], 0);
}
