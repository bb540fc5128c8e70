//! JSON form of message log entries, for the API and for the commands.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::definition::Endpoint;
use crate::definition::address_guard::may_show_address;
use crate::message_log::{LogEntry, oldest_first};

/// An attempt, or the end of a call without an attempt. Unknown values are null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Attempt)]
pub struct AttemptView {
    /// The message's id; receivers get it as webhook-id.
    #[schema(format = "uuid")]
    message_id: String,
    event_id: String,
    /// Null for a message that was too large.
    #[schema(required)]
    call_id: Option<String>,
    #[schema(required)]
    url: Option<String>,
    /// Status of the call after the attempt: Delivered, WillRetry, Exhausted or Cancelled.
    #[schema(pattern = "^(Delivered|WillRetry|Exhausted|Cancelled)$", example = "Delivered")]
    status: &'static str,
    /// When the attempt ended, or the call without an attempt.
    #[schema(format = DateTime)]
    at: String,
    /// When the next attempt is due. It may start later by up to a fifth of the wait.
    #[schema(required, format = DateTime)]
    next_attempt: Option<String>,
    /// Number of attempts of the call so far.
    attempts: u32,
    /// Result of the attempt: status_2xx, status_5xx, timeout and so on; or the reason why none was made.
    #[schema(required, example = "status_2xx")]
    class: Option<String>,
    /// The cause in words, if the attempt failed or none was made.
    #[schema(required, example = "https://crm.example.com answered 500 Internal Server Error")]
    cause: Option<String>,
    /// HTTP status of the response. Null too if no request was sent.
    #[schema(required, example = 204)]
    http_status: Option<u16>,
    /// The address and port that was dialled, or the proxy's. In the API an address that is not public is null, unless
    /// the URL contains it.
    #[schema(required, example = "192.0.2.1:443")]
    address: Option<String>,
    /// Milliseconds from the start of the attempt to the response's status line, or to the failure.
    #[schema(required)]
    latency_ms: Option<f64>,
    /// Size of the request's body in bytes.
    #[schema(required)]
    request_bytes: Option<u64>,
    /// The first bytes of the response's body, as text. Webhook secrets are shown as whsec_…. Values of the webhook's
    /// Headers and credentials of its Authentication are shown as …, unless they are shorter than 4 bytes.
    #[schema(required)]
    response: Option<String>,
    /// Version of the webhook that the attempt used.
    #[schema(required)]
    version: Option<u32>,
    /// Topic of the row change's record; Partition and Offset are of that record too.
    topic: String,
    partition: i32,
    offset: i64,
}

impl AttemptView {
    pub fn of(entry: &LogEntry) -> Self {
        let attempt = entry.attempt.as_ref();
        Self {
            message_id: entry.message.to_string(),
            event_id: entry.event.to_string(),
            call_id: entry.call.map(|call| call.to_string()),
            url: entry.url.as_deref().map(str::to_owned),
            status: entry.status.as_str(),
            at: entry.at.to_string(),
            next_attempt: entry.next.as_ref().map(Timestamp::to_string),
            attempts: entry.attempts,
            class: entry.class.as_deref().map(str::to_owned),
            cause: entry.cause.as_deref().map(str::to_owned),
            http_status: attempt.and_then(|attempt| attempt.code),
            address: attempt.and_then(|attempt| Some(attempt.address?.to_string())),
            latency_ms: attempt.map(|attempt| attempt.latency_ms),
            request_bytes: attempt.map(|attempt| attempt.request_bytes as u64),
            response: attempt.and_then(|attempt| attempt.response.clone()),
            version: entry.version,
            topic: entry.source.topic.to_string(),
            partition: entry.source.partition,
            offset: entry.source.offset,
        }
    }

    /// The form of [`Self::of`] for API clients. It hides addresses that internal host names resolve to.
    pub(super) fn for_clients(entry: &LogEntry) -> Self {
        let address = entry.attempt.as_ref().and_then(|attempt| attempt.address).filter(|address| {
            let endpoint = entry.url.as_deref().and_then(|url| Endpoint::parse(url).ok());
            endpoint.is_some_and(|endpoint| may_show_address(&endpoint.host, address.ip()))
        });
        Self { address: address.map(|address| address.to_string()), ..Self::of(entry) }
    }
}

/// A message with its attempts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Message)]
pub struct MessageView {
    #[schema(format = "uuid")]
    message_id: String,
    webhook_id: String,
    event_id: String,
    /// Attempts to all of its URLs, the oldest first.
    attempts: Vec<AttemptView>,
    /// Whether the log was read back to its start, or to Since.
    complete: bool,
}

impl MessageView {
    /// Builds it from all entries found of one message; None without entries.
    pub fn of(entries: Vec<LogEntry>, complete: bool) -> Option<Self> {
        Self::build(entries, complete, AttemptView::of)
    }

    /// The form of [`Self::of`] for API clients.
    pub(super) fn for_clients(entries: Vec<LogEntry>, complete: bool) -> Option<Self> {
        Self::build(entries, complete, AttemptView::for_clients)
    }

    fn build(entries: Vec<LogEntry>, complete: bool, shown: impl Fn(&LogEntry) -> AttemptView) -> Option<Self> {
        let entries = oldest_first(entries);
        let first = entries.first()?;
        Some(Self {
            message_id: first.message.to_string(),
            webhook_id: first.webhook.to_string(),
            event_id: first.event.to_string(),
            attempts: entries.iter().map(shown).collect(),
            complete,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::topic_reader::Record;

    #[test]
    fn clients_do_not_see_addresses_of_internal_host_names() {
        let shown = |url: &str, address: &str| {
            let json = format!(
                r#"{{"at":"2026-11-24T15:00:00Z","account":"acme","webhook":"abc123","event":"def456","url":"{url}",
                "message":"00000000-0000-0000-0000-000000000007","status":"Delivered","attempts":1,
                "source":{{"topic":"changes","partition":1,"offset":9}},
                "attempt":{{"address":"{address}","code":200,"latency_ms":1,"request_bytes":2}}}}"#
            );
            let value = Some(json.as_bytes());
            let record = Record { partition: 0, offset: 0, timestamp_ms: 0, key: None, value, headers: Vec::new() };
            let entry = LogEntry::read(&record).unwrap();
            assert_eq!(AttemptView::of(&entry).address.as_deref(), Some(address), "operators see it");
            AttemptView::for_clients(&entry).address
        };
        assert_eq!(shown("https://hr.corp.example/", "10.1.2.3:443"), None);
        assert_eq!(shown("https://a.example/", "93.184.216.34:443").as_deref(), Some("93.184.216.34:443"));
        assert_eq!(shown("http://10.1.2.3/", "10.1.2.3:80").as_deref(), Some("10.1.2.3:80"));
    }
}
