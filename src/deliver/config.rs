//! How calls are made: the `[delivery]` section.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::Deserialize;

use super::transport::proxy::{Direct, Proxy};

/// How calls are made.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Max attempts under way to one endpoint at once, and never more than queue_calls. The limiter finds how many of them an endpoint takes. On HTTP/1.1 each has a connection of its own. Default 256.
    pub concurrency: usize,
    /// What trouble never takes the calls under way to one endpoint below. Default 1.
    pub min_concurrency: usize,
    /// Max connections to endpoints over all of them. Beyond it an endpoint that has calls gets one and no more. Default: as many files as the process may have open less 512, or half of them if that is more.
    pub max_connections: Option<usize>,
    /// Calls that may be in memory over all endpoints; at the limit partitions wait. Default 20000.
    pub max_calls: usize,
    /// Max calls in memory for one endpoint. More of them wait in the overflow log, or in their source where that keeps no other endpoint waiting. Default 1024.
    pub queue_calls: usize,
    /// Max time that a call from a source or a retry topic is queued in memory; then it waits in the overflow log, which is no attempt, so that its record can be committed. Default 1s.
    #[serde(with = "duration")]
    pub queue_wait: Duration,
    /// Bytes of message bodies that one endpoint may hold, exceeded by at most one message. Default 16777216 (16 MiB).
    pub queue_bytes: usize,
    /// How long looking up the name, connecting and the TLS handshake may take together. Default 5s.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long the status line of an answer may take once the connection stands. Default 15s.
    #[serde(with = "duration")]
    pub first_byte_timeout: Duration,
    /// How long an attempt may take as a whole. Default 20s.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long a connection without calls is kept. Default 30s.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// How long a connection is used at most; a fifth less for some, so that not all are opened anew at once. After it the name is looked up again, so that calls follow a change of DNS. 0s is without limit. Default 5m.
    #[serde(with = "duration")]
    pub max_connection_age: Duration,
    /// Bytes of an answer's body that are read so that its connection can be used again; after more it is closed. Default 65536 (64 KiB).
    pub response_bytes: usize,
    /// The wait before each retry, and up to a fifth more. A call whose last retry fails becomes a dead letter. Default ["0s", "5s", "30s", "5m", "30m", "2h", "5h", "10h", "14h", "20h"].
    #[serde(deserialize_with = "durations")]
    pub retry: Vec<Duration>,
    /// Failures in a row after which an endpoint gets no calls but a probe now and then, until one is answered; 0 is never. Default 20.
    pub breaker_failures: u32,
    /// The longest time between two probes, and the longest that an endpoint's Retry-After keeps all its calls waiting. Default 30s.
    #[serde(with = "duration")]
    pub breaker_pause: Duration,
    /// The longest wait of a call that its endpoint's Retry-After header can ask for; a longer one is cut to it. Default 24h.
    #[serde(with = "duration")]
    pub retry_after_limit: Duration,
    /// How long a row of a webhook with row order may fail, from the first attempt on that failed, before its first message becomes a dead letter and the next goes on. After a twentieth of it (30s) what finds no place behind failing messages becomes a dead letter too, instead of waiting. Default 10m.
    #[serde(with = "duration")]
    pub order_patience: Duration,
    /// Messages about one row that may wait in memory for the one before them. Default 1000.
    pub order_parked: usize,
    /// Whether endpoints may have http URLs, over which messages and their secrets are readable on the way. Default false.
    pub allow_http: bool,
    /// Networks that may be dialled although they are private, loopback or otherwise not public, such as "10.1.0.0/16". Default none.
    pub allow_addresses: Vec<IpNet>,
    /// Networks that are never dialled, be they public or in `allow_addresses`, such as "198.51.100.0/24". Default none.
    pub deny_addresses: Vec<IpNet>,
    /// The proxy through which endpoints are reached, by CONNECT, as http://host:port or http://user:password@host:port. Default none.
    pub proxy: Option<Proxy>,
    /// Networks, and hosts with those below them, that are reached without the proxy, such as "10.1.0.0/16" or "corp.example". Default none.
    pub no_proxy: Vec<Direct>,
    /// A PEM file with the certificate authorities that endpoints are checked against. Default: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// The default of `concurrency`.
const CONCURRENCY: usize = 256;

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: CONCURRENCY,
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
    /// Calls that may be under way to one endpoint at once: no more than it may hold.
    pub(super) fn most_at_once(&self) -> usize {
        self.concurrency.min(self.queue_calls)
    }

    /// Finds settings that contradict each other or can't work.
    ///
    /// # Errors
    /// A sentence that names the settings, their values and the mend.
    pub fn check(&self) -> Result<(), String> {
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
            return Err(format!("delivery.{name} is 0, so no call could ever be made: give it a value over 0"));
        }
        if self.min_concurrency > self.concurrency {
            return Err(format!(
                "delivery.min_concurrency is {} and delivery.concurrency {}: the least is more than the most, so lower \
                 min_concurrency or raise concurrency",
                self.min_concurrency, self.concurrency
            ));
        }
        if self.queue_calls < self.concurrency && self.concurrency != CONCURRENCY {
            return Err(format!(
                "delivery.queue_calls is {} and delivery.concurrency {}: an endpoint must be able to hold at least \
                 the calls that are under way, so raise queue_calls or lower concurrency",
                self.queue_calls, self.concurrency
            ));
        }
        for (name, part) in [("connect_timeout", self.connect_timeout), ("first_byte_timeout", self.first_byte_timeout)]
        {
            if part > self.timeout {
                return Err(format!(
                    "delivery.{name} is {part:?} and delivery.timeout {:?}: a part of an attempt can't be allowed \
                     more time than the whole, so lower {name} or raise timeout",
                    self.timeout
                ));
            }
        }
        Ok(())
    }
}

fn durations<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Wait(#[serde(with = "duration")] Duration);
    Ok(Vec::<Wait>::deserialize(deserializer)?.into_iter().map(|wait| wait.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_holds_together() {
        let config: Config = toml::from_str("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn reads_durations_and_networks_as_people_write_them() {
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
        let error = Config { connect_timeout: Duration::from_secs(40), ..Config::default() }.check().unwrap_err();
        assert!(error.contains("connect_timeout is 40s") && error.contains("timeout 20s"), "{error}");
        let few = Config { queue_calls: 8, ..Config::default() };
        assert_eq!((few.check(), few.most_at_once()), (Ok(()), 8));
        let error = Config { concurrency: 32, ..few }.check().unwrap_err();
        assert!(error.contains("queue_calls is 8") && error.contains("concurrency 32"), "{error}");
        let error = Config { concurrency: 0, ..Config::default() }.check().unwrap_err();
        assert!(error.contains("concurrency is 0"), "{error}");
        let error = Config { queue_calls: 0, ..Config::default() }.check().unwrap_err();
        assert!(error.contains("queue_calls is 0, so no call could ever be made"), "{error}");
    }
}
