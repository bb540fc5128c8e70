//! Tests of the harness: a broker that loses records or a receiver that accepts everything would let any program
//! pass.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use harness::{Answer, Broker, Position, Receiver, SECRET, Signature, order};

use crate::SOON;

/// Sends a POST without an HTTP library. Returns the status line, or nothing if the connection was closed.
fn post(url: &str, headers: &str, body: &str) -> String {
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a receiver's URL");
    let mut stream = TcpStream::connect(host).expect("the receiver listens");
    let length = body.len();
    write!(stream, "POST /{path} HTTP/1.0\r\ncontent-length: {length}\r\n{headers}\r\n{body}").expect("it reads");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn broker_keeps_every_record() {
    let broker = Broker::get();
    let topic = broker.unique("kept");
    broker.create_topic(&topic, 3, &[("cleanup.policy", "compact")]);
    broker.produce(&topic, (0..1000).map(order));
    broker.produce_raw(&topic, Some(b"gone"), None);
    let mut values: Vec<_> = broker.read_all(&topic).into_iter().map(|stored| stored.value).collect();
    let mut expected: Vec<_> = (0..1000).map(|number| Some(order(number).1.into_bytes())).chain([None]).collect();
    values.sort();
    expected.sort();
    assert_eq!(values, expected);
    assert_eq!(broker.ends(&topic).iter().sum::<i64>(), 1001);
    assert_eq!(broker.committed("nobody", &topic), [None; 3]);
}

#[test]
fn topic_read_continues_at_the_last_position() {
    let broker = Broker::get();
    let topic = broker.unique("read-on");
    broker.create_topic(&topic, 2, &[]);
    let mut position = Position::default();
    let mut read = || {
        let mut keys = Vec::new();
        broker.read_on(&topic, &mut position, |stored| keys.extend(stored.key));
        keys.sort();
        keys
    };
    assert_eq!(read(), [""; 0].map(Vec::from));
    broker.produce(&topic, [("a", ""), ("b", ""), ("c", "")]);
    assert_eq!(read(), ["a", "b", "c"].map(Vec::from));
    broker.produce(&topic, [("d", "")]);
    assert_eq!(read(), ["d"].map(Vec::from));
    assert!(read().is_empty());
}

#[test]
fn receiver_detects_a_bad_signature() {
    let receiver = Receiver::start();
    receiver.verify("/orders", SECRET);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs() as i64;
    let sign = |body: &str| {
        let webhook = standardwebhooks::Webhook::new(SECRET).expect("the secret is whsec_ and base64");
        let signature = webhook.sign("id-1", now, body.as_bytes()).expect("text can be signed");
        format!("webhook-id: id-1\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signature}\r\n")
    };
    for (headers, body, path) in
        [(sign("{}"), "{}", "/orders"), (sign("{}"), "{ }", "/orders"), (String::new(), "", "/other")]
    {
        assert_eq!(post(&receiver.url(path), &headers, body), "HTTP/1.0 204 No Content");
    }
    let orders = receiver.wait("/orders", 2, SOON);
    assert_eq!(orders[0].signature, Signature::Good);
    assert_eq!(orders[0].message_id, "id-1");
    assert_eq!(orders[1].signature, Signature::Bad("signature invalid".to_owned()));
    assert_eq!(receiver.wait("/other", 1, SOON)[0].signature, Signature::Unchecked);
}

#[test]
fn receiver_answers_as_configured() {
    let receiver = Receiver::start();
    receiver.answer("/x", Answer::Status(410));
    receiver.answer_first("/x", [Answer::Close, Answer::With(429, "retry-after", "1".to_owned())]);
    let answers = [(); 3].map(|()| post(&receiver.url("/x"), "", ""));
    assert_eq!(answers, ["", "HTTP/1.0 429 Too Many Requests", "HTTP/1.0 410 Gone"]);
}
