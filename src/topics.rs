//! Outhook's own topics: what they have to be, whether they are, and creating those that are missing.

mod access;
mod acl;
mod authorized;
mod cluster;
mod readers;
mod required;
mod unread;

pub use self::access::AccessReport;
pub use self::acl::{AclOperation, MissingAcls, ResourceKind};
pub use self::cluster::{Cluster, Error};
pub use self::readers::ReadingGroup;
pub use self::required::{RequiredTopic, TopicStatus, Wrong, counted, required_topics};
pub use self::unread::{DeletedUnread, deleted_unread};

use tracing::{error, warn};

use crate::config::Config;

/// How often a cluster that answers but does not do as it is asked is asked.
const TRIES: usize = 3;

/// Creates the topics that are missing and refuses those that are wrong; returns the names of the created. A client that
/// lacks ACLs for what is Outhook's own is refused too: it would go on for a while, and then wait in vain. What it lacks on
/// topics of sources is logged, and the others are read.
///
/// A broker that has just died is named as the one to ask for a while still, and who asks it waits in vain. So an
/// instance that starts meanwhile asks again, as a new client, which is told of another one by then.
///
/// # Errors
/// The cluster can't be reached, a topic can't be created, or one is not as it has to be.
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
        // Of a topic that was not there nobody could tell.
        allowed(&cluster.access(config).await, config)?;
    }
    for reason in &access.unknown {
        warn!("{reason}");
    }
    for acls in &access.own {
        error!("{acls}: some of the REST API does not work; to mend it: {}", acls.mend);
    }
    for acls in &access.sources {
        error!("{acls}: nothing is read there; to mend it: {}", acls.mend);
    }
    Ok(missing.into_iter().map(|topic| topic.name.clone()).collect())
}

fn allowed(access: &AccessReport, config: &Config) -> Result<(), Error> {
    if access.keeps_from_running(config) { Err(Error::Denied(access.own.clone())) } else { Ok(()) }
}
