//! `outhook topics`: creates and checks Outhook's own topics.

use std::process::ExitCode;

use super::{CommandFailure, wait_notice};
use crate::config::Config;
use crate::topics::{Cluster, Error, ResourceKind, TopicStatus, required_topics};

/// Creates or checks Outhook's own topics.
///
/// They hold definitions, waiting calls, dead letters, the message log and counts. `outhook run` creates missing
/// topics too. Use this command where `run` is not allowed to create topics.
#[derive(Debug, clap::Subcommand)]
pub enum TopicsCommand {
    /// Creates missing topics, and checks the others.
    Create,
    /// Checks whether each topic exists and has the required settings.
    Check,
}

pub(super) async fn run(command: TopicsCommand, config: &Config) -> Result<ExitCode, CommandFailure> {
    let brokers = &config.kafka.brokers;
    let what = format_args!("waiting for Kafka at {brokers} to list its topics");
    let cluster = wait_notice::with_notice(what, Cluster::connect(config)).await?;
    let access = cluster.access(config).await;
    let (required, mut missing, mut code) = (required_topics(config), Vec::new(), ExitCode::SUCCESS);
    for topic in &required {
        if access.hides(&topic.name) {
            // This client can't see whether the topic exists, and could not see it if it were created.
            let denied = access.missing_on_own.into_iter().filter(|acls| acls.covers(ResourceKind::Topic, &topic.name));
            return Err(Error::Denied(denied.collect()).into());
        }
        match cluster.topic_status(topic).await? {
            TopicStatus::Missing => missing.push(topic),
            TopicStatus::Correct { found } => println!("right    {}: {found}", topic.name),
            TopicStatus::Wrong(wrong) => {
                println!("wrong    {wrong}");
                println!("         to fix it: {}", wrong.fix);
                code = ExitCode::FAILURE;
            }
        }
    }
    match command {
        TopicsCommand::Create => {
            let what = format_args!("waiting for Kafka at {brokers} to create {} topics", missing.len());
            wait_notice::with_notice(what, cluster.create(&missing)).await?;
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
