//! Calls with an Authorization header: a fixed one, or tokens of a real token endpoint.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::transport::tokens::TokenCaches;
use super::super::{Config, Outcome};
use super::calls::{Heard, config, most_in_a_second, target};
use super::receiver::{Receiver, Reply};
use crate::rules::{Authorization, Target};

/// A webhook at the URL with this authentication.
fn authorized(url: &str, authentication: Value) -> Arc<Target> {
    let mut target = Arc::into_inner(target(url)).unwrap();
    let authentication = serde_json::from_value(authentication).unwrap();
    target.authorization = Some(Authorization::compile(&authentication, None).unwrap());
    Arc::new(target)
}

/// A webhook with the tokens of an endpoint.
fn with_tokens_of(url: &str, tokens: &Receiver) -> Arc<Target> {
    let token_url = tokens.url("/token?tenant=s3cret");
    authorized(
        url,
        json!({"OAuth2": {"TokenUrl": token_url, "ClientId": "us", "ClientSecret": "s3cret", "Scope": "a b"}}),
    )
}

/// The target, limited to four calls a second.
fn throttled(target: Arc<Target>) -> Arc<Target> {
    Arc::new(Target { call_throttling: Some(4), ..Arc::into_inner(target).unwrap() })
}

/// A configuration in which a call waits long for a token.
fn patient() -> Config {
    let long = Duration::from_secs(20);
    Config { timeout: long, connect_timeout: long, first_byte_timeout: long, queue_wait: long, ..config() }
}

const GOOD: &str = r#"{"access_token":"one","token_type":"bearer","expires_in":3600}"#;
const BETTER: &str = r#"{"access_token":"two","token_type":"Bearer","expires_in":3600}"#;

