//! Checks whether this client has the ACLs that Outhook needs. Brokers are asked before a missing ACL causes a
//! failure.

use std::collections::BTreeSet;

use super::acl::{Grantee, MissingAcls, MissingOperations, ResourceKind};
use super::cluster::Cluster;
use super::required_topics;
use crate::config::Config;
use crate::kafka::KafkaError;
use crate::kafka::admin::{Access, AclOperation, TransactionalAccess, access_to_transactional_id};
use crate::store;

/// Operations of Outhook on each topic that it owns.
const OWN_TOPIC_OPERATIONS: &[AclOperation] = &[AclOperation::Read, AclOperation::Write, AclOperation::DescribeConfigs];

/// The ACLs that this client lacks, as far as brokers report them.
#[derive(Debug, Default)]
pub struct AccessReport {
    /// Missing ACLs on Outhook's own topics and groups.
    pub missing_on_own: Vec<MissingAcls>,
    /// Missing ACLs on topics of sources. The other topics are still read.
    pub missing_on_sources: Vec<MissingAcls>,
    /// Unknown access, with the reason.
    pub unknown_reasons: Vec<String>,
    /// Topics whose existence brokers hide from this client.
    hidden_topics: BTreeSet<String>,
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
        self.hidden_topics.contains(topic)
    }

    /// Whether a missing ACL prevents delivery. ACLs that only commands and the REST API need do not count.
    pub fn prevents_delivery(&self, config: &Config) -> bool {
        let lacks_topic = |topic: &str| {
            let needed = delivery_operations(config, topic);
            needed.iter().any(|operation| self.lacks(ResourceKind::Topic, topic, *operation))
        };
        let lacks_group = |group: &String| self.lacks(ResourceKind::Group, group, AclOperation::Read);
        groups(config).iter().any(lacks_group) || required_topics(config).iter().any(|topic| lacks_topic(&topic.name))
    }

    /// Whether this client lacks an operation on one of Outhook's own topics or groups.
    pub fn lacks(&self, kind: ResourceKind, name: &str, operation: AclOperation) -> bool {
        self.missing_on_own.iter().any(|acls| acls.contains(kind, name, operation))
    }
}

impl Cluster {
    /// Asks brokers what this client may do with topics and groups. That reads and writes no record and joins no
    /// group. The access to a topic is known only when the topic exists.
    pub async fn access(&self, config: &Config) -> AccessReport {
        let own: BTreeSet<String> = required_topics(config).into_iter().map(|topic| topic.name).collect();
        let seen = self.topics().keys().filter(|topic| config.source_of(topic).is_some());
        let source_topics = seen.chain(config.sources.iter().flat_map(|source| &source.topics)).cloned();
        let source_topics = source_topics.filter(|topic| !own.contains(topic)).collect::<BTreeSet<_>>();
        let (own, sources, groups) = tokio::join!(
            self.admin.access_to_topics(own),
            self.admin.access_to_topics(source_topics),
            self.admin.access_to_groups(groups(config).into()),
        );
        let grantee = Grantee::of(config);
        let mut unknown = Vec::new();
        let hidden = [&own, &sources].into_iter().flatten().flatten().filter(|(_, access)| *access == Access::Denied);
        let hidden = hidden.map(|(topic, _)| topic.clone()).collect();
        let mut lacks = missing_operations(ResourceKind::Topic, OWN_TOPIC_OPERATIONS, own, &mut unknown);
        lacks.extend(missing_operations(ResourceKind::Group, &[AclOperation::Read], groups, &mut unknown));
        let lacks_on_sources = missing_operations(ResourceKind::Topic, &[AclOperation::Read], sources, &mut unknown);
        AccessReport {
            missing_on_own: grantee.missing(lacks),
            missing_on_sources: grantee.missing(lacks_on_sources),
            unknown_reasons: unknown,
            hidden_topics: hidden,
        }
    }

    /// The ACL that this client lacks on the transactional id of the writers of definitions.
    ///
    /// # Errors
    /// The access is unknown, or the brokers do not limit timeouts.
    pub async fn definitions_access(&self, config: &Config) -> Result<Vec<MissingAcls>, UnknownAccess> {
        let id = config.definitions.topic.clone();
        let (_, writer) = store::client_configs(&config.definitions, &config.kafka.client());
        match access_to_transactional_id(writer).await {
            TransactionalAccess::Allowed => Ok(Vec::new()),
            TransactionalAccess::Denied => {
                let (kind, operations) = (ResourceKind::TransactionalId, vec![AclOperation::Write]);
                Ok(Grantee::of(config).missing(vec![MissingOperations { kind, name: id, operations }]))
            }
            TransactionalAccess::TakenOver => Err(UnknownAccess::TakenOver { id }),
            TransactionalAccess::Unknown(source) => Err(UnknownAccess::Refused { id, source }),
        }
    }
}

/// The operations that are missing on each topic or group. Reasons for unknown access are added to `unknown`, each
/// once.
fn missing_operations(
    kind: ResourceKind,
    operations: &[AclOperation],
    reported: Result<Vec<(String, Access)>, KafkaError>,
    unknown: &mut Vec<String>,
) -> Vec<MissingOperations> {
    let mut reasons = BTreeSet::new();
    let mut lacks = Vec::new();
    let mut lack = |name, operations: Vec<AclOperation>| lacks.push(MissingOperations { kind, name, operations });
    match reported {
        Err(reason) => drop(reasons.insert(reason.to_string())),
        Ok(reported) => reported.into_iter().for_each(|(name, access)| match access {
            Access::Allowed(allowed) => {
                lack(name, operations.iter().filter(|operation| !allowed.contains(operation)).copied().collect());
            }
            Access::Denied => lack(name, operations.to_vec()),
            Access::NoTopic => {}
            Access::Unknown(reason) => drop(reasons.insert(reason)),
        }),
    }
    let explain = |reason| format!("it is not known which ACLs this client has on {}s: {reason}", kind.noun());
    let new: Vec<String> = reasons.into_iter().map(explain).filter(|reason| !unknown.contains(reason)).collect();
    unknown.extend(new);
    lacks
}

/// Outhook's consumer groups.
fn groups(config: &Config) -> [String; 3] {
    [config.kafka.group.clone(), config.kafka.retries_group(), config.kafka.overflow_group()]
}

/// Operations of delivery on one of Outhook's own topics.
fn delivery_operations(config: &Config, topic: &str) -> &'static [AclOperation] {
    use AclOperation::{DescribeConfigs, Read, Write};
    let is = |own: &str| own == topic;
    if is(&config.definitions.topic) {
        &[Read, DescribeConfigs]
    } else if is(&config.dead_letters.topic) || is(&config.message_log.topic) || is(&config.operator_events.topic) {
        &[Write, DescribeConfigs]
    } else {
        OWN_TOPIC_OPERATIONS
    }
}
