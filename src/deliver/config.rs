//! Delivery of calls to endpoints: the `[delivery]` section.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::Deserialize;

use super::transport::proxy::{Proxy, ProxyBypass};

/// A setting is invalid or contradicts another. The text names the settings, their values and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliverySettingsError {
    #[error("delivery.{0} is 0, so no call could ever be made: set it to a value over 0")]
    Zero(&'static str),
    #[error(
        "delivery.min_concurrency is {min} and delivery.concurrency {max}: the minimum is over the maximum, so lower \
         min_concurrency or raise concurrency"
    )]
    MinOverMax { min: usize, max: usize },
    #[error(
        "delivery.queue_calls is {queue} and delivery.concurrency {concurrency}: the queue of an endpoint must have \
         room for all calls under way, so raise queue_calls or lower concurrency"
    )]
    ShortQueue { queue: usize, concurrency: usize },
    #[error(
        "delivery.{name} is {part:?} and delivery.timeout {whole:?}: a part of an attempt can't have a longer timeout \
         than the whole, so lower {name} or raise timeout"
    )]
    PartOverWhole { name: &'static str, part: Duration, whole: Duration },
}

/// Delivery of calls to endpoints.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Max concurrent attempts of one endpoint, limited by queue_calls. The concurrency limit adapts to the endpoint
    /// up to this value. On HTTP/1.1 each concurrent attempt uses a separate connection. Default 256.
    pub concurrency: usize,
    /// Min concurrent attempts of one endpoint. Errors and slow responses never reduce the concurrency limit below
    /// this value. Default 1.
    pub min_concurrency: usize,
    /// Max connections to all endpoints together. Beyond the limit, each endpoint with calls gets only one
    /// connection. Default: the process's limit of open files minus 512, or half of that limit if it is more.
    pub max_connections: Option<usize>,
    /// Max calls in memory over all endpoints. At the limit partitions pause. Default 20000.
    pub max_calls: usize,
    /// Max calls in memory for one endpoint. Further calls wait in the overflow log, or in their source if no other
    /// endpoint waits for it. Default 1024.
    pub queue_calls: usize,
    /// Max time that a call from a source or a retry topic is queued in memory. Then it is deferred to the overflow
    /// log, so its record can be committed. Deferring does not count as an attempt. Default 1s.
    #[serde(with = "duration")]
    pub queue_wait: Duration,
    /// Max bytes of message bodies in memory for one endpoint, exceeded by at most one message. Default 16777216 (16
    /// MiB).
    pub queue_bytes: usize,
    /// Max time for name lookup, connecting and TLS handshake together. Default 5s.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Max time until the status line of a response, from when the connection is open. Default 15s.
    #[serde(with = "duration")]
    pub first_byte_timeout: Duration,
    /// Max time of a whole attempt. Default 20s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Time after which a connection without calls is closed. Default 30s.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Max age of a connection, up to a fifth less for some, so that connections are not all reopened at the same
    /// time. The next connection looks up the name again, so calls follow a DNS change. With 0s the age is unlimited.
    /// Default 5m.
    #[serde(with = "duration")]
    pub max_connection_age: Duration,
    /// Max bytes of a response body that are read to reuse the connection. If the body is longer, the connection is
    /// closed. Default 65536 (64 KiB).
    pub response_bytes: usize,
    /// The wait before each retry; each wait is extended by up to a fifth. A call whose last retry fails is
    /// dead-lettered. Default ["0s", "5s", "30s", "5m", "30m", "2h", "5h", "10h", "14h", "20h"].
    #[serde(deserialize_with = "durations")]
    pub retry: Vec<Duration>,
    /// Consecutive failures that open the breaker of an endpoint. Then the endpoint gets only occasional probes,
    /// until one of them is answered. 0 disables the breaker. Default 20.
    pub breaker_failures: u32,
    /// Max time between two probes, and max time that an endpoint's Retry-After header pauses all its calls. Default
    /// 30s.
    #[serde(with = "duration")]
    pub breaker_pause: Duration,
    /// Max wait of a call that its endpoint's Retry-After header can request. A longer wait is reduced to it. Default
    /// 24h.
    #[serde(with = "duration")]
    pub retry_after_limit: Duration,
    /// Max time that a row of a webhook with row order may fail, from its first failed attempt. Then the row's first
    /// message is dead-lettered and the next one is sent. After a twentieth of this time (30s), messages that find no
    /// place in the queue behind failing messages are dead-lettered too, instead of waiting. Default 10m.
    #[serde(with = "duration")]
    pub order_patience: Duration,
    /// Max messages of one row that wait in memory for an earlier message of the row. Default 1000.
    pub order_parked: usize,
    /// Whether endpoints may have http URLs. Messages and their secrets are then readable in transit. Default false.
    pub allow_http: bool,
    /// Networks that may be called although they are private, loopback or otherwise not public, such as
    /// "10.1.0.0/16". Default none.
    pub allow_addresses: Vec<IpNet>,
    /// Networks that are never called, even if they are public or in `allow_addresses`, such as "198.51.100.0/24".
    /// Default none.
    pub deny_addresses: Vec<IpNet>,
    /// Proxy to endpoints, used with CONNECT, as http://host:port or http://user:password@host:port. Default none.
    pub proxy: Option<Proxy>,
    /// Networks and hosts, including subdomains, that are called without the proxy, such as "10.1.0.0/16" or
    /// "corp.example". Default none.
    pub no_proxy: Vec<ProxyBypass>,
    /// PEM file with the certificate authorities that verify endpoints. Default: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// The default of `concurrency`.
