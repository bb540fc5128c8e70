//! Outhook's own topics: required settings, checks, ACLs, and creation of missing topics.

mod access;
mod acl;
mod cluster;
mod required;

pub use self::access::{AccessReport, UnknownAccess};
pub use self::acl::{MissingAcls, ResourceKind};
pub use self::cluster::{Cluster, Error};
pub use self::required::{RequiredTopic, TopicStatus, Wrong, counted, required_topics};

use tracing::{error, warn};

use crate::config::Config;

/// Max attempts with a cluster that answers but fails to describe or create a topic.
const TRIES: usize = 3;

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
    for _ in 1..TRIES {
        match try_to_ensure(config).await {
            Err(error @ (Error::Describe { .. } | Error::Create { .. })) => warn!("{error}; trying again"),
            ended => return ended,
        }
    }
    try_to_ensure(config).await
}

async fn try_to_ensure(config: &Config) -> Result<Vec<String>, Error> {
    let cluster = Cluster::connect(config).await?;
    let access = cluster.access(config).await;
    allowed(&access, config)?;
    let required = required_topics(config);
    let mut missing = Vec::new();
    for topic in &required {
        match cluster.standing(topic).await? {
            TopicStatus::Right { .. } => {}
            TopicStatus::Wrong(wrong) => return Err(Error::Wrong(wrong)),
            TopicStatus::Missing => missing.push(topic),
        }
    }
    if !missing.is_empty() {
        cluster.create(&missing).await?;
        // Before a topic exists, brokers can't report the access to it.
        allowed(&cluster.access(config).await, config)?;
    }
    for reason in &access.unknown {
        warn!("{reason}");
    }
    for acls in &access.own {
        error!("{acls}: some of the REST API does not work; to fix it: {}", acls.mend);
    }
    for acls in &access.sources {
        error!("{acls}: nothing is read there; to fix it: {}", acls.mend);
    }
    Ok(missing.into_iter().map(|topic| topic.name.clone()).collect())
}

fn allowed(access: &AccessReport, config: &Config) -> Result<(), Error> {
    if access.keeps_from_running(config) { Err(Error::Denied(access.own.clone())) } else { Ok(()) }
}
