//! Errors of Kafka clients and brokers. A timeout does not say its cause, so the errors that a client reports are
//! collected.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

/// Max different errors kept.
const MAX_ERRORS: usize = 16;
/// Timeout of the first request. Each further request waits twice as long, so that a slow broker can answer too.
const INITIAL_REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

/// The fix for a missing ACL.
const ACL_HINT: &str = "this client lacks an ACL: `outhook check` names it, with the command that adds it";

/// Errors that a client's callbacks reported.
#[derive(Default)]
pub struct ClientErrors(Mutex<Vec<(Option<RDKafkaErrorCode>, String)>>);

/// Why brokers do not answer a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    #[error(
        "a broker refuses this client: {0}; check sasl.username, sasl.password and sasl.mechanism in [kafka.properties]"
    )]
    Refused(String),
    #[error("the brokers deny this client access to the topic; {ACL_HINT}")]
    TopicDenied,
    #[error("no broker answers within {:.1} s: {reason}", .within.as_secs_f64())]
    TimedOut { within: Duration, reason: String },
}

impl ClientErrors {
    /// Collects an error that the client reported to its context.
    pub fn error(&self, error: &KafkaError, reason: &str) {
        self.add(error.rdkafka_error_code(), reason);
    }

    /// Collects a log line. A closed connection is not an error to librdkafka, which reconnects: it is only logged.
    pub fn log(&self, facility: &str, text: &str) {
        if facility == "FAIL" {
            self.add(None, text.split_once("]: ").map_or(text, |(_thread, reason)| reason));
        }
    }

    fn add(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let error = (code, reason.to_owned());
        let mut errors = self.0.lock();
        if errors.len() < MAX_ERRORS && !errors.contains(&error) {
            errors.push(error);
        }
    }

    /// Why no broker answers. An error of one broker is preferred, because it says more than that all brokers are
    /// down.
    fn cause(&self) -> Option<String> {
        let errors = self.0.lock();
        let is_of_one_broker =
            |(code, _): &&(Option<RDKafkaErrorCode>, _)| *code != Some(RDKafkaErrorCode::AllBrokersDown);
        let (_, reason) = errors.iter().find(is_of_one_broker).or(errors.first())?;
        Some(with_hint(reason))
    }

    /// Why a broker refuses this client. This is permanent: waiting does not help.
    fn refusal(&self) -> Option<String> {
        let errors = self.0.lock();
        let is_final = |(code, _): &&(Option<RDKafkaErrorCode>, _)| {
            matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed))
        };
        errors.iter().find(is_final).map(|(_, reason)| reason.clone())
    }
}

/// Whether a broker denies access to a topic. This is permanent: waiting does not help.
pub fn is_denied(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

/// Whether an error concerns the consumer group that a client must name but never joins. Such an error has no effect.
pub fn is_group_error(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// Whether a topic, or the client, refuses a record or its batch for its size.
pub fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) || is_batch_too_large(error)
}

/// Whether a batch of records is larger than the topic's segments.
pub fn is_batch_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageBatchTooLarge)
}

/// Whether the client's own queue has no room for a record.
pub fn is_queue_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// Whether a topic or partition does not exist.
pub fn is_missing_topic(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    matches!(error.rdkafka_error_code(), Some(UnknownTopicOrPartition | UnknownTopic | UnknownPartition))
}

/// Whether a broker denies a transaction or the records in it.
pub fn is_write_denied(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{ClusterAuthorizationFailed, TopicAuthorizationFailed, TransactionalIdAuthorizationFailed};
    let code = error.rdkafka_error_code();
    matches!(code, Some(TopicAuthorizationFailed | TransactionalIdAuthorizationFailed | ClusterAuthorizationFailed))
}

/// Whether another try of a transaction would fail in the same way. Other errors, above all being fenced, may be
/// temporary.
pub fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidRecord, PolicyViolation, UnsupportedFeature, UnsupportedVersion};
    let code = error.rdkafka_error_code();
    is_write_denied(error)
        || is_too_large(error)
        || matches!(code, Some(InvalidRecord | PolicyViolation | UnsupportedVersion | UnsupportedFeature))
}

/// The text of a client's error, with the fix if it is a missing ACL.
pub fn error_text(error: &KafkaError) -> String {
    error_text_for(error.rdkafka_error_code(), &error.to_string())
}

/// The same for an error code and the client's own text.
pub fn error_text_for(code: Option<RDKafkaErrorCode>, text: &str) -> String {
    match code {
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
        ) => format!("{text}; {ACL_HINT}"),
        _ => text.to_owned(),
    }
}

/// Appends a hint. A port that speaks TLS or SASL closes the connection of a client that does not, and the other way
/// round.
fn with_hint(reason: &str) -> String {
    let hung_up = ["Disconnected", "SSL handshake failed", "ApiVersion", "brokers are down"];
    if hung_up.iter().any(|sign| reason.contains(sign)) {
        format!("{reason}; is security.protocol in [kafka.properties] right for this port?")
    } else if reason.contains("Connection refused") {
        format!("{reason}; does a broker run there?")
    } else {
        reason.to_owned()
    }
}

/// Requests the metadata of a topic, or of all topics. `serve` polls the client, so that its callbacks report pending
/// errors. Blocks.
///
/// # Errors
/// No broker answers in time, or one refuses this client or denies access to the topic.
pub fn metadata<C: ClientContext>(
    client: &Client<C>,
    topic: Option<&str>,
    within: Duration,
    client_errors: &ClientErrors,
    serve: impl Fn(),
) -> Result<Metadata, BrokerError> {
    let started = Instant::now();
    let mut wait = INITIAL_REQUEST_TIMEOUT;
    loop {
        let left = within.saturating_sub(started.elapsed());
        let error = match client.fetch_metadata(topic, wait.min(left)) {
            Ok(metadata) if topic.is_some() && is_topic_denied(&metadata) => return Err(BrokerError::TopicDenied),
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        serve();
        if let Some(reason) = client_errors.refusal() {
            return Err(BrokerError::Refused(reason));
        }
        if started.elapsed() + INITIAL_REQUEST_TIMEOUT > within {
            let reason = client_errors.cause().unwrap_or_else(|| error.to_string());
            return Err(BrokerError::TimedOut { within, reason });
        }
        wait *= 2;
    }
}

fn is_topic_denied(metadata: &Metadata) -> bool {
    let denied = Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    metadata.topics().iter().any(|topic| topic.error() == denied)
}
