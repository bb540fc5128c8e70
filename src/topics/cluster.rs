//! Administration of the cluster: lists topics, reads their settings, and creates topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::Instant;

use super::acl::{AclOperation, Grantee, MissingAcls, MissingOperations, ResourceKind};
use super::{RequiredTopic, TopicStatus, Wrong};
use crate::config::Config;
use crate::kafka::errors::{self, ClientErrors, Unanswered};

/// Max time for one answer of the cluster.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Max time for creating topics. All topics are created in one request.
const CREATION: Duration = Duration::from_secs(30);
/// Interval of checks for topics that were just created.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A connection to a cluster that has answered.
pub struct Cluster {
    admin: Arc<AdminClient<DefaultClientContext>>,
    /// Client for metadata. An admin client would not report why it gets no answer.
    asker: Arc<BaseProducer<AdminContext>>,
    brokers: String,
    grantee: Grantee,
    /// Partitions by topic, at the time of the connection.
    topics: BTreeMap<String, usize>,
    /// Number of brokers.
    pub size: usize,
}

/// Why topics can't be checked or created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Kafka's client refuses its settings: {0}")]
    Settings(KafkaError),
    #[error("kafka.brokers = {brokers:?}: {reason}")]
    Unreachable { brokers: String, reason: Unanswered },
    #[error("the settings of topic {topic} can't be read: {reason}")]
    Describe { topic: String, reason: String },
    #[error("topic {topic} can't be created: {reason}")]
    Create { topic: String, reason: String },
    #[error("{wrong}; to fix it: {fix}", wrong = .0, fix = .0.mend)]
    Wrong(Wrong),
    #[error("{}", told(.0))]
    Denied(Vec<MissingAcls>),
}

/// Lists missing ACLs, each command on a separate line, because people copy it.
fn told(missing: &[MissingAcls]) -> String {
    let told = missing.iter().map(|acls| format!("{acls}; to fix it:\n  {}", acls.mend));
    told.collect::<Vec<_>>().join("\n")
}

