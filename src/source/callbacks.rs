//! The callbacks of the group member's client: rebalances, statistics and errors, and the thread that serves them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use tokio::sync::{Notify, watch};
use tracing::{debug, error, warn};

use super::assignment::{Assignment, lag};
use super::commits::Commits;
use super::read_error::store_last_reason;
use super::resumption::{Resumption, fetch_resumption, take_over_offsets};
use super::{Config, HandlerFactory};
use crate::kafka::errors;
use crate::source::fetch_progress::FetchState;
use crate::source::recreation_detector::{self, RecreatedPartitions};
use crate::source::rereader::non_member_settings;
use crate::telemetry::RepeatFilter;

/// How long the thread that serves Kafka's callbacks sleeps in one call.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// A fatal error: Kafka has shut this member out of its group, and its client has stopped.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Kafka's client failed permanently: {reason}{}", fix_hint(*.code))]
pub struct FatalError {
    code: RDKafkaErrorCode,
    reason: String,
}

fn fix_hint(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::UnreleasedInstanceId => {
            // Kafka was unreachable: a client that rejoins after its session has ended may be shut out because of its
            // own earlier request (confluentinc/librdkafka#3437).
            "; if another instance has the same kafka.instance_id, set a different one for each; if Kafka was \
             unreachable for longer than the group's session timeout, restart this instance"
        }
        RDKafkaErrorCode::GroupAuthorizationFailed => {
            "; allow this client Read on the group kafka.group: `outhook check` prints the command"
        }
        _ => "",
    }
}

/// The client's callbacks: rebalances, statistics and errors.
pub(super) struct Context<H: HandlerFactory> {
    pub(super) name: &'static str,
    pub(super) assignment: Assignment<H>,
    pub(super) commits: Commits,
    recreated_partitions: RecreatedPartitions,
    /// Settings of a client of the group that read these topics before.
    former_group_settings: Option<ClientConfig>,
    pub(super) consumer: OnceLock<Weak<BaseConsumer<Context<H>>>>,
    pub(super) assigned: Notify,
    pub(super) fatal: watch::Sender<Option<FatalError>>,
    repeat_filter: RepeatFilter,
}

impl<H: HandlerFactory> Context<H> {
    /// `client` has the settings of the group member.
    pub(super) fn new(config: &Config, client: &ClientConfig, assignment: Assignment<H>) -> Self {
        Self {
            name: config.name,
            assignment,
            commits: Commits::default(),
            recreated_partitions: RecreatedPartitions::new(client),
            former_group_settings: config.former_group.as_ref().map(|group| former_group_settings(client, group)),
            consumer: OnceLock::new(),
            assigned: Notify::new(),
            fatal: watch::Sender::new(None),
            repeat_filter: RepeatFilter::default(),
        }
    }

    /// The group's committed offsets and metadata of assigned partitions. If a partition's log was recreated, both
    /// are dropped and the partition is read from its start.
    fn resumption(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) -> Resumption {
        let mut resumption = fetch_resumption(consumer, assigned);
        if let Some(former) = &self.former_group_settings {
            take_over_offsets(former, &mut resumption, assigned);
        }
        for key in self.recreated_partitions.find_recreated(resumption.logs()) {
            resumption.remove(&key);
            let (topic, partition) = (key.0.as_str(), key.1);
            let start = |mut element: TopicPartitionListElem<'_>| element.set_offset(Offset::Beginning);
            match assigned.find_partition(topic, partition).map(start) {
                Some(Ok(())) => {
                    warn!(topic, partition, "the topic was recreated since its last commit: it is read from its start");
                    recreation_detector::count(topic);
                }
                _ => error!(topic, partition, "the topic was recreated, but is read from the old topic's offset"),
            }
        }
        resumption
    }
}

