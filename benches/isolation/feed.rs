//! Row changes at a fixed rate, for each table in turn.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use crate::endpoints::now_micros;

/// Interval between bursts of row changes.
const TICK: Duration = Duration::from_millis(5);

/// The table of an endpoint.
pub fn table(endpoint: usize) -> String {
    format!("table_{endpoint}")
}

/// Writes `changes` inserts at `rate` per second, each with the time at which it was handed to the producer.
pub fn feed(brokers: &str, topic: &str, changes: usize, rate: usize, tables: usize) {
    let producer: BaseProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "1")
        .create()
        .expect("the settings are librdkafka's");
    let started = Instant::now();
    let mut made = 0;
    while made < changes {
        let due = changes.min((started.elapsed().as_secs_f64() * rate as f64) as usize);
        for number in made..due {
            let (key, value) = (number.to_string(), insert(number, tables));
            let mut record = BaseRecord::to(topic).key(&key).payload(&value);
            // A machine that is too slow for the rate writes as fast as it can.
            while let Err((error, refused)) = producer.send(record) {
                assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
                producer.poll(TICK);
                record = refused;
            }
        }
        made = made.max(due);
        producer.poll(TICK);
        std::thread::sleep(TICK);
    }
    producer.flush(Duration::from_secs(30)).expect("Kafka acknowledges in time");
}

fn insert(number: usize, tables: usize) -> String {
    let (table, sent) = (table(number % tables), now_micros());
    format!(
        r#"{{"table":"{table}","operation":"insert","after":{{"id":{number},"sent":{sent},"email":"customer-{number}@example.com","first_name":"Ada","last_name":"Lovelace","status":"active","credit":12.50,"notes":"prefers calls in the morning"}}}}"#
    )
}
