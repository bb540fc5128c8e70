//! Operator events: row changes of Outhook's table of endpoint events. An event definition on that table makes
//! webhooks of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use metrics::counter;
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use super::outgoing::{Outgoing, OutgoingHeaders, OutgoingKind};
use super::writer::RetryingWriter;
use crate::deliver::{Call, EndpointEvent};
use crate::id::WebhookId;
use crate::kafka::producer::NewRecord;

/// The table of the row changes, in every account.
const OPERATOR_TABLE: &str = "outhook.endpoints";

/// Min interval between two `exhausted` events of one webhook.
const EXHAUSTED_EVENT_INTERVAL: Duration = Duration::from_secs(60);

/// Max webhooks remembered for that interval. Beyond the limit all are forgotten.
const MAX_REMEMBERED_WEBHOOKS: usize = 100_000;

/// Max unacknowledged row changes. Further ones are counted and dropped.
const MAX_PENDING_EVENTS: usize = 1000;

pub(super) struct OperatorEventWriter {
    topic: Arc<str>,
    writer: Arc<RetryingWriter>,
    last_written: Mutex<HashMap<(WebhookId, &'static str), Instant>>,
}

/// A row change in the `outhook` format.
#[derive(Serialize)]
struct OperatorChange<'r> {
    id: String,
    account: &'r str,
    table: &'static str,
    operation: &'static str,
    time: Timestamp,
    after: OperatorRow<'r>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OperatorRow<'r> {
    kind: &'static str,
    webhook_id: WebhookId,
    endpoint: &'r str,
    /// Class of the failure, as in metrics.
    class: Option<&'static str>,
    cause: Option<&'r str>,
    /// Number of failed attempts, and the seconds in which they failed, of an endpoint that works again.
    failures: Option<u64>,
    seconds: Option<f64>,
    at: Timestamp,
}

impl OperatorEventWriter {
    pub fn new(topic: &str, writer: Arc<RetryingWriter>) -> Self {
        Self { topic: topic.into(), writer, last_written: Mutex::default() }
    }

    /// Writes the event. Skips it if the webhook had the same `exhausted` event within `EXHAUSTED_EVENT_INTERVAL`, or
    /// if the call itself delivers an operator event.
    pub fn write_event(&self, call: &Call, endpoint: &str, news: &EndpointEvent<'_>) {
        let target = &call.message.target;
        let (kind, cause) = match news {
            EndpointEvent::Failing(cause) => ("failing", Some(*cause)),
            EndpointEvent::Recovered { .. } => ("recovered", None),
            EndpointEvent::Exhausted(cause) => ("exhausted", Some(*cause)),
            EndpointEvent::Gone(cause) => ("disabled", Some(*cause)),
        };
        counter!("outhook_operator_events_total", "kind" => kind).increment(1);
        let of_its_own = call.source_position.topic == self.topic;
        if of_its_own || (kind == "exhausted" && self.was_recently_written(target.webhook, kind)) {
            return;
        }
        let (failures, seconds) = match news {
            EndpointEvent::Recovered { failures, lasted } => (Some(*failures), Some(lasted.as_secs_f64())),
            _ => (None, None),
        };
        let at = Timestamp::now();
        let (class, cause) = cause.map(|cause| (cause.class, &*cause.text)).unzip();
        let after = OperatorRow { kind, webhook_id: target.webhook, endpoint, class, cause, failures, seconds, at };
        let change = OperatorChange {
            id: Uuid::new_v4().to_string(),
            account: target.account.as_str(),
            table: OPERATOR_TABLE,
            operation: "insert",
            time: at,
            after,
        };
        let record = Outgoing {
            kind: OutgoingKind::OperatorEvent,
            source_position: endpoint.to_owned(),
            record: NewRecord {
                key: Some(Bytes::copy_from_slice(endpoint.as_bytes())),
                value: Some(serde_json::to_vec(&change).expect("texts and numbers are JSON").into()),
                headers: OutgoingHeaders::new("operator-event").into(),
            },
        };
        if self.writer.pending() < MAX_PENDING_EVENTS {
            self.writer.write(self.topic.clone(), record);
        } else {
            counter!("outhook_operator_events_left_out_total").increment(1);
        }
    }

    pub fn stop(&self) {
        self.writer.stop();
    }

    fn was_recently_written(&self, webhook: WebhookId, kind: &'static str) -> bool {
        let mut last_written = self.last_written.lock();
        if last_written.get(&(webhook, kind)).is_some_and(|at| at.elapsed() < EXHAUSTED_EVENT_INTERVAL) {
            return true;
        }
        if last_written.len() >= MAX_REMEMBERED_WEBHOOKS {
            last_written.clear();
        }
        last_written.insert((webhook, kind), Instant::now());
        false
    }
}
