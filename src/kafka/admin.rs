//! Administration of a cluster: lists and creates topics, reads their settings, and asks what this client may do.

mod access;
mod authorized;
mod deleted_unread;
mod groups;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::errors::{self, BrokerError, ClientErrors};

pub use rdkafka::admin::NewTopic;

pub use self::access::{TransactionalAccess, access_to_transactional_id};
pub use self::deleted_unread::{DeletedUnread, deleted_unread};
pub use self::groups::{ReadingGroup, UnknownReaders};

/// Max time for one answer of the cluster.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Max time for creating topics. All topics are created in one request.
const CREATION: Duration = Duration::from_secs(30);
/// Interval in which the client's callbacks are served while an answer is awaited.
const SERVE: Duration = Duration::from_millis(100);

/// Clients for administration.
pub struct Admin {
    admin: AdminClient<DefaultClientContext>,
    /// Client for metadata. An admin client would not report why it gets no answer.
    query_client: Arc<BaseProducer<AdminContext>>,
}

/// Why a cluster refuses a request about a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// This client lacks the ACL.
    Denied,
    Other(String),
}

/// Operation that an ACL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclOperation {
    Read,
    Write,
    Create,
    DescribeConfigs,
}

/// Access of this client to a topic or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// The allowed operations, of those in [`AclOperation`].
    Allowed(Vec<AclOperation>),
    /// No operation is allowed. Brokers do not report whether the topic exists.
    Denied,
    NoTopic,
    /// Brokers do not report it, for this reason.
    Unknown(String),
}

impl Admin {
    /// Does not wait for a broker. `client` has the connection settings.
    ///
    /// # Errors
    /// The client library refuses the settings.
    pub fn new(mut client: ClientConfig) -> Result<Self, KafkaError> {
        let admin = client.create()?;
        // librdkafka reports closed connections at this level, which is off if logging is off.
        client.set_log_level(RDKafkaLogLevel::Info);
        Ok(Self { admin, query_client: Arc::new(client.create_with_context(AdminContext::default())?) })
    }

    /// The number of brokers, and partitions by topic, without Kafka's internal topics. Asks for all topics: a request
    /// that names a topic could create it.
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn overview(&self) -> Result<(usize, BTreeMap<String, usize>), BrokerError> {
        self.ask(|query_client| {
            let serve = || {
                query_client.poll(SERVE);
            };
            let metadata = errors::metadata(query_client.client(), None, PATIENCE, &query_client.context().0, serve)?;
            let topics = metadata.topics().iter().filter(|topic| !topic.name().starts_with("__"));
            let topics = topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect();
            Ok((metadata.brokers().len(), topics))
        })
        .await
    }

    /// Creates topics in one request. With separate requests, each topic would wait for the controller and for the
    /// broker that is asked. Returns the topics that the cluster refuses. A topic that exists is accepted.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn create(&self, topics: &[NewTopic<'_>]) -> Result<Vec<(String, Refusal)>, KafkaError> {
        self.request(topics, &options(CREATION)).await
    }

    /// The topics whose creation the cluster would refuse. No topic is created.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn try_to_create(&self, topics: &[NewTopic<'_>]) -> Result<Vec<(String, Refusal)>, KafkaError> {
        self.request(topics, &options(PATIENCE).validate_only(true)).await
    }

    async fn request(
        &self,
        topics: &[NewTopic<'_>],
        options: &AdminOptions,
    ) -> Result<Vec<(String, Refusal)>, KafkaError> {
        let results = self.admin.create_topics(topics, options).await?;
        let refused = results.into_iter().filter_map(Result::err);
        let refused = refused.filter(|(_, code)| *code != RDKafkaErrorCode::TopicAlreadyExists);
        Ok(refused.map(|(topic, code)| (topic, Refusal::of(code))).collect())
    }

    /// The settings of a topic.
    ///
    /// # Errors
    /// The cluster refuses to describe them or does not answer.
    pub async fn settings(&self, topic: &str) -> Result<BTreeMap<String, String>, Refusal> {
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options(PATIENCE)).await;
        let hint = "does this broker support admin requests? The embedded broker of `outhook dev` does not";
        let described = described.map_err(|error| Refusal::Other(format!("{error}; {hint}")))?.into_iter().next();
        let resource = described.ok_or_else(|| Refusal::Other("the cluster did not describe it".to_owned()))?;
        let entries = resource.map_err(Refusal::of)?.entries;
        Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
    }

    /// Runs a request in a thread that may block.
    async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&BaseProducer<AdminContext>) -> T + Send + 'static) -> T {
        let query_client = self.query_client.clone();
        let task = tokio::task::spawn_blocking(move || ask(&query_client));
        task.await.expect("asking brokers does not panic")
    }
}

impl Refusal {
    fn of(code: RDKafkaErrorCode) -> Self {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => Self::Denied,
            _ => Self::Other(code.to_string()),
        }
    }
}

/// The operation in the spelling of Kafka's tools.
impl fmt::Display for AclOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The request for a new topic. Without a replication factor it gets the broker's default.
pub fn new_topic<'t>(
    name: &'t str,
    partitions: i32,
    replication_factor: Option<i32>,
    settings: &'t [(&'static str, String)],
) -> NewTopic<'t> {
    // -1 is the broker's default (KIP-464).
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication_factor.unwrap_or(-1)));
    settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
}

fn options(within: Duration) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(within)).operation_timeout(Some(within))
}

/// Collects the errors of its client, as reasons for requests without an answer.
#[derive(Default)]
struct AdminContext(ClientErrors);

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
