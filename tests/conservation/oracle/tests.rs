//! An oracle that accepts everything would let any program pass.

use harness::Answer;

use super::*;

fn request(path: &str, change: usize, message_id: &str, answer: Answer) -> Request {
    Request {
        path: path.to_owned(),
        message_id: message_id.to_owned(),
        headers: http::HeaderMap::new(),
        body: format!(r#"{{"eventDate":"{}","objectName":"orders","data":[{{"id":{change}}}]}}"#, Timestamp::now())
            .into(),
        signature: if change == 7 { Signature::Bad("forged".to_owned()) } else { Signature::Good },
        answer,
        at: Instant::now(),
    }
}

fn letter(change: usize, cause: &str, message_id: &str) -> Stored {
    Stored {
        partition: 0,
        offset: 0,
        timestamp_ms: Timestamp::now().as_millisecond(),
        key: None,
        value: Some(format!(r#"{{"data":[{{"id":{change}}}]}}"#).into_bytes()),
        headers: [
            ("url", "http://127.0.0.1:1/a"),
            ("kind", "call"),
            ("class", "timeout"),
            ("cause", cause),
            ("message", message_id),
        ]
        .map(|(name, value)| (format!("outhook-{name}"), value.to_owned()))
        .into(),
    }
}

#[test]
fn oracle_reports_every_kind_of_fault() {
    let good = Answer::Status(204);
    let mut oracle = Oracle::default();
    oracle.expect("/a", "orders");
    oracle.expect("/b", "returns");
    oracle.expect("/c", "orders");
    oracle.silence("/c");
    oracle.path("/a").row_of = Some(|change| change % 2);
    oracle.arrived(&request("/a", 0, "m", good.clone()));
    oracle.arrived(&request("/a", 0, "m", good.clone()));
    oracle.arrived(&request("/a", 1, "m", Answer::Status(500)));
    oracle.arrived(&request("/a", 1, "other", Answer::Hang));
    for (path, change) in [("/a", 7), ("/b", 0), ("/c", 0), ("/d", 0)] {
        oracle.arrived(&request(path, change, "m", good.clone()));
    }
    oracle.died(&letter(2, "no answer", "m"));
    oracle.died(&letter(3, "", "m"));
    let expected = [0, 1, 2, 3, 7].map(|change| ("/a", change));
    assert_eq!(expected.map(|call| oracle.is_settled(call)), [true, false, true, true, true]);
    let verdict = oracle.verdict(expected);
    assert_eq!((verdict.expected, verdict.delivered, verdict.dead, verdict.lost), (5, 2, 2, 1));
    assert_eq!((verdict.duplicates, verdict.renamed), (1, 1));
    assert_eq!(verdict.out_of_order.len(), 0);
    assert_eq!((verdict.badly_signed, verdict.causeless, verdict.uncalled_for.len()), (1, 1, 3));
    assert_eq!((verdict.unexplained, verdict.letters_again), (1, 0), "nothing crashed: {verdict:?}");
    oracle.arrived(&request("/a", 5, "m", good));
    assert_eq!(oracle.verdict([]).out_of_order.len(), 1, "5 arrived after 7");
}

#[test]
fn message_in_flight_at_a_crash_may_be_repeated() {
    let mut oracle = Oracle::default();
    oracle.expect("/a", "orders");
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let crash = |from, to| Crash { from: at(from), to: at(to), not_committed: Duration::from_secs(1) };
    for seconds in [60, 70] {
        let mut request = request("/a", 1, "m", Answer::Status(204));
        request.at = at(seconds);
        oracle.arrived(&request);
    }
    assert_eq!(oracle.verdict([]).unexplained, 1, "nothing crashed");
    oracle.crashed(crash(63, 75));
    assert_eq!(oracle.verdict([]).unexplained, 1, "the message was delivered long before");
    oracle.crashed(crash(60, 61));
    assert_eq!(oracle.verdict([]).unexplained, 1, "the row change was written later");
    oracle.crashed(crash(60, 75));
    let verdict = oracle.verdict([]);
    assert_eq!((verdict.unexplained, verdict.uncertain), (0, 1));
    oracle.died(&letter(2, "no answer", "m"));
    oracle.died(&letter(2, "no answer", "m"));
    assert_eq!(oracle.verdict([]).letters_again, 1);
}

#[test]
fn a_dead_lettered_call_may_arrive_behind_later_ones_only_after_a_crash() {
    let mut oracle = Oracle::default();
    oracle.expect("/a", "orders");
    oracle.path("/a").row_of = Some(|change| change % 2);
    let start = Instant::now() - Duration::from_secs(10);
    let mut dead_lettered = letter(1, "no room", "m");
    dead_lettered.timestamp_ms -= 10_000;
    oracle.died(&dead_lettered);
    for (change, seconds) in [(5, 2), (1, 4), (3, 4)] {
        let mut request = request("/a", change, "m", Answer::Status(204));
        request.at = start + Duration::from_secs(seconds);
        oracle.arrived(&request);
    }
    oracle.died(&letter(3, "no answer", "m"));
    assert_eq!(oracle.verdict([]).out_of_order.len(), 2, "nothing crashed");
    let not_committed = Duration::from_secs(1);
    oracle.crashed(Crash { from: start, to: start + Duration::from_secs(5), not_committed });
    let verdict = oracle.verdict([]);
    let [behind] = &verdict.out_of_order[..] else {
        panic!("only the call without an earlier dead letter is out of order")
    };
    assert!(behind.starts_with("/a: 3, written ") && behind.ends_with(" arrived 2.0s after 5"), "{behind}");
    assert_eq!(verdict.made_up, 1);
}

#[test]
fn delivered_and_dead_lettered_call_counts_once() {
    let mut oracle = Oracle::default();
    oracle.expect("/a", "orders");
    oracle.died(&letter(1, "no answer", "m"));
    oracle.arrived(&request("/a", 1, "m", Answer::Status(204)));
    oracle.arrived(&request("/a", 2, "m", Answer::Status(204)));
    oracle.died(&letter(2, "no answer", "other"));
    assert_eq!((oracle.settled_to("/a"), oracle.delivered_to("/a"), oracle.dead_letters()), (2, 2, 2));
    let verdict = oracle.verdict([("/a", 1), ("/a", 2)]);
    assert_eq!((verdict.delivered, verdict.dead, verdict.renamed), (2, 0, 1));
}

/// The pace of calls that arrived at these milliseconds after the start and were signed in these seconds.
fn seen(calls: &[(u64, &str)]) -> Seen {
    let mut oracle = Oracle::default();
    oracle.expect("/a", "orders");
    oracle.path("/a").pace = Some(Pace::new(2));
    let start = Instant::now();
    for (answer, (ms, signed)) in [Answer::Status(204), Answer::Hang, Answer::Status(500)].iter().cycle().zip(calls) {
        let mut request = request("/a", 1, "m", answer.clone());
        request.at = start + Duration::from_millis(*ms);
        request.headers.insert("webhook-timestamp", signed.parse().expect("digits are a header's value"));
        oracle.arrived(&request);
    }
    oracle.paces().remove(0)
}

#[test]
fn one_call_over_the_throttle_in_a_second_is_detected() {
    let even = seen(&[(0, "1"), (525, "1"), (1575, "2"), (1050, "2"), (3000, "4")]);
    assert_eq!((even.calls, even.fullest_second, even.fullest_signed), (5, 2, 2));
    assert_eq!(even.one_more_within, Some(Duration::from_millis(1050)), "the order of the calls does not matter");
    assert!(!even.is_too_fast() && even.is_full());
    let held_up = seen(&[(300, "1"), (525, "1"), (1050, "2")]);
    assert!(!held_up.is_too_fast(), "the machine was busy: {held_up:?}");
    assert_eq!(held_up.fullest_second, 3, "arrivals are reported all the same");
    let near = seen(&[(0, "1"), (525, "2"), (550, "2"), (1050, "2")]);
    assert!(near.is_too_fast(), "a slot was used twice: {near:?}");
    let signed = seen(&[(0, "1"), (525, "1"), (1050, "1")]);
    assert!(signed.is_too_fast(), "delayed calls were sent too fast: {signed:?}");
    let few = seen(&[(0, "1"), (5000, "6")]);
    assert!(!few.is_full() && few.one_more_within.is_none());
}
