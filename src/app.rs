//! Builds every part from the configuration, binds, starts in order and stops in reverse. The only file
//! that constructs.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::api::{Api, BindError, Decoding, Guesses, Listener};
use crate::catalogue::{self, Catalogue, Lookout};
use crate::config::{self, Config};
use crate::decode::{self, Decoder, WholeTables};
use crate::deliver::{self, Lanes};
use crate::lifecycle::{self, Condition, Readiness};
use crate::matching::Index;
use crate::pipeline::{Counters, Pipeline};
use crate::receipt::Budget;
use crate::render::{AttachmentUrl, BadAttachmentUrl, Renderer};
use crate::settle::{self, Letters, Settle};
use crate::source::{self, Handlers, Left, Source, Topics};
use crate::stats::{self, Stats};
use crate::store::{self, Store, StoreError};
use crate::telemetry::Metrics;

/// How often gauges are read off the parts.
const GAUGES: Duration = Duration::from_secs(1);

/// How long attempts that outlasted the drain deadline may still end by themselves.
const LAST_ATTEMPTS: Duration = Duration::from_secs(1);

/// An instance, built and bound, not yet reading.
pub struct App {
    source: source::Config,
    stages: Stages,
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
    Deliver(String),
    #[error("render.attachment_url: {0}")]
    AttachmentUrl(#[from] BadAttachmentUrl),
    #[error("[dead_letters]: {0}")]
    Settle(String),
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
    /// Builds and binds everything, and begins to read the definitions. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A part refuses its settings, or the address can't be bound.
    pub async fn build(config: &Config, metrics: Metrics) -> Result<Self, Error> {
        describe_metrics();
        let listener = Listener::bind(&config.listen).await?;
        let readiness = Readiness::default();
        let definitions_known = readiness.condition("definitions caught up");
        let partitions_assigned = readiness.condition("partitions assigned");
        let index = Arc::new(Index::default());
        let client = config.kafka.client();
        let settle = Settle::new(&config.dead_letters, &client.clone().into_iter().collect()).map_err(Error::Settle)?;
        let on_finished = settle.clone();
        let lanes =
            Lanes::new(config.delivery.clone(), Arc::new(move |call, outcome| on_finished.finished(call, outcome)))
                .map_err(Error::Deliver)?;
        let store = Store::start(&config.definitions, &client, index.clone())?;
        let catalogue = Arc::<Catalogue>::default();
        let stats = Stats::start(&config.stats, &client, index.clone(), catalogue.clone())?;
        let attachment_url = config.render.attachment_url.as_deref().map(str::parse).transpose()?;
        let stages = Stages {
            sources: config.sources.iter().map(|source| (source.clone(), Arc::new(source.settings()))).collect(),
            whole_tables: WholeTables::default(),
            index,
            catalogue,
            attachment_url,
            lanes,
            settle,
            budget: Budget::new(config.memory.budget_bytes()),
        };
        let api = Api {
            metrics,
            readiness: readiness.clone(),
            store: store.clone(),
            stats: stats.clone(),
            catalogue: stages.catalogue.clone(),
            letters: Letters::new(&config.dead_letters, &client),
            policy: config.policy(),
            access: config.api.clone(),
            decoding: decoding(&stages.sources),
            attachment_url: stages.attachment_url.clone(),
            guesses: Guesses::default(),
        };
        let (source, router) = (source(config), api.router());
        Ok(Self { source, stages, store, stats, listener, router, readiness, definitions_known, partitions_assigned })
    }

    /// Where metrics and health are served.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Which conditions of being ready do not hold yet.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Reads the definitions to their end, joins the group, and works until `stop` resolves; then drains.
    ///
    /// # Errors
    /// The group can't be joined, or has shut this instance out, for a reason that waiting does not mend. What was
    /// not committed comes again.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Left, Error> {
        let Self { source, stages, store, stats, listener, router, definitions_known, partitions_assigned, .. } = self;
        let (stop_listening, stopping) = lifecycle::stop();
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
            let source = Source::start(&source, stages, budget)?;
            tokio::select! {
                biased;
                () = &mut stop => {}
                fatal = source.failed() => {
                    partitions_assigned.set(false);
                    stats.stop().await;
                    return Err(fatal.into());
                }
                error = store.locked_out() => {
                    error!("{error}; stopping, so that instances which have the key go on");
                    locked_out = Some(error);
                }
                () = async { source.assigned().await; partitions_assigned.set(true); std::future::pending().await } => {}
            }
            partitions_assigned.set(false);
            left = drain(source, &lanes, &settle).await;
        }
        // Nothing is counted from here on but what outlasted the drain.
        stats.stop().await;
        store.stop().await;
        gauges.abort();
        stop_listening.now();
        let _ = listening.await;
        locked_out.map_or(Ok(left), |error| Err(error.into()))
    }
}

/// Stops in the order of the journey: no new records, no new attempts, dead letters acknowledged, then the
/// last commit.
async fn drain<H: Handlers>(source: Source<H>, lanes: &Lanes, settle: &Settle) -> Left {
    let drained = source.drain().await;
    if drained.left() > 0 {
        warn!(records = drained.left(), "the drain deadline has passed");
    }
    let _ = tokio::time::timeout(LAST_ATTEMPTS, async {
        lanes.stop().await;
        settle.drained().await
    })
    .await;
    settle.stop();
    source.leave(drained).await
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
    store::describe_metrics();
    stats::describe_metrics();
    catalogue::describe_metrics();
    describe_gauge!("outhook_budget_used_bytes", Unit::Bytes, "Rendered messages in memory");
    describe_gauge!("outhook_budget_limit_bytes", Unit::Bytes, "What rendered messages may take in memory");
}

/// The source's view of the configuration.
fn source(config: &Config) -> source::Config {
    let topics = config.sources.iter().map(|source| match &source.topics_regex {
        Some(pattern) => Topics::Regex(pattern.subscription()),
        None => Topics::List(source.topics.clone()),
    });
    source::Config {
        client: config.kafka.consumer(&config.memory),
        topics: topics.collect(),
        commit_interval: config.kafka.commit_interval,
        drain_deadline: config.drain.deadline,
        max_open_records: config.memory.max_open_records,
    }
}

/// How a topic's records are read, for previews.
fn decoding(sources: &[(config::Source, Arc<decode::Settings>)]) -> Decoding {
    let sources = sources.to_vec();
    Box::new(move |topic| Some(sources.iter().find(|(source, _)| source.reads(topic))?.1.clone()))
}

/// What every partition's pipeline is made of.
struct Stages {
    sources: Vec<(config::Source, Arc<decode::Settings>)>,
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

    fn for_topic(&self, topic: &str) -> Option<Pipeline> {
        let (_, settings) = self.sources.iter().find(|(source, _)| source.reads(topic))?;
        Some(Pipeline {
            decoder: Decoder::new(settings.clone(), self.whole_tables.clone()),
            lookout: Lookout::new(self.catalogue.clone(), topic),
            index: self.index.clone(),
            renderer: Renderer::new(self.attachment_url.clone()),
            lanes: self.lanes.clone(),
            settle: self.settle.clone(),
            budget: self.budget.clone(),
            counters: Counters::default(),
            fired: Vec::new(),
        })
    }
}
