//! Many calls written to a retry topic at the same time: each receipt settles once, after its record is in the topic.

use std::collections::HashSet;

use super::*;

const CALLS: usize = 3000;
const TOPIC: &str = "outhook.retry.5s";

impl Bench {
    fn write_waiting_call(&self, number: usize, body: &Bytes) {
        let mut call = self.call();
        call.message.call_id = CallId(uuid::Uuid::from_u128(number as u128));
        call.message.body = body.clone();
        self.settle.write_retry(call, Duration::from_secs(6), None);
    }

    /// The calls in the topic, once all of them are there.
    async fn waiting(&self, calls: usize) -> HashSet<CallId> {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "waiting")
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        consumer.subscribe(&[TOPIC]).unwrap();
        let mut found = HashSet::new();
        while found.len() < calls {
            let record = consumer.recv().await.unwrap().detach();
            let headers = headers(&record);
            found.insert(StoredCall::read(|name| headers.get(name).map(String::as_bytes)).unwrap().call);
        }
        found
    }
}

async fn assert_all_settle_despite(error: RDKafkaRespErr) {
    let bench = Bench::new();
    let body = Bytes::from_static(b"{}");
    for number in 0..CALLS {
        if number % 1000 == 500 {
            bench.cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        }
        bench.write_waiting_call(number, &body);
        // Splits the calls into several requests.
        if number % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
    }
    bench.settle.wait_until_drained().await;
    assert_eq!((bench.book.counts(), bench.settle.retry_writer.pending()), ([0, CALLS, 0], 0));
    assert_eq!(bench.waiting(CALLS).await.len(), CALLS);
}

#[tokio::test]
async fn all_calls_settle_despite_refused_requests() {
    assert_all_settle_despite(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).await;
}

#[tokio::test]
async fn all_calls_settle_despite_a_broken_producer() {
    assert_all_settle_despite(RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER).await;
}

#[tokio::test]
async fn calls_beyond_the_client_queue_are_written_later() {
    let bench = Bench::new();
    // More than the client's queue holds.
    let body = Bytes::from(vec![b' '; 2 << 20]);
    for number in 0..24 {
        bench.write_waiting_call(number, &body);
    }
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 24, 0]);
    assert_eq!(bench.waiting(24).await.len(), 24);
}

#[tokio::test]
async fn unwritten_calls_settle_neither_at_the_stop_nor_afterwards() {
    let bench = Bench::new();
    let body = Bytes::from_static(b"{}");
    bench.cluster.broker_down(1).unwrap();
    for number in 0..CALLS {
        bench.write_waiting_call(number, &body);
    }
    assert_eq!(bench.settle.retry_writer.pending(), CALLS);
    bench.settle.stop();
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 0, CALLS]);
    bench.write_waiting_call(CALLS, &body);
    bench.settle.wait_until_drained().await;
    assert_eq!(bench.book.counts(), [0, 0, CALLS + 1]);
    bench.cluster.broker_up(1).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.book.counts(), [0, 0, CALLS + 1]);
}
