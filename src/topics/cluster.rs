//! The cluster as an administrator sees it: which topics there are, how they are set, and new ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::{Standing, Wanted, Wrong};
use crate::config::Kafka;

/// How long the cluster may take for one answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How many different troubles are kept.
const MAX_TROUBLES: usize = 16;
/// The pause between looks for a topic that was just created.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A cluster that has answered.
pub struct Cluster {
    admin: Arc<AdminClient<DefaultClientContext>>,
    /// Asks for metadata: an admin client would keep to itself why it gets no answer.
    asker: Arc<BaseProducer<Troubles>>,
    brokers: String,
    /// Partitions by topic, as they were when the cluster was connected to.
    topics: BTreeMap<String, usize>,
    /// How many brokers it has.
    pub size: usize,
}

/// Why topics can't be looked at or made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Kafka's client refuses its settings: {0}")]
    Settings(KafkaError),
    #[error("no broker answers at kafka.brokers = {brokers:?} within {PATIENCE:?}: {reason}")]
    Unreachable { brokers: String, reason: String },
    #[error(
        "the broker at kafka.brokers = {brokers:?} refuses this client: {reason}; look at sasl.username, sasl.password \
             and sasl.mechanism in [kafka.properties]"
    )]
    Refused { brokers: String, reason: String },
    #[error("the settings of topic {topic} can't be read: {reason}")]
    Describe { topic: String, reason: String },
    #[error("topic {topic} can't be created: {reason}")]
    Create { topic: String, reason: String },
    #[error("{wrong}; to mend it: {mend}", wrong = .0, mend = .0.mend)]
    Wrong(Wrong),
}

impl Cluster {
    /// Connects, and asks for all topics. One that is named in such a question could be created by it.
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn connect(kafka: &Kafka) -> Result<Self, Error> {
        let mut client: ClientConfig = kafka.client().into_iter().collect();
        let admin = Arc::new(client.create().map_err(Error::Settings)?);
        // That a broker hangs up is told at this level, which is off where nothing is logged.
        client.set_log_level(RDKafkaLogLevel::Info);
        let asker = Arc::new(client.create_with_context(Troubles::default()).map_err(Error::Settings)?);
        let mut cluster = Self { admin, asker, brokers: kafka.brokers.clone(), topics: BTreeMap::new(), size: 0 };
        cluster.look().await?;
        Ok(cluster)
    }

    /// Partitions by topic, Kafka's internal topics left out.
    pub fn topics(&self) -> &BTreeMap<String, usize> {
        &self.topics
    }

    pub(super) fn asker(&self) -> Arc<BaseProducer<Troubles>> {
        self.asker.clone()
    }

    /// How one of Outhook's topics stands.
    ///
    /// # Errors
    /// Its settings can't be read.
    pub async fn standing(&self, wanted: &Wanted) -> Result<Standing, Error> {
        let Some(partitions) = self.topics.get(&wanted.name) else { return Ok(Standing::Missing) };
        let settings = self.settings(&wanted.name).await?;
        Ok(wanted.judge(*partitions, &settings, &self.brokers))
    }

    /// Creates a topic and waits until the cluster knows it. One that another instance created meanwhile is as
    /// good.
    ///
    /// # Errors
    /// The cluster refuses it.
    pub async fn create(&self, wanted: &Wanted) -> Result<(), Error> {
        let failed = |reason: String| Error::Create { topic: wanted.name.clone(), reason };
        // -1 is the broker's own default (KIP-464).
        let replication = TopicReplication::Fixed(wanted.replication_factor.unwrap_or(-1));
        let topic = wanted
            .settings
            .iter()
            .fold(NewTopic::new(&wanted.name, wanted.partitions, replication), |topic, (name, value)| {
                topic.set(name, value)
            });
        let created =
            self.admin.create_topics([&topic], &options()).await.map_err(|error| failed(error.to_string()))?;
        match created.into_iter().next() {
            Some(Ok(_)) | Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
            Some(Err((_, code))) => return Err(failed(code.to_string())),
            None => return Err(failed("the cluster did not answer for it".to_owned())),
        }
        let (admin, asker) = (self.admin.clone(), self.asker.clone());
        let mut seen = Self { admin, asker, brokers: self.brokers.clone(), topics: BTreeMap::new(), size: 0 };
        tokio::time::timeout(PATIENCE, async {
            while !seen.topics.contains_key(&wanted.name) {
                tokio::time::sleep(LOOK_AGAIN).await;
                seen.look().await?;
            }
            Ok(())
        })
        .await
        .map_err(|_| failed(format!("it was accepted, but is not there after {PATIENCE:?}")))?
    }

