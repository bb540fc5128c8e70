//! Checks whether this client has the ACLs that Outhook needs. Brokers are asked before a missing ACL causes a
//! failure.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;

use super::acl::{AclOperation, Grantee, MissingAcls, MissingOperations, ResourceKind};
use super::authorized::{self, Answers, Said};
use super::cluster::{AdminContext, Cluster};
use super::required_topics;
use crate::config::Config;
use crate::store;

/// Operations of Outhook on each topic that it owns.
const WITH_OWN_TOPICS: &[AclOperation] = &[AclOperation::Read, AclOperation::Write, AclOperation::DescribeConfigs];

/// Max time for brokers to answer. A start waits for the answer, and continues without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A transaction timeout in milliseconds that is near librdkafka's maximum and more than brokers allow.
const TOO_LONG_MS: &str = "2147000000";

/// The ACLs that this client lacks, as far as brokers report them.
#[derive(Debug, Default)]
pub struct AccessReport {
    /// Missing ACLs on Outhook's own topics and groups.
    pub own: Vec<MissingAcls>,
    /// Missing ACLs on topics of sources. The other topics are still read.
    pub sources: Vec<MissingAcls>,
    /// Unknown access, with the reason.
    pub unknown: Vec<String>,
    /// Topics whose existence brokers hide from this client.
    hidden: BTreeSet<String>,
}

/// The access to the transactional id of the writers of definitions could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum UnknownAccess {
    /// The brokers accepted a timeout that Kafka refuses, so this client is now the writer.
    #[error(
        "the brokers do not limit the timeouts of transactions, so this check has taken the transactional id {id} over: \
         a client that was writing definitions has to start again"
    )]
    TakenOver { id: String },
    /// The brokers give no reason that says whether this client has the ACL.
    #[error("it is not known whether this client may write with the transactional id {id}: {source}")]
    Refused { id: String, source: KafkaError },
}

impl AccessReport {
    /// Whether brokers hide from this client if a topic exists.
    pub fn hides(&self, topic: &str) -> bool {
        self.hidden.contains(topic)
    }

    /// Whether a missing ACL prevents delivery. ACLs that only commands and the REST API need do not count.
    pub fn keeps_from_running(&self, config: &Config) -> bool {
        let lacks_topic = |topic: &str| {
            let needed = needed(config, topic);
            needed.iter().any(|operation| self.lacks(ResourceKind::Topic, topic, *operation))
        };
        let lacks_group = |group: &String| self.lacks(ResourceKind::Group, group, AclOperation::Read);
        groups(config).iter().any(lacks_group) || required_topics(config).iter().any(|topic| lacks_topic(&topic.name))
    }

    /// Whether this client lacks an operation on one of Outhook's own topics or groups.
    pub fn lacks(&self, kind: ResourceKind, name: &str, operation: AclOperation) -> bool {
        self.own.iter().any(|acls| acls.contains(kind, name, operation))
    }
}

impl Cluster {
    /// Asks brokers what this client may do with topics and groups. That reads and writes no record and joins no
    /// group. The access to a topic is known only when the topic exists.
    pub async fn access(&self, config: &Config) -> AccessReport {
        let own: BTreeSet<String> = required_topics(config).into_iter().map(|topic| topic.name).collect();
        let seen = self.topics().keys().filter(|topic| config.source_of(topic).is_some());
        let of_sources = seen.chain(config.sources.iter().flat_map(|source| &source.topics)).cloned();
        let of_sources = of_sources.filter(|topic| !own.contains(topic)).collect::<BTreeSet<_>>();
        let (own, of_sources, groups) = tokio::join!(
            self.ask(own, authorized::of_topics),
            self.ask(of_sources, authorized::of_topics),
            self.ask(groups(config).into(), authorized::of_groups),
        );
        let grantee = Grantee::of(config);
        let mut unknown = Vec::new();
        let hidden = [&own, &of_sources].into_iter().flatten().flatten().filter(|(_, said)| said.is_hidden());
        let hidden = hidden.map(|(topic, _)| topic.clone()).collect();
        let mut lacks = lacking(ResourceKind::Topic, WITH_OWN_TOPICS, own, &mut unknown);
        lacks.extend(lacking(ResourceKind::Group, &[AclOperation::Read], groups, &mut unknown));
        let of_sources = lacking(ResourceKind::Topic, &[AclOperation::Read], of_sources, &mut unknown);
        AccessReport { own: grantee.missing(lacks), sources: grantee.missing(of_sources), unknown, hidden }
    }

