//! `outhook replay`: reads past records again and sends what they make, for a webhook that was created after them, a
//! receiver that lost a day, or a template that was fixed.

mod output;
mod selection;

use std::num::{NonZeroU32, ParseIntError};
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::Terminal;
use super::replay::output::ReplayProgress;
use super::replay::selection::{Selection, UnknownSelection};
use super::time_arg::{BadTime, moment};
use crate::config::{Config, SourceConfig};
use crate::decode::{Decoder, WholeTables};
use crate::kafka::TopicError;
use crate::kafka::topic_reader::{self, Spans, TopicReader};
use crate::lifecycle::Signals;
use crate::pipeline;
use crate::redelivery::replay::{
    BadOffsetRanges, BadRange, OffsetRanges, Range, RangeBound, TopicReplay, skip_deleted,
};
use crate::redelivery::{RetryTopicProducer, UnacknowledgedCall};
use crate::render::{BadAttachmentUrl, Renderer};
use crate::store::{self, StoreError};

pub(super) use super::replay::selection::EventSelectorArgs;

/// Max calls that are read before they are written.
const MAX_CALLS_PER_PAGE: usize = 1_000;

/// Sends the messages that past row changes make.
///
/// Reads a range of a source's topic again, and makes messages of it by the current definitions. The calls are
/// written to the first retry topic, and running instances send them immediately. A message keeps its id, by which a
/// receiver recognizes it. The consumer group and its committed offsets do not change.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  outhook replay --topic orders --from 2026-11-24 --webhook 3f0zq9 --dry-run
  outhook replay --topic orders --from 2d --to 1d --event k2m4xa --event p07c1d
  outhook replay --topic orders --partition 3 --from 1200 --webhook 3f0zq9
  outhook replay --topic orders --from 0 --webhook 3f0zq9 --rate 50

Without --to, the range ends where the topic ends when the replay starts.
A replay can be repeated safely if receivers deduplicate by webhook-id.
Ctrl-C stops it cleanly and prints the command that continues it.

Exit codes: 0 done; 1 failed, or something was skipped; 2 bad arguments;
3 stopped before the end.")]
pub struct Args {
    /// The topic to read. One of the configured sources must read it.
    #[arg(long)]
    topic: String,
    /// Start of the range: a time such as 2026-11-24T10:00:00Z or 2026-11-24 (UTC), an age such as 90m or 2d, or an
    /// offset; 0 is the beginning. A time selects the first record with this Kafka timestamp or a later one.
    #[arg(long, value_name = "WHEN|OFFSET", value_parser = edge, required_unless_present = "spans")]
    from: Option<RangeBound>,
    /// End of the range, in the same forms. The record at the end is not replayed.
    #[arg(long, value_name = "WHEN|OFFSET", value_parser = edge)]
    to: Option<RangeBound>,
    /// Only this partition. Can be repeated.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Exactly these offsets: PARTITION:FROM-BEFORE, separated by commas, as an interrupted replay prints them.
    #[arg(long, value_name = "PLACES", conflicts_with_all = ["from", "to", "partition"])]
    spans: Option<OffsetRanges>,
    #[command(flatten)]
    event_selector: EventSelectorArgs,
    /// Max calls per second. Without it, calls are written as fast as they are read, and sent as fast as endpoints
    /// take them.
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Reads the whole range, and only says what would be sent.
    #[arg(long)]
    dry_run: bool,
    /// Prints the summary as a JSON object.
    #[arg(long)]
    json: bool,
}

