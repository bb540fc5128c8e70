//! A record of a retry topic: headers and body → a call, and back.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use jiff::Timestamp;
use outhook::definition::Webhook;
use outhook::deliver::WriteCount;
use outhook::kafka::producer::Headers;
use outhook::receipt::{Budget, Receipt, ReceiptTracker};
use outhook::rules::{EventState, Target};
use outhook::settle::{CallDue, InvalidCall, StoredCall};

use super::split;

/// Max length of an error. It names a header or field and never shows its value.
const MAX_ERROR: usize = 160;

/// A record with up to three of the webhook's URLs.
static TARGET: LazyLock<Arc<Target>> = LazyLock::new(|| {
    let webhook: Webhook = serde_json::from_str(
        r#"{"id":"abc123","account":"acme","name":"A","urls":["https://a.example/","https://b.example/x?y=%C3%A9",
            "https://c.example/"],"secret":"whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","created":{"at":"","by":""}}"#,
    )
    .expect("the webhook is valid");
    Arc::new(Target::of(&webhook).expect("its URLs are valid"))
});

/// The bytes are headers, one `name=value` a line, an empty line, and the body.
///
/// - The ways to read a record agree: the whole call, the call alone, and until when it waits.
/// - A call that is written again, as a waiting call or as a dead letter, is read the same.
/// - A call that is restored for a webhook goes to one of its URLs, to the same one if the webhook still has it, and
///   is stored the same again.
/// - An error names the part of the record and does not show its value.
pub fn stored_call(bytes: &[u8]) {
    let (head, body) = split(bytes, b"\n\n");
    let headers: Vec<(&[u8], &[u8])> = head.split(|byte| *byte == b'\n').map(|line| split(line, b"=")).collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted.as_bytes()).map(|(_, value)| *value);

    let (call, until) = (StoredCall::read(header), CallDue::read(header));
    match StoredCall::read_waiting(header) {
        Ok((waiting, due)) => {
            assert_eq!(call.as_ref(), Ok(&waiting));
            assert_eq!(until, Ok(due));
            check_waiting(&waiting, due, Bytes::copy_from_slice(body));
            check_restored(waiting, Bytes::copy_from_slice(body));
        }
        Err(error) => {
            assert!(call.is_err() || until.is_err());
            check_error(&error);
        }
    }
    match StoredCall::parse_dead_letter(header) {
        Ok(call) => check_letter(&call),
        Err(error) => check_error(&error),
    }
}

fn check_error(error: &InvalidCall) {
    let text = error.to_string();
    assert!(text.starts_with("invalid retry record: ") && text.len() <= MAX_ERROR, "{text}");
}

fn check_waiting(call: &StoredCall, due: CallDue, body: Bytes) {
    let now = Timestamp::from_millisecond(due.due_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let now_ms = now.as_millisecond();
    let record = call.clone().due(now, due.definitions_offset, body.clone());
    assert_eq!(record.record.value, Some(body));
    let key = call.row_key.map_or(call.call.0.as_bytes().to_vec(), |row| row.bytes().to_vec());
    assert_eq!(record.record.key.as_deref(), Some(&*key));
    let again = StoredCall::read_waiting(|name| record.record.headers.get(name));
    let step = WriteCount::requested(now_ms).next();
    let expected = StoredCall { attempts: 0, deferrals: 0, first_due_ms: now_ms, write_count: step, ..call.clone() };
    assert_eq!(again, Ok((expected, CallDue { due_ms: now_ms, definitions_offset: due.definitions_offset })));
}

fn check_letter(call: &StoredCall) {
    let headers = Headers::from(call.headers("retries ended"));
    // The time is RFC 3339 text, for people. A time that this can't write becomes 1970.
    let offered_ms = Timestamp::from_millisecond(call.first_due_ms).map_or(0, Timestamp::as_millisecond);
    let expected = StoredCall { first_due_ms: offered_ms, write_count: WriteCount::FIRST, ..call.clone() };
    assert_eq!(StoredCall::parse_dead_letter(|name| headers.get(name)), Ok(expected));
}

fn check_restored(stored: StoredCall, body: Bytes) {
    let urls: Vec<&str> = TARGET.endpoints.iter().map(|endpoint| &*endpoint.url).collect();
    let Some(endpoint) = stored.current_endpoint(&TARGET) else {
        assert!(!urls.contains(&&*stored.url));
        return;
    };
    assert_eq!(urls[endpoint] == &*stored.url, urls.contains(&&*stored.url));
    let expected = StoredCall {
        account: TARGET.account.clone(),
        webhook: TARGET.webhook,
        url: TARGET.endpoints[endpoint].url.clone(),
        endpoint: (endpoint, urls.len()),
        ..stored.clone()
    };
    let receipt = Receipt::open(Arc::new(NoLedger), 0, Budget::new(u64::MAX));
    let call = stored.into_call(endpoint, TARGET.clone(), EventState::default(), body.clone(), receipt);
    assert_eq!(call.message.body, body);
    assert_eq!(StoredCall::of(&call), expected);
    call.receipt.settle();
}

/// Counts nothing.
struct NoLedger;

impl ReceiptTracker for NoLedger {
    fn add_share(&self, _: u64) {}

    fn settle_share(&self, _: u64) {}

    fn abandon_share(&self, _: u64) {}

    fn put_back(&self, _: u64) {}

    fn is_draining(&self) -> bool {
        false
    }

    fn is_revoked(&self) -> bool {
        false
    }
}