impl<H: HandlerFactory> ClientContext for Context<H> {
    fn stats(&self, statistics: Statistics) {
        for (topic, stats) in statistics.topics {
            for (number, partition) in stats.partitions {
                let state = FetchState {
                    next_offset: partition.next_offset,
                    log_start: partition.lo_offset,
                    at_us: statistics.ts,
                    is_queue_empty: partition.fetch_state == "active" && partition.fetchq_cnt == 0,
                };
                self.assignment.update_fetch_state(&topic, number, state);
                let Some(position) = self.assignment.position(&topic, number) else { continue };
                let committed = position.unwrap_or(partition.committed_offset);
                if committed >= 0 && partition.ls_offset >= 0 {
                    lag(&topic, number).set((partition.ls_offset - committed).max(0) as f64);
                }
            }
        }
        let partition_states = self.assignment.partition_states();
        let open: usize = partition_states.iter().map(|state| state.open_records()).sum();
        let uncommitted: u64 = partition_states.iter().map(|state| state.uncommitted()).sum();
        metrics::gauge!("outhook_open_records", "of" => self.name).set(open as f64);
        metrics::gauge!("outhook_uncommitted_records", "of" => self.name).set(uncommitted as f64);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        store_last_reason(reason);
        // The poll returns a fatal error too, and logs it there.
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::Fatal) {
            return;
        }
        // While brokers are unreachable there are tens of errors per second.
        if let Some(more) = self.repeat_filter.due(reason, Instant::now()) {
            let reason = errors::error_text_for(code, reason);
            warn!(%error, reason, more, "Kafka's client reports an error and retries");
        }
    }
}

impl<H: HandlerFactory> ConsumerContext for Context<H> {
    fn pre_rebalance(&self, base: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                // Without a handle the source is being dropped, and nothing must be read.
                if let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) {
                    self.assignment.start(&consumer, partitions, self.resumption(base, partitions));
                }
            }
            Rebalance::Revoke(partitions) if base.assignment_lost() => {
                self.assignment.drop_lost(partitions);
                // Wait for a commit under way: sent later, in a new generation, it could move back a partition that
                // another member owns.
                drop(self.commits.acquire_permit());
            }
            Rebalance::Revoke(partitions) => {
                let partition_states = self.assignment.drain(partitions);
                let permit = self.commits.acquire_permit();
                if let Err(error) = permit.commit(base, &partition_states) {
                    warn!(%error, "the commit of revoked partitions failed: some of their records are read again");
                }
                // Still with the commit permit: the next commit must not include partitions that others own by then.
                self.assignment.remove_revoked(partitions);
            }
            Rebalance::Error(error) => warn!(%error, "a rebalance failed; the client retries"),
        }
        metrics::gauge!("outhook_assigned_partitions", "of" => self.name).set(self.assignment.len() as f64);
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.assigned.notify_one();
        }
    }
}

/// Serves rebalances, commit results and statistics. Records go to the queues of their partitions instead.
pub(super) fn serve_callbacks<H: HandlerFactory>(
    consumer: Arc<BaseConsumer<Context<H>>>,
    stopping: Arc<AtomicBool>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("kafka-callbacks".into()).spawn(move || {
        while !stopping.load(Ordering::Acquire) {
            match consumer.poll(POLL_TIMEOUT) {
                None => {}
                Some(Err(error)) if consumer.client().fatal_error().is_some() => {
                    let fatal = consumer.client().fatal_error().map(|(code, reason)| FatalError { code, reason });
                    error!(%error, "Kafka's client failed permanently");
                    consumer.context().fatal.send_replace(fatal);
                    return;
                }
                // The context's `error` callback gets this error too, with the reason.
                Some(Err(error)) => debug!(%error, "Kafka's client retries after an error"),
                // A partition without a queue has no ledger, so none of its offsets is ever committed.
                Some(Ok(_)) => debug!("ignored a record of a partition that is not read; the next assignment reads it"),
            }
        }
    })
}

/// Settings of a client that fetches the committed offsets of another group. It does not join the group.
fn former_group_settings(client: &ClientConfig, group: &str) -> ClientConfig {
    let mut former = non_member_settings(client);
    former.set("group.id", group);
    former
}
