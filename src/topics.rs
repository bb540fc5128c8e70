//! Outhook's own topics: what they have to be, whether they are, and creating those that are missing.

mod cluster;
mod wanted;

pub use self::cluster::{Cluster, Error};
pub use self::wanted::{Standing, Wanted, Wrong, counted, wanted};

use crate::config::Config;

/// Creates the topics that are missing and refuses those that are wrong; returns the names of the created.
///
/// # Errors
/// The cluster can't be reached, a topic can't be created, or one is not as it has to be.
pub async fn ensure(config: &Config) -> Result<Vec<String>, Error> {
    let cluster = Cluster::connect(&config.kafka).await?;
    let mut created = Vec::new();
    for topic in wanted(config) {
        match cluster.standing(&topic).await? {
            Standing::Right { .. } => {}
            Standing::Wrong(wrong) => return Err(Error::Wrong(wrong)),
            Standing::Missing => {
                cluster.create(&topic).await?;
                created.push(topic.name);
            }
        }
    }
    Ok(created)
}
