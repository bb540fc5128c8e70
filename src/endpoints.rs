//! The status of endpoints over the whole group, and orders to retry their waiting calls now.
//!
//! Each instance knows its own lanes, and the calls that wait in its partitions of the overflow log and of the retry
//! topics. It writes a report of both to the stats topic every few seconds and reads the reports of all others there,
//! so each instance knows the status over the group. An order to retry now reaches every instance through the same
//! topic.

mod group;
mod orders;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use self::orders::RetryOrders;
use crate::deliver::{Lanes, Recovery};
use crate::id::Line;

pub use self::group::{EndpointStatus, GroupStatus, MAX_REPORT_AGE_MS};
pub use self::orders::EarlySendWindow;
pub use self::report::{
    BreakerStatus, EndpointsReport, InvalidRecord, ORDER_PREFIX, OVERFLOW_PLACE, REPORT_PREFIX, RetryOrder,
    WaitingCalls,
};

/// Max orders that wait to be written. Writing takes only a moment while Kafka accepts records.
const MAX_UNWRITTEN_ORDERS: usize = 10_000;

/// A record for the stats topic.
#[derive(Debug, Clone)]
pub struct StatsTopicRecord {
    pub key: String,
    pub value: String,
}

/// The endpoints as seen by this instance. The default is for an instance that sends nothing.
#[derive(Default)]
pub struct Endpoints {
    /// Key of this run's reports.
    run_id: String,
    lanes: Option<Arc<Lanes>>,
    orders: RetryOrders,
    state: Mutex<EndpointsState>,
    /// The last reports of all instances, including this one.
    group: Mutex<GroupStatus>,
}

/// An order was refused: too many orders wait to be written.
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyOrders;

#[derive(Default)]
struct EndpointsState {
    /// Waiting calls in each partition that this instance reads, by label of the topic and partition.
    waiting: BTreeMap<(Arc<str>, i32), Vec<LineWaitingCalls>>,
    /// The last report was not empty, so the next one is due even if it is empty.
    has_reported: bool,
    /// The orders that are not written to the topic yet, by line.
    unwritten_orders: BTreeMap<Line, RetryOrder>,
}

impl Endpoints {
    /// Creates the endpoints of these lanes.
    pub fn new(lanes: Arc<Lanes>) -> Arc<Self> {
        Arc::new(Self { run_id: Uuid::new_v4().to_string(), lanes: Some(lanes), ..Self::default() })
    }

    /// Creates the report of the calls that wait in a partition. It counts until it is dropped. `topic_label` is
    /// [`OVERFLOW_PLACE`], or the delay of a retry topic.
    pub fn partition(self: &Arc<Self>, topic_label: &str, partition: i32) -> PartitionReport {
        PartitionReport { endpoints: self.clone(), partition: (topic_label.into(), partition) }
    }

    /// The report to write to the topic now, if there is one. At a stop the lanes have ended, so the last report is
    /// empty.
    pub fn unwritten_report(&self, now_ms: i64) -> Option<StatsTopicRecord> {
        let statuses = self.lanes.as_ref().map(|lanes| lanes.statuses()).unwrap_or_default();
        let mut state = self.state();
        let report = EndpointsReport::of(statuses, state.waiting_calls(), now_ms);
        let has_content = !report.is_empty();
        let had_content = std::mem::replace(&mut state.has_reported, has_content);
        (has_content || had_content).then(|| report.record(&self.run_id))
    }

    /// Applies an order from the topic. `key` is the part after [`ORDER_PREFIX`].
    ///
    /// # Errors
    /// When the record is not an order.
    pub fn apply_order(&self, key: &str, value: &[u8], now_ms: i64) -> Result<(), InvalidRecord> {
        let order = RetryOrder::read(key, value)?;
        // An order from a clock that is ahead would cover calls that are not written yet, so they would never wait.
        self.execute_order(RetryOrder { at_ms: order.at_ms.min(now_ms), ..order });
        Ok(())
    }

    /// Applies an instance's report from the topic. `key` is the part after [`REPORT_PREFIX`]. A report that a newer
    /// version wrote in another format is ignored.
    pub fn apply_report(&self, key: &str, value: &[u8], now_ms: i64) {
        if let Ok(report) = EndpointsReport::read(value) {
            let mut group = self.group();
            group.apply_report(key, report);
            // The topic has reports of runs that ended long ago.
            group.drop_silent(now_ms);
        }
    }

    /// The status of a line's endpoint over the group, from the last reports of all instances.
    pub fn status(&self, line: Line, now_ms: i64) -> EndpointStatus {
        self.group().status(line, now_ms)
    }

