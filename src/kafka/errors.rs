//! What a Kafka client meets on its way to brokers: an answer that does not come says nothing of why.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

/// How many different troubles are kept.
const MAX_TROUBLES: usize = 16;
/// How long the first question waits. Each further one waits twice as long, so that a slow broker is heard too.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// What to do where an ACL is missing.
const ADD_AN_ACL: &str = "this client lacks an ACL: `outhook check` names it, with the command that adds it";

/// What a client's callbacks have told.
#[derive(Default)]
pub struct ClientErrors(Mutex<Vec<(Option<RDKafkaErrorCode>, String)>>);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error(
        "a broker refuses this client: {0}; look at sasl.username, sasl.password and sasl.mechanism in [kafka.properties]"
    )]
    Refused(String),
    #[error("the brokers keep it from this client; {ADD_AN_ACL}")]
    Hidden,
    #[error("no broker answers within {:.1} s: {reason}", .within.as_secs_f64())]
    Silent { within: Duration, reason: String },
}

impl ClientErrors {
    /// An error that the client's context is told.
    pub fn error(&self, error: &KafkaError, reason: &str) {
        self.keep(error.rdkafka_error_code(), reason);
    }

    /// A log line. That a broker hangs up is no error to librdkafka, which tries again: it is only logged.
    pub fn log(&self, facility: &str, text: &str) {
        if facility == "FAIL" {
            self.keep(None, text.split_once("]: ").map_or(text, |(_thread, reason)| reason));
        }
    }

    fn keep(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let trouble = (code, reason.to_owned());
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.len() < MAX_TROUBLES && !troubles.contains(&trouble) {
            troubles.push(trouble);
        }
    }

    /// Why no broker answers: what one of them did says more than that all are down.
    fn cause(&self) -> Option<String> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_a_broker = |(code, _): &&(Option<RDKafkaErrorCode>, _)| *code != Some(RDKafkaErrorCode::AllBrokersDown);
        let (_, reason) = troubles.iter().find(of_a_broker).or(troubles.first())?;
        Some(with_question(reason))
    }

    /// Why a broker refuses this client, which it would do again however long it is waited.
    fn refusal(&self) -> Option<String> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_final = |(code, _): &&(Option<RDKafkaErrorCode>, _)| {
            matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed))
        };
        troubles.iter().find(is_final).map(|(_, reason)| reason.clone())
    }
}

/// Whether a broker refuses what is done with a topic, which it would do again however long it is waited.
pub fn is_denied(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
}

/// Whether an error is about the group that a client has to name and never joins: nothing that it does needs it.
pub fn is_of_the_group(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// An error of a client, with the mend if it is a missing ACL.
pub fn told(error: &KafkaError) -> String {
    told_as(error.rdkafka_error_code(), &error.to_string())
}

/// The same in the client's own words.
pub fn told_as(code: Option<RDKafkaErrorCode>, text: &str) -> String {
    match code {
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed,
        ) => format!("{text}; {ADD_AN_ACL}"),
        _ => text.to_owned(),
    }
}

/// A port that speaks TLS or SASL hangs up on who does not, and the other way round.
fn with_question(reason: &str) -> String {
    let hung_up = ["Disconnected", "SSL handshake failed", "ApiVersion", "brokers are down"];
    if hung_up.iter().any(|sign| reason.contains(sign)) {
        format!("{reason}; is security.protocol in [kafka.properties] what this port speaks?")
    } else if reason.contains("Connection refused") {
        format!("{reason}; does a broker run there?")
    } else {
        reason.to_owned()
    }
}

/// Asks brokers for a topic, or for all. `serve` has the client tell its callbacks what it has met. Blocks.
///
/// # Errors
/// None of them answers in time, or one refuses this client or keeps the topic from it.
pub fn metadata<C: ClientContext>(
    client: &Client<C>,
    topic: Option<&str>,
    within: Duration,
    troubles: &ClientErrors,
    serve: impl Fn(),
) -> Result<Metadata, Unanswered> {
    let started = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let left = within.saturating_sub(started.elapsed());
        let error = match client.fetch_metadata(topic, wait.min(left)) {
            Ok(metadata) if topic.is_some() && hides(&metadata) => return Err(Unanswered::Hidden),
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        serve();
        if let Some(reason) = troubles.refusal() {
            return Err(Unanswered::Refused(reason));
        }
        if started.elapsed() + FIRST_WAIT > within {
            let reason = troubles.cause().unwrap_or_else(|| error.to_string());
            return Err(Unanswered::Silent { within, reason });
        }
        wait *= 2;
    }
}

fn hides(metadata: &Metadata) -> bool {
    let denied = Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    metadata.topics().iter().any(|topic| topic.error() == denied)
}
