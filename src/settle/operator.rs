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
const TABLE: &str = "outhook.endpoints";

/// Min interval between two `exhausted` events of one webhook.
const QUIET: Duration = Duration::from_secs(60);

/// Max webhooks remembered for that interval. Beyond the limit all are forgotten.
const REMEMBERED: usize = 100_000;

/// Max unacknowledged row changes. Further ones are counted and dropped.
const PENDING: usize = 1000;

pub(super) struct Operator {
    topic: Arc<str>,
    writer: Arc<RetryingWriter>,
    told: Mutex<HashMap<(WebhookId, &'static str), Instant>>,
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

impl Operator {
    pub fn new(topic: &str, writer: Arc<RetryingWriter>) -> Self {
        Self { topic: topic.into(), writer, told: Mutex::default() }
    }

    /// Writes the event. Skips it if the webhook had the same `exhausted` event within `QUIET`, or if the call itself
    /// delivers an operator event.
    pub fn tell(&self, call: &Call, endpoint: &str, news: &EndpointEvent<'_>) {
        let target = &call.message.target;
        let (kind, cause) = match news {
            EndpointEvent::Failing(cause) => ("failing", Some(*cause)),
            EndpointEvent::Recovered { .. } => ("recovered", None),
            EndpointEvent::Exhausted(cause) => ("exhausted", Some(*cause)),
            EndpointEvent::Gone(cause) => ("disabled", Some(*cause)),
        };
        counter!("outhook_operator_events_total", "kind" => kind).increment(1);
        let of_its_own = call.place.topic == self.topic;
        if of_its_own || (kind == "exhausted" && self.was_told(target.webhook, kind)) {
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
            table: TABLE,
            operation: "insert",
            time: at,
            after,
        };
        let record = Outgoing {
            kind: OutgoingKind::OperatorEvent,
            place: endpoint.to_owned(),
            record: NewRecord {
                key: Some(Bytes::copy_from_slice(endpoint.as_bytes())),
                value: Some(serde_json::to_vec(&change).expect("texts and numbers are JSON").into()),
                headers: OutgoingHeaders::new("operator-event").into(),
            },
        };
        if self.writer.pending() < PENDING {
            self.writer.write(self.topic.clone(), record);
        } else {
            counter!("outhook_operator_events_left_out_total").increment(1);
        }
    }

    pub fn stop(&self) {
        self.writer.stop();
    }

    fn was_told(&self, webhook: WebhookId, kind: &'static str) -> bool {
        let mut told = self.told.lock();
        if told.get(&(webhook, kind)).is_some_and(|at| at.elapsed() < QUIET) {
            return true;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert((webhook, kind), Instant::now());
        false
    }
}
