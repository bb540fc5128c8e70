//! A worker of a lane: takes the next call, sends it, reports its result, and ends when there is no more work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::outcome::{check_before_attempt, conclude};
use super::{Lane, NextAction, QueuedCall};
use crate::deliver::Call;
use crate::deliver::attempt_log::{PendingEntry, SentAttempt};
use crate::deliver::timer::Timer;
use crate::deliver::transport::connection::Connection;
use crate::deliver::transport::failure::{AttemptFailure, AttemptStage, Limit};
use crate::deliver::transport::signature::Signer;
use crate::rules::Authorization;
use crate::time::since_1970;

/// Max time to read the rest of a response. Opening a new connection is faster than waiting longer.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// After a call was taken, its request may use the call's throttle slot for this time. It is short enough that the
/// limit is not exceeded noticeably.
const THROTTLE_SLOT_LASTS: Duration = Duration::from_millis(20);

/// How often a request is sent again within an attempt because the endpoint did not process it. It is this high
/// because an endpoint may take 100 requests on each connection while twice as many are under way.
const UNPROCESSED: u32 = 8;

/// A response. The body is None if the head could not be read completely.
type Answer = Response<Option<Incoming>>;

/// Runs a worker until there is no work for the idle timeout, or the lanes stop.
pub(in crate::deliver) async fn run(lane: Arc<Lane>) {
    let mut worker = Worker::new(lane);
    while let Some(queued) = worker.next().await {
        let Some(queued) = check_before_attempt(&worker.lane, queued) else { continue };
        let (head, body) = match worker.attempt(&queued.call).await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                (Ok(head), body)
            }
            Err(NoAnswer::Failed(failure)) => (Err(failure), None),
            Err(NoAnswer::NoThrottleSlot) => {
                worker.lane.order.lost_throttle_slots(&worker.lane.shared, queued);
                continue;
            }
        };
        // The status line decides: a slow body delays only this worker.
        let sent = SentAttempt {
            peer: worker.peer,
            authorization: worker.authorization.take(),
            duration: worker.attempt.elapsed(),
        };
        let entry = conclude(&worker.lane, queued, sent, head);
        let body_start = match body {
            Some(body) => worker.read_to_end(body, entry.as_ref().map_or(0, PendingEntry::wanted)).await,
            None => Vec::new(),
        };
        if let Some(entry) = entry {
            entry.write(&*worker.lane.shared.call_sink, &body_start);
        }
    }
}

/// Why an attempt has no response.
enum NoAnswer {
    Failed(AttemptFailure),
    /// The attempt was not made: this instance has no share of the webhook's throttle slots any more.
    NoThrottleSlot,
}

impl From<AttemptFailure> for NoAnswer {
    fn from(failure: AttemptFailure) -> Self {
        NoAnswer::Failed(failure)
    }
}

/// Counts the requests that are sent again in one attempt.
#[derive(Default)]
struct Again {
    /// A reused connection broke.
    broken: bool,
    /// How often the endpoint did not process the request.
    unprocessed: u32,
}

impl Again {
    /// Whether the request is sent again after this failure. If so, counts it.
    fn may_follow(&mut self, failure: &AttemptFailure, reused: bool) -> bool {
        match failure {
            // An endpoint may close an idle connection just as a request is sent on it, which says nothing about the
            // endpoint. If the endpoint did read the request, the message arrives twice: delivery is at-least-once
            // anyway, and the receiver recognizes the message by its id.
            AttemptFailure::Broken(_) => reused && !std::mem::replace(&mut self.broken, true),
            // An endpoint that drains its connections, as many do after a number of requests, works.
            AttemptFailure::Unprocessed(_) | AttemptFailure::Http1Required => {
                self.unprocessed += 1;
                self.unprocessed <= UNPROCESSED
            }
            _ => false,
        }
    }
}

pub(in crate::deliver) struct Worker {
    lane: Arc<Lane>,
    /// Notified when a call is queued for this worker while it is parked.
    wake: Arc<Notify>,
    connection: Option<Connection>,
    /// The time limit of the current or last attempt. Waits for a throttle slot do not count, because the endpoint
    /// does not cause them.
    attempt: Limit,
    /// Until this time, the next request uses the throttle slot that the call already has.
    throttle_slot_until: Option<Instant>,
    /// The dialled address and the `Authorization` value of the current attempt.
    peer: Option<SocketAddr>,
    authorization: Option<HeaderValue>,
    signer: Signer,
    answer: Timer,
    idle: Timer,
}

