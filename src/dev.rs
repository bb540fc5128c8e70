//! `outhook dev`: the whole program on one machine, with an embedded broker, sample tables and a local receiver.
//!
//! The sample knows which messages each of its changes must fire. The receiver verifies signatures, and the oracle
//! checks every message off. The checked program is the one that `outhook run` starts: the code here reaches it only
//! through its configuration, topics, endpoints and metrics.

mod definitions;

use std::io::{self, IsTerminal as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outhook_dev::{
    Broker, CHANGES, CHANGES_PARTITIONS, Door, Feed, Glimpses, Notes, Oracle, Ready, Receiver, Show, Sights, Style,
    Summary,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::definitions::SampleEvents;
use crate::app::{self, App};
use crate::config::{self, Config};
use crate::kafka::KafkaError;
use crate::lifecycle::Signals;
use crate::render::MAX_MESSAGE_BYTES;
use crate::source::LeaveResult;
use crate::telemetry::{self, LogLevel, Metrics, MetricsError};

pub use self::definitions::SampleError;

/// Max wait for expected messages after the last sample change.
const LAST_MESSAGES: Duration = Duration::from_secs(30);

/// Poll interval for states that send no notification.
const LOOK: Duration = Duration::from_millis(10);

const NO_PANIC: &str = "its task does not panic";

/// Options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sample changes per second; 0 for none.
    pub rate: u32,
    /// How long sample changes are made. None: until a signal.
    pub duration: Option<Duration>,
    /// The first of three ports: broker, API, receiver. None: free ports.
    pub ports: Option<u16>,
    /// Seed of the sample changes.
    pub seed: u64,
    pub style: Style,
}

/// Why a run could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the embedded broker: {0}")]
    Broker(KafkaError),
    #[error("can't listen on port {port} of 127.0.0.1: {reason}; choose another with --ports")]
    Port { port: u16, reason: io::Error },
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Definitions(#[from] SampleError),
    #[error(transparent)]
    App(#[from] app::Error),
    #[error("Outhook stopped unexpectedly, with {} records not settled", .0.unsettled)]
    StoppedEarly(LeaveResult),
    #[error("can't produce the sample changes: {0}")]
    Feed(KafkaError),
    #[error("can't listen for signals: {0}")]
    Signals(io::Error),
    #[error("can't write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs until the time is over or a signal arrives, drains, and returns the summary.
///
/// # Errors
/// A part can't start, or stops early.
pub async fn run(options: Options) -> Result<Summary, Error> {
    let notes = Notes::default();
    start_logs(options.style, &notes);
    let broker = Broker::start().map_err(Error::Broker)?;
    let ports = Ports::starting_at(options.ports);
    let door = ports.door(broker).await?;
    let listener = bind(ports.receiver).await?;
    let (receiver_address, broker_address) = (listener.local_addr()?, broker.address());

    let config = configuration(&broker_address, ports.api)?;
    create_topics(broker, &config).map_err(Error::Broker)?;
    let definitions = definitions::apply(&config, receiver_address).await?;
    let applied = SampleEvents::find(&definitions)?;
    let (client_id, client_secret) = definitions::make_client(&config).await?;

    let (oracle, glimpses) = (Arc::<Mutex<Oracle>>::default(), Arc::<Glimpses>::default());
    let receiver = Receiver::new(definitions::verifiers(&definitions), oracle.clone(), glimpses.clone());
    tokio::spawn(receiver.serve(listener, MAX_MESSAGE_BYTES));

    let metrics = Metrics::start()?;
    let app = App::build(&config, metrics.clone()).await?;
    let ready = Ready {
        ready: true,
        broker: door.as_ref().map_or(Ok(broker_address.clone()), |door| door.address().map(|door| door.to_string()))?,
        changes_topic: CHANGES,
        api: format!("http://{}", app.address()),
        metrics: format!("http://{}/metrics", app.address()),
        receiver: format!("http://{receiver_address}"),
        account: definitions::ACCOUNT,
        client_id: client_id.to_string(),
        client_secret,
    };
    door.map(|door| tokio::spawn(door.serve()));
    let instance = Instance::start(app).await?;

    let messages_of = Box::new(move |change: &_| applied.messages_of(change));
    let feed =
        Feed::new(&broker_address, options.rate, options.seed, messages_of, oracle.clone()).map_err(Error::Feed)?;
    let sights = Sights { oracle, glimpses, notes, made: feed.made(), metrics: Box::new(move || metrics.render()) };
    let show = Show::start(sights, options.style, &ready)?;
    play(show, feed, instance, &options).await
}

/// Runs changes until the time is over or a signal arrives. Then waits for outstanding messages, then stops the
/// instance.
async fn play(mut show: Show, feed: Feed, mut instance: Instance, options: &Options) -> Result<Summary, Error> {
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let stopping = CancellationToken::new();
    let stop_feed = stopping.clone().drop_guard();
    let start = Instant::now();
    let mut feed = tokio::spawn(feed.run(stopping));
    let time_over = async {
        match options.duration {
            Some(duration) => sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let until_end = async {
        tokio::select! {
            () = time_over => Ok(()),
            _ = signals.next() => Ok(()),
            ended = &mut instance.task => Err(Error::ended(ended)),
            ended = &mut feed => Err(Error::Feed(ended.expect(NO_PANIC).expect_err("only a stop ends it well"))),
        }
    };
    show.during(until_end).await??;
    let fed_for = start.elapsed();
    drop(stop_feed);
    show.during(&mut feed).await?.expect(NO_PANIC).map_err(Error::Feed)?;
    let oracle = show.oracle();
    let drained = async {
        let _ = timeout(LAST_MESSAGES, all_came(&oracle)).await;
        instance.stop().await.map(Some)
    };
    // From here on a signal ends the run without a drain.
    let ended = async {
        tokio::select! {
            left = drained => left,
            _ = signals.next() => Ok(None),
        }
    };
    let clean = show.during(ended).await??.is_some_and(|left| left.unsettled == 0 && left.all_committed);
    Ok(show.end(fed_for, clean, options.rate > 0)?)
}

async fn all_came(oracle: &Mutex<Oracle>) {
    let mut check_interval = interval(LOOK);
    while oracle.lock().outstanding() > 0 {
        check_interval.tick().await;
    }
}

/// The running instance of the checked program.
struct Instance {
    task: JoinHandle<Result<LeaveResult, app::Error>>,
    /// Requests a stop, also on drop.
    stop: DropGuard,
}

impl Instance {
    /// Starts the instance, and waits until it is ready.
    async fn start(app: App) -> Result<Self, Error> {
        let readiness = app.readiness();
        let stopping = CancellationToken::new();
        let stop = stopping.clone().drop_guard();
        let mut task = tokio::spawn(app.run(stopping.cancelled_owned()));
        let mut check_interval = interval(LOOK);
        while !readiness.unmet_conditions().is_empty() {
            tokio::select! {
                _ = check_interval.tick() => {}
                ended = &mut task => return Err(Error::ended(ended)),
            }
        }
        Ok(Self { task, stop })
    }

    async fn stop(self) -> Result<LeaveResult, app::Error> {
        drop(self.stop);
        self.task.await.expect(NO_PANIC)
    }
}

impl Error {
    /// The instance ended without a request to stop.
    fn ended(ended: Result<Result<LeaveResult, app::Error>, JoinError>) -> Self {
        ended.expect(NO_PANIC).map_or_else(Error::App, Error::StoppedEarly)
    }
}

/// The configuration of the instance, as a user of this broker would write it.
fn configuration(broker: &str, api_port: u16) -> Result<Config, config::Error> {
    let text = format!(
        r#"
        [kafka]
        brokers = "{broker}"

        # The embedded broker does not wake a waiting fetch when a record arrives, so the wait is short. Log
        # level 3 hides the warning of producers that this setting is for consumers.
        [kafka.properties]
        "fetch.wait.max.ms" = "2"
        log_level = "3"

        [[sources]]
        topics = ["{CHANGES}"]
        format = "outhook"

        [delivery]
        allow_http = true
        allow_addresses = ["127.0.0.0/8", "::1/128"]

        [listen]
        address = "127.0.0.1:{api_port}"
        "#
    );
    Config::parse(Path::new("the configuration of outhook dev"), &text, Vec::new())
}

fn create_topics(broker: &Broker, config: &Config) -> Result<(), KafkaError> {
    broker.create_topic(CHANGES, CHANGES_PARTITIONS)?;
    broker.create_topic(&config.definitions.topic, 1)?;
    broker.create_topic(&config.dead_letters.topic, 1)?;
    broker.create_topic(&config.stats.topic, 1)?;
    broker.create_topic(&config.operator_events.topic, 1)?;
    broker.create_topic(&config.message_log.topic, 1)?;
    let partitions = config.retries.partitions;
    config.retries.tiers().iter().try_for_each(|tier| broker.create_topic(&tier.topic, partitions))?;
    broker.create_topic(&config.overflow.topic, config.overflow.partitions)?;
    broker.create_topic(&config.row_order.topic, config.row_order.partitions)
}

/// Ports of the loopback interface. 0 is any free port.
struct Ports {
    /// None: clients use the embedded broker's port directly.
    broker: Option<u16>,
    api: u16,
    receiver: u16,
}

impl Ports {
    fn starting_at(first: Option<u16>) -> Self {
        let after = |more| first.map_or(0, |first| first + more);
        Self { broker: first, api: after(1), receiver: after(2) }
    }

    async fn door(&self, broker: &Broker) -> Result<Option<Door>, Error> {
        let Some(port) = self.broker else { return Ok(None) };
        Ok(Some(Door::new(bind(port).await?, broker.address())))
    }
}

async fn bind(port: u16) -> Result<TcpListener, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|reason| Error::Port { port, reason })
}

/// Logs go to stderr, or above the block in the block style.
fn start_logs(style: Style, notes: &Notes) {
    let log = telemetry::Config { level: LogLevel::Warn, ..telemetry::Config::default() };
    let started = match style {
        Style::Block { .. } => notes.start_logs(),
        Style::Lines | Style::Json => telemetry::start_logs(&log, io::stderr().is_terminal(), false),
    };
    // An error means that the process logs already, as tests do; that log is enough.
    let _ = started;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::EventSource;

    #[test]
    fn the_sample_has_all_sources() {
        assert_eq!(outhook_dev::SOURCES, EventSource::ALL.map(EventSource::as_str));
    }

    #[test]
    fn generated_configuration_is_valid() {
        let config = configuration("127.0.0.1:9092", 8080).unwrap();
        assert_eq!((config.kafka.brokers.as_str(), config.listen.address.port()), ("127.0.0.1:9092", 8080));
        assert!(config.source_of(CHANGES).is_some());
    }
}
