//! What this client may do with topics, groups and transactional ids, as brokers report it.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use tokio::task::spawn_blocking;

use super::{Access, Admin, AdminContext, authorized};

/// Max time for brokers to answer. A start waits for the answer, and continues without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A transaction timeout in milliseconds that is near librdkafka's maximum and more than brokers allow.
const TOO_LONG_MS: &str = "2147000000";

/// Access of this client to a transactional id.
#[derive(Debug)]
pub enum TransactionalAccess {
    Allowed,
    Denied,
    /// The brokers accepted a timeout that Kafka refuses, so this client has taken the id over.
    TakenOver,
    /// The brokers give no reason that says whether this client has the ACL.
    Unknown(KafkaError),
}

/// Access to topics or groups, by name.
type AccessByName = Vec<(String, Access)>;

impl Admin {
    /// The access to each topic, by name. The request reads no record and creates no topic. The access to a topic is
    /// known only when the topic exists.
    ///
    /// # Errors
    /// No broker answers in time, or it does not support the request.
    pub async fn access_to_topics(&self, topics: BTreeSet<String>) -> KafkaResult<AccessByName> {
        self.access_to(topics, |client, topics| authorized::query_topics(client.client(), topics, PATIENCE)).await
    }

    /// The access to each group, by name. The request joins no group, and the groups need not exist.
    ///
    /// # Errors
    /// Those of [`Admin::access_to_topics`].
    pub async fn access_to_groups(&self, groups: BTreeSet<String>) -> KafkaResult<AccessByName> {
        self.access_to(groups, |client, groups| authorized::query_groups(client.client(), groups, PATIENCE)).await
    }

    async fn access_to(
        &self,
        names: BTreeSet<String>,
        ask: fn(&BaseProducer<AdminContext>, &[String]) -> KafkaResult<AccessByName>,
    ) -> KafkaResult<AccessByName> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = names.into_iter().collect();
        self.ask(move |client| ask(client, &names)).await
    }
}

/// Whether this client may write with a transactional id. The request has a timeout that is too long. A broker first
/// checks whether this client may write with the id, then the timeout. It refuses the timeout before it takes the id
/// over, so a current writer is not fenced. `client` has the settings of a writer with this id.
pub async fn access_to_transactional_id(mut client: ClientConfig) -> TransactionalAccess {
    client.set("transaction.timeout.ms", TOO_LONG_MS);
    let task = spawn_blocking(move || {
        let producer: BaseProducer<AdminContext> = client.create_with_context(AdminContext::default())?;
        producer.init_transactions(PATIENCE)
    });
    match task.await.expect("asking brokers does not panic") {
        Ok(()) => TransactionalAccess::TakenOver,
        Err(refusal) => match refusal.rdkafka_error_code() {
            Some(RDKafkaErrorCode::InvalidTransactionTimeout) => TransactionalAccess::Allowed,
            Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => TransactionalAccess::Denied,
            _ => TransactionalAccess::Unknown(refusal),
        },
    }
}
