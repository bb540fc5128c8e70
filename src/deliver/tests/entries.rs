//! Entries of attempts in the message log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::Config;
use super::calls::{Heard, RESPONSE_BYTES, SECRET, call, config, target};
use super::receiver::{Receiver, Reply};
use crate::definition::{Authentication, HiddenText};
use crate::message_log::{CallStatus, LogEntry};
use crate::rules::{Authorization, Target};

fn response(entry: &LogEntry) -> Option<&str> {
    entry.attempt.as_ref()?.response.as_deref()
}

#[tokio::test]
async fn each_attempt_is_logged_with_address_and_response() {
    let receiver = Receiver::start(|n| if n == 0 { Reply::Text(503, "later") } else { Reply::Status(204) }).await;
    let mut heard = Heard::new(config());
    heard.offer(&target(&receiver.url("/hook?token=1")), 7).await;
    let (first, second) = (heard.entry().await, heard.entry().await);

    assert_eq!((first.status, first.attempts, first.class.as_deref()), (CallStatus::WillRetry, 1, Some("status_5xx")));
    assert_eq!(first.next, Some(first.at), "the next attempt is made immediately");
    assert_eq!((first.webhook.as_str(), first.event.as_str(), first.version), ("abc123", "def456", Some(1)));
    assert_eq!((first.message.0.as_u128(), first.call.unwrap().0.as_u128()), (7, 7 << 64));
    assert_eq!(first.url.as_deref(), Some(receiver.url("/hook?token=1").as_str()));
    assert_eq!((&*first.source.topic, first.source.offset), ("changes", 7));
    let attempt = first.attempt.clone().unwrap();
    assert_eq!((attempt.address, attempt.code, attempt.request_bytes), (Some(receiver.address), Some(503), 7));
    assert!(attempt.latency_ms > 0.0);
    assert_eq!(response(&first), Some("later"));

    assert_eq!((second.status, second.attempts, second.next), (CallStatus::Delivered, 2, None));
    assert_eq!((second.class.as_deref(), response(&second)), (Some("status_2xx"), None));
}

#[tokio::test]
async fn received_part_of_a_response_is_logged() {
    for (reply, begun) in [(Reply::Body(500, 10_000), Some(RESPONSE_BYTES)), (Reply::EndlessBody(500), None)] {
        let receiver = Receiver::start(move |_| reply).await;
        let mut heard = Heard::new(Config { retry: Vec::new(), ..config() });
        heard.offer(&target(&receiver.url("/")), 1).await;
        let entry = heard.entry().await;
        assert_eq!((entry.status, response(&entry).map(str::len)), (CallStatus::Exhausted, begun));
    }
}

#[tokio::test]
async fn echoed_secrets_are_redacted_even_where_the_text_is_truncated() {
    let echo = format!("{{\"secret\":\"{SECRET}\",\"key\":\"kkk-0123456789\",\"auth\":\"Bearer 0123456789\"}}");
    let echo: &'static str = Box::leak(echo.into_boxed_str());
    let receiver = Receiver::start(move |_| Reply::Text(400, echo)).await;
    let mut heard = Heard::new(Config { retry: Vec::new(), ..config() });
    let mut target = target(&receiver.url("/"));
    let own: &mut Target = Arc::get_mut(&mut target).unwrap();
    own.headers = [("x-key".parse().unwrap(), "kkk-0123456789".parse().unwrap())].into();
    let bearer = Authentication::Bearer { token: HiddenText("0123456789".to_owned()) };
    own.authorization = Some(Authorization::compile(&bearer, None).unwrap());
    heard.offer(&target, 1).await;
    let entry = heard.entry().await;
    assert_eq!(response(&entry), Some("{\"secret\":\"whsec_…\",\"key\":\"…\",\"auth\":\"…\""));
}

#[tokio::test]
async fn attempt_without_a_connection_is_logged_with_class_and_no_address() {
    let mut heard = Heard::new(Config { retry: Vec::new(), allow_addresses: Vec::new(), ..config() });
    heard.offer(&target("http://127.0.0.1:9/"), 1).await;
    let entry = heard.entry().await;
    assert_eq!((entry.status, entry.class.as_deref()), (CallStatus::Exhausted, Some("refused_address")));
    let attempt = entry.attempt.unwrap();
    assert_eq!((attempt.address, attempt.code), (None::<SocketAddr>, None));
}

#[tokio::test]
async fn call_cancelled_before_any_attempt_is_logged() {
    let receiver = Receiver::start(|_| Reply::Status(204)).await;
    let mut heard = Heard::new(config());
    let call = call(&target(&receiver.url("/")), 1, &heard.book);
    call.message.event_state.mark_ended();
    heard.lanes.send(call).await;
    let entry = tokio::time::timeout(Duration::from_secs(20), heard.entry()).await.unwrap();
    assert_eq!((entry.status, entry.attempts, entry.attempt), (CallStatus::Cancelled, 0, None));
}