    /// Orders a retry of all waiting calls of these lines: this instance acts immediately, the others when they read
    /// the order. A line that was ordered seconds ago is skipped.
    ///
    /// # Errors
    /// When too many orders wait to be written. Then none of these is accepted.
    pub fn order(&self, lines: &[Line], now_ms: i64) -> Result<(), TooManyOrders> {
        let new_lines = lines.iter().filter(|line| !self.orders.is_recent(**line, now_ms));
        let orders: Vec<_> = new_lines.map(|line| RetryOrder::for_all_calls(*line, now_ms)).collect();
        {
            let mut state = self.state();
            if state.unwritten_orders.len() + orders.len() > MAX_UNWRITTEN_ORDERS {
                return Err(TooManyOrders);
            }
            orders.iter().for_each(|order| state.queue_order(*order));
        }
        orders.into_iter().for_each(|order| self.execute_order(order));
        Ok(())
    }

    /// Takes the orders to write to the topic now. They include one for each endpoint that has recovered: calls that
    /// were written during its outage, anywhere in the group, need not wait until they are due.
    pub fn take_unwritten_orders(&self, now_ms: i64) -> Vec<RetryOrder> {
        let recovered = self.lanes.as_ref().map(|lanes| lanes.take_recovered()).unwrap_or_default();
        for Recovery { line, began_ago: began, ended_ago: ended } in recovered {
            let ago = |time: Duration| now_ms - i64::try_from(time.as_millis()).unwrap_or(0);
            // Another instance may have deferred calls before this one had any for the endpoint.
            let elsewhere = self.group().outage_since_ms(line, now_ms).unwrap_or(i64::MAX);
            let order = RetryOrder::for_outage(line, ago(began).min(elsewhere)..=ago(ended));
            self.execute_order(RetryOrder { at_ms: order.at_ms.min(now_ms), ..order });
            self.state().queue_order(order);
        }
        std::mem::take(&mut self.state().unwritten_orders).into_values().collect()
    }

    /// Queues an order again that the topic did not take.
    pub fn requeue_order(&self, order: RetryOrder) {
        self.state().queue_order(order);
    }

    /// Removes orders that are long done, and reports of instances that are gone.
    pub fn drop_old(&self, now_ms: i64) {
        self.orders.drop_old(now_ms);
        self.group().drop_silent(now_ms);
    }

    fn execute_order(&self, order: RetryOrder) {
        let is_news = self.orders.merge(order);
        if let Some(lanes) = self.lanes.as_ref().filter(|_| is_news) {
            lanes.probe_now(order.line);
        }
    }

    fn group(&self) -> MutexGuard<'_, GroupStatus> {
        self.group.lock()
    }

    fn state(&self) -> MutexGuard<'_, EndpointsState> {
        self.state.lock()
    }
}

impl EndpointsState {
    /// Queues an order for the topic, merged with an unwritten order of the same line.
    fn queue_order(&mut self, order: RetryOrder) {
        let one = self.unwritten_orders.entry(order.line).or_insert(order);
        (one.from_ms, one.at_ms) = (one.from_ms.min(order.from_ms), one.at_ms.max(order.at_ms));
    }

    /// The waiting calls, by line and topic.
    fn waiting_calls(&self) -> Vec<WaitingCalls> {
        let mut sums = HashMap::new();
        for ((topic_label, _), waiting) in &self.waiting {
            for waiting in waiting {
                let sum = sums.entry((waiting.line, topic_label)).or_insert(LineWaitingCalls { calls: 0, ..*waiting });
                (sum.calls, sum.oldest_ms) = (sum.calls + waiting.calls, sum.oldest_ms.min(waiting.oldest_ms));
            }
        }
        let of = |((line, topic_label), sum): ((Line, &Arc<str>), LineWaitingCalls)| WaitingCalls {
            line,
            topic_label: topic_label.to_string(),
            calls: sum.calls,
            oldest_ms: sum.oldest_ms,
        };
        sums.into_iter().map(of).collect()
    }
}

/// Reports the calls that wait in a partition.
pub struct PartitionReport {
    endpoints: Arc<Endpoints>,
    partition: (Arc<str>, i32),
}

/// The calls of a line that wait in one partition.
#[derive(Debug, Clone, Copy)]
pub struct LineWaitingCalls {
    pub line: Line,
    pub calls: usize,
    /// When the oldest of them was written there, milliseconds since 1970.
    pub oldest_ms: i64,
}

impl PartitionReport {
    pub fn update(&self, waiting: Vec<LineWaitingCalls>) {
        self.endpoints.state().waiting.insert(self.partition.clone(), waiting);
    }

    /// The calls of this line that may be sent before they are due.
    pub fn early_send_window(&self, line: Line) -> EarlySendWindow {
        self.endpoints.orders.early_send_window(line)
    }

    /// [`OVERFLOW_PLACE`], or the delay of the retry topic.
    pub fn topic_label(&self) -> &str {
        &self.partition.0
    }
}

impl Drop for PartitionReport {
    fn drop(&mut self) {
        self.endpoints.state().waiting.remove(&self.partition);
    }
}
