//! Kafka's client, its callbacks, and the commits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use super::assignment::{Assignment, Drained};
use super::{Config, Handlers, Topics};
use crate::receipt::Budget;

/// How long the thread that serves Kafka's callbacks sleeps in one call.
const POLL: Duration = Duration::from_millis(100);

/// How long the last commit waits for a group that is rebalancing.
const LAST_COMMIT: Duration = Duration::from_secs(5);

/// The consumer group member of this instance.
pub struct Source<H: Handlers> {
    consumer: Arc<BaseConsumer<Context<H>>>,
    stopping: Arc<AtomicBool>,
    callbacks: thread::JoinHandle<()>,
    commits: JoinHandle<()>,
}

/// Why a source can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("Kafka's client refuses its settings: {0}")]
    Settings(KafkaError),
    #[error("can't subscribe to {topics:?}: {reason}")]
    Subscribe { topics: Vec<String>, reason: KafkaError },
    #[error("can't start the thread that serves Kafka's callbacks: {0}")]
    Thread(std::io::Error),
}

impl<H: Handlers> Source<H> {
    /// Joins the group and starts reading what it is assigned. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The client's settings or topics are refused; Kafka being away is no error, the client goes on trying.
    pub fn start(config: &Config, handlers: H, budget: Arc<Budget>) -> Result<Self, StartError> {
        let context = Context {
            assignment: Assignment::new(handlers, budget, config),
            consumer: OnceLock::new(),
            assigned: Notify::new(),
        };
        let mut client: ClientConfig = config.client.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        client.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        let consumer: BaseConsumer<Context<H>> = client.create_with_context(context).map_err(StartError::Settings)?;
        let consumer = Arc::new(consumer);
        let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
        let topics: Vec<&str> = config.topics.iter().flat_map(Topics::patterns).collect();
        consumer.subscribe(&topics).map_err(|reason| StartError::Subscribe {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            reason,
        })?;
        let stopping = Arc::new(AtomicBool::new(false));
        let callbacks = serve_callbacks(consumer.clone(), stopping.clone()).map_err(StartError::Thread)?;
        let commits = tokio::spawn(commit_settled(consumer.clone(), config.commit_interval));
        Ok(Self { consumer, stopping, callbacks, commits })
    }

    /// Returns once the group has assigned partitions to this instance, be it none.
    pub async fn assigned(&self) {
        self.consumer.context().assigned.notified().await;
    }

    /// How many partitions this instance owns.
    pub fn partitions(&self) -> usize {
        self.consumer.context().assignment.len()
    }

    /// Reads no further record and waits, up to the drain deadline, until what is under way has settled.
    pub async fn drain(&self) -> Drained {
        self.consumer.context().assignment.drain_all().await
    }

    /// Commits what has settled and leaves the group.
    pub async fn leave(self, drained: &Drained) {
        let Self { consumer, stopping, callbacks, commits } = self;
        commits.abort();
        let _ = commits.await;
        let offsets = drained.offsets();
        let leaving = tokio::task::spawn_blocking(move || {
            commit_last(&consumer, &offsets);
            stopping.store(true, Ordering::Release);
            if callbacks.join().is_err() {
                error!("the thread that serves Kafka's callbacks has panicked");
            }
            // The last handle: dropping it leaves the group.
            drop(consumer);
        });
        if let Err(error) = leaving.await {
            error!(%error, "leaving the group failed; the group goes on after its session timeout");
        }
    }
}

impl Topics {
    fn patterns(&self) -> Vec<&str> {
        match self {
            Topics::List(names) => names.iter().map(String::as_str).collect(),
            Topics::Regex(regex) => vec![regex],
        }
    }
}

/// Serves rebalances, commit results and statistics; every record goes to its partition's own queue.
fn serve_callbacks<H: Handlers>(
    consumer: Arc<BaseConsumer<Context<H>>>,
    stopping: Arc<AtomicBool>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("kafka-callbacks".into()).spawn(move || {
        while !stopping.load(Ordering::Acquire) {
            match consumer.poll(POLL) {
                None => {}
                Some(Err(error)) => warn!(%error, "Kafka's client goes on by itself after an error"),
                // A partition without a queue of its own has no book: nothing of it is ever committed.
                Some(Ok(_)) => debug!("a record of a partition that is not read; it is left for the next assignment"),
            }
        }
    })
}

