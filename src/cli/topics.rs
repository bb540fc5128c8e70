//! `outhook topics`: creates and checks Outhook's own topics.

use std::process::ExitCode;

use super::Failure;
use crate::config::Config;
use crate::topics::{Cluster, Standing, wanted};

/// Creates or checks Outhook's own topics: definitions, retries, row order, dead letters, the message log, counts.
///
/// `outhook run` creates what is missing by itself; this is for clusters where it may not.
#[derive(Debug, clap::Subcommand)]
pub enum Topics {
    /// Creates the topics that are missing, and checks the others.
    Create,
    /// Says of each topic whether it is there and as it has to be.
    Check,
}

pub(super) async fn run(command: Topics, config: &Config) -> Result<ExitCode, Failure> {
    let cluster = Cluster::connect(&config.kafka).await?;
    let mut code = ExitCode::SUCCESS;
    for topic in wanted(config) {
        let standing = cluster.standing(&topic).await?;
        match (&command, standing) {
            (Topics::Create, Standing::Missing) => {
                cluster.create(&topic).await?;
                println!("created  {topic}");
            }
            (Topics::Check, Standing::Missing) => {
                println!("missing  {topic}; `outhook topics create` creates it");
                code = ExitCode::FAILURE;
            }
            (_, Standing::Right { found }) => println!("right    {}: {found}", topic.name),
            (_, Standing::Wrong(wrong)) => {
                println!("wrong    {wrong}");
                println!("         to mend it: {}", wrong.mend);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
