//! Constructs every part from the configuration, binds the listener, starts the parts in order and stops them in
//! reverse. No other room constructs parts.

mod preflight;
mod sources;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::sources::{SourceConfigs, Sources, WaitingCallFactory};
use crate::api::{AccountLimits, Api, BindError, DecoderSettingsLookup, GuessLimiter, Listener};
pub use crate::app::preflight::problems;
use crate::catalogue::{self, Catalogue, Sampler};
use crate::config::{self, Config};
use crate::dead_letters::DeadLetterReader;
use crate::decode::{self, Decoder, WholeTables};
use crate::deliver::{self, Lanes};
use crate::endpoints::Endpoints;
use crate::lifecycle::{Condition, Readiness};
use crate::matching::Index;
use crate::message_log::{self, MessageLogReader};
use crate::pipeline::{CallDefinitions, Counters, Pipeline, ReplayStages};
use crate::receipt::Budget;
use crate::redelivery::Redriver;
use crate::redelivery::Resender;
use crate::redelivery::replay::{self};
use crate::render::{AttachmentUrl, BadAttachmentUrl, Renderer};
use crate::settle::{self, OnGone, Settler};
use crate::source::{self, HandlerFactory, LeaveResult, ReadMode};
use crate::stats::{self, Stats};
use crate::store::{self, Store, StoreError};
use crate::telemetry::Metrics;

/// Interval of updates of the gauges.
const GAUGE_INTERVAL: Duration = Duration::from_secs(1);

