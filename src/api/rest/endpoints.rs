//! `outgoingWebhooks/{webhookId}/endpoints`: state of a webhook's endpoints, and the order to retry their waiting calls
//! now. Our extension.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Api;
use super::super::body::OptionalBody;
use super::super::error::ApiError;
use super::super::oauth::Caller;
use crate::deliver::line_of;
use crate::endpoints::{EndpointStatus, TooManyOrders};
use crate::id::Line;
use crate::rules::Target;

/// Endpoints of a webhook, in the order of its URLs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Endpoints)]
pub(super) struct EndpointsView {
    result: Vec<EndpointView>,
}

/// State of an endpoint over the whole group. Webhooks with exactly the same URL share an endpoint, including those of
/// other accounts, unless one has a separate CallThrottling, Timeout, Authentication, Tls or Order. The numbers cover
/// all webhooks that share it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Endpoint)]
struct EndpointView {
    #[schema(example = "https://crm.example.com/hooks/customers")]
    url: String,
    #[serde(flatten)]
    state: EndpointState,
}

/// State of an endpoint, as the API and `outhook endpoints` show it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub struct EndpointState {
    /// fails: only a probe is sent, or all attempts have failed for 5 seconds. troubled: the last attempt failed. idle:
    /// there are no calls. Otherwise works.
    #[schema(pattern = "^(works|troubled|fails|idle)$", example = "fails")]
    state: &'static str,
    /// Since when it has only failed.
    #[schema(required, format = DateTime)]
    fails_since: Option<String>,
    /// Result of its last attempt, if that failed: status_5xx, timeout and so on.
    #[schema(required, example = "status_5xx")]
    class: Option<String>,
    /// The cause in words.
    #[schema(required, example = "https://crm.example.com answered 503 Service Unavailable")]
    cause: Option<String>,
    /// closed: calls pass. open: they wait. probing: one call passes, to test whether the endpoint works.
    #[schema(pattern = "^(closed|probing|open)$", example = "open")]
    breaker: &'static str,
    /// Number of instances that send to it, or did recently.
    instances: usize,
    /// Max concurrent attempts.
    concurrency: usize,
    /// Attempts under way.
    under_way: usize,
    /// Queued calls in memory.
    queued: usize,
    /// Calls that wait in topics.
    waiting: usize,
    /// Calls that wait, by topic: overflow (the overflow log), or the delay of a retry topic.
    #[schema(example = json!({"overflow": 1204, "5m": 12}))]
    waiting_in: BTreeMap<String, usize>,
    /// When the oldest of them was written to its topic.
    #[schema(required, format = DateTime)]
    oldest_waiting_since: Option<String>,
}

/// Selects the endpoints to retry.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RetryNowRequest {
    /// One of the webhook's OutgoingUrls, spelt as there. Default: all of them.
    #[schema(example = "https://crm.example.com/hooks/customers")]
    url: Option<String>,
}

/// Result of the order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = RetryOrdered)]
pub(super) struct RetryNowResponse {
    /// Number of endpoints to retry.
    endpoints: usize,
    /// Number of calls that wait for them.
    waiting: usize,
}

/// A URL of a webhook, and the line in which its calls wait.
struct WebhookUrl {
    text: String,
    /// None if the webhook's settings can't be compiled: it has no calls then.
    line: Option<Line>,
}

/// List the endpoints of a webhook with their state, as all instances reported it within the last seconds.
#[utoipa::path(get, path = "/outgoingWebhooks/{webhookId}/endpoints", tag = "Endpoints", operation_id = "listEndpoints",
    params(("webhookId" = String, Path)),
    responses((status = 200, description = "One endpoint for each URL of the webhook.", body = EndpointsView)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
) -> Result<Json<EndpointsView>, ApiError> {
    let now_ms = Timestamp::now().as_millisecond();
    let shown = |url: WebhookUrl| {
        let status = url.line.map(|line| api.endpoints.status(line, now_ms)).unwrap_or_default();
        EndpointView { url: url.text, state: EndpointState::of(status, time) }
    };
    let result = api.urls(&webhook, &caller)?.into_iter().map(shown).collect();
    Ok(Json(EndpointsView { result }))
}

/// Retry the calls that wait for a webhook's endpoints now, without waiting for the next probe.
///
/// An endpoint whose breaker is open gets one attempt from each instance. If it answers, all calls that wait for it
/// follow, including those of other webhooks that share it. An attempt before its due time does not count in the call's
/// schedule. Another order within 10 seconds has no further effect.
#[utoipa::path(post, path = "/outgoingWebhooks/{webhookId}/endpoints/retryNow", tag = "Endpoints",
    operation_id = "retryEndpointsNow", params(("webhookId" = String, Path)), request_body = Option<RetryNowRequest>,
    responses((status = 202, description = "All instances get the order within about a second.", body = RetryNowResponse)))]
