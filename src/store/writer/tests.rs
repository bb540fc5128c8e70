use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::super::{WriteError, read, write};
use super::*;
use crate::definition::Definitions;
use crate::definition::samples::webhook;

/// The mock cluster does not fence. tests/it and tests/system cover two writers on real Kafka.
fn broker(partitions: i32) -> (MockCluster<'static, DefaultProducerContext>, Config, HashMap<String, String>) {
    let cluster = MockCluster::new(1).unwrap();
    let config = Config { topic: "outhook.definitions".to_owned(), ..Config::default() };
    cluster.create_topic(&config.topic, partitions, 1).unwrap();
    let kafka = HashMap::from([("bootstrap.servers".to_owned(), cluster.bootstrap_servers())]);
    (cluster, config, kafka)
}

#[tokio::test]
async fn each_write_sees_the_results_of_earlier_writes() {
    let (_cluster, config, kafka) = broker(1);
    for (already, name) in ["A", "B", "C"].into_iter().enumerate() {
        let found = write(&config, &kafka, move |definitions| {
            let record = LogRecord::webhook(&webhook(&format!("hook0{already}"), name));
            Ok::<_, Infallible>((vec![record], definitions.committed().webhooks().len()))
        });
        assert_eq!(found.await.unwrap(), already);
    }
    assert_eq!(read(&config, &kafka).await.unwrap().webhooks().len(), 3);
}

#[tokio::test]
async fn socket_timeout_may_exceed_the_transaction_timeout() {
    let (_cluster, config, mut kafka) = broker(1);
    kafka.insert("socket.timeout.ms".to_owned(), "120000".to_owned());
    let record = LogRecord::webhook(&webhook("hook01", "A"));
    write(&config, &kafka, move |_| Ok::<_, Infallible>((vec![record.clone()], ()))).await.unwrap();
    assert_eq!(read(&config, &kafka).await.unwrap().webhooks().len(), 1);
}

#[tokio::test]
async fn refused_and_empty_writes_write_nothing() {
    let (_cluster, config, kafka) = broker(1);
    let refused = write::<(), _, _>(&config, &kafka, |_| Err(StoreError::Stopped)).await;
    assert!(matches!(refused, Err(WriteError::Refused(StoreError::Stopped))));
    let nothing = write(&config, &kafka, |_| Ok::<_, Infallible>((Vec::new(), "nothing"))).await;
    assert_eq!(nothing.unwrap(), "nothing");
    assert_eq!(read(&config, &kafka).await.unwrap(), Definitions::default());
}

/// Answers the next request of this type with an error. Returns the number of decisions, and the outcome.
async fn write_against(request: RDKafkaApiKey, error: RDKafkaRespErr) -> (usize, Result<(), WriteError<Infallible>>) {
    let (cluster, config, kafka) = broker(1);
    cluster.request_errors(request, &[error]);
    let decisions = Arc::new(AtomicUsize::new(0));
    let count = decisions.clone();
    let written = write(&config, &kafka, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok((vec![LogRecord::webhook(&webhook("hook01", "A"))], ()))
    });
    let written = written.await;
    if written.is_ok() {
        assert_eq!(read(&config, &kafka).await.unwrap().webhooks().len(), 1);
    }
    (decisions.load(Ordering::Relaxed), written)
}

#[tokio::test]
async fn fenced_writer_starts_over_and_decides_again() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, RD_KAFKA_RESP_ERR_PRODUCER_FENCED};
    // The mock cluster shows records of an open transaction, as if only the answer to the commit was lost.
    let (decisions, written) = write_against(RDKafkaApiKey::EndTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED).await;
    assert_eq!((decisions, written.is_ok()), (1, true), "a committed write is not decided again");
    let (decisions, written) = write_against(RDKafkaApiKey::Produce, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH).await;
    assert_eq!((decisions, written.is_ok()), (2, true));
}

#[tokio::test]
async fn permanent_write_errors_are_reported_with_topic_and_fix() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    };
    let cases = [
        (RDKafkaApiKey::Produce, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 1, "max.message.bytes"),
        (
            RDKafkaApiKey::InitProducerId,
            RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            0,
            "allow this client Write on the topic",
        ),
    ];
    for (request, error, expected, mend) in cases {
        let (decisions, written) = write_against(request, error).await;
        let error = written.unwrap_err().to_string();
        assert_eq!(decisions, expected, "{error}");
        assert!(error.contains("topic outhook.definitions") && error.contains(mend), "{error}");
    }
}

#[tokio::test]
async fn multi_partition_topic_and_invalid_properties_are_rejected() {
    let (_cluster, config, kafka) = broker(3);
    let error = read(&config, &kafka).await.unwrap_err().to_string();
    assert!(error.contains("topic outhook.definitions has 3 partitions"), "{error}");

    let nowhere = HashMap::from([
        ("bootstrap.servers".to_owned(), "127.0.0.1:1".to_owned()),
        ("bogus.property".to_owned(), "1".to_owned()),
    ]);
    let error = read(&config, &nowhere).await.unwrap_err().to_string();
    assert!(error.contains("bogus.property"), "{error}");
}

#[tokio::test]
async fn existing_record_is_written_again_after_an_aborted_try() {
    let (cluster, config, kafka) = broker(1);
    let same =
        || write(&config, &kafka, |_| Ok::<_, Infallible>((vec![LogRecord::webhook(&webhook("hook01", "A"))], ())));
    same().await.unwrap();
    // The record's presence does not show that this write succeeded: the write may be there to seal it again.
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    let decisions = Arc::new(AtomicUsize::new(0));
    let count = decisions.clone();
    let written = write(&config, &kafka, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>((vec![LogRecord::webhook(&webhook("hook01", "A"))], ()))
    });
    written.await.unwrap();
    assert_eq!(decisions.load(Ordering::Relaxed), 2);
}
