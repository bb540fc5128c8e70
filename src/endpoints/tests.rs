use super::group::MAX_REPORT_AGE_MS;
use super::report::{BreakerStatus, LaneReport};
use super::*;

const LINE: Line = Line(0xfedc_ba98_7654_3210);

fn lane(is_failing: bool, since: Option<i64>) -> LaneReport {
    LaneReport {
        line: LINE,
        fails_since_ms: since,
        outage_since_ms: since,
        cause: since.map(|since| ("timeout".to_owned(), format!("since {since}"))),
        is_failing,
        breaker: if is_failing { BreakerStatus::Open } else { BreakerStatus::Closed },
        concurrency: 16,
        under_way: 2,
        in_memory: 5,
    }
}

fn report(at_ms: i64, lanes: Vec<LaneReport>, calls: usize, oldest_ms: i64) -> EndpointsReport {
    EndpointsReport {
        at_ms,
        lanes,
        waiting: vec![WaitingCalls { line: LINE, topic_label: OVERFLOW_PLACE.to_owned(), calls, oldest_ms }],
        left_out: 0,
    }
}

#[test]
fn group_status_is_the_sum_of_its_instances() {
    let mut group = GroupStatus::default();
    group.apply_report("a", report(1000, vec![lane(true, Some(400))], 7, 900));
    group.apply_report("b", report(1000, vec![lane(false, Some(300))], 5, 800));
    group.apply_report("c", report(1000, vec![], 1, 950));
    let status = group.status(LINE, 2000);
    assert_eq!((status.instances, status.failing_on, status.breaker), (2, 1, BreakerStatus::Open));
    assert_eq!((status.fails_since_ms, status.cause.clone().unwrap().1), (Some(300), "since 300".to_owned()));
    assert_eq!((status.concurrency, status.under_way, status.queued), (32, 4, 6));
    assert_eq!((status.waiting_calls(), status.oldest_ms), (13, Some(800)));
    assert_eq!(group.status(Line(1), 2000), EndpointStatus::default());
    assert_eq!((group.outage_since_ms(LINE, 2000), group.outage_since_ms(Line(1), 2000)), (Some(300), None));
}

#[test]
fn start_of_an_outage_is_reported_even_if_no_failure_is_shown() {
    let long_ago = LaneReport { fails_since_ms: None, outage_since_ms: Some(100), ..lane(false, None) };
    let record = report(1000, vec![long_ago, lane(true, Some(400))], 7, 900).record("a");
    let mut group = GroupStatus::default();
    group.apply_report("a", EndpointsReport::read(record.value.as_bytes()).unwrap());
    let status = group.status(LINE, 2000);
    assert_eq!((status.fails_since_ms, group.outage_since_ms(LINE, 2000)), (Some(400), Some(100)));
}

#[test]
fn silent_instances_and_older_reports_are_ignored() {
    let mut group = GroupStatus::default();
    group.apply_report("a", report(1000, vec![], 7, 900));
    group.apply_report("a", report(500, vec![], 3, 900));
    assert_eq!(group.status(LINE, 1000).waiting_calls(), 7);
    assert_eq!(group.status(LINE, 1001 + MAX_REPORT_AGE_MS).waiting_calls(), 0);
    group.drop_silent(1001 + MAX_REPORT_AGE_MS);
    assert_eq!(group.status(LINE, 1000).waiting_calls(), 0, "it is forgotten");
}

#[test]
fn endpoint_fails_if_any_lane_fails_and_is_idle_without_calls() {
    let state = |lanes: Vec<LaneReport>, calls| {
        let mut group = GroupStatus::default();
        group.apply_report("a", report(1000, lanes, calls, 900));
        group.status(LINE, 1000).state()
    };
    assert_eq!(state(vec![lane(false, None), lane(true, Some(400))], 0), "fails");
    assert_eq!(state(vec![lane(false, None), lane(false, Some(400))], 0), "troubled");
    assert_eq!(state(vec![lane(false, None)], 7), "works");
    assert_eq!(state(vec![], 7), "works", "calls wait, and no lane says that it fails");
    assert_eq!(state(vec![], 0), "idle");
}

#[test]
fn old_reports_are_ignored_and_forgotten() {
    let endpoints = Endpoints::default();
    let record = report(1000, vec![], 7, 900).record("a");
    let key = &record.key[REPORT_PREFIX.len()..];
    endpoints.apply_report("b", b"of a newer program", 1000);
    endpoints.apply_report(key, record.value.as_bytes(), 1001 + MAX_REPORT_AGE_MS);
    assert_eq!(endpoints.status(LINE, 1000).waiting_calls(), 0, "it was too old to be kept");
    endpoints.apply_report(key, record.value.as_bytes(), 1000);
    assert_eq!(endpoints.status(LINE, 1000).waiting_calls(), 7);
    endpoints.drop_old(1001 + MAX_REPORT_AGE_MS);
    assert_eq!(endpoints.status(LINE, 1000).waiting_calls(), 0);
}

