//! The receiver: an endpoint that verifies each message's signature and passes the message to the oracle.
//!
//! It verifies with the `standardwebhooks` crate, so that sender and receiver share no signing code.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use standardwebhooks::{HEADER_WEBHOOK_ID, Webhook as Verifier};
use tokio::net::TcpListener;

use super::endpoint::{self, Posted};
use super::oracle::{Judgement, Oracle};
use super::recent_messages::Glimpses;

/// Verifies received messages.
pub struct Receiver {
    /// By path.
    verifiers: HashMap<String, Verifier>,
    oracle: Arc<Mutex<Oracle>>,
    glimpses: Arc<Glimpses>,
}

impl Receiver {
    pub fn new(verifiers: HashMap<String, Verifier>, oracle: Arc<Mutex<Oracle>>, glimpses: Arc<Glimpses>) -> Self {
        Self { verifiers, oracle, glimpses }
    }

    /// Serves connections until the future is dropped. A body may have `max_bytes`.
    pub async fn serve(self, listener: TcpListener, max_bytes: usize) {
        match endpoint::serve(listener, max_bytes, move |message| self.answer(message)).await {}
    }

    fn answer(&self, message: &Posted) -> StatusCode {
        let now = Timestamp::now();
        let judgement = self.judge(message, now);
        self.glimpses.offer(now, &message.path, judgement, &message.body);
        match judgement {
            Judgement::Found(_) => StatusCode::NO_CONTENT,
            Judgement::BadSignature => StatusCode::UNAUTHORIZED,
        }
    }

    fn judge(&self, message: &Posted, now: Timestamp) -> Judgement {
        let verified = self.verifiers.get(&message.path).map(|verifier| message.verify(verifier));
        let mut oracle = self.oracle.lock();
        match (verified, message_of(&message.headers)) {
            (None, _) => Judgement::Found(oracle.came_for_others()),
            (Some(Ok(())), Some(message)) => Judgement::Found(oracle.came(message, now)),
            (Some(_), _) => {
                oracle.came_badly_signed();
                Judgement::BadSignature
            }
        }
    }
}

fn message_of(headers: &HeaderMap) -> Option<u128> {
    let id = headers.get(HEADER_WEBHOOK_ID)?.to_str().ok()?;
    Some(uuid::Uuid::parse_str(id).ok()?.as_u128())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::oracle::Finding;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const MESSAGE: u128 = 7;

    fn receiver() -> Receiver {
        let oracle = Arc::new(Mutex::new(Oracle::default()));
        oracle.lock().expect(MESSAGE, Timestamp::UNIX_EPOCH);
        let verifiers = HashMap::from([("/orders".to_owned(), Verifier::new(SECRET).unwrap())]);
        Receiver::new(verifiers, oracle, Arc::default())
    }

    fn signed(secret: &str, body: &[u8]) -> HeaderMap {
        let (id, now) = (uuid::Uuid::from_u128(MESSAGE).to_string(), Timestamp::now().as_second());
        let signature = Verifier::new(secret).unwrap().sign(&id, now, body).unwrap();
        let header =
            |name, value: String| (http::HeaderName::from_static(name), value.parse::<http::HeaderValue>().unwrap());
        HeaderMap::from_iter([
            header("webhook-id", id),
            header("webhook-timestamp", now.to_string()),
            header("webhook-signature", signature),
        ])
    }

    fn judge(receiver: &Receiver, path: &str, headers: &HeaderMap, body: &[u8]) -> Judgement {
        let message = Posted { path: path.to_owned(), headers: headers.clone(), body: body.to_vec().into() };
        receiver.judge(&message, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_good_message_is_delivered_once() {
        let (receiver, headers) = (receiver(), signed(SECRET, b"{}"));
        let delivered = Judgement::Found(Finding::Delivered(Duration::ZERO));
        assert_eq!(judge(&receiver, "/orders", &headers, b"{}"), delivered);
        assert_eq!(judge(&receiver, "/orders", &headers, b"{}"), Judgement::Found(Finding::Duplicate));
    }

    #[test]
    fn wrong_key_wrong_body_and_missing_signature_are_rejected() {
        let receiver = receiver();
        let good = signed(SECRET, b"{}");
        let other_key = signed("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", b"{}");
        assert_eq!(judge(&receiver, "/orders", &other_key, b"{}"), Judgement::BadSignature);
        assert_eq!(judge(&receiver, "/orders", &good, b"{ }"), Judgement::BadSignature);
        assert_eq!(judge(&receiver, "/orders", &HeaderMap::new(), b"{}"), Judgement::BadSignature);
        let mut long_ago = good.clone();
        long_ago.insert("webhook-timestamp", i64::MIN.to_string().parse().unwrap());
        assert_eq!(judge(&receiver, "/orders", &long_ago, b"{}"), Judgement::BadSignature);
        let oracle = receiver.oracle.lock();
        assert_eq!((oracle.tally().bad_signatures, oracle.tally().delivered, oracle.outstanding()), (4, 0, 1));
    }

    /// Two URLs of one webhook get the same message id: the second message is not a duplicate.
    #[test]
    fn message_on_a_foreign_path_is_counted_separately() {
        let receiver = receiver();
        assert_eq!(judge(&receiver, "/mine", &signed(SECRET, b"{}"), b"{}"), Judgement::Found(Finding::Other));
        assert_eq!(receiver.oracle.lock().outstanding(), 1);
    }
}