    async fn look(&mut self) -> Result<(), Error> {
        let asker = self.asker.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = asker.client().fetch_metadata(None, PATIENCE).map_err(|error| {
                // What its connections met is told when it is polled.
                asker.poll(LOOK_AGAIN);
                asker.context().cause().unwrap_or(error.to_string())
            })?;
            let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
            let topics = topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect();
            Ok((metadata.brokers().len(), topics))
        });
        let brokers = self.brokers.clone();
        (self.size, self.topics) = tokio::select! {
            biased;
            answer = asked => {
                let answer = answer.unwrap_or_else(|error| Err(error.to_string()));
                answer.map_err(|reason| Error::Unreachable { brokers, reason })?
            }
            reason = self.refused() => return Err(Error::Refused { brokers, reason }),
        };
        Ok(())
    }

    /// Resolves once a broker refuses this client, which it would do again however long it is waited.
    async fn refused(&self) -> String {
        loop {
            self.asker.poll(Duration::ZERO);
            if let Some(reason) = self.asker.context().refusal() {
                return reason;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, Error> {
        let failed = |reason: String| Error::Describe { topic: topic.to_owned(), reason };
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
        let hint = "does this broker answer administrators? The embedded one of `outhook dev` does not";
        let described = described.map_err(|error| failed(format!("{error}; {hint}")))?.into_iter().next();
        let resource = described.ok_or_else(|| failed("the cluster did not answer for it".to_owned()))?;
        let entries = resource.map_err(|code| failed(code.to_string()))?.entries;
        Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Keeps what librdkafka meets: a request that gets no answer says only that.
#[derive(Default)]
pub(super) struct Troubles(Mutex<Vec<(Option<RDKafkaErrorCode>, String)>>);

impl Troubles {
    /// Why no broker answers: what one of them did says more than that all are down.
    fn cause(&self) -> Option<String> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_a_broker = |(code, _): &&(Option<RDKafkaErrorCode>, _)| *code != Some(RDKafkaErrorCode::AllBrokersDown);
        let (_, reason) = troubles.iter().find(of_a_broker).or(troubles.first())?;
        Some(with_question(reason))
    }

    /// Why a broker refuses who asks.
    fn refusal(&self) -> Option<String> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_final = |(code, _): &&(Option<RDKafkaErrorCode>, _)| {
            matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed))
        };
        troubles.iter().find(is_final).map(|(_, reason)| reason.clone())
    }
}

/// A port that speaks TLS or SASL hangs up on who does not, and the other way round.
fn with_question(reason: &str) -> String {
    let hung_up = ["Disconnected", "disconnected", "SSL handshake failed", "ApiVersion", "brokers are down"];
    if hung_up.iter().any(|sign| reason.contains(sign)) {
        format!("{reason}; is security.protocol in [kafka.properties] what this port speaks?")
    } else {
        reason.to_owned()
    }
}

impl ClientContext for Troubles {
    /// That a broker hangs up is no error to librdkafka, which tries again: it is only logged.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        if facility == "FAIL" {
            let reason = text.split_once("]: ").map_or(text, |(_thread, reason)| reason);
            self.keep(None, reason);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.keep(error.rdkafka_error_code(), reason);
    }
}

impl Troubles {
    fn keep(&self, code: Option<RDKafkaErrorCode>, reason: &str) {
        let trouble = (code, reason.to_owned());
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.len() < MAX_TROUBLES && !troubles.contains(&trouble) {
            troubles.push(trouble);
        }
    }
}

impl ProducerContext for Troubles {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
