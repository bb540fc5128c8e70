//! A producer whose writes are awaited.

use std::borrow::Borrow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};

use super::NewRecord;
use crate::kafka::errors::is_queue_full;

/// Wait before the next try when the client's queue is full.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(10);

pub struct AwaitedProducer(FutureProducer);

/// Resolves when a record is acknowledged or has failed. A report that never arrives counts as cancelled: the client is
/// gone.
pub struct Delivery(DeliveryFuture);

impl AwaitedProducer {
    /// # Errors
    /// The client library refuses the settings.
    pub fn new(settings: &ClientConfig) -> Result<Self, KafkaError> {
        settings.create().map(Self)
    }

    /// Hands a record to the client, behind all earlier ones. Waits while the client's own queue is full.
    ///
    /// # Errors
    /// The client refuses the record.
    pub async fn begin(&self, topic: &str, record: &NewRecord) -> Result<Delivery, KafkaError> {
        loop {
            let record = FutureRecord {
                topic,
                partition: None,
                payload: record.value.as_deref(),
                key: record.key.as_deref(),
                timestamp: None,
                headers: Some(record.headers.0.clone()),
            };
            match self.0.send_result(record) {
                Ok(delivery) => return Ok(Delivery(delivery)),
                Err((reason, _)) if is_queue_full(&reason) => tokio::time::sleep(QUEUE_FULL_WAIT).await,
                Err((reason, _)) => return Err(reason),
            }
        }
    }

    /// Hands the records to the client one after the other, so that records of one key stay in order. Then waits for
    /// all outcomes, and returns them in the same order. All records are under way at the same time, so limit their
    /// number.
    pub async fn write_all<R: Borrow<NewRecord>>(&self, topic: &str, records: &[R]) -> Vec<Result<(), KafkaError>> {
        let mut under_way = Vec::with_capacity(records.len());
        for record in records {
            under_way.push(self.begin(topic, record.borrow()).await);
        }
        let mut outcomes = Vec::with_capacity(under_way.len());
        for delivery in under_way {
            outcomes.push(match delivery {
                Ok(delivery) => delivery.await,
                Err(reason) => Err(reason),
            });
        }
        outcomes
    }

    /// Makes the client report all its records as not written.
    pub fn purge(&self) {
        self.0.purge(PurgeConfig::default().queue().inflight());
    }

    /// Closes the client without waiting for its thread to end.
    pub fn close(self) {
        tokio::task::spawn_blocking(move || drop(self));
    }
}

impl Future for Delivery {
    type Output = Result<(), KafkaError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|delivered| match delivered {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((reason, _))) => Err(reason),
            Err(_) => Err(KafkaError::Canceled),
        })
    }
}
