//! Constructs every part from the configuration, binds the listener, starts the parts in order and stops them in
//! reverse. No other room constructs parts.

mod sources;
mod trial;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::sources::{Resumes, SourceConfigs, Sources};
pub use self::trial::problems;
use crate::api::{Api, BindError, Decoding, Guesses, Listener, Shares};
use crate::catalogue::{self, Catalogue, Sampler};
use crate::config::{self, Config};
use crate::dead_letters::Letters;
use crate::decode::{self, Decoder, WholeTables};
use crate::deliver::{self, Lanes};
use crate::endpoints::Endpoints;
use crate::lifecycle::{Condition, Readiness};
use crate::matching::Index;
use crate::message_log::{self, MessageLog};
use crate::pipeline::{CallDefinitions, Counters, Pipeline, ReplayStages};
use crate::receipt::Budget;
use crate::redelivery::Redrive;
use crate::redelivery::Resend;
use crate::redelivery::replay::{self};
use crate::render::{AttachmentUrl, BadAttachmentUrl, Renderer};
use crate::settle::{self, OnGone, Settle};
use crate::source::{self, Handlers, Left, Reads};
use crate::stats::{self, Stats};
use crate::store::{self, Store, StoreError};
use crate::telemetry::Metrics;

/// Interval of updates of the gauges.
const GAUGES: Duration = Duration::from_secs(1);

/// Max time for writing the last entries of the message log at a stop.
const LAST_ENTRIES: Duration = Duration::from_secs(1);

/// An instance that is built and bound, but does not read records yet.
pub struct App {
    reading: SourceConfigs,
    stages: Stages,
    resumes: Resumes,
    store: Arc<Store>,
    stats: Arc<Stats>,
    listener: Listener,
    router: axum::Router,
    readiness: Readiness,
    definitions_known: Condition,
    partitions_assigned: Condition,
}

