//! Kafka's client and its callbacks.

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
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use super::assignment::{Assignment, lag};
use super::commits::{Commits, PATIENCE, Resumption, commit_last, commit_settled, resumption, take_over};
use super::fetched::FetchState;
use super::partition::PartitionState;
use super::probe;
use super::read_state::keep_reason;
use super::recreated::{self, MadeAnew};
use super::reread::Rereader;
use super::reread::of_no_member;
use super::{Config, Handlers, Subscription};
use crate::kafka::errors;
use crate::lifecycle::{self, Stop};
use crate::receipt::Budget;
use crate::telemetry::RepeatFilter;

/// How long the thread that serves Kafka's callbacks sleeps in one call.
const POLL: Duration = Duration::from_millis(100);

/// The settings of all clients with which what a source says is read: that of the group's member comes first.
pub fn clients(config: &Config) -> Vec<ClientConfig> {
    let member = member(config);
    let of_no_member =
        [MadeAnew::settings(&member), Rereader::settings(&member), probe::settings(&member).as_ref().clone()];
    [vec![member], of_no_member.to_vec()].concat()
}

fn member(config: &Config) -> ClientConfig {
    let mut client: ClientConfig = config.client.clone().into_iter().collect();
    client.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    client
}

/// The consumer group member of this instance.
pub struct Source<H: Handlers> {
    consumer: Arc<BaseConsumer<Context<H>>>,
    stopping: Arc<AtomicBool>,
    callbacks: thread::JoinHandle<()>,
    stop_commits: Stop,
    commits: JoinHandle<()>,
}

/// How a member left its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Records read that had not settled; they come again.
    pub unsettled: usize,
    /// Whether all that has settled is committed; if not, what is missing comes again.
    pub committed: bool,
}

/// Kafka has shut this member out of its group, and its client does nothing more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Kafka's client has given up for good: {reason}{}", mend(*.code))]
pub struct Fatal {
    code: RDKafkaErrorCode,
    reason: String,
}

fn mend(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::UnreleasedInstanceId => {
            // Kafka was away: a client that joins anew after its session has ended may be shut out by what it asked
            // for before (confluentinc/librdkafka#3437).
            "; either another instance has the same kafka.instance_id, then give each its own, or Kafka was away for \
             longer than the group's session timeout, then start this one again"
        }
        RDKafkaErrorCode::GroupAuthorizationFailed => {
            "; allow this client Read on the group kafka.group: `outhook check` has the command"
        }
        _ => "",
    }
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
        let hurry = Arc::<Notify>::default();
        let client = member(config);
        let context = Context {
            name: config.name,
            assignment: Assignment::new(handlers, budget, config, hurry.clone()),
            commits: Commits::default(),
            made_anew: MadeAnew::new(&client),
            former: config.former_group.as_ref().map(|group| of_former_group(&client, group)),
            consumer: OnceLock::new(),
            assigned: Notify::new(),
            fatal: watch::Sender::new(None),
            repeats: RepeatFilter::default(),
        };
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
        let (stop_commits, stopped) = lifecycle::stop();
        let commits = tokio::spawn(commit_settled(consumer.clone(), config.commit_interval, hurry, stopped));
        Ok(Self { consumer, stopping, callbacks, stop_commits, commits })
    }

    /// Returns once the group has assigned partitions to this instance, be it none.
    pub async fn assigned(&self) {
        self.consumer.context().assigned.notified().await;
    }

    /// How many partitions this instance owns.
    pub fn partitions(&self) -> usize {
        self.consumer.context().assignment.len()
    }

    /// Returns when Kafka has shut this member out for good.
    pub async fn failed(&self) -> Fatal {
        let mut fatal = self.consumer.context().fatal.subscribe();
        let fatal = fatal.wait_for(Option::is_some).await.expect("the sender lives as long as the consumer");
        fatal.clone().expect("waited for")
    }

    /// Reads no further record and waits, up to the drain deadline, until what is under way has settled.
    pub async fn drain(&self) -> Drained {
        Drained(self.consumer.context().assignment.drain_all().await)
    }

    /// Commits what has settled and leaves the group. Neither takes longer than [`PATIENCE`]: without a
    /// coordinator both would wait for the session's timeout, and a stop shall not.
    pub async fn leave(self, drained: Drained) -> Left {
        let Self { consumer, stopping, callbacks, stop_commits, commits } = self;
        stop_commits.now();
        let last = consumer.clone();
        let committing = async {
            let _ = commits.await;
            let _ = tokio::task::spawn_blocking(move || commit_last(&last)).await;
        };
        let in_time = tokio::time::timeout(PATIENCE, committing).await;
        let leaving = tokio::task::spawn_blocking(move || {
            stopping.store(true, Ordering::Release);
            if callbacks.join().is_err() {
                error!("the thread that serves Kafka's callbacks has panicked");
            }
            // The last handle: dropping it leaves the group.
            drop(consumer);
        });
        if in_time.is_err() || tokio::time::timeout(PATIENCE, leaving).await.is_err() {
            error!("leaving the group took too long; the group goes on after its session timeout");
        }
        Left { unsettled: drained.left(), committed: drained.0.iter().all(|book| book.due().is_none()) }
    }
}

/// What a stop has drained.
pub struct Drained(Vec<Arc<PartitionState>>);

