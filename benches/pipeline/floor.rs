//! The floor: reads records and posts them unchanged, at most 64 at the same time.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::{ClientConfig, Message};
use tokio::sync::Semaphore;

const IN_FLIGHT: usize = 64;

/// Reads `records` records of `topic` and posts each to `url`.
pub fn run(brokers: &str, topic: &str, url: &str, records: usize) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let consumer: StreamConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", format!("floor-{}", std::process::id()))
            .set("auto.offset.reset", "earliest")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .expect("a consumer");
        consumer.subscribe(&[topic]).expect("a subscription");
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        for _ in 0..records {
            let record = consumer.recv().await.expect("a record");
            let body = Bytes::copy_from_slice(record.payload().expect("a value"));
            let slot = slots.clone().acquire_owned().await.expect("never closed");
            let request =
                Request::post(url).header("content-type", "application/json").body(Full::new(body)).expect("a request");
            let sending = client.request(request);
            tokio::spawn(async move {
                let answer = sending.await.expect("an answer");
                assert!(answer.status().is_success());
                answer.into_body().collect().await.expect("a body");
                drop(slot);
            });
        }
        let _ = slots.acquire_many(IN_FLIGHT as u32).await.expect("never closed");
        // The process runs until its CPU time has been read.
        std::future::pending::<()>().await;
    });
}