const DEFAULT_CONCURRENCY: usize = 256;

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_CONCURRENCY,
            min_concurrency: 1,
            max_connections: None,
            max_calls: 20_000,
            queue_calls: 1024,
            queue_wait: Duration::from_secs(1),
            queue_bytes: 16 * 1024 * 1024,
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(15),
            timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(30),
            max_connection_age: Duration::from_secs(300),
            response_bytes: 64 * 1024,
            retry: [0, 5, 30, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000].map(Duration::from_secs).to_vec(),
            breaker_failures: 20,
            breaker_pause: Duration::from_secs(30),
            retry_after_limit: Duration::from_secs(86_400),
            order_patience: Duration::from_secs(600),
            order_parked: 1000,
            allow_http: false,
            allow_addresses: Vec::new(),
            deny_addresses: Vec::new(),
            proxy: None,
            no_proxy: Vec::new(),
            ca_file: None,
        }
    }
}

impl Config {
    /// Max concurrent attempts of one endpoint: not more than the calls that it may have in memory.
    pub(super) fn max_concurrency(&self) -> usize {
        self.concurrency.min(self.queue_calls)
    }

    /// Checks for settings that are invalid or contradict each other.
    ///
    /// # Errors
    /// The first such setting.
    pub fn check(&self) -> Result<(), DeliverySettingsError> {
        let Self { concurrency, queue_calls, .. } = *self;
        let positive = [
            ("concurrency", self.concurrency > 0),
            ("max_connections", self.max_connections != Some(0)),
            ("max_calls", self.max_calls > 0),
            ("queue_calls", self.queue_calls > 0),
            ("queue_bytes", self.queue_bytes > 0),
            ("queue_wait", !self.queue_wait.is_zero()),
            ("connect_timeout", !self.connect_timeout.is_zero()),
            ("first_byte_timeout", !self.first_byte_timeout.is_zero()),
            ("order_parked", self.order_parked > 0),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, positive)| !positive) {
            return Err(DeliverySettingsError::Zero(name));
        }
        if self.min_concurrency > concurrency {
            return Err(DeliverySettingsError::MinOverMax { min: self.min_concurrency, max: concurrency });
        }
        if queue_calls < concurrency && concurrency != DEFAULT_CONCURRENCY {
            return Err(DeliverySettingsError::ShortQueue { queue: queue_calls, concurrency });
        }
        let parts = [("connect_timeout", self.connect_timeout), ("first_byte_timeout", self.first_byte_timeout)];
        match parts.into_iter().find(|(_, part)| *part > self.timeout) {
            Some((name, part)) => Err(DeliverySettingsError::PartOverWhole { name, part, whole: self.timeout }),
            None => Ok(()),
        }
    }
}

/// Deserializes durations such as `["0s", "1m 30s"]`.
///
/// # Errors
/// A value is not a duration.
pub fn durations<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Wait(#[serde(with = "duration")] Duration);
    Ok(Vec::<Wait>::deserialize(deserializer)?.into_iter().map(|wait| wait.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_section_is_the_default_and_valid() {
        let config: Config = toml::from_str("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn durations_and_networks_are_parsed_from_text() {
        let config: Config =
            toml::from_str("retry = [\"0s\", \"1m 30s\"]\ntimeout = \"45s\"\nallow_addresses = [\"10.0.0.0/8\"]")
                .unwrap();
        assert_eq!(config.retry, [Duration::ZERO, Duration::from_secs(90)]);
        assert_eq!(config.timeout, Duration::from_secs(45));
        assert!(toml::from_str::<Config>("time_out = \"45s\"").is_err());
        assert!(toml::from_str::<Config>("allow_addresses = [\"10.0.0.0/33\"]").is_err());
    }

    #[test]
    fn contradictions_name_both_values() {
        let error =
            Config { connect_timeout: Duration::from_secs(40), ..Config::default() }.check().unwrap_err().to_string();
        assert!(error.contains("connect_timeout is 40s") && error.contains("timeout 20s"), "{error}");
        let few = Config { queue_calls: 8, ..Config::default() };
        assert_eq!((few.check(), few.max_concurrency()), (Ok(()), 8));
        let error = Config { concurrency: 32, ..few }.check().unwrap_err().to_string();
        assert!(error.contains("queue_calls is 8") && error.contains("concurrency 32"), "{error}");
        let error = Config { concurrency: 0, ..Config::default() }.check().unwrap_err().to_string();
        assert!(error.contains("concurrency is 0"), "{error}");
        let error = Config { queue_calls: 0, ..Config::default() }.check().unwrap_err().to_string();
        assert!(error.contains("queue_calls is 0, so no call could ever be made"), "{error}");
    }
}
