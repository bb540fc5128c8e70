//! Outhook's topics in a cluster: checks and creates them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::acl::{Grantee, MissingAcls, MissingOperations, ResourceKind};
use super::{RequiredTopic, TopicStatus, WrongTopic};
use crate::config::Config;
use crate::kafka::KafkaError;
use crate::kafka::admin::{AclOperation, Admin, PATIENCE, Refusal};
use crate::kafka::errors::BrokerError;

/// Interval of checks for topics that were just created.
const TOPIC_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A cluster that has answered.
pub struct Cluster {
    pub admin: Admin,
    brokers: String,
    grantee: Grantee,
    /// Partitions by topic, at the time of the connection.
    topics: BTreeMap<String, usize>,
    /// Number of brokers.
    pub broker_count: usize,
}

/// Why topics can't be checked or created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Kafka's client refuses its settings: {0}")]
    Settings(KafkaError),
    #[error("kafka.brokers = {brokers:?}: {reason}")]
    Unreachable { brokers: String, reason: BrokerError },
    #[error("the settings of topic {topic} can't be read: {reason}")]
    Describe { topic: String, reason: String },
    #[error("topic {topic} can't be created: {reason}")]
    Create { topic: String, reason: String },
    #[error("{wrong}; to fix it: {fix}", wrong = .0, fix = .0.fix)]
    Wrong(WrongTopic),
    #[error("{}", missing_acls_text(.0))]
    Denied(Vec<MissingAcls>),
}

/// Lists missing ACLs, each command on a separate line, because people copy it.
fn missing_acls_text(missing: &[MissingAcls]) -> String {
    let texts = missing.iter().map(|acls| format!("{acls}; to fix it:\n  {}", acls.fix_command));
    texts.collect::<Vec<_>>().join("\n")
}

impl Cluster {
    /// Connects, and asks for all topics.
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let admin = Admin::new(config.kafka.client().into_iter().collect()).map_err(Error::Settings)?;
        let (brokers, grantee) = (config.kafka.brokers.clone(), Grantee::of(config));
        let mut cluster = Self { admin, brokers, grantee, topics: BTreeMap::new(), broker_count: 0 };
        (cluster.broker_count, cluster.topics) = cluster.fetch_topics().await?;
        Ok(cluster)
    }

    /// Partitions by topic, without Kafka's internal topics.
    pub fn topics(&self) -> &BTreeMap<String, usize> {
        &self.topics
    }

    /// The status of one of Outhook's topics.
    ///
    /// # Errors
    /// Its settings can't be read.
    pub async fn topic_status(&self, required: &RequiredTopic) -> Result<TopicStatus, Error> {
        let Some(partitions) = self.topics.get(&required.name) else { return Ok(TopicStatus::Missing) };
        let settings = self.admin.settings(&required.name).await.map_err(|refusal| match refusal {
            Refusal::Denied => self.denied(AclOperation::DescribeConfigs, &required.name),
            Refusal::Other(reason) => Error::Describe { topic: required.name.clone(), reason },
        })?;
        Ok(required.check_settings(*partitions, &settings, &self.brokers))
    }

    /// Creates topics and waits until the cluster knows them. A topic that another instance created meanwhile is
    /// accepted.
    ///
    /// # Errors
    /// The cluster refuses one of them. Others may have been created.
    pub async fn create(&self, missing: &[&RequiredTopic]) -> Result<(), Error> {
        let Some(first) = missing.first() else { return Ok(()) };
        let topics: Vec<_> = missing.iter().map(|topic| topic.request()).collect();
        let more = topics.len() - 1;
        let refused = self.admin.create(&topics).await.map_err(|error| Error::Create {
            topic: format!("{} (and {more} more)", first.name),
            reason: error.to_string(),
        })?;
        match refused.into_iter().next() {
            Some((topic, Refusal::Denied)) => Err(self.denied(AclOperation::Create, &topic)),
            Some((topic, Refusal::Other(reason))) => Err(Error::Create { topic, reason }),
            None => self.wait_until_known(missing).await,
        }
    }

    async fn wait_until_known(&self, created: &[&RequiredTopic]) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, known) = self.fetch_topics().await?;
            let Some(unknown) = created.iter().find(|topic| !known.contains_key(&topic.name)) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let reason = format!("the request was accepted, but the topic is missing after {PATIENCE:?}");
                return Err(Error::Create { topic: unknown.name.clone(), reason });
            }
            tokio::time::sleep(TOPIC_POLL_INTERVAL).await;
        }
    }

    /// The ACLs that this client lacks for creating these topics, as far as brokers report them. No topic is created.
    pub async fn missing_create_acls(&self, required: &[RequiredTopic]) -> Vec<MissingAcls> {
        let topics: Vec<_> = required.iter().map(RequiredTopic::request).collect();
        let refused = self.admin.try_to_create(&topics).await.unwrap_or_default();
        let denied = refused.into_iter().filter(|(_, refusal)| *refusal == Refusal::Denied);
        let lack = |(name, _)| {
            let (kind, operations) = (ResourceKind::Topic, vec![AclOperation::Create]);
            MissingOperations { kind, name, operations }
        };
        self.grantee.missing(denied.map(lack).collect())
    }

    async fn fetch_topics(&self) -> Result<(usize, BTreeMap<String, usize>), Error> {
        let overview = self.admin.overview().await;
        overview.map_err(|reason| Error::Unreachable { brokers: self.brokers.clone(), reason })
    }

    fn denied(&self, operation: AclOperation, topic: &str) -> Error {
        Error::Denied(vec![self.grantee.missing_acl(operation, topic)])
    }
}
