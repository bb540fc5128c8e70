//! Outhook's own topics: required settings, checks, ACLs, and creation of missing topics.

mod access;
mod acl;
mod cluster;
mod required;

pub use self::access::{AccessReport, UnknownAccess};
pub use self::acl::{MissingAcls, ResourceKind};
pub use self::cluster::{Cluster, Error};
pub use self::required::{RequiredTopic, TopicStatus, WrongTopic, count_text, required_topics};

use tracing::{error, warn};

use crate::config::Config;

/// Max attempts with a cluster that answers but fails to describe or create a topic.
const MAX_TRIES: usize = 3;

/// Creates missing topics, refuses topics with wrong settings, and returns the names of the created topics. A client
/// without the ACLs that delivery needs on Outhook's own topics and groups is refused too: it would work for a while,
/// and then wait forever. Other missing ACLs are logged: those that only the REST API needs, and those on topics of
/// sources, where the other topics are still read.
///
/// For a while metadata still names a broker that has just died, and requests to it time out. So an instance that
/// starts meanwhile tries again with a new client, which by then learns of another broker.
///
/// # Errors
/// The cluster can't be reached, ACLs are missing, a topic can't be created, or a topic has wrong settings.
pub async fn ensure(config: &Config) -> Result<Vec<String>, Error> {
    for _ in 1..MAX_TRIES {
        match try_ensure(config).await {
            Err(error @ (Error::Describe { .. } | Error::Create { .. })) => warn!("{error}; trying again"),
            ended => return ended,
        }
    }
    try_ensure(config).await
}

async fn try_ensure(config: &Config) -> Result<Vec<String>, Error> {
    let cluster = Cluster::connect(config).await?;
    let access = cluster.access(config).await;
    check_access(&access, config)?;
    let required = required_topics(config);
    let mut missing = Vec::new();
    for topic in &required {
        match cluster.topic_status(topic).await? {
            TopicStatus::Correct { .. } => {}
            TopicStatus::Wrong(wrong) => return Err(Error::Wrong(wrong)),
            TopicStatus::Missing => missing.push(topic),
        }
    }
    if !missing.is_empty() {
        cluster.create(&missing).await?;
        // Before a topic exists, brokers can't report the access to it.
        check_access(&cluster.access(config).await, config)?;
    }
    for reason in &access.unknown_reasons {
        warn!("{reason}");
    }
    for acls in &access.missing_on_own {
        error!("{acls}: some of the REST API does not work; to fix it: {}", acls.fix_command);
    }
    for acls in &access.missing_on_sources {
        error!("{acls}: nothing is read there; to fix it: {}", acls.fix_command);
    }
    Ok(missing.into_iter().map(|topic| topic.name.clone()).collect())
}

fn check_access(access: &AccessReport, config: &Config) -> Result<(), Error> {
    if access.prevents_delivery(config) { Err(Error::Denied(access.missing_on_own.clone())) } else { Ok(()) }
}
