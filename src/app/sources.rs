//! The sources of an instance: row changes, waiting calls, and the overflow log. Each is a member of a consumer
//! group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::{LOG_FLUSH_TIMEOUT, PipelineFactory, sources};
use crate::config::Config;
use crate::deliver::{Lanes, SlotLease};
use crate::endpoints::{Endpoints, OVERFLOW_PLACE};
use crate::lifecycle::Readiness;
use crate::pipeline::{CallDefinitions, RetryHandler, RetrySource, RowOrderHandler};
use crate::receipt::Budget;
use crate::settle::{Settler, Tiers};
use crate::source::{self, FatalError, HandlerFactory, LeaveResult, ReadMode, Source, StartError, Subscription};

/// Max time after the drain deadline for attempts under way to finish.
const ATTEMPTS_GRACE: Duration = Duration::from_secs(1);

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
    changes: Source<PipelineFactory>,
    retries: Source<WaitingCallFactory>,
    overflow: Source<WaitingCallFactory>,
}

/// Creates the handler of each partition with waiting calls: of the retry topics, the overflow log and the row-order
/// topic.
#[derive(Clone)]
pub(super) struct WaitingCallFactory {
    pub tiers: Tiers,
    pub overflow_topic: Arc<str>,
    pub row_order_topic: Arc<str>,
    pub definitions: CallDefinitions,
    pub lanes: Arc<Lanes>,
    pub settler: Arc<Settler>,
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
        stages: PipelineFactory,
        resumes: WaitingCallFactory,
        budget: &Arc<Budget>,
    ) -> Result<Self, StartError> {
        Ok(Self {
            changes: Source::start(&reading.changes, stages, budget.clone())?,
            retries: Source::start(&reading.retries, resumes.clone(), budget.clone())?,
            overflow: Source::start(&reading.overflow, resumes, budget.clone())?,
        })
    }

    pub async fn wait_for_failure(&self) -> FatalError {
        tokio::select! {
            fatal = self.changes.wait_for_failure() => fatal,
            fatal = self.retries.wait_for_failure() => fatal,
            fatal = self.overflow.wait_for_failure() => fatal,
        }
    }

    pub async fn wait_until_assigned(&self) {
        tokio::join!(
            self.changes.wait_until_assigned(),
            self.retries.wait_until_assigned(),
            self.overflow.wait_until_assigned()
        );
    }

    /// Stops in the order of a record's journey: no new records, no new attempts, retries and dead letters
    /// acknowledged, then the last commit.
    pub async fn drain(self, lanes: &Lanes, settle: &Settler) -> LeaveResult {
        let Self { changes, retries, overflow } = self;
        let drained = tokio::join!(changes.drain(), retries.drain(), overflow.drain());
        let left = drained.0.unsettled_count() + drained.1.unsettled_count() + drained.2.unsettled_count();
        if left > 0 {
            warn!(records = left, "the drain deadline has passed");
        }
        let _ = tokio::time::timeout(ATTEMPTS_GRACE, async {
            lanes.stop().await;
            settle.wait_until_drained().await
        })
        .await;
        settle.stop();
        let left = tokio::join!(changes.leave(drained.0), retries.leave(drained.1), overflow.leave(drained.2));
        // Last, so that the message log contains the entries of the last attempts.
        settle.flush_message_log(LOG_FLUSH_TIMEOUT).await;
        let all = [left.0, left.1, left.2];
        LeaveResult {
            unsettled: all.iter().map(|left| left.unsettled).sum(),
            all_committed: all.iter().all(|left| left.all_committed),
        }
    }
}

impl HandlerFactory for WaitingCallFactory {
    type Handler = RowOrderHandler;
    type Backlog = RetryHandler;

    fn for_partition(&self, topic: &str, partition: i32) -> Option<ReadMode<RowOrderHandler, RetryHandler>> {
        let (definitions, lanes, settle) = (self.definitions.clone(), self.lanes.clone(), self.settler.clone());
        if topic == &*self.row_order_topic {
            let share = check_has_slots(lanes.lease_row_order_slots(partition), topic, partition);
            return Some(ReadMode::Sequential(RowOrderHandler::new(share, definitions, lanes, settle)));
        }
        let (label, source) = if let Some(tier) = self.tiers.by_topic(topic) {
            (tier.name(), RetrySource::tier(tier.clone()))
        } else if topic == &*self.overflow_topic {
            let _share = check_has_slots(lanes.lease_slots(partition), topic, partition);
            (OVERFLOW_PLACE.to_owned(), RetrySource::Overflow { _share })
        } else {
            return None;
        };
        let report = self.endpoints.partition(&label, partition);
        Some(ReadMode::ByLine(RetryHandler::new((source, report), definitions, lanes, settle)))
    }
}

/// Logs an error if the partition has no share of the calls that CallThrottling allows.
fn check_has_slots(share: SlotLease, topic: &str, partition: i32) -> SlotLease {
    if !share.has_slots() {
        error!(
            topic,
            partition,
            "the partition was added while this instance runs, and throttled calls in it wait: stop all instances, set \
             overflow.partitions or row_order.partitions to the topic's number, and start them"
        );
    }
    share
}
