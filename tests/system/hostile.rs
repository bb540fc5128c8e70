//! Malicious requests: random methods, paths, headers and bodies, written byte by byte.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use harness::{Broker, Site};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::OUTHOOK;

const REQUESTS: u32 = 200;
/// Placeholder for an id or a token that only the running instance knows.
const WEBHOOK: &str = "WEBHOOK";

/// A request, and whether it has a valid token.
#[derive(Debug, Clone)]
struct Hostile {
    method: String,
    path: String,
    token: bool,
    header: Vec<u8>,
    body: Vec<u8>,
}

fn method() -> impl Strategy<Value = String> {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "QUERY"].map(str::to_owned);
    prop_oneof![9 => select(known.to_vec()), 3 => Just("POST".to_owned()), 1 => "[A-Za-z!]{1,12}"]
}

fn path() -> impl Strategy<Value = String> {
    let list = "/v2/outgoingWebhooks";
    let known = [
        list.to_owned(),
        format!("{list}/{WEBHOOK}"),
        format!("{list}/{WEBHOOK}/events"),
        format!("{list}/{WEBHOOK}/events/zzzzzz"),
        format!("{list}/{WEBHOOK}/regenerateSecret"),
        format!("{list}/{WEBHOOK}/endpoints"),
        format!("{list}/{WEBHOOK}/endpoints/retryNow"),
        format!("{list}/{WEBHOOK}/deadLetters"),
        format!("{list}/{WEBHOOK}/deadLetters/0:0"),
        format!("{list}/{WEBHOOK}/deadLetters?Cursor=MTo5OTk5OTk5OTk5&Since=2020-01-01T00:00:00Z"),
        format!("/integrations/rest/v3/outgoingWebhooks/{WEBHOOK}/events"),
        "/oauth/token".to_owned(),
    ];
    let odd =
        ["/", "//", "*", "/%", "/%ff", "/v2/outgoingWebhooks/%00", "/v2/outgoingWebhooks/..%2f..%2f", "/docs/../x"];
    prop_oneof![
        8 => select(known.to_vec()),
        1 => select(odd.map(str::to_owned).to_vec()),
        1 => "[!-~]{1,40}".prop_map(|path| format!("/v2/outgoingWebhooks/{path}")),
        1 => "[a-z%/?&=]{1,2000}".prop_map(|path| format!("/{path}")),
    ]
}

/// A value of the expected or of another type.
fn value() -> impl Strategy<Value = Value> {
    let long = "x".repeat(300_000);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from(long)),
        select(vec![
            "https://a.example/x",
            "http://[::1",
            "https://a.example:0",
            "table.recordUpdate",
            "tasks",
            "{'a': '[@field:"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inside| {
        prop_oneof![
            vec(inside.clone(), 0..4).prop_map(Value::from),
            vec(("[a-zA-Z]{0,4}", inside), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let fields = [
        "Name",
        "Description",
        "OutgoingUrls",
        "CallThrottling",
        "Enabled",
        "EventType",
        "ObjectName",
        "ObjectFields",
        "EventSources",
        "CustomPayloadFields",
        "CustomPayloadTemplate",
        "OverlapSeconds",
        "Url",
    ];
    let object = vec((select(fields.to_vec()), value()), 0..6).prop_map(|pairs| {
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object(pairs.collect()).to_string().into_bytes()
    });
    let good = json!({"Name": "A", "OutgoingUrls": ["https://a.example/hook"], "EventType": "table.recordInsert",
        "ObjectName": "T", "CustomPayloadTemplate": "{'a': '[@field:b]'}"});
    let good = good.to_string().into_bytes();
    let damaged =
        (Just(good), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(|(mut body, at, byte, cut)| {
            let at = at.index(body.len());
            body[at] = byte;
            if cut {
                body.truncate(at);
            }
            body
        });
    prop_oneof![
        4 => object,
        3 => damaged,
        2 => vec(any::<u8>(), 0..200),
        1 => Just(b"{\"Name\": \"\\ud800\"}".to_vec()),
        1 => Just([b"{\"Name\":".as_slice(), &b"[".repeat(100_000)].concat()),
        1 => Just(b"grant_type=%ff&client_id=&client_secret=%00".to_vec()),
    ]
}

fn hostile() -> impl Strategy<Value = Hostile> {
    // A header value of any bytes that do not end it.
    let header = vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff, Just(b'\t')], 0..60);
    (method(), path(), prop::bool::weighted(0.9), header, body())
        .prop_map(|(method, path, token, header, body)| Hostile { method, path, token, header, body })
}

/// Sends a request. `None` if the instance closes the connection without a response, as it does for an invalid head.
fn send(address: &str, token: &str, request: &Hostile) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).expect("the instance listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let token = if request.token { token } else { "nonsense" };
    let (method, path, length) = (&request.method, &request.path, request.body.len());
    let mut sent = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\
         authorization: Bearer {token}\r\nx-odd: "
    )
    .into_bytes();
    sent.extend_from_slice(&request.header);
    sent.extend_from_slice(b"\r\n\r\n");
    sent.extend_from_slice(&request.body);
    // An early rejection may close the connection before the whole request is sent.
    let _ = stream.write_all(&sent);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer))
}

#[test]
fn random_requests_neither_crash_the_api_nor_store_rejected_data() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let made = api.post("/v2/outgoingWebhooks", &json!({"Name": "Kept", "OutgoingUrls": ["https://a.example/kept"]}));
    let address = instance.base().replace("http://", "");
    let token = harness::api::request(
        "POST",
        &format!("{}/oauth/token", instance.base()),
        &[("content-type", "application/x-www-form-urlencoded")],
        format!("grant_type=client_credentials&client_id={}&client_secret={}", credentials.id, credentials.secret)
            .as_bytes(),
    )
    .text("access_token");
    let ends = || Broker::get().ends(&site.definitions);
    let config = Config { cases: REQUESTS, failure_persistence: None, max_shrink_iters: 20, ..Config::default() };
    // Deterministic requests, so that a failure is reproducible.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (mut before, mut refused, mut taken) = (ends(), 0, 0);
    let webhook = std::cell::RefCell::new(made.text("Id"));
    let counts = std::cell::RefCell::new((&mut before, &mut refused, &mut taken));
    let ran = runner.run(&hostile(), |mut request| {
        let mut counts = counts.borrow_mut();
        let (before, refused, taken) = &mut *counts;
        request.path = request.path.replace(WEBHOOK, &webhook.borrow());
        let answer = send(&address, &token, &request);
        let after = ends();
        match answer {
            Some((status, answer)) if status < 400 => {
                **taken += 1;
                prop_assert!((200..300).contains(&status), "{}", answer);
                **before = after;
                // The webhook may have been deleted. Then the next requests need another.
                if request.method == "DELETE" {
                    let another = json!({"Name": format!("Kept {taken}"), "OutgoingUrls": ["https://a.example/kept"]});
                    *webhook.borrow_mut() = api.post("/v2/outgoingWebhooks", &another).text("Id");
                    **before = ends();
                }
            }
            refusal => {
                **refused += 1;
                let (status, answer) = refusal.unwrap_or_default();
                prop_assert!(status < 500, "{}", answer);
                prop_assert_eq!(&after, &**before, "a part of a rejected request is stored: {:?}", answer);
            }
        }
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}\n{}", instance.said()));
    assert!(refused > 50 && taken > 5, "{refused} refused, {taken} taken");
    assert_eq!(api.get("/v2/outgoingWebhooks").status, 200);
    assert!(!instance.said().contains("panicked"), "{}", instance.said());
}
