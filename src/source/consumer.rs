//! The member of the consumer group: joins it, drains for a stop, and leaves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::error;

use super::assignment::Assignment;
use super::callbacks::{Context, FatalError, serve_callbacks};
use super::commit_loop::{LEAVE_TIMEOUT, commit_last, commit_settled};
use super::partition::PartitionState;
use super::probe;
use super::{Config, HandlerFactory, Subscription};
use crate::kafka::{ClientConfig, KafkaError};
use crate::receipt::Budget;
use crate::source::recreation_detector::RecreatedPartitions;
use crate::source::rereader::Rereader;

/// The settings of all clients that a source with this configuration uses. The group member's settings come first.
pub fn client_configs(config: &Config) -> Vec<ClientConfig> {
    let member = member(config);
    let non_members = [
        RecreatedPartitions::settings(&member),
        Rereader::settings(&member),
        probe::settings(&member).as_ref().clone(),
    ];
    [vec![member], non_members.to_vec()].concat()
}

fn member(config: &Config) -> ClientConfig {
    let mut client: ClientConfig = config.client.clone().into_iter().collect();
    client.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    client
}

/// The consumer group member of this instance.
pub struct Source<H: HandlerFactory> {
    consumer: Arc<BaseConsumer<Context<H>>>,
    stopping: Arc<AtomicBool>,
    callback_thread: thread::JoinHandle<()>,
    stop_commits: DropGuard,
    commit_task: JoinHandle<()>,
}

/// How a member left its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaveResult {
    /// Number of records read but not settled. They are read again.
    pub unsettled: usize,
    /// Whether everything settled is committed. Records that are not committed are read again.
    pub all_committed: bool,
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

impl<H: HandlerFactory> Source<H> {
    /// Joins the group and starts reading the assigned partitions. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The client's settings or topics are refused. An unreachable Kafka is not an error: the client keeps trying.
    pub fn start(config: &Config, handlers: H, budget: Arc<Budget>) -> Result<Self, StartError> {
        let commit_now = Arc::<Notify>::default();
        let client = member(config);
        let assignment = Assignment::new(handlers, budget, config, commit_now.clone());
        let context = Context::new(config, &client, assignment);
        let consumer: BaseConsumer<Context<H>> = client.create_with_context(context).map_err(StartError::Settings)?;
        let consumer = Arc::new(consumer);
        let _ = consumer.context().consumer.set(Arc::downgrade(&consumer));
        let topics: Vec<&str> = config.topics.iter().flat_map(Subscription::patterns).collect();
        consumer.subscribe(&topics).map_err(|reason| StartError::Subscribe {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            reason,
        })?;
        let stopping = Arc::new(AtomicBool::new(false));
        let callbacks = serve_callbacks(consumer.clone(), stopping.clone()).map_err(StartError::Thread)?;
        let stopped = CancellationToken::new();
        let stop_commits = stopped.clone().drop_guard();
        let commits = tokio::spawn(commit_settled(consumer.clone(), config.commit_interval, commit_now, stopped));
        Ok(Self { consumer, stopping, callback_thread: callbacks, stop_commits, commit_task: commits })
    }

    /// Returns once the group has assigned partitions to this instance, even if none.
    pub async fn wait_until_assigned(&self) {
        self.consumer.context().assigned.notified().await;
    }

    /// How many partitions this instance owns.
    pub fn partitions(&self) -> usize {
        self.consumer.context().assignment.len()
    }

    /// Returns when Kafka has shut this member out permanently.
    pub async fn wait_for_failure(&self) -> FatalError {
        let mut fatal = self.consumer.context().fatal.subscribe();
        let fatal = fatal.wait_for(Option::is_some).await.expect("the sender lives as long as the consumer");
        fatal.clone().expect("waited for")
    }

    /// Stops reading and waits until open records have settled, at most until the drain deadline.
    pub async fn drain(&self) -> DrainedPartitions {
        DrainedPartitions(self.consumer.context().assignment.drain_all().await)
    }

    /// Commits settled offsets and leaves the group. Each takes at most [`LEAVE_TIMEOUT`]: without a coordinator both
    /// would wait for the session timeout, and would delay the stop.
    pub async fn leave(self, drained: DrainedPartitions) -> LeaveResult {
        let Self { consumer, stopping, callback_thread: callbacks, stop_commits, commit_task: commits } = self;
        drop(stop_commits);
        let last = consumer.clone();
        let committing = async {
            let _ = commits.await;
            let _ = tokio::task::spawn_blocking(move || commit_last(&last)).await;
        };
        let in_time = tokio::time::timeout(LEAVE_TIMEOUT, committing).await;
        let leaving = tokio::task::spawn_blocking(move || {
            stopping.store(true, Ordering::Release);
            if callbacks.join().is_err() {
                error!("the thread that serves Kafka's callbacks has panicked");
            }
            // This is the last handle. Dropping it leaves the group.
            drop(consumer);
        });
        if in_time.is_err() || tokio::time::timeout(LEAVE_TIMEOUT, leaving).await.is_err() {
            error!("leaving the group took too long; the group removes this member after its session timeout");
        }
        LeaveResult {
            unsettled: drained.unsettled_count(),
            all_committed: drained.0.iter().all(|state| state.due().is_none()),
        }
    }
}

/// The partitions that a stop has drained.
pub struct DrainedPartitions(Vec<Arc<PartitionState>>);

impl DrainedPartitions {
    /// Number of records read but not settled.
    pub fn unsettled_count(&self) -> usize {
        self.0.iter().map(|state| state.unsettled()).sum()
    }
}

impl Subscription {
    fn patterns(&self) -> Vec<&str> {
        match self {
            Subscription::List(names) => names.iter().map(String::as_str).collect(),
            Subscription::Regex(regex) => vec![regex],
        }
    }
}
