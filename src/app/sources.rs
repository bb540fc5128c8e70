//! The sources of an instance: row changes, waiting calls, and the overflow log. Each is a member of a consumer
//! group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::{LAST_ENTRIES, Stages, sources};
use crate::config::Config;
use crate::deliver::{Lanes, SlotLease};
use crate::endpoints::{Endpoints, OVERFLOW};
use crate::lifecycle::Readiness;
use crate::pipeline::{CallDefinitions, RetryHandler, RetrySource, RowOrderHandler};
use crate::receipt::Budget;
use crate::settle::{Settle, Tiers};
use crate::source::{self, Fatal, Handlers, Left, Reads, Source, StartError, Subscription};

/// Max time after the drain deadline for attempts under way to finish.
const LAST_ATTEMPTS: Duration = Duration::from_secs(1);

/// Settings of each source.
pub(super) struct SourceConfigs {
    pub changes: source::Config,
    pub retries: source::Config,
    pub overflow: source::Config,
}

/// The sources. The overflow log has a separate group, because a group assigns partitions of many topics by their
/// number. In the group of the retry topics, one instance could get all partitions of the log, and the others would
/// have no share of the calls that CallThrottling allows.
pub(super) struct Sources {
    changes: Source<Stages>,
    retries: Source<Resumes>,
    overflow: Source<Resumes>,
}

/// Creates the handler of each partition with waiting calls: of the retry topics, the overflow log and the row-order
/// topic.
#[derive(Clone)]
pub(super) struct Resumes {
    pub tiers: Tiers,
    pub overflow: Arc<str>,
    pub row_order: Arc<str>,
    pub definitions: CallDefinitions,
    pub lanes: Arc<Lanes>,
    pub settle: Arc<Settle>,
    pub endpoints: Arc<Endpoints>,
}

impl SourceConfigs {
    pub fn of(config: &Config, readiness: &Readiness) -> Self {
        let memory = &config.memory;
        let topics = sources(config).map(|source| match source.topics_regex {
            Some(pattern) => Subscription::Regex(pattern.subscription()),
            None => Subscription::List(source.topics),
        });
        let tiers = config.retries.tiers();
        let tiers = tiers.iter().map(|tier| tier.topic.to_string());
        let retries = tiers.chain([config.row_order.topic.clone()]).collect();
        let overflow = vec![config.overflow.topic.clone()];
        let kafka = &config.kafka;
        let source = |name, client, topics| source(name, config, client, (topics, readiness));
        let mut overflow = source("overflow", kafka.overflow_consumer(memory), vec![Subscription::List(overflow)]);
        // Earlier versions read the log in the group of the retry topics.
        overflow.former_group = Some(kafka.retries_group());
        Self {
            changes: source("changes", kafka.consumer(memory), topics.collect()),
            retries: source("retries", kafka.retries_consumer(memory), vec![Subscription::List(retries)]),
            overflow,
        }
    }
}

fn source(
    name: &'static str,
    config: &Config,
    client: HashMap<String, String>,
    (topics, readiness): (Vec<Subscription>, &Readiness),
) -> source::Config {
    source::Config {
        name,
        client,
        topics,
        former_group: None,
        commit_interval: config.kafka.commit_interval,
        drain_deadline: config.drain.deadline,
        max_open_records: config.memory.max_open_records,
        max_uncommitted: config.kafka.max_uncommitted,
        readiness: readiness.clone(),
    }
}

impl Sources {
    pub fn start(
        reading: &SourceConfigs,
        stages: Stages,
        resumes: Resumes,
        budget: &Arc<Budget>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            changes: Source::start(&reading.changes, stages, budget.clone())?,
            retries: Source::start(&reading.retries, resumes.clone(), budget.clone())?,
            overflow: Source::start(&reading.overflow, resumes, budget.clone())?,
        })
    }

    pub async fn failed(&self) -> Fatal {
        tokio::select! {
            fatal = self.changes.failed() => fatal,
            fatal = self.retries.failed() => fatal,
            fatal = self.overflow.failed() => fatal,
        }
    }

    pub async fn assigned(&self) {
        tokio::join!(self.changes.assigned(), self.retries.assigned(), self.overflow.assigned());
    }

    /// Stops in the order of a record's journey: no new records, no new attempts, retries and dead letters
    /// acknowledged, then the last commit.
    pub async fn drain(self, lanes: &Lanes, settle: &Settle) -> Left {
        let Self { changes, retries, overflow } = self;
        let drained = tokio::join!(changes.drain(), retries.drain(), overflow.drain());
        let left = drained.0.left() + drained.1.left() + drained.2.left();
        if left > 0 {
            warn!(records = left, "the drain deadline has passed");
        }
        let _ = tokio::time::timeout(LAST_ATTEMPTS, async {
            lanes.stop().await;
            settle.drained().await
        })
        .await;
        settle.stop();
        let left = tokio::join!(changes.leave(drained.0), retries.leave(drained.1), overflow.leave(drained.2));
        // Last, so that the message log contains the entries of the last attempts.
        settle.logged(LAST_ENTRIES).await;
        let all = [left.0, left.1, left.2];
        Left {
            unsettled: all.iter().map(|left| left.unsettled).sum(),
            committed: all.iter().all(|left| left.committed),
        }
    }
}

impl Handlers for Resumes {
    type Handler = RowOrderHandler;
    type Backlog = RetryHandler;

    fn for_partition(&self, topic: &str, partition: i32) -> Option<Reads<RowOrderHandler, RetryHandler>> {
        let (definitions, lanes, settle) = (self.definitions.clone(), self.lanes.clone(), self.settle.clone());
        if topic == &*self.row_order {
            let share = counted(lanes.own_in_order(partition), topic, partition);
            return Some(Reads::InTurn(RowOrderHandler::new(share, definitions, lanes, settle)));
        }
        let (label, source) = if let Some(tier) = self.tiers.named(topic) {
            (tier.name(), RetrySource::tier(tier.clone()))
        } else if topic == &*self.overflow {
            let _share = counted(lanes.own(partition), topic, partition);
            (OVERFLOW.to_owned(), RetrySource::Overflow { _share })
        } else {
            return None;
        };
        let report = self.endpoints.partition(&label, partition);
        Some(Reads::InLines(RetryHandler::new((source, report), definitions, lanes, settle)))
    }
}

/// Logs an error if the partition has no share of the calls that CallThrottling allows.
fn counted(share: SlotLease, topic: &str, partition: i32) -> SlotLease {
    if !share.is_counted() {
        error!(
            topic,
            partition,
            "the partition was added while this instance runs, and throttled calls in it wait: stop all instances, set \
             overflow.partitions or row_order.partitions to the topic's number, and start them"
        );
    }
    share
}
