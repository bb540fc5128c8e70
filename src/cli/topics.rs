//! `outhook topics`: creates and checks Outhook's own topics.

use std::process::ExitCode;

use super::{CommandFailure, waiting};
use crate::config::Config;
use crate::topics::{Cluster, Error, ResourceKind, TopicStatus, required_topics};

/// Creates or checks Outhook's own topics: definitions, retries, row order, dead letters, the message log, counts.
///
/// `outhook run` creates what is missing by itself; this is for clusters where it may not.
#[derive(Debug, clap::Subcommand)]
pub enum TopicsCommand {
    /// Creates the topics that are missing, and checks the others.
    Create,
    /// Says of each topic whether it is there and as it has to be.
    Check,
}

pub(super) async fn run(command: TopicsCommand, config: &Config) -> Result<ExitCode, CommandFailure> {
    let brokers = &config.kafka.brokers;
    let what = format_args!("waiting for Kafka at {brokers} to say which topics it has");
    let cluster = waiting::told(what, Cluster::connect(config)).await?;
    let access = cluster.access(config).await;
    let (required, mut missing, mut code) = (required_topics(config), Vec::new(), ExitCode::SUCCESS);
    for topic in &required {
        if access.hides(&topic.name) {
            // It is neither there nor missing, and were it created, nobody would see it.
            let of_it = access.own.into_iter().filter(|acls| acls.names(ResourceKind::Topic, &topic.name));
            return Err(Error::Denied(of_it.collect()).into());
        }
        match cluster.standing(topic).await? {
            TopicStatus::Missing => missing.push(topic),
            TopicStatus::Right { found } => println!("right    {}: {found}", topic.name),
            TopicStatus::Wrong(wrong) => {
                println!("wrong    {wrong}");
                println!("         to fix it: {}", wrong.mend);
                code = ExitCode::FAILURE;
            }
        }
    }
    match command {
        TopicsCommand::Create => {
            let what = format_args!("waiting for Kafka at {brokers} to create {} topics", missing.len());
            waiting::told(what, cluster.create(&missing)).await?;
            missing.iter().for_each(|topic| println!("created  {topic}"));
        }
        TopicsCommand::Check if missing.is_empty() => {}
        TopicsCommand::Check => {
            missing.iter().for_each(|topic| println!("missing  {topic}; `outhook topics create` creates it"));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