pub(super) async fn retry_now(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(webhook): Path<String>,
    OptionalBody(request): OptionalBody<RetryNowRequest>,
) -> Result<(StatusCode, Json<RetryNowResponse>), ApiError> {
    let lines = request.selected_lines(api.urls(&webhook, &caller)?)?;
    let now_ms = Timestamp::now().as_millisecond();
    let waiting = lines.iter().map(|line| api.endpoints.status(*line, now_ms).waiting_calls()).sum();
    api.account_limits.write(&caller.account)?;
    api.endpoints.order(&lines, now_ms)?;
    Ok((StatusCode::ACCEPTED, Json(RetryNowResponse { endpoints: lines.len(), waiting })))
}

impl Api {
    /// The URLs of a webhook of the caller's account, in the webhook's order.
    fn urls(&self, id: &str, caller: &Caller) -> Result<Vec<WebhookUrl>, ApiError> {
        let webhook = self.webhook(id, caller)?;
        let target = Target::of(&webhook).ok();
        let line = |position| target.as_ref().map(|target| line_of(target, position));
        Ok(webhook
            .urls
            .into_iter()
            .enumerate()
            .map(|(position, text)| WebhookUrl { text, line: line(position) })
            .collect())
    }
}

impl RetryNowRequest {
    /// The lines of the selected URLs.
    fn selected_lines(&self, urls: Vec<WebhookUrl>) -> Result<Vec<Line>, ApiError> {
        let is_meant = |url: &WebhookUrl| self.url.as_ref().is_none_or(|meant| *meant == url.text);
        if let Some(meant) = &self.url
            && !urls.iter().any(is_meant)
        {
            return Err(ApiError::body(format!(
                "Url is {meant:?}, which is not one of the webhook's OutgoingUrls: use one of them, spelt as there, or \
                 omit Url for all"
            )));
        }
        Ok(urls.into_iter().filter(is_meant).filter_map(|url| url.line).collect())
    }
}

impl EndpointState {
    /// `time` formats milliseconds since 1970.
    pub fn of(status: EndpointStatus, time: impl Fn(i64) -> Option<String>) -> Self {
        let (state, waiting) = (status.state(), status.waiting_calls());
        let (class, cause) = status.cause.unzip();
        Self {
            state,
            fails_since: status.fails_since_ms.and_then(&time),
            class,
            cause,
            breaker: status.breaker.as_str(),
            instances: status.instances,
            concurrency: status.concurrency,
            under_way: status.under_way,
            queued: status.queued,
            waiting,
            waiting_in: status.waiting,
            oldest_waiting_since: status.oldest_ms.and_then(&time),
        }
    }
}

fn time(ms: i64) -> Option<String> {
    Some(Timestamp::from_millisecond(ms).ok()?.to_string())
}

impl From<TooManyOrders> for ApiError {
    fn from(TooManyOrders: TooManyOrders) -> Self {
        Self::unavailable("Kafka accepts no retry orders now, and too many wait to be written: try again in a moment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_now_selects_the_given_url_or_all_urls() {
        let urls = || {
            let url = |(text, line): (&str, Option<u64>)| WebhookUrl { text: text.to_owned(), line: line.map(Line) };
            [("https://a.example/", Some(1)), ("https://b.example/", Some(2)), ("https://c.example/", None)].map(url)
        };
        let chosen = |url: Option<&str>| RetryNowRequest { url: url.map(str::to_owned) }.selected_lines(urls().into());
        assert_eq!(chosen(None).unwrap(), [Line(1), Line(2)]);
        assert_eq!(chosen(Some("https://b.example/")).unwrap(), [Line(2)]);
        assert_eq!(chosen(Some("https://c.example/")).unwrap(), []);
        let refused = chosen(Some("https://b.example")).unwrap_err();
        assert!(refused.message.starts_with("Url is \"https://b.example\""), "{}", refused.message);
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn unknown_endpoint_properties_are_null() {
        let shown = |status| serde_json::to_value(EndpointState::of(status, time)).unwrap();
        let idle = shown(EndpointStatus::default());
        assert_eq!((&idle["State"], &idle["Breaker"]), (&"idle".into(), &"closed".into()));
        for key in ["FailsSince", "Class", "Cause", "OldestWaitingSince"] {
            assert_eq!(idle.get(key), Some(&serde_json::Value::Null), "{key}");
        }
        let failing = shown(EndpointStatus {
            failing_on: 1,
            fails_since_ms: Some(1_500),
            cause: Some(("timeout".to_owned(), "no answer".to_owned())),
            waiting: [("overflow".to_owned(), 3), ("5m".to_owned(), 4)].into(),
            ..EndpointStatus::default()
        });
        assert_eq!((&failing["State"], &failing["FailsSince"]), (&"fails".into(), &"1970-01-01T00:00:01.5Z".into()));
        assert_eq!((&failing["Class"], &failing["Cause"]), (&"timeout".into(), &"no answer".into()));
        assert_eq!(failing["Waiting"], 7);
        assert_eq!(failing["WaitingIn"], serde_json::json!({"overflow": 3, "5m": 4}));
    }
}