/// Commits what has settled, again and again. librdkafka tells the result of a commit only to who waits for
/// it (rdkafka sets no `offset_commit_cb`), so each one is waited for; otherwise one that failed in a
/// rebalance would never be made up for once nothing more settles.
async fn commit_settled<H: Handlers>(consumer: Arc<BaseConsumer<Context<H>>>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let assignment = &consumer.context().assignment;
        metrics::gauge!("outhook_open_records").set(assignment.open_records() as f64);
        let Some(offsets) = assignment.take_commit() else { continue };
        let committing = consumer.clone();
        let commit = tokio::task::spawn_blocking(move || {
            if let Err(error) = commit_now(&committing, &offsets) {
                debug!(%error, "a commit failed; its offsets go with the next one");
                committing.context().assignment.commit_failed(&offsets);
            }
        });
        if let Err(error) = commit.await {
            error!(%error, "a commit ended early");
        }
    }
}

/// Commits before leaving. When another member has just left too, the group takes no commit until it has
/// rebalanced, which it does while the callbacks are still served.
fn commit_last<C: ConsumerContext>(consumer: &BaseConsumer<C>, offsets: &TopicPartitionList) {
    let deadline = Instant::now() + LAST_COMMIT;
    while let Err(error) = commit_now(consumer, offsets) {
        let rebalancing = error.rdkafka_error_code() == Some(RDKafkaErrorCode::RebalanceInProgress);
        if !rebalancing || Instant::now() > deadline {
            warn!(%error, "the last commit failed: what was settled since the one before comes again");
            return;
        }
        thread::sleep(POLL);
    }
}

fn commit_now<C: ConsumerContext>(consumer: &BaseConsumer<C>, offsets: &TopicPartitionList) -> KafkaResult<()> {
    if offsets.count() == 0 {
        return Ok(());
    }
    let result = consumer.commit(offsets, CommitMode::Sync);
    count_commit(&result);
    result
}

fn count_commit(result: &KafkaResult<()>) {
    let result = if result.is_ok() { "ok" } else { "failed" };
    metrics::counter!("outhook_commits_total", "result" => result).increment(1);
}

/// Turns the client's callbacks into what happens to the owned partitions.
pub(super) struct Context<H: Handlers> {
    assignment: Assignment<H>,
    consumer: OnceLock<Weak<BaseConsumer<Context<H>>>>,
    assigned: Notify,
}

impl<H: Handlers> ClientContext for Context<H> {
    fn stats(&self, statistics: Statistics) {
        for (topic, stats) in statistics.topics {
            for (number, partition) in stats.partitions {
                let committed = self.assignment.safe_offset(&topic, number).unwrap_or(partition.committed_offset);
                if number < 0 || committed < 0 || partition.ls_offset < 0 {
                    continue;
                }
                let labels = [("topic", topic.clone()), ("partition", number.to_string())];
                metrics::gauge!("outhook_lag_records", &labels).set((partition.ls_offset - committed).max(0) as f64);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        warn!(%error, reason, "Kafka's client reports an error and goes on by itself");
    }
}

impl<H: Handlers> ConsumerContext for Context<H> {
    fn pre_rebalance(&self, base: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                // Without a handle the source is being dropped, and nothing is to be read any more.
                if let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) {
                    self.assignment.start(&consumer, partitions);
                }
            }
            Rebalance::Revoke(partitions) if base.assignment_lost() => self.assignment.lose(partitions),
            Rebalance::Revoke(partitions) => {
                let drained = self.assignment.drain(partitions);
                if let Err(error) = commit_now(base, &drained.offsets()) {
                    warn!(%error, "the commit of revoked partitions failed: some of their records come again");
                }
            }
            Rebalance::Error(error) => warn!(%error, "a rebalance failed; the client tries again"),
        }
        metrics::gauge!("outhook_assigned_partitions").set(self.assignment.len() as f64);
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.assigned.notify_one();
        }
    }
}