impl Cluster {
    /// Connects, and asks for all topics. A request that names a topic could create it.
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let mut client: ClientConfig = config.kafka.client().into_iter().collect();
        let admin = Arc::new(client.create().map_err(Error::Settings)?);
        // librdkafka reports closed connections at this level, which is off if logging is off.
        client.set_log_level(RDKafkaLogLevel::Info);
        let asker = Arc::new(client.create_with_context(AdminContext::default()).map_err(Error::Settings)?);
        let (brokers, grantee) = (config.kafka.brokers.clone(), Grantee::of(config));
        let mut cluster = Self { admin, asker, brokers, grantee, topics: BTreeMap::new(), size: 0 };
        (cluster.size, cluster.topics) = cluster.look().await?;
        Ok(cluster)
    }

    /// Partitions by topic, without Kafka's internal topics.
    pub fn topics(&self) -> &BTreeMap<String, usize> {
        &self.topics
    }

    pub(super) fn asker(&self) -> Arc<BaseProducer<AdminContext>> {
        self.asker.clone()
    }

    /// The status of one of Outhook's topics.
    ///
    /// # Errors
    /// Its settings can't be read.
    pub async fn standing(&self, required: &RequiredTopic) -> Result<TopicStatus, Error> {
        let Some(partitions) = self.topics.get(&required.name) else { return Ok(TopicStatus::Missing) };
        let settings = self.settings(&required.name).await?;
        Ok(required.judge(*partitions, &settings, &self.brokers))
    }

    /// Creates topics in one request and waits until the cluster knows them. With separate requests, each topic would
    /// wait for the controller and for the broker that is asked. A topic that another instance created meanwhile is
    /// accepted.
    ///
    /// # Errors
    /// The cluster refuses one of them. Others may have been created.
    pub async fn create(&self, missing: &[&RequiredTopic]) -> Result<(), Error> {
        let Some(first) = missing.first() else { return Ok(()) };
        let topics: Vec<NewTopic<'_>> = missing.iter().copied().map(new_topic).collect();
        let options = AdminOptions::new().request_timeout(Some(CREATION)).operation_timeout(Some(CREATION));
        let refused = |topic: &str, reason: String| Error::Create { topic: topic.to_owned(), reason };
        let created = self.admin.create_topics(&topics, &options).await;
        let more = topics.len() - 1;
        let all_refused = |error: KafkaError| refused(&format!("{} (and {more} more)", first.name), error.to_string());
        for result in created.map_err(all_refused)? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                    return Err(self.denied(AclOperation::Create, &topic));
                }
                Err((topic, code)) => return Err(refused(&topic, code.to_string())),
            }
        }
        self.await_known(missing).await
    }

    async fn await_known(&self, created: &[&RequiredTopic]) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, known) = self.look().await?;
            let Some(unknown) = created.iter().find(|topic| !known.contains_key(&topic.name)) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let reason = format!("the request was accepted, but the topic is missing after {PATIENCE:?}");
                return Err(Error::Create { topic: unknown.name.clone(), reason });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The ACLs that this client lacks for creating these topics, as far as brokers report them. No topic is created.
    pub async fn lacks_to_create(&self, required: &[RequiredTopic]) -> Vec<MissingAcls> {
        let topics: Vec<NewTopic<'_>> = required.iter().map(new_topic).collect();
        let tried = self.admin.create_topics(&topics, &options().validate_only(true)).await.unwrap_or_default();
        let denied = tried.into_iter().filter_map(|result| match result {
            Err((name, RDKafkaErrorCode::TopicAuthorizationFailed)) => Some(name),
            _ => None,
        });
        let lack = |name| MissingOperations { kind: ResourceKind::Topic, name, operations: vec![AclOperation::Create] };
        self.grantee.missing(denied.map(lack).collect())
    }

    /// The number of brokers, and partitions by topic, without Kafka's internal topics.
    async fn look(&self) -> Result<(usize, BTreeMap<String, usize>), Error> {
        let asker = self.asker.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let serve = || {
                asker.poll(LOOK_AGAIN);
            };
            let metadata = errors::metadata(asker.client(), None, PATIENCE, &asker.context().0, serve)?;
            let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
            let topics = topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect();
            Ok((metadata.brokers().len(), topics))
        });
        let answer = asked.await.expect("asking for topics does not panic");
        answer.map_err(|reason| Error::Unreachable { brokers: self.brokers.clone(), reason })
    }

    async fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, Error> {
        let failed = |reason: String| Error::Describe { topic: topic.to_owned(), reason };
        let refused = |code: RDKafkaErrorCode| match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => self.denied(AclOperation::DescribeConfigs, topic),
            _ => failed(code.to_string()),
        };
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()).await;
        let hint = "does this broker support admin requests? The embedded broker of `outhook dev` does not";
        let described = described.map_err(|error| failed(format!("{error}; {hint}")))?.into_iter().next();
        let resource = described.ok_or_else(|| failed("the cluster did not describe it".to_owned()))?;
        let entries = resource.map_err(refused)?.entries;
        Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }

    fn denied(&self, operation: AclOperation, topic: &str) -> Error {
        Error::Denied(vec![self.grantee.lacks(operation, topic)])
    }
}

/// The request for a new topic.
fn new_topic(required: &RequiredTopic) -> NewTopic<'_> {
    // -1 is the broker's default (KIP-464).
    let replication = TopicReplication::Fixed(required.replication_factor.unwrap_or(-1));
    let topic = NewTopic::new(&required.name, required.partitions, replication);
    required.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Collects the errors of its client, as reasons for requests without an answer.
#[derive(Default)]
pub(super) struct AdminContext(ClientErrors);

impl ClientContext for AdminContext {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log(facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl ProducerContext for AdminContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