#[test]
fn order_applies_locally_immediately_and_is_kept_until_written() {
    let endpoints = Arc::new(Endpoints::default());
    let partition = endpoints.partition(OVERFLOW_PLACE, 0);
    endpoints.order(&[LINE, Line(1)], 1000).unwrap();
    assert!(partition.early_send_window(LINE).has(1000) && !partition.early_send_window(LINE).has(1001));
    let taken = endpoints.take_unwritten_orders(0);
    assert_eq!(taken.iter().map(|order| order.line).collect::<Vec<_>>(), [Line(1), LINE]);
    assert!(endpoints.take_unwritten_orders(0).is_empty());

    endpoints.order(&[LINE], 20_000).unwrap();
    taken.into_iter().for_each(|order| endpoints.requeue_order(order));
    let again = endpoints.take_unwritten_orders(0).into_iter().map(|order| (order.line, order.at_ms));
    assert_eq!(again.collect::<Vec<_>>(), [(Line(1), 1000), (LINE, 20_000)], "the newest of each line");
}

#[test]
fn number_of_unwritten_orders_is_limited() {
    let endpoints = Endpoints::default();
    let lines: Vec<_> = (0..MAX_UNWRITTEN_ORDERS as u64).map(Line).collect();
    endpoints.order(&lines, 1000).unwrap();
    assert_eq!(endpoints.order(&[LINE], 1000), Err(TooManyOrders));
    endpoints.take_unwritten_orders(0);
    assert_eq!(endpoints.order(&[LINE], 1000), Ok(()));
}

#[test]
fn reports_and_orders_round_trip_through_their_records() {
    let written = report(1000, vec![lane(true, Some(400))], 7, 900);
    let record = written.record("a");
    assert_eq!(record.key, "endpoints/a");
    assert_eq!(EndpointsReport::read(record.value.as_bytes()).unwrap(), written);
    assert!(EndpointsReport::read(b"[1").is_err());
    let order = RetryOrder::for_all_calls(LINE, 1234);
    let StatsTopicRecord { key, value } = order.record();
    assert_eq!(key, "retry-now/fedcba9876543210");
    assert_eq!(RetryOrder::read(&key[ORDER_PREFIX.len()..], value.as_bytes()).unwrap(), order);
    let recovery = RetryOrder { from_ms: 17, ..order };
    assert_eq!(RetryOrder::read(&key[ORDER_PREFIX.len()..], recovery.record().value.as_bytes()).unwrap(), recovery);
    assert!(RetryOrder::read("nothing", b"1").is_err() && RetryOrder::read("1", b"soon").is_err());
}

#[test]
fn outage_orders_tolerate_clock_differences() {
    let order = RetryOrder::for_outage(LINE, 50_000..=60_000);
    assert_eq!(order, RetryOrder { line: LINE, from_ms: 49_000, at_ms: 61_000 });
    let endpoints = Endpoints::default();
    let StatsTopicRecord { key, value } = order.record();
    endpoints.apply_order(&key[ORDER_PREFIX.len()..], value.as_bytes(), 60_100).unwrap();
    let forward = endpoints.orders.early_send_window(LINE);
    assert!(
        forward.has(60_100) && !forward.has(60_101),
        "calls that are written later by the reader's clock are not covered"
    );
}

#[test]
fn repeated_or_older_orders_are_not_learnt_again() {
    let orders = RetryOrders::default();
    let order = RetryOrder::for_all_calls(LINE, 1234);
    assert!(orders.merge(order) && !orders.merge(order));
    assert!(!orders.merge(RetryOrder { at_ms: 1, ..order }));
    let has = |written_ms| orders.early_send_window(LINE).has(written_ms);
    assert!(has(0) && has(1234) && !has(1235));
    orders.drop_old(i64::MAX);
    assert!(!has(0));
}

#[test]
fn recovery_order_covers_its_outage_and_extends_a_recent_order() {
    let orders = RetryOrders::default();
    let recovery = |from_ms, at_ms| RetryOrder { line: LINE, from_ms, at_ms };
    let has = |written_ms| orders.early_send_window(LINE).has(written_ms);
    assert!(orders.merge(recovery(1_000, 9_000)));
    assert!(!has(999) && has(1_000) && has(9_000));
    assert!(orders.merge(RetryOrder::for_all_calls(LINE, 200_000)) && orders.merge(recovery(190_000, 201_000)));
    assert!(has(0) && has(201_000));
    // The first order is long ago. So an endpoint that fails and recovers repeatedly does not extend it forever.
    assert!(orders.merge(recovery(255_000, 261_000)));
    assert!(!has(201_000) && has(255_000));
    assert!(!orders.merge(recovery(0, 100_000)), "one of long before");
    assert!(orders.merge(recovery(250_000, 260_900)) && has(250_000), "another instance saw more of the outage");
}

#[test]
fn order_of_a_fast_clock_does_not_cover_future_calls() {
    let endpoints = Arc::new(Endpoints::default());
    let partition = endpoints.partition(OVERFLOW_PLACE, 0);
    let StatsTopicRecord { key, value } = RetryOrder::for_all_calls(LINE, 90_000).record();
    endpoints.apply_order(&key[ORDER_PREFIX.len()..], value.as_bytes(), 1000).unwrap();
    assert!(partition.early_send_window(LINE).has(1000) && !partition.early_send_window(LINE).has(1001));
}

#[test]
fn recently_given_order_is_not_repeated() {
    let endpoints = Endpoints::default();
    let given = |now_ms| {
        endpoints.order(&[LINE], now_ms).unwrap();
        endpoints.take_unwritten_orders(now_ms).len()
    };
    assert_eq!((given(1000), given(2000), given(11_000)), (1, 0, 1));
}
