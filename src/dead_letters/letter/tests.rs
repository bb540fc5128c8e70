//! Reads of letters, from records of this program and of others.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Every header that this program writes.
const HEADERS: [(&str, &str); 22] = [
    ("outhook-kind", "call"),
    ("outhook-class", "status_5xx"),
    ("outhook-cause", "https://example.com answered 500 Internal Server Error"),
    ("outhook-topic", "changes"),
    ("outhook-partition", "3"),
    ("outhook-offset", "9"),
    ("outhook-account", "acme"),
    ("outhook-webhook", "abc123"),
    ("outhook-event", "def456"),
    ("outhook-message", "00000000-0000-0000-0000-000000000001"),
    ("outhook-call", "00000000-0000-0000-0000-000000000002"),
    ("outhook-row", "00ff00ff00ff00ff"),
    ("outhook-url", "https://example.com/hook?token=1"),
    ("outhook-event-date", "2026-01-02T03:04:05Z"),
    ("outhook-sequence", "00000003-0000000000000009"),
    ("outhook-attempts", "5"),
    ("outhook-offered", "2026-01-02T03:04:06Z"),
    ("outhook-ended", "2026-01-02T03:04:07Z"),
    ("outhook-status", "500"),
    ("outhook-value-left-out", "12"),
    ("outhook-key-left-out", "6"),
    ("outhook-letter", "1:1043"),
];

fn letter(headers: &[(&str, &[u8])]) -> DeadLetter {
    let (key, value) = (Some(&b"abc123"[..]), Some(&b"{}"[..]));
    DeadLetter::read(&Record { partition: 2, offset: 1044, timestamp_ms: 7_000, key, value, headers: headers.to_vec() })
}

fn whole() -> Vec<(&'static str, &'static [u8])> {
    HEADERS.map(|(name, value)| (name, value.as_bytes())).to_vec()
}

#[test]
fn each_header_is_read_and_missing_or_invalid_ones_are_none() {
    let read = letter(&whole());
    assert_eq!((read.id.to_string().as_str(), read.written_at.as_second(), read.bytes), ("2:1044", 7, Some(2)));
    assert_eq!((read.kind, read.attempts, read.status), (Some(DeadLetterKind::Call), Some(5), Some(500)));
    assert_eq!((read.partition, read.offset, read.dropped_value_bytes), (Some(3), Some(9), Some(12)));
    assert_eq!(read.webhook.unwrap().as_str(), "abc123");
    let nothing = letter(&[]);
    for (name, value) in HEADERS {
        let without: Vec<_> = whole().into_iter().filter(|(other, _)| *other != name).collect();
        assert_ne!(letter(&without), read, "{name} is not read");
        assert_ne!(letter(&[(name, value.as_bytes())]), nothing, "{name} alone is not read");
        assert_eq!(letter(&[(name, b"\xff")]), nothing, "{name} is not text");
    }
    assert_eq!(letter(&[("outhook-attempts", b"many"), ("outhook-webhook", b"ABC"), ("class", b"x")]), nothing);
    assert_eq!(letter(&[("outhook-cause", &b"x".repeat(MAX_HEADER_BYTES + 1))]), nothing);
    assert_eq!(letter(&[("outhook-timestamp", b"7000")]).timestamp, Some(nothing.written_at));
}

#[test]
fn filter_matches_only_if_all_its_conditions_hold() {
    let read = letter(&whole());
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    let takes = |filter: DeadLetterFilter| filter.matches(&read);
    assert!(takes(DeadLetterFilter::default()));
    let all = DeadLetterFilter {
        kind: Some(DeadLetterKind::Call),
        class: Some("status_5xx".into()),
        account: Some("acme".into()),
        webhook: "abc123".parse().ok(),
        event: "def456".parse().ok(),
        message: "00000000-0000-0000-0000-000000000001".parse().ok(),
        endpoint: "https://example.com/hook".parse().ok(),
        since: at(7),
        until: at(8),
    };
    assert!(takes(all.clone()));
    assert!(!all.matches(&letter(&[])), "an absent value does not match");
    for other in [
        DeadLetterFilter { kind: Some(DeadLetterKind::Record), ..all.clone() },
        DeadLetterFilter { class: Some("gone".into()), ..all.clone() },
        DeadLetterFilter { account: Some("zoo".into()), ..all.clone() },
        DeadLetterFilter { webhook: "abc124".parse().ok(), ..all.clone() },
        DeadLetterFilter { event: "def457".parse().ok(), ..all.clone() },
        DeadLetterFilter { message: "00000000-0000-0000-0000-000000000002".parse().ok(), ..all.clone() },
        DeadLetterFilter { endpoint: "https://example.com:8443".parse().ok(), ..all.clone() },
        DeadLetterFilter { since: at(8), ..all.clone() },
        DeadLetterFilter { until: at(7), ..all.clone() },
    ] {
        assert!(!takes(other.clone()), "{other:?}");
    }
}

#[test]
fn redriven_markers_match_only_a_filter_for_their_kind() {
    let marker = letter(&[("outhook-kind", b"redriven"), ("outhook-letter", b"1:1043")]);
    assert_eq!(marker.redriven_letter, Some(DeadLetterId { partition: 1, offset: 1043 }));
    assert!(!DeadLetterFilter::default().matches(&marker));
    assert!(DeadLetterFilter { kind: Some(DeadLetterKind::Redriven), ..DeadLetterFilter::default() }.matches(&marker));
}

#[test]
fn letter_id_is_a_partition_and_an_offset() {
    assert_eq!("0:17".parse(), Ok(DeadLetterId { partition: 0, offset: 17 }));
    for bad in ["", ":", "1:", ":1", "1", "-1:2", "1:+2", "1:2:3", "1: 2", "2147483648:0", "0:9223372036854775808"] {
        assert!(bad.parse::<DeadLetterId>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn arbitrary_headers_never_panic(
        names in vec(0..HEADERS.len(), 0..9), values in vec(vec(any::<u8>(), 0..20), 9), at in any::<i64>(),
    ) {
        let named = names.iter().zip(&values).map(|(name, value)| (HEADERS[*name].0, value.as_slice()));
        let headers = named.collect();
        let read = DeadLetter::read(&Record { partition: 0, offset: 0, timestamp_ms: at, key: None, value: None, headers });
        let _ = DeadLetterFilter::default().matches(&read);
    }
}
