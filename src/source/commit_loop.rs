//! When commits are made: periodically while the member reads, and a last time before it leaves the group.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::HandlerFactory;
use super::callbacks::Context;
use super::commits::is_topic_error;
use super::resumption::RETRY_DELAY;
use crate::kafka::errors;

/// How long the last commit is retried.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a commit may take before that is logged.
const SLOW_COMMIT_THRESHOLD: Duration = Duration::from_secs(3);

/// How many commits in a row must fail before that is logged: a few fail in a rebalance.
const FAILURES_BEFORE_LOG: u32 = 10;
/// Max failed commits in a minute, because each is followed by a pause. After this number it is logged again.
const FAILURES_BETWEEN_LOGS: u32 = 600;

/// Commits settled offsets periodically, and immediately when `commit_now` is notified. Each commit is awaited:
/// librdkafka reports the result only to a caller that waits (rdkafka sets no `offset_commit_cb`). Otherwise a commit
/// that failed in a rebalance would not be retried if nothing more settles.
pub(super) async fn commit_settled<H: HandlerFactory>(
    consumer: Arc<BaseConsumer<Context<H>>>,
    every: Duration,
    commit_now: Arc<Notify>,
    stopped: CancellationToken,
) {
    let mut failed = 0;
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // After a failure only the tick retries: a commit may fail immediately each time.
            () = commit_now.notified(), if failed == 0 => {}
            () = stopped.cancelled() => return,
        }
        let committing = consumer.clone();
        let mut commit = tokio::task::spawn_blocking(move || {
            let context = committing.context();
            let permit = context.commits.acquire_permit();
            permit.commit(&*committing, &context.assignment.partition_states())
        });
        let committed = match timeout(SLOW_COMMIT_THRESHOLD, &mut commit).await {
            Ok(committed) => committed,
            Err(_) => {
                let of = consumer.context().name;
                warn!(of, "a commit has no answer yet: partitions pause once kafka.max_uncommitted is reached");
                commit.await
            }
        };
        match committed {
            Ok(Ok(())) => failed = 0,
            Ok(Err(error)) => {
                failed += 1;
                debug!(%error, "a commit failed; the next commit includes its offsets");
                if failed % FAILURES_BETWEEN_LOGS == FAILURES_BEFORE_LOG {
                    let of = consumer.context().name;
                    let error = errors::error_text(&error);
                    warn!(of, failed, error, "commits fail: partitions pause once kafka.max_uncommitted is reached");
                }
                tick.reset_after(every.min(RETRY_DELAY));
            }
            Err(error) => error!(%error, "the task of a commit ended early"),
        }
    }
}

/// Commits all owned partitions before the member leaves the group. The group may be rebalancing, because another
/// member has just left, or its coordinator may be moving: both pass while the callbacks are still served. The
/// partition states record whether the commit succeeded.
pub(super) fn commit_last<H: HandlerFactory>(consumer: &BaseConsumer<Context<H>>) {
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    let context = consumer.context();
    loop {
        let permit = context.commits.acquire_permit();
        let Err(error) = permit.commit(consumer, &context.assignment.partition_states()) else { return };
        drop(permit);
        // A retry can't help if a topic is refused.
        if is_topic_error(&error) || Instant::now() > deadline {
            return warn!(%error, "the last commit failed");
        }
        thread::sleep(RETRY_DELAY);
    }
}
