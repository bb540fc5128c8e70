//! Whether the client library accepts settings. That needs no broker.

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use rdkafka::types::RDKafkaConfRes;

use super::ClientConfig;

/// Kind of a client. Each kind has settings that the other ignores.
#[derive(Clone, Copy)]
pub enum ClientKind {
    Consumer,
    Producer,
}

/// A setting that the client library refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSetting {
    pub name: String,
    /// There is no setting of this name.
    pub is_unknown: bool,
    /// It may contain the value.
    pub reason: String,
}

/// Checks the names and values of settings.
///
/// # Errors
/// The client library refuses one of them.
pub fn check(settings: &ClientConfig) -> Result<(), KafkaError> {
    settings.create_native_config().map(drop)
}

/// The first of these settings whose name or value is refused.
pub fn refused(settings: &ClientConfig) -> Option<RefusedSetting> {
    let Err(KafkaError::ClientConfig(outcome, reason, name, _)) = check(settings) else { return None };
    Some(RefusedSetting { name, is_unknown: outcome == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, reason })
}

/// Creates a client without brokers, and drops it. Settings that are valid alone may contradict each other.
///
/// # Errors
/// The reason, without values, which may be secrets.
pub fn try_client(kind: ClientKind, mut settings: ClientConfig) -> Result<(), String> {
    settings.remove("bootstrap.servers");
    let created = match kind {
        ClientKind::Consumer => settings.create::<BaseConsumer>().map(drop),
        ClientKind::Producer => settings.create::<BaseProducer>().map(drop),
    };
    created.map_err(|error| match error {
        KafkaError::ClientCreation(reason) => reason,
        KafkaError::ClientConfig(_, reason, name, _) => format!("{name}: {reason}"),
        // Other errors show values too.
        _ => "its settings contradict each other".to_owned(),
    })
}
