//! Metrics of deliveries. The handles are created once. No label holds a URL or a webhook, so the number of series
//! does not grow with use.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

use super::overflow_reason::OverflowReason;
use super::policy::classify::AttemptClass;

/// The metric handles, created when the recorder is installed.
pub(super) struct DeliveryMetrics {
    attempts: [Counter; AttemptClass::ALL.len()],
    pub delivered: Counter,
    pub exhausted: Counter,
    pub cancelled: Counter,
    pub attempt_seconds: Histogram,
    pub from_event_date: Histogram,
    pub from_append: Histogram,
    pub in_flight: Gauge,
    pub lanes: Gauge,
    pub failing_endpoints: Gauge,
    pub queued: Gauge,
    pub retries_waiting: Gauge,
    pub row_order_parked: Gauge,
    deferred: [Counter; 4],
    pub breakers_opened: Counter,
    pub opened_http1: Counter,
    pub opened_http2: Counter,
}

impl DeliveryMetrics {
    pub fn new() -> Self {
        Self {
            attempts: AttemptClass::ALL.map(|class| counter!("outhook_attempts_total", "class" => class.as_str())),
            delivered: counter!("outhook_calls_total", "outcome" => "delivered"),
            exhausted: counter!("outhook_calls_total", "outcome" => "exhausted"),
            cancelled: counter!("outhook_calls_total", "outcome" => "cancelled"),
            attempt_seconds: histogram!("outhook_attempt_seconds"),
            from_event_date: histogram!("outhook_delivery_seconds", "from" => "event_date"),
            from_append: histogram!("outhook_delivery_seconds", "from" => "append"),
            in_flight: gauge!("outhook_calls_in_flight"),
            lanes: gauge!("outhook_lanes"),
            failing_endpoints: gauge!("outhook_endpoints_failing"),
            queued: gauge!("outhook_calls_waiting", "where" => "memory"),
            retries_waiting: gauge!("outhook_retries_waiting"),
            row_order_parked: gauge!("outhook_row_order_parked"),
            deferred: ["failing", "full", "waited", "no_share"]
                .map(|reason| counter!("outhook_calls_deferred_total", "reason" => reason)),
            breakers_opened: counter!("outhook_breakers_opened_total"),
            opened_http1: counter!("outhook_connections_opened_total", "protocol" => "http/1.1"),
            opened_http2: counter!("outhook_connections_opened_total", "protocol" => "h2"),
        }
    }

    pub fn count_deferred(&self, why: &OverflowReason) {
        let index = match why {
            OverflowReason::Failing(_) => 0,
            OverflowReason::Full => 1,
            OverflowReason::QueuedTooLong => 2,
            OverflowReason::NoShare => 3,
        };
        self.deferred[index].increment(1);
    }

    pub fn count_attempt(&self, class: AttemptClass) {
        self.attempts[class as usize].increment(1);
    }
}

/// Registers the units and descriptions of this stage's metrics.
pub fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("outhook_attempts_total", "Attempts (HTTP requests), by the class of their result");
    describe_counter!("outhook_calls_total", "Calls (one message to one URL) that ended, by outcome");
    describe_histogram!(
        "outhook_attempt_seconds",
        Unit::Seconds,
        "From the start of an attempt to the status line of its response"
    );
    describe_histogram!(
        "outhook_delivery_seconds",
        Unit::Seconds,
        "From the change in its source (event_date) or from the record's append to Kafka (append) to the 2xx response"
    );
    describe_gauge!("outhook_calls_in_flight", "Calls in memory: queued, under way, or waiting for a short retry");
    describe_gauge!("outhook_lanes", "Endpoints that calls are being sent to, or that failed less than an hour ago");
    describe_gauge!(
        "outhook_endpoints_failing",
        "Endpoints that fail now, as seen by this instance: the breaker is open, or all attempts failed for 5 s"
    );
    describe_gauge!("outhook_retries_waiting", "Calls that wait in memory for their next attempt");
    describe_gauge!(
        "outhook_row_order_parked",
        "Calls in memory that wait for an earlier call of the same row; a high value shows that an endpoint fails or a row changes fast"
    );
    describe_counter!(
        "outhook_calls_deferred_total",
        "Calls deferred to the overflow log, by reason: the endpoint fails (failing), it takes fewer calls than arrive (full), the call was queued for too long (waited), or this instance has no share of the webhook's CallThrottling (no_share)"
    );
    describe_counter!(
        "outhook_breakers_opened_total",
        "Times that a breaker opened: the endpoint failed so often that it gets no calls except probes"
    );
    describe_counter!("outhook_connections_opened_total", "Connections opened to endpoints, by protocol");
}