impl Worker {
    pub fn new(lane: Arc<Lane>) -> Self {
        Self {
            lane,
            wake: Arc::new(Notify::new()),
            connection: None,
            attempt: Limit::new(AttemptStage::Attempt, Duration::ZERO),
            throttle_slot_until: None,
            peer: None,
            authorization: None,
            signer: Signer::default(),
            answer: Timer::new(),
            idle: Timer::new(),
        }
    }

    /// Returns the next call. None if the worker must end; it is then removed from its lane.
    pub async fn next(&mut self) -> Option<QueuedCall> {
        loop {
            match self.take() {
                NextAction::Send(queued) => return Some(queued),
                NextAction::End => return None,
                NextAction::Pause(wait) => {
                    self.pause(wait).await;
                    continue;
                }
                NextAction::Park => {}
            }
            let deadline = Instant::now() + self.lane.shared.config.idle_timeout;
            let woken = self.wake.notified();
            let woken = match &mut self.connection {
                Some(connection) => self.idle.run_until(deadline, connection.drive_while(woken)).await,
                None => self.idle.run_until(deadline, woken).await,
            };
            if woken.is_none() && self.leave().await {
                return None;
            }
        }
    }

    async fn pause(&mut self, wait: Duration) {
        let lane = self.lane.clone();
        let waited = async {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = lane.shared.wait_for_stop() => {}
            }
        };
        match &mut self.connection {
            Some(connection) => connection.drive_while(waited).await,
            None => waited.await,
        }
        lane.pause_over();
    }

    pub fn take(&self) -> NextAction {
        self.lane.take_next(&self.wake)
    }

    /// Whether a worker that was parked for too long may end. False if it was woken at the same moment.
    pub async fn leave(&mut self) -> bool {
        let may_end = self.lane.leave(&self.wake);
        if !may_end {
            // The worker was removed from the list of parked workers, so a notification is pending. It must be
            // consumed here. Otherwise the worker would be in the list twice when it parks next, and could get a call
            // after its end.
            self.wake.notified().await;
        }
        may_end
    }

    /// Makes one attempt, with a token if the webhook's calls use one. A refused token may have been revoked, so the
    /// request is sent a second time in the same attempt with a new token.
    async fn attempt(&mut self, call: &Call) -> Result<Answer, NoAnswer> {
        (self.peer, self.authorization) = (None, None);
        let target = &call.message.target;
        self.attempt = Limit::new(AttemptStage::Attempt, target.timeout.unwrap_or(self.lane.shared.config.timeout));
        self.throttle_slot_until = Some(Instant::now() + THROTTLE_SLOT_LASTS);
        let source = match &target.authorization {
            None => return self.send(call, None).await,
            Some(Authorization::Fixed(authorization)) => return self.send(call, Some(authorization)).await,
            Some(Authorization::Fetched(source)) => source,
        };
        let lane = self.lane.clone();
        let tokens = lane.shared.tokens.of(target);
        let token = Box::pin(tokens.token(source, &lane.shared.dialer, self.attempt, None)).await?;
        let answer = self.send(call, Some(&token.authorization)).await?;
        if !token.is_refused(&answer) || !token.is_worth_renewing() {
            return Ok(answer);
        }
        if let Some(body) = answer.into_body() {
            self.read_to_end(body, 0).await;
        }
        let token = Box::pin(tokens.token(source, &lane.shared.dialer, self.attempt, Some(&token))).await?;
        let answer = self.send(call, Some(&token.authorization)).await?;
        token.is_refused(&answer);
        Ok(answer)
    }

    /// Connects, sends the request, and returns the head of the response.
    async fn send(&mut self, call: &Call, authorization: Option<&HeaderValue>) -> Result<Answer, NoAnswer> {
        let mut again = Again::default();
        loop {
            let reused = self.connect_in_throttle_slot(call).await?;
            match self.exchange(call, authorization).await {
                Err(failure) if again.may_follow(&failure, reused) => {}
                answer => return Ok(answer?),
            }
        }
    }

    /// Ensures a connection, and a throttle slot for the request if the webhook is throttled. Otherwise requests that
    /// have waited together for a connection or a token would be sent together, and a request that is sent twice
    /// would count once. Returns true if the connection was open before.
    async fn connect_in_throttle_slot(&mut self, call: &Call) -> Result<bool, NoAnswer> {
        let reused = self.connect().await?;
        let has_slot = self.throttle_slot_until.take().is_some_and(|until| Instant::now() < until);
        if has_slot || call.message.target.call_throttling.is_none() {
            return Ok(reused);
        }
        let (lane, began) = (self.lane.clone(), Instant::now());
        let slot = lane.await_throttle_slot(call);
        let has_slot = match &mut self.connection {
            Some(connection) => connection.drive_while(slot).await,
            None => slot.await,
        };
        if !has_slot {
            return Err(NoAnswer::NoThrottleSlot);
        }
        self.attempt = self.attempt.postponed(began.elapsed());
        // A connection that closed in the meantime is opened again. The request is then late, but it is sent.
        Ok(self.connect().await?)
    }

    /// Ensures a connection. Returns true if it was open before.
    async fn connect(&mut self) -> Result<bool, AttemptFailure> {
        if let Some(connection) = &mut self.connection
            && connection.is_ready().await
        {
            return Ok(true);
        }
        let shared = &self.lane.shared;
        let (connection, reused) = self.lane.route.connect(&shared.dialer, &shared.metrics, self.attempt).await?;
        self.connection = Some(connection);
        Ok(reused)
    }

    /// Sends the request and awaits the head of the response. A failed connection is not used again.
    async fn exchange(&mut self, call: &Call, authorization: Option<&HeaderValue>) -> Result<Answer, AttemptFailure> {
        let message = &call.message;
        let mut connection = self.connection.take().expect("connect has set it");
        self.peer = connection.peer();
        self.authorization = authorization.cloned();
        let now = since_1970().as_secs();
        let request = self.lane.route.request(message, authorization, &connection, &mut self.signer, now);
        // A timeout set by the webhook limits above all the wait for the response.
        let limit = match message.target.timeout {
            Some(_) => self.attempt,
            None => {
                Limit::new(AttemptStage::FirstByte, self.lane.shared.config.first_byte_timeout).earlier_of(self.attempt)
            }
        };
        let answer = self.answer.run_until(limit.deadline, connection.send_request(request)).await;
        match answer.unwrap_or(Err(AttemptFailure::Timeout(limit))) {
            Ok(answer) => {
                self.connection = Some(connection);
                Ok(answer.map(Some))
            }
            Err(failure) => {
                if let AttemptFailure::Http1Required = failure {
                    self.lane.route.require_http1();
                }
                // The status line decides, even if nothing behind it can be read.
                let status = connection.received_status().and_then(|status| StatusCode::from_u16(status).ok());
                let mut answer = Response::new(None);
                *answer.status_mut() = status.ok_or(failure)?;
                Ok(answer)
            }
        }
    }

    /// Reads the rest of a response, so that its connection can be used again. Returns at most the first `keep`
    /// bytes. If the body is too large or too slow, the connection is closed.
    async fn read_to_end(&mut self, body: Incoming, keep: usize) -> Vec<u8> {
        let mut body_start = Vec::new();
        if body.is_end_stream() {
            return body_start;
        }
        let Some(mut connection) = self.connection.take() else { return body_start };
        let reading = ends_within(body, self.lane.shared.config.response_bytes, |data| {
            let room = keep.saturating_sub(body_start.len());
            body_start.extend_from_slice(&data[..data.len().min(room)]);
        });
        if self.answer.run_until(Instant::now() + REST_TIMEOUT, connection.drive_while(reading)).await == Some(true) {
            self.connection = Some(connection);
        }
        body_start
    }
}

/// Whether a body ends within `limit` bytes and without an error. Each part is passed to `show`.
async fn ends_within(mut body: Incoming, limit: usize, mut show: impl FnMut(&[u8])) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let Some(data) = frame.data_ref() else { continue };
        show(data);
        read += data.len();
        if read > limit {
            return false;
        }
    }
    true
}