/// Why a replay did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("no source reads topic {topic}: [[sources]] says how records are decoded, and has {sources}")]
    NoSource { topic: String, sources: String },
    #[error("there is no topic {topic}")]
    NoTopic { topic: String },
    #[error("none of the events is ready, so there is nothing to replay")]
    NoneReady,
    #[error(transparent)]
    Unknown(#[from] UnknownSelection),
    #[error(transparent)]
    Range(#[from] BadRange),
    #[error(transparent)]
    Ranges(#[from] BadOffsetRanges),
    #[error("render.attachment_url: {0}")]
    AttachmentUrl(#[from] BadAttachmentUrl),
    #[error(transparent)]
    Definitions(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] topic_reader::Error),
    #[error(transparent)]
    Unwritten(Box<UnacknowledgedCall>),
    #[error("the output can't be written, or signals can't be received: {0}")]
    System(#[from] std::io::Error),
}

/// # Errors
/// The topic, a webhook or an event does not exist, or Kafka can't be read or written.
pub(super) async fn run(args: Args, config: &Config, terminal: Terminal) -> Result<ExitCode, ReplayError> {
    let mut signals = Signals::listen()?;
    let range = args.range();
    range.as_ref().map_or(Ok(()), Range::check)?;
    let source = source(&args.topic, config)?;
    let kafka = config.kafka.client();
    let (definitions, definitions_offset) = store::read_with_end(&config.definitions, &kafka).await?;
    let chosen = args.event_selector.select(&definitions)?;
    let mut progress = ReplayProgress::new(&args, terminal);
    progress.warn_skipped(&chosen);
    if chosen.ready().next().is_none() {
        return Err(ReplayError::NoneReady);
    }
    let producer = if args.dry_run { None } else { Some(open(config).await?) };
    let topic_reader = TopicReader::new(&args.topic, kafka.into_iter().collect());
    let replay = TopicReplay::new(&args.topic, topic_reader, record_replay(&source, &chosen, config)?);
    let spans = spans(&args, range.as_ref(), &replay, &mut progress).await?;
    progress.print_start(&chosen, &spans);
    let writes = producer.as_ref().map(|producer| (producer, definitions_offset));
    let outcome = replay_range(&args, spans, &replay, writes, &mut signals, &mut progress).await;
    progress.finish(outcome)
}

/// How far a replay got.
#[derive(Debug, Default)]
struct ReplayOutcome {
    /// Offsets that are still to be replayed.
    remaining: Spans,
    /// What stopped it; None at the end.
    stop_cause: Option<StopCause>,
}

#[derive(Debug)]
enum StopCause {
    Signal(&'static str),
    Error(ReplayError),
}

/// Replays page by page. A page counts as done only when its calls are acknowledged. A signal stops the replay after
/// the page. A second signal stops it within the page, which then is still to be replayed.
async fn replay_range(
    args: &Args,
    mut remaining: Spans,
    replay: &TopicReplay,
    producer: Option<(&RetryTopicProducer, i64)>,
    signals: &mut Signals,
    progress: &mut ReplayProgress<'_>,
) -> ReplayOutcome {
    let max_calls = args.rate.map_or(MAX_CALLS_PER_PAGE, |rate| MAX_CALLS_PER_PAGE.min(rate.get() as usize));
    let stop = |remaining, stopped| ReplayOutcome { remaining, stop_cause: Some(stopped) };
    while !remaining.is_empty() {
        let began = Instant::now();
        let read = tokio::select! {
            read = replay.read(remaining.clone(), max_calls) => read,
            signal = signals.next() => return stop(remaining, StopCause::Signal(signal)),
        };
        let (mut page, next_spans) = match read {
            Ok(read) => read,
            Err(error) => return stop(remaining, StopCause::Error(error.into())),
        };
        let mut signal = None;
        if let Some((producer, definitions)) = producer {
            let mut writing = pin!(producer.write(std::mem::take(&mut page.calls), definitions));
            let unwritten = loop {
                tokio::select! {
                    unwritten = &mut writing => break unwritten,
                    now = signals.next() => {
                        if signal.replace(now).is_some() {
                            return stop(remaining, StopCause::Signal(now));
                        }
                        progress.print_stopping(now);
                    }
                }
            };
            if let Some(failed) = progress.count_refused(unwritten) {
                return stop(remaining, StopCause::Error(ReplayError::Unwritten(Box::new(failed))));
            }
        }
        remaining = next_spans;
        progress.page(&page);
        if let Some(signal) = signal {
            return stop(remaining, StopCause::Signal(signal));
        }
        let rate = args.rate.filter(|_| producer.is_some());
        let pause = rate.map(|rate| pause(page.counts.calls, rate, began.elapsed()));
        tokio::select! {
            () = tokio::time::sleep(pause.unwrap_or_default()) => {}
            signal = signals.next() => return stop(remaining, StopCause::Signal(signal)),
        }
    }
    ReplayOutcome::default()
}

/// Pause that keeps the rate after `calls` calls that took `duration`.
fn pause(calls: u64, rate: NonZeroU32, duration: Duration) -> Duration {
    Duration::from_secs_f64(calls as f64 / f64::from(rate.get())).saturating_sub(duration)
}

/// Offsets to read.
async fn spans(
    args: &Args,
    range: Option<&Range>,
    replay: &TopicReplay,
    progress: &mut ReplayProgress<'_>,
) -> Result<Spans, ReplayError> {
    let times = range.map(Range::times).unwrap_or_default();
    let extents = replay.extents(times).await.map_err(|error| match error {
        topic_reader::Error::Topic(TopicError::NoTopic { topic }) => ReplayError::NoTopic { topic },
        error => error.into(),
    })?;
    let mut spans = match (range, &args.spans) {
        (Some(range), _) => range.spans(&extents)?,
        (None, Some(ranges)) => ranges.0.clone(),
        (None, None) => Spans::new(),
    };
    progress.warn_deleted(skip_deleted(&mut spans, &extents)?);
    Ok(spans)
}

/// Opens the first retry topic, and checks that it exists: for a producer, the broker would create it with its
/// defaults.
async fn open(config: &Config) -> Result<RetryTopicProducer, ReplayError> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let kafka = config.kafka.client();
    let producer = RetryTopicProducer::open(&config.retries, &kafka)?;
    TopicReader::new(producer.topic(), kafka.into_iter().collect()).extents(Vec::new(), PATIENCE).await?;
    Ok(producer)
}

/// The source that reads a topic.
pub(super) fn source(topic: &str, config: &Config) -> Result<SourceConfig, ReplayError> {
    if topic == config.operator_events.topic {
        return Ok(SourceConfig::for_operator_events(topic));
    }
    config.source_of(topic).cloned().ok_or_else(|| {
        let sources: Vec<_> = config.sources.iter().map(ToString::to_string).collect();
        let sources = if sources.is_empty() { "none".to_owned() } else { sources.join(", ") };
        ReplayError::NoSource { topic: topic.to_owned(), sources }
    })
}

/// Stages of an instance that begins to read the topic.
fn record_replay(
    source: &SourceConfig,
    chosen: &Selection,
    config: &Config,
) -> Result<pipeline::ReplayStages, ReplayError> {
    let decoder = Decoder::new(source.settings().into(), WholeTables::default());
    let attachment_url = config.render.attachment_url.as_deref().map(str::parse).transpose()?;
    Ok(pipeline::ReplayStages::new(decoder, chosen.index.clone(), Renderer::new(attachment_url)))
}

impl Args {
    fn range(&self) -> Option<Range> {
        let partitions = (!self.partition.is_empty()).then(|| self.partition.clone());
        Some(Range { from: self.from?, to: self.to, partitions })
    }

    /// Command that continues with the offsets `remaining`.
    fn continue_command(&self, remaining: &Spans) -> String {
        let Self { event_selector: chosen, rate, .. } = self;
        let account = chosen.account.as_ref().map(|account| format!("--account {}", quoted(account.as_str())));
        let mut words = vec!["outhook replay".to_owned(), format!("--topic {}", self.topic)];
        words.push(format!("--spans {}", OffsetRanges(remaining.clone())));
        words.extend(chosen.webhook.iter().map(|id| format!("--webhook {id}")));
        words.extend(chosen.event.iter().map(|id| format!("--event {id}")));
        words.extend(account);
        words.extend(rate.map(|rate| format!("--rate {rate}")));
        words.extend(self.dry_run.then(|| "--dry-run".to_owned()));
        words.join(" ")
    }
}

/// Quotes a text as one word of a shell command, because an account may have any name.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(&byte);
    if text.bytes().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A text that is neither an offset nor a time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidRangeBound {
    #[error("{text} is not an offset: {source}")]
    Offset { text: String, source: ParseIntError },
    #[error("{0}, or an offset")]
    Time(#[source] BadTime),
}

/// Parses an offset or a time.
fn edge(text: &str) -> Result<RangeBound, InvalidRangeBound> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let offset = text.parse().map(RangeBound::Offset);
        return offset.map_err(|source| InvalidRangeBound::Offset { text: text.to_owned(), source });
    }
    moment(text).map(RangeBound::Time).map_err(InvalidRangeBound::Time)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// Parses the arguments of a line without quotes.
    pub(super) fn args(line: &str) -> Args {
        let words = line.split(' ').filter(|word| *word != "replay");
        Line::try_parse_from(words).map(|line| line.args).unwrap()
    }

    #[test]
    fn continuation_command_keeps_the_options_of_the_stopped_replay() {
        let left = Spans::from([(0, (3, 9)), (2, (0, 4))]);
        let begun = args("outhook --topic orders --from 0 --webhook 3f0zq9 --event k2m4xa --rate 50");
        let sends = "outhook replay --topic orders --spans 0:3-9,2:0-4 --webhook 3f0zq9 --event k2m4xa --rate 50";
        assert_eq!(begun.continue_command(&left), sends);
        let begun = args("outhook --topic orders --from 0 --webhook 3f0zq9 --account acme --dry-run");
        let reads = "outhook replay --topic orders --spans 0:3-9,2:0-4 --webhook 3f0zq9 --account acme --dry-run";
        assert_eq!(begun.continue_command(&left), reads);
        assert_eq!(args(reads).continue_command(&left), reads, "the printed command can be parsed");
    }

    #[test]
    fn quoted_text_is_one_shell_word() {
        for (text, word) in [("acme-1", "acme-1"), ("Acme Inc", "'Acme Inc'"), ("O'Hara; ls", r"'O'\''Hara; ls'")] {
            assert_eq!(quoted(text), word);
        }
    }

    #[test]
    fn range_edge_is_an_offset_or_a_time() {
        assert_eq!(edge("1200"), Ok(RangeBound::Offset(1200)));
        assert_eq!(edge("2026-11-24T10:00:00Z"), Ok(RangeBound::Time("2026-11-24T10:00:00Z".parse().unwrap())));
        assert!(matches!(edge("2d"), Ok(RangeBound::Time(_))));
        for bad in ["", "-5", "yesterday", "99999999999999999999"] {
            let error = edge(bad).unwrap_err().to_string();
            assert!(error.contains("offset"), "{bad}: {error}");
        }
    }

    #[test]
    fn pauses_keep_the_rate() {
        let rate = NonZeroU32::new(50).unwrap();
        assert_eq!(pause(50, rate, Duration::from_millis(200)), Duration::from_millis(800));
        assert_eq!(pause(0, rate, Duration::ZERO), Duration::ZERO);
        assert_eq!(pause(10, rate, Duration::from_secs(1)), Duration::ZERO);
    }
}