/// Why an instance can't be built or started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Listen(#[from] BindError),
    #[error("[delivery]: {0}")]
    Deliver(#[from] deliver::StartError),
    #[error("render.attachment_url: {0}")]
    AttachmentUrl(#[from] BadAttachmentUrl),
    #[error(transparent)]
    MessageLog(#[from] message_log::StartError),
    #[error(transparent)]
    Settle(#[from] settle::StartError),
    #[error("[definitions]: {0}")]
    Store(#[from] StoreError),
    #[error("[stats]: {0}")]
    Stats(#[from] stats::Error),
    #[error("[kafka]: {0}")]
    Source(#[from] source::StartError),
    #[error(transparent)]
    Fatal(#[from] source::Fatal),
}

impl App {
    /// Builds and binds all parts, and starts reading the definitions. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A part refuses its settings, or the address can't be bound.
    pub async fn build(config: &Config, metrics: Metrics) -> Result<Self, Error> {
        describe_metrics();
        let listener = Listener::bind(&config.listen).await?;
        let (readiness, index) = (Readiness::default(), Arc::new(Index::default()));
        let definitions_known = readiness.condition("definitions caught up");
        let partitions_assigned = readiness.condition("partitions assigned");
        let client = config.kafka.client();
        let kafka = client.clone().into_iter().collect();
        let store = Store::start(&config.definitions, &client, index.clone())?;
        let log = message_log::LogWriter::new(&config.message_log, &kafka)?;
        let settle = Settle::new(sections_of_settle(config), &kafka, index.clone(), disabling(&store), log)?;
        let lanes = Lanes::new(config.delivery.clone(), waiting_topics(config), settle.clone())?;
        let (catalogue, endpoints) = (Arc::<Catalogue>::default(), Endpoints::new(lanes.clone()));
        let stats = Stats::start(&config.stats, &client, index.clone(), catalogue.clone(), endpoints.clone())?;
        let attachment_url = config.render.attachment_url.as_deref().map(str::parse).transpose()?;
        let stages = Stages {
            sources: sources(config).map(|source| (source.clone(), Arc::new(source.settings()))).collect(),
            whole_tables: WholeTables::default(),
            index,
            catalogue,
            attachment_url,
            lanes,
            settle,
            budget: Budget::new(config.memory.budget_bytes()),
        };
        let resumes = Resumes {
            tiers: config.retries.tiers(),
            overflow: config.overflow.topic.as_str().into(),
            row_order: config.row_order.topic.as_str().into(),
            definitions: CallDefinitions::new(stages.index.clone(), config.definitions.restored_within),
            lanes: stages.lanes.clone(),
            settle: stages.settle.clone(),
            endpoints: endpoints.clone(),
        };
        let api = Api {
            metrics,
            readiness: readiness.clone(),
            store: store.clone(),
            stats: stats.clone(),
            catalogue: stages.catalogue.clone(),
            endpoints,
            letters: Letters::new(&config.dead_letters, &client),
            message_log: MessageLog::new(&config.message_log, &client),
            resend: Resend::new(replaying(&stages), &config.retries, &client),
            redrive: Redrive::new(&config.dead_letters, &config.retries, &client),
            policy: config.policy(),
            access: config.api.clone(),
            decoding: decoding(&stages.sources),
            attachment_url: stages.attachment_url.clone(),
            guesses: Guesses::default(),
            shares: Shares::new(config.definitions.max_account_writes),
        };
        Ok(Self {
            reading: SourceConfigs::of(config, &readiness),
            stages,
            resumes,
            store,
            stats,
            listener,
            router: api.router(),
            readiness,
            definitions_known,
            partitions_assigned,
        })
    }

    /// Address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The readiness of this instance.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Reads the definitions to their end, joins the groups, and runs until `stop` resolves. Then it drains.
    ///
    /// # Errors
    /// A group can't be joined, or has fenced this instance, for a reason that waiting does not fix. Or the
    /// definitions can't be read, for example without their key. Uncommitted records are read again.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Left, Error> {
        let Self { store, stats, listener, router, definitions_known, partitions_assigned, stages, .. } = self;
        let stopping = CancellationToken::new();
        let stop_listening = stopping.clone().drop_guard();
        let listening = tokio::spawn(listener.serve(router, stopping));
        let (lanes, settle, budget) = (stages.lanes.clone(), stages.settle.clone(), stages.budget.clone());
        let gauges = tokio::spawn(read_gauges(budget.clone()));
        let mut stop = std::pin::pin!(stop);
        let mut left = Left { unsettled: 0, committed: true };
        let mut locked_out = None;
        let caught_up = tokio::select! {
            biased;
            () = &mut stop => false,
            caught_up = store.caught_up() => {
                caught_up?;
                if store.status().locked_out {
                    return Err(store.locked_out().await.into());
                }
                true
            }
        };
        if caught_up {
            definitions_known.set(true);
            info!(tables = stages.index.table_count(), "definitions caught up; joining the group");
            let sources = Sources::start(&self.reading, stages, self.resumes, &budget)?;
            tokio::select! {
                biased;
                () = &mut stop => {}
                fatal = sources.failed() => {
                    partitions_assigned.set(false);
                    stats.stop().await;
                    return Err(fatal.into());
                }
                error = store.locked_out() => {
                    error!("{error}; stopping, so instances that have the key take over");
                    locked_out = Some(error);
                }
                () = async { sources.assigned().await; partitions_assigned.set(true); std::future::pending().await } => {}
            }
            partitions_assigned.set(false);
            left = sources.drain(&lanes, &settle).await;
        }
        // From here on only calls that outlasted the drain are counted.
        stats.stop().await;
        store.stop().await;
        gauges.abort();
        drop(stop_listening);
        let _ = listening.await;
        locked_out.map_or(Ok(left), |error| Err(error.into()))
    }
}

fn sections_of_settle(config: &Config) -> settle::Sections<'_> {
    settle::Sections {
        dead_letters: &config.dead_letters,
        retries: &config.retries,
        overflow: &config.overflow,
        row_order: &config.row_order,
        operator_events: &config.operator_events,
    }
}

/// Settings of the topics of waiting calls that the lanes need.
fn waiting_topics(config: &Config) -> deliver::WaitingTopics<'_> {
    deliver::WaitingTopics {
        tiers: &config.retries.tiers,
        overflow_partitions: usize::try_from(config.overflow.partitions).unwrap_or(1),
        row_order_partitions: usize::try_from(config.row_order.partitions).unwrap_or(1),
        row_order_bytes: usize::try_from(config.memory.budget_bytes() / 2).unwrap_or(usize::MAX),
    }
}

/// The callback that disables webhooks whose receivers answer that they are gone.
fn disabling(store: &Arc<Store>) -> OnGone {
    let store = store.clone();
    Box::new(move |webhook, version, cause| {
        let store = store.clone();
        tokio::spawn(async move { store.stop_webhook(webhook, version, cause).await });
    })
}

async fn read_gauges(budget: Arc<Budget>) {
    let used = metrics::gauge!("outhook_budget_used_bytes");
    metrics::gauge!("outhook_budget_limit_bytes").set(budget.limit() as f64);
    loop {
        used.set(budget.used() as f64);
        tokio::time::sleep(GAUGES).await;
    }
}

/// Registers the metrics of all parts with their units and descriptions.
pub fn describe_metrics() {
    use ::metrics::{Unit, describe_gauge};
    source::describe_metrics();
    crate::pipeline::describe_metrics();
    deliver::describe_metrics();
    settle::describe_metrics();
    message_log::describe_metrics();
    store::describe_metrics();
    stats::describe_metrics();
    catalogue::describe_metrics();
    describe_gauge!("outhook_budget_used_bytes", Unit::Bytes, "Bytes of rendered messages in memory");
    describe_gauge!("outhook_budget_limit_bytes", Unit::Bytes, "Max bytes of rendered messages in memory");
}

/// All sources of row changes: the configured ones and the operator events of Outhook itself.
fn sources(config: &Config) -> impl Iterator<Item = config::SourceConfig> {
    let own = config::SourceConfig::of_operator_events(&config.operator_events.topic);
    config.sources.iter().cloned().chain([own])
}

/// The decoder settings of a topic, for previews.
fn decoding(sources: &[(config::SourceConfig, Arc<decode::Settings>)]) -> Decoding {
    let sources = sources.to_vec();
    Box::new(move |topic| Some(sources.iter().find(|(source, _)| source.reads(topic))?.1.clone()))
}

/// The stages that replay a record of a topic. They start with the current state of tables and do not change it,
/// because an old record must not change current knowledge.
fn replaying(stages: &Stages) -> replay::Stages {
    let (decoding, whole_tables) = (decoding(&stages.sources), stages.whole_tables.clone());
    let (index, attachment_url) = (stages.index.clone(), stages.attachment_url.clone());
    Box::new(move |topic| {
        let decoder = Decoder::new(decoding(topic)?, whole_tables.apart());
        Some(ReplayStages::new(decoder, index.clone(), Renderer::new(attachment_url.clone())))
    })
}

/// The parts of the pipeline of each partition.
struct Stages {
    sources: Vec<(config::SourceConfig, Arc<decode::Settings>)>,
    whole_tables: WholeTables,
    index: Arc<Index>,
    catalogue: Arc<Catalogue>,
    attachment_url: Option<AttachmentUrl>,
    lanes: Arc<Lanes>,
    settle: Arc<Settle>,
    budget: Arc<Budget>,
}

impl Handlers for Stages {
    type Handler = Pipeline;
    type Backlog = Infallible;

    fn for_partition(&self, topic: &str, _: i32) -> Option<Reads<Pipeline, Infallible>> {
        let (_, settings) = self.sources.iter().find(|(source, _)| source.reads(topic))?;
        Some(Reads::InTurn(Pipeline {
            decoder: Decoder::new(settings.clone(), self.whole_tables.clone()),
            lookout: Sampler::new(self.catalogue.clone(), topic),
            index: self.index.clone(),
            renderer: Renderer::new(self.attachment_url.clone()),
            lanes: self.lanes.clone(),
            settle: self.settle.clone(),
            budget: self.budget.clone(),
            counters: Counters::default(),
            fired: Vec::new(),
        }))
    }
}