/// Max time for writing the last entries of the message log at a stop.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// An instance that is built and bound, but does not read records yet.
pub struct App {
    source_configs: SourceConfigs,
    pipeline_factory: PipelineFactory,
    waiting_call_factory: WaitingCallFactory,
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
    Fatal(#[from] source::FatalError),
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
        let settle = Settler::new(settle_sections(config), &kafka, index.clone(), disable_callback(&store), log)?;
        let lanes = Lanes::new(config.delivery.clone(), waiting_topics(config), settle.clone())?;
        let (catalogue, endpoints) = (Arc::<Catalogue>::default(), Endpoints::new(lanes.clone()));
        let stats = Stats::start(&config.stats, &client, index.clone(), catalogue.clone(), endpoints.clone())?;
        let attachment_url = config.render.attachment_url.as_deref().map(str::parse).transpose()?;
        let stages = PipelineFactory {
            sources: sources(config).map(|source| (source.clone(), Arc::new(source.settings()))).collect(),
            whole_tables: WholeTables::default(),
            index,
            catalogue,
            attachment_url,
            lanes,
            settle,
            budget: Budget::new(config.memory.budget_bytes()),
        };
        let resumes = WaitingCallFactory {
            tiers: config.retries.tiers(),
            overflow_topic: config.overflow.topic.as_str().into(),
            row_order_topic: config.row_order.topic.as_str().into(),
            definitions: CallDefinitions::new(stages.index.clone(), config.definitions.restored_within),
            lanes: stages.lanes.clone(),
            settler: stages.settle.clone(),
            endpoints: endpoints.clone(),
        };
        let api = Api {
            metrics,
            readiness: readiness.clone(),
            store: store.clone(),
            stats: stats.clone(),
            catalogue: stages.catalogue.clone(),
            endpoints,
            dead_letters: DeadLetterReader::new(&config.dead_letters, &client),
            message_log: MessageLogReader::new(&config.message_log, &client),
            resender: Resender::new(replay_factory(&stages), &config.retries, &client),
            redriver: Redriver::new(&config.dead_letters, &config.retries, &client),
            policy: config.policy(),
            access: config.api.clone(),
            decoder_settings: decoder_settings_lookup(&stages.sources),
            attachment_url: stages.attachment_url.clone(),
            guess_limiter: GuessLimiter::default(),
            account_limits: AccountLimits::new(config.definitions.max_account_writes),
        };
        Ok(Self {
            source_configs: SourceConfigs::of(config, &readiness),
            pipeline_factory: stages,
            waiting_call_factory: resumes,
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
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<LeaveResult, Error> {
        let Self {
            store,
            stats,
            listener,
            router,
            definitions_known,
            partitions_assigned,
            pipeline_factory: stages,
            ..
        } = self;
        let stopping = CancellationToken::new();
        let stop_listening = stopping.clone().drop_guard();
        let listening = tokio::spawn(listener.serve(router, stopping));
        let (lanes, settle, budget) = (stages.lanes.clone(), stages.settle.clone(), stages.budget.clone());
        let gauges = tokio::spawn(update_budget_gauges(budget.clone()));
        let mut stop = std::pin::pin!(stop);
        let mut left = LeaveResult { unsettled: 0, all_committed: true };
        let mut locked_out = None;
        let caught_up = tokio::select! {
            biased;
            () = &mut stop => false,
            caught_up = store.wait_until_caught_up() => {
                caught_up?;
                if store.status().locked_out {
                    return Err(store.wait_until_locked_out().await.into());
                }
                true
            }
        };
        if caught_up {
            definitions_known.set(true);
            info!(tables = stages.index.table_count(), "definitions caught up; joining the group");
            let sources = Sources::start(&self.source_configs, stages, self.waiting_call_factory, &budget)?;
            tokio::select! {
                biased;
                () = &mut stop => {}
                fatal = sources.wait_for_failure() => {
                    partitions_assigned.set(false);
                    stats.stop().await;
                    return Err(fatal.into());
                }
                error = store.wait_until_locked_out() => {
                    error!("{error}; stopping, so instances that have the key take over");
                    locked_out = Some(error);
                }
                () = async { sources.wait_until_assigned().await; partitions_assigned.set(true); std::future::pending().await } => {}
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

fn settle_sections(config: &Config) -> settle::Sections<'_> {
    settle::Sections {
        dead_letters: &config.dead_letters,
        retry_writer: &config.retries,
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
fn disable_callback(store: &Arc<Store>) -> OnGone {
    let store = store.clone();
    Box::new(move |webhook, version, cause| {
        let store = store.clone();
        tokio::spawn(async move { store.disable_webhook(webhook, version, cause).await });
    })
}

async fn update_budget_gauges(budget: Arc<Budget>) {
    let used = metrics::gauge!("outhook_budget_used_bytes");
    metrics::gauge!("outhook_budget_limit_bytes").set(budget.limit() as f64);
    loop {
        used.set(budget.used() as f64);
        tokio::time::sleep(GAUGE_INTERVAL).await;
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
    let own = config::SourceConfig::for_operator_events(&config.operator_events.topic);
    config.sources.iter().cloned().chain([own])
}

/// The decoder settings of a topic, for previews.
fn decoder_settings_lookup(sources: &[(config::SourceConfig, Arc<decode::Settings>)]) -> DecoderSettingsLookup {
    let sources = sources.to_vec();
    Box::new(move |topic| Some(sources.iter().find(|(source, _)| source.reads(topic))?.1.clone()))
}

/// The stages that replay a record of a topic. They start with the current state of tables and do not change it,
/// because an old record must not change current knowledge.
fn replay_factory(stages: &PipelineFactory) -> replay::ReplayFactory {
    let (decoding, whole_tables) = (decoder_settings_lookup(&stages.sources), stages.whole_tables.clone());
    let (index, attachment_url) = (stages.index.clone(), stages.attachment_url.clone());
    Box::new(move |topic| {
        let decoder = Decoder::new(decoding(topic)?, whole_tables.fork());
        Some(ReplayStages::new(decoder, index.clone(), Renderer::new(attachment_url.clone())))
    })
}

/// The parts of the pipeline of each partition.
struct PipelineFactory {
    sources: Vec<(config::SourceConfig, Arc<decode::Settings>)>,
    whole_tables: WholeTables,
    index: Arc<Index>,
    catalogue: Arc<Catalogue>,
    attachment_url: Option<AttachmentUrl>,
    lanes: Arc<Lanes>,
    settle: Arc<Settler>,
    budget: Arc<Budget>,
}

impl HandlerFactory for PipelineFactory {
    type Handler = Pipeline;
    type Backlog = Infallible;

    fn for_partition(&self, topic: &str, _: i32) -> Option<ReadMode<Pipeline, Infallible>> {
        let (_, settings) = self.sources.iter().find(|(source, _)| source.reads(topic))?;
        Some(ReadMode::Sequential(Pipeline {
            decoder: Decoder::new(settings.clone(), self.whole_tables.clone()),
            sampler: Sampler::new(self.catalogue.clone(), topic),
            index: self.index.clone(),
            renderer: Renderer::new(self.attachment_url.clone()),
            lanes: self.lanes.clone(),
            settler: self.settle.clone(),
            budget: self.budget.clone(),
            counters: Counters::default(),
            match_buffer: Vec::new(),
        }))
    }
}