    async fn ask(
        &self,
        names: BTreeSet<String>,
        ask: impl FnOnce(&Client<AdminContext>, &[String], Duration) -> KafkaResult<Answers> + Send + 'static,
    ) -> KafkaResult<Answers> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let asker = self.asker();
        let names: Vec<String> = names.into_iter().collect();
        let asked = spawn_blocking(move || ask(asker.client(), &names, PATIENCE)).await;
        asked.expect("asking brokers does not panic")
    }
}

/// The operations that are missing on each topic or group. Reasons for unknown access are added to `unknown`, each
/// once.
fn lacking(
    kind: ResourceKind,
    operations: &[AclOperation],
    said: KafkaResult<Answers>,
    unknown: &mut Vec<String>,
) -> Vec<MissingOperations> {
    let mut reasons = BTreeSet::new();
    let mut lacks = Vec::new();
    let denied = match kind {
        ResourceKind::Group => RDKafkaErrorCode::GroupAuthorizationFailed,
        ResourceKind::Topic | ResourceKind::TransactionalId => RDKafkaErrorCode::TopicAuthorizationFailed,
    };
    let mut lack = |name, operations: Vec<AclOperation>| lacks.push(MissingOperations { kind, name, operations });
    match said {
        Err(reason) => drop(reasons.insert(reason.to_string())),
        Ok(said) => said.into_iter().for_each(|(name, said)| match said {
            Said::Allowed(allowed) => {
                lack(name, operations.iter().filter(|operation| !allowed.contains(operation)).copied().collect());
            }
            Said::Refused(code) if code == denied => lack(name, operations.to_vec()),
            Said::Refused(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
            Said::Refused(code) => drop(reasons.insert(code.to_string())),
            Said::Nothing => drop(reasons.insert("the brokers do not report it, as Kafka does from 2.3 on".to_owned())),
        }),
    }
    let told = |reason| format!("it is not known which ACLs this client has on {}s: {reason}", kind.noun());
    let new: Vec<String> = reasons.into_iter().map(told).filter(|reason| !unknown.contains(reason)).collect();
    unknown.extend(new);
    lacks
}

/// Outhook's consumer groups.
fn groups(config: &Config) -> [String; 3] {
    [config.kafka.group.clone(), config.kafka.retries_group(), config.kafka.overflow_group()]
}

/// Operations of delivery on one of Outhook's own topics.
fn needed(config: &Config, topic: &str) -> &'static [AclOperation] {
    use AclOperation::{DescribeConfigs, Read, Write};
    let is = |own: &str| own == topic;
    if is(&config.definitions.topic) {
        &[Read, DescribeConfigs]
    } else if is(&config.dead_letters.topic) || is(&config.message_log.topic) || is(&config.operator_events.topic) {
        &[Write, DescribeConfigs]
    } else {
        WITH_OWN_TOPICS
    }
}

impl Cluster {
    /// The ACL that this client lacks on the transactional id of the writers of definitions. The request has a
    /// timeout that is too long. A broker first checks whether this client may write with the id, then the timeout.
    /// It refuses the timeout before it takes the id over, so a current writer is not fenced.
    ///
    /// # Errors
    /// The access is unknown, or the brokers do not limit timeouts.
    pub async fn access_to_definitions(&self, config: &Config) -> Result<Vec<MissingAcls>, UnknownAccess> {
        let id = config.definitions.topic.clone();
        let (_, mut client) = store::clients(&config.definitions, &config.kafka.client());
        client.set("transaction.timeout.ms", TOO_LONG_MS);
        let asked = spawn_blocking(move || {
            let producer: BaseProducer<AdminContext> = client.create_with_context(AdminContext::default())?;
            producer.init_transactions(PATIENCE)
        });
        let Err(refusal) = asked.await.expect("asking brokers does not panic") else {
            return Err(UnknownAccess::TakenOver { id });
        };
        match refusal.rdkafka_error_code() {
            Some(RDKafkaErrorCode::InvalidTransactionTimeout) => Ok(Vec::new()),
            Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => {
                let lack = MissingOperations {
                    kind: ResourceKind::TransactionalId,
                    name: id,
                    operations: vec![AclOperation::Write],
                };
                Ok(Grantee::of(config).missing(vec![lack]))
            }
            _ => Err(UnknownAccess::Refused { id, source: refusal }),
        }
    }
}