impl Drained {
    /// Records read that have not settled by now.
    pub fn left(&self) -> usize {
        self.0.iter().map(|book| book.unsettled()).sum()
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

/// Serves rebalances, commit results and statistics; every record goes to its partition's own queue.
fn serve_callbacks<H: Handlers>(
    consumer: Arc<BaseConsumer<Context<H>>>,
    stopping: Arc<AtomicBool>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("kafka-callbacks".into()).spawn(move || {
        while !stopping.load(Ordering::Acquire) {
            match consumer.poll(POLL) {
                None => {}
                Some(Err(error)) if consumer.client().fatal_error().is_some() => {
                    let fatal = consumer.client().fatal_error().map(|(code, reason)| Fatal { code, reason });
                    error!(%error, "Kafka's client has given up");
                    consumer.context().fatal.send_replace(fatal);
                    return;
                }
                // The context was told of it too, with the reason.
                Some(Err(error)) => debug!(%error, "Kafka's client goes on by itself after an error"),
                // A partition without a queue of its own has no book: nothing of it is ever committed.
                Some(Ok(_)) => debug!("a record of a partition that is not read; it is left for the next assignment"),
            }
        }
    })
}

/// Settings of a client that asks what another group has committed. It joins none.
fn of_former_group(client: &ClientConfig, group: &str) -> ClientConfig {
    let mut former = of_no_member(client);
    former.set("group.id", group);
    former
}

/// Turns the client's callbacks into what happens to the owned partitions.
pub(super) struct Context<H: Handlers> {
    pub(super) name: &'static str,
    pub(super) assignment: Assignment<H>,
    pub(super) commits: Commits,
    made_anew: MadeAnew,
    /// A client of the group that read these topics before.
    former: Option<ClientConfig>,
    consumer: OnceLock<Weak<BaseConsumer<Context<H>>>>,
    assigned: Notify,
    fatal: watch::Sender<Option<Fatal>>,
    repeats: RepeatFilter,
}

impl<H: Handlers> Context<H> {
    /// What the group knows of assigned partitions. Where the log is not the one that it knows, that counts for nothing,
    /// nor does its offset: the partition is then read from its start.
    fn resumption(&self, consumer: &BaseConsumer<Self>, assigned: &TopicPartitionList) -> Resumption {
        let mut resumption = resumption(consumer, assigned);
        if let Some(former) = &self.former {
            take_over(former, &mut resumption, assigned);
        }
        for key in self.made_anew.among(resumption.logs()) {
            resumption.forget(&key);
            let (topic, partition) = (key.0.as_str(), key.1);
            let start = |mut element: TopicPartitionListElem<'_>| element.set_offset(Offset::Beginning);
            match assigned.find_partition(topic, partition).map(start) {
                Some(Ok(())) => {
                    warn!(topic, partition, "the topic was made anew since its last commit: it is read from its start");
                    recreated::count(topic);
                }
                _ => error!(topic, partition, "the topic was made anew, but is read from the old one's offset"),
            }
        }
        resumption
    }
}

impl<H: Handlers> ClientContext for Context<H> {
    fn stats(&self, statistics: Statistics) {
        for (topic, stats) in statistics.topics {
            for (number, partition) in stats.partitions {
                let state = FetchState {
                    next: partition.next_offset,
                    log_start: partition.lo_offset,
                    at_us: statistics.ts,
                    is_read_out: partition.fetch_state == "active" && partition.fetchq_cnt == 0,
                };
                self.assignment.fetched(&topic, number, state);
                let Some(position) = self.assignment.position(&topic, number) else { continue };
                let committed = position.unwrap_or(partition.committed_offset);
                if committed >= 0 && partition.ls_offset >= 0 {
                    lag(&topic, number).set((partition.ls_offset - committed).max(0) as f64);
                }
            }
        }
        let books = self.assignment.books();
        let open: usize = books.iter().map(|book| book.open_records()).sum();
        let uncommitted: u64 = books.iter().map(|book| book.uncommitted()).sum();
        metrics::gauge!("outhook_open_records", "of" => self.name).set(open as f64);
        metrics::gauge!("outhook_uncommitted_records", "of" => self.name).set(uncommitted as f64);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        keep_reason(reason);
        // A fatal one comes out of the poll too, and is told there.
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::Fatal) {
            return;
        }
        // While brokers are away there are some tens a second.
        if let Some(more) = self.repeats.due(reason, Instant::now()) {
            let reason = errors::told_as(code, reason);
            warn!(%error, reason, more, "Kafka's client reports an error and goes on by itself");
        }
    }
}

impl<H: Handlers> ConsumerContext for Context<H> {
    fn pre_rebalance(&self, base: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                // Without a handle the source is being dropped, and nothing is to be read any more.
                if let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) {
                    self.assignment.start(&consumer, partitions, self.resumption(base, partitions));
                }
            }
            Rebalance::Revoke(partitions) if base.assignment_lost() => {
                self.assignment.lose(partitions);
                // A commit under way is waited for: sent later, under a new generation, it could put back a
                // partition that another member owns.
                drop(self.commits.turn());
            }
            Rebalance::Revoke(partitions) => {
                let books = self.assignment.drain(partitions);
                let turn = self.commits.turn();
                if let Err(error) = turn.commit(base, &books) {
                    warn!(%error, "the commit of revoked partitions failed: some of their records come again");
                }
                // Within the turn: whoever has the next one commits nothing of what others own by then.
                self.assignment.strike_off(partitions);
            }
            Rebalance::Error(error) => warn!(%error, "a rebalance failed; the client tries again"),
        }
        metrics::gauge!("outhook_assigned_partitions", "of" => self.name).set(self.assignment.len() as f64);
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.assigned.notify_one();
        }
    }
}