#[tokio::test]
async fn basic_and_bearer_are_sent_with_each_request() {
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(config());
    for (authentication, expected) in [
        (json!({"Basic": {"Username": "Aladdin", "Password": "open sesame"}}), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (json!({"Bearer": {"Token": "abc"}}), "Bearer abc"),
    ] {
        heard.offer(&authorized(&receiver.url("/"), authentication), 1).await;
        assert_eq!(heard.delivered().await, 1);
        assert_eq!(receiver.heard().await.head.headers["authorization"], expected);
    }
}

#[tokio::test]
async fn token_is_fetched_once_for_all_waiting_calls() {
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut tokens = Receiver::start(|_| Reply::HeldText(200, GOOD)).await;
    let mut heard = Heard::new(config());
    let target = with_tokens_of(&receiver.url("/"), &tokens);
    heard.offer_all(&target, 0..20).await;

    let asked = tokens.heard().await;
    assert_eq!((asked.head.method.as_str(), asked.head.uri.to_string().as_str()), ("POST", "/token?tenant=s3cret"));
    assert_eq!(&asked.body[..], b"grant_type=client_credentials&scope=a+b");
    for (name, value) in [
        ("authorization", "Basic dXM6czNjcmV0"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", &tokens.address.to_string()),
    ] {
        assert_eq!(asked.head.headers[name], value);
    }
    tokens.release(20);
    for _ in 0..20 {
        assert_eq!(heard.delivered().await, 1);
        assert_eq!(receiver.heard().await.head.headers["authorization"], "Bearer one");
    }
    assert!(tokens.not_heard(), "it is asked once");
}

#[tokio::test]
async fn token_near_its_expiry_is_replaced() {
    let short = r#"{"access_token":"short","token_type":"bearer","expires_in":0}"#;
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let tokens = Receiver::start(move |n| Reply::Text(200, [short, GOOD][n])).await;
    let mut heard = Heard::new(config());
    let target = with_tokens_of(&receiver.url("/"), &tokens);
    for (n, expected) in ["Bearer short", "Bearer one", "Bearer one"].into_iter().enumerate() {
        heard.offer(&target, n as u32).await;
        assert_eq!(heard.delivered().await, 1);
        assert_eq!(receiver.heard().await.head.headers["authorization"], expected);
    }
}

#[tokio::test]
async fn revoked_token_is_fetched_again_within_the_attempt() {
    let mut receiver = Receiver::start(|n| Reply::Status([200, 401, 200, 200][n])).await;
    let tokens = Receiver::start(|n| Reply::Text(200, [GOOD, BETTER][n])).await;
    let mut heard = Heard::new(config());
    let target = with_tokens_of(&receiver.url("/"), &tokens);
    for n in 0..3 {
        heard.offer(&target, n).await;
        assert_eq!(heard.delivered().await, 1);
    }
    for expected in ["Bearer one", "Bearer one", "Bearer two", "Bearer two"] {
        assert_eq!(receiver.heard().await.head.headers["authorization"], expected);
    }
}

#[tokio::test]
async fn young_token_that_the_endpoint_rejects_is_not_fetched_again() {
    let receiver = Receiver::start(|_| Reply::Status(401)).await;
    let mut tokens = Receiver::start(|_| Reply::Text(200, GOOD)).await;
    let mut heard = Heard::new(Config { retry: vec![Duration::ZERO; 5], ..config() });
    heard.offer(&with_tokens_of(&receiver.url("/"), &tokens), 1).await;
    assert_eq!(heard.exhausted().await, ("status_4xx", 6));
    tokens.heard().await;
    assert!(tokens.not_heard(), "the first one was never accepted, and is young");
}

#[tokio::test]
async fn token_failure_names_the_host_and_is_shared_by_all_waiting_calls() {
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    for (reply, status, words) in [
        (Reply::Text(401, r#"{"error":"invalid_client"}"#), Some(401), "answered 401 Unauthorized: invalid_client"),
        (Reply::Text(400, "s3cret"), Some(400), "answered 400 Bad Request"),
        (Reply::Text(200, r#"{"s3cret":1}"#), None, "not a JSON object with an access_token"),
        (Reply::Body(200, 65_537), None, "a response that is too large"),
        (Reply::Silence, None, "took longer than 300ms"),
    ] {
        let mut tokens = Receiver::start(move |_| reply).await;
        let limit = Duration::from_millis(if matches!(reply, Reply::Silence) { 300 } else { 60_000 });
        let mut heard = Heard::new(Config {
            retry: vec![],
            timeout: limit,
            connect_timeout: limit,
            first_byte_timeout: limit,
            ..config()
        });
        let target = with_tokens_of(&receiver.url("/"), &tokens);
        heard.offer_all(&target, 0..5).await;
        for _ in 0..5 {
            let Some(Outcome::Exhausted { cause }) = heard.end().await.outcome else { panic!("delivered") };
            assert_eq!((cause.class, cause.status), ("token", status), "{}", cause.text);
            let from = format!("no token: http://{} ", tokens.address);
            assert!(cause.text.contains(&from) && cause.text.contains(words), "{}", cause.text);
            assert!(!cause.text.contains("s3cret"), "{}", cause.text);
        }
        tokens.heard().await;
        assert!(matches!(reply, Reply::Silence) || tokens.not_heard(), "its failure is shared");
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn token_endpoint_address_is_checked_like_any_other() {
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let tokens = Receiver::start_at("127.0.0.2:0", None, |_| Reply::Text(200, GOOD)).await;
    let mut heard = Heard::new(Config { deny_addresses: vec!["127.0.0.2/32".parse().unwrap()], ..config() });
    heard.offer(&with_tokens_of(&receiver.url("/"), &tokens), 1).await;
    let Some(Outcome::Exhausted { cause }) = heard.end().await.outcome else { panic!("delivered") };
    assert!(cause.class == "token" && cause.text.contains("failed: none of its addresses"), "{}", cause.text);
    assert_eq!((tokens.connections(), receiver.connections()), (0, 0));
}

#[tokio::test]
async fn throttling_holds_for_calls_that_waited_for_a_token() {
    const CALLS: u32 = 8;
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut tokens = Receiver::start(|_| Reply::HeldText(200, GOOD)).await;
    let mut heard = Heard::new(patient());
    let _shares = (0..4).map(|partition| heard.lanes.lease_slots(partition)).collect::<Vec<_>>();
    heard.offer_all(&throttled(with_tokens_of(&receiver.url("/"), &tokens)), 0..CALLS).await;
    tokens.heard().await;
    // By then all of them have had their slot, and wait for the token.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    tokens.release(1);
    let mut arrived = Vec::new();
    for _ in 0..CALLS {
        heard.delivered().await;
        arrived.push(receiver.heard().await);
    }
    let most = most_in_a_second(&arrived);
    assert!(most <= 4, "{most} in a second");
}

#[tokio::test]
async fn calls_awaiting_a_token_are_deferred_when_their_slots_are_lost() {
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut tokens = Receiver::start(|_| Reply::HeldText(200, GOOD)).await;
    let mut heard = Heard::new(patient());
    let shares = (0..4).map(|partition| heard.lanes.lease_slots(partition)).collect::<Vec<_>>();
    heard.offer_all(&throttled(with_tokens_of(&receiver.url("/"), &tokens)), 0..3).await;
    tokens.heard().await;
    // By then all of them have had their slot, and wait for the token.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    drop(shares);
    tokens.release(1);
    for _ in 0..3 {
        assert_eq!(heard.waits().await.attempts, 0);
    }
    drop(heard);
    assert!(receiver.not_heard(), "the owner of the slots sends them");
}

#[tokio::test]
async fn echoed_token_is_redacted_in_the_message_log() {
    let receiver = Receiver::start(|_| Reply::Text(200, "you sent Bearer a-long-token, I mean a-long-token")).await;
    let long = r#"{"access_token":"a-long-token","token_type":"bearer","expires_in":3600}"#;
    let tokens = Receiver::start(move |_| Reply::Text(200, long)).await;
    let mut heard = Heard::new(config());
    heard.offer(&with_tokens_of(&receiver.url("/"), &tokens), 1).await;
    let response = heard.entry().await.attempt.unwrap().response;
    assert_eq!(response.as_deref(), Some("you sent …, I mean …"));
}

#[test]
fn a_token_is_kept_as_long_as_its_definition() {
    let (caches, webhook) = (TokenCaches::default(), target("https://a.example/"));
    let cache = Arc::downgrade(&caches.of(&webhook));
    caches.drop_unused();
    assert!(std::ptr::eq(cache.as_ptr(), Arc::as_ptr(&caches.of(&webhook))));
    drop(webhook);
    caches.drop_unused();
    assert!(cache.upgrade().is_none());
}
