//! The Kafka cluster and the consumer group: the `[kafka]` section.

use std::collections::HashMap;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use serde::Deserialize;

use super::limits::{NO_RECORDS, OVER_ZERO};
use super::properties::is_secret;
use super::{ConfigProblem, Memory, Properties};
use crate::kafka::settings::{self, RefusedSetting};
use crate::source;

/// Default of `session_timeout`. After a crash, the member's partitions send nothing until its session ends, so
/// Kafka's default would be 45 seconds without webhooks. A separate thread of librdkafka sends the heartbeats, and
/// our load can't delay it, so there is little reason to wait that long. 10 seconds outlast a failover of the group's
/// broker and are more than the minimum that brokers accept by default, 6 seconds.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// `socket.timeout.ms`: how long a broker may take to respond, in milliseconds. A broker that hangs accepts
/// connections for a long time and does not respond. Its partitions have other leaders after 9 seconds (Kafka's
/// `broker.session.timeout.ms`), but librdkafka looks for them only when a request has timed out, by its default
/// after a minute. The value is longer than a rebalance with the default [`SESSION_TIMEOUT`] and drain deadline,
/// because brokers answer commits after the rebalance.
const SOCKET_TIMEOUT_MS: &str = "20000";

/// Max bytes fetched ahead for each partition of a retry topic, in KiB.
const RETRIES_QUEUE_KIB: &str = "1024";

/// Max bytes of one fetch from a partition, as stored in the log. librdkafka keeps a fetched batch decompressed until
/// all of it is consumed, and compressed row changes often have a tenth of their size. With its default of 1 MiB
/// these batches took more memory than everything else.
const FETCH_BYTES: &str = "262144";
/// Max bytes of one fetch from a partition of a retry topic, where most fetched records are not due yet.
const RETRIES_FETCH_BYTES: &str = "65536";

/// Interval of checks for new topics and partitions, in milliseconds. librdkafka's default is five minutes, and
/// Debezium creates a topic for each new table.
const METADATA_REFRESH_MS: &str = "10000";
const METADATA_REFRESH: &str = "topic.metadata.refresh.interval.ms";
/// Help that links the documentation of librdkafka's settings.
const SETTINGS_HELP: &str = "its settings: https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md";

/// librdkafka's default for `max.poll.interval.ms`.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);

/// Settings of the Kafka cluster and the consumer group.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap brokers, as `host:port`, separated by commas. Required.
    pub brokers: String,
    /// The consumer group. Instances with the same group share the partitions of the topics. The group that reads the
    /// retry topics and the row-order topic has this name with the suffix -retries; the group of the overflow log has
    /// the suffix -overflow. Default "outhook".
    pub group: String,
    /// Name of this client in the brokers' logs and quotas. Default "outhook".
    pub client_id: String,
    /// The group protocol: "classic", with cooperative rebalancing by the members, or "consumer", with assignment by
    /// the broker (KIP-848, Kafka 4.0 and later). With "consumer", commits continue during a rebalance, but it has
    /// other problems when brokers fail (docs/delivery.md). Default "classic".
    pub group_protocol: GroupProtocol,
    /// How long the group waits for a crashed member before other members take over its partitions. Until then
    /// nothing is sent for those partitions; Kafka's default is 45s. Only with group_protocol = "classic"; with
    /// "consumer" the broker's group.consumer.session.timeout.ms applies. Default: 10s.
    #[serde(with = "duration::optional")]
    pub session_timeout: Option<Duration>,
    /// A name that stays the same over restarts. It makes the member static (KIP-345): a restart within
    /// session_timeout moves no partitions. Each instance needs a different name. If Kafka was unavailable for longer
    /// than the session timeout, it may fence a static member. `run` then exits with 1 and must be started again.
    /// Default none.
    pub instance_id: Option<String>,
    /// Interval between commits of settled records. After a crash, records that were settled since the last commit
    /// are sent again. Default 250ms.
    #[serde(with = "duration::required")]
    pub commit_interval: Duration,
    /// Max settled-but-uncommitted records per partition, when Kafka takes no commits, such as during a rebalance. At
    /// the limit the partition pauses until a commit succeeds. At half of the limit a commit starts immediately,
    /// without waiting for commit_interval. After a crash at most this number of records is sent again, plus the
    /// calls that were under way, up to delivery.queue_calls of each endpoint (docs/delivery.md). Default 20000.
    pub max_uncommitted: u64,
    /// Settings of librdkafka, passed on unchanged, mainly for security. Settings that delivery guarantees depend on
    /// are refused. The limits, timeouts, linger and compression that a client needs for its task replace settings of
    /// the same name. Default none.
    pub properties: Properties,
}

/// Protocol of the consumer group: which side assigns partitions to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupProtocol {
    #[default]
    Classic,
    Consumer,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            group: "outhook".to_owned(),
            client_id: "outhook".to_owned(),
            group_protocol: GroupProtocol::Classic,
            session_timeout: None,
            instance_id: None,
            commit_interval: Duration::from_millis(250),
            max_uncommitted: 20_000,
            properties: Properties::default(),
        }
    }
}

impl GroupProtocol {
    pub fn name(self) -> &'static str {
        match self {
            GroupProtocol::Classic => "classic",
            GroupProtocol::Consumer => "consumer",
        }
    }
}

impl Kafka {
    /// librdkafka's settings for a client of any kind. Settings of group members are omitted: for a client that is
    /// not a member, librdkafka would check them against its defaults of the other settings.
    pub fn client(&self) -> HashMap<String, String> {
        let mut settings = HashMap::from([("socket.timeout.ms".to_owned(), SOCKET_TIMEOUT_MS.to_owned())]);
        settings.extend(self.properties(|name| !source::GROUP_MEMBER_SETTINGS.contains(&name)));
        settings.insert("bootstrap.servers".to_owned(), self.brokers.clone());
        settings.insert("client.id".to_owned(), self.client_id.clone());
        settings
    }

    fn properties(&self, chosen: impl Fn(&str) -> bool) -> impl Iterator<Item = (String, String)> {
        let chosen = self.properties.iter().filter(move |(name, _)| chosen(name));
        chosen.map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// librdkafka's settings for the member of the group. A property of the user overrides Outhook's value, unless
    /// Outhook depends on that value.
    pub fn consumer(&self, memory: &Memory) -> HashMap<String, String> {
        let mut settings = HashMap::new();
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
        // A new group, and a partition that is added later, start at their first record, so no record is missed.
        set("auto.offset.reset", "earliest".to_owned());
        set("statistics.interval.ms", "5000".to_owned());
        set("queued.max.messages.kbytes", memory.fetch_queue_kib().to_string());
        // librdkafka waits this long after its queue was full. Its default of 1 s starves a small queue.
        set("fetch.queue.backoff.ms", "5".to_owned());
        // A partition that was just assigned or resumed is read only after the broker has answered the pending fetch
        // of the others. If they are idle, that takes half a second with librdkafka's default.
        set("fetch.wait.max.ms", "100".to_owned());
        set("fetch.message.max.bytes", FETCH_BYTES.to_owned());
        set(METADATA_REFRESH, METADATA_REFRESH_MS.to_owned());
        settings.extend(self.client());
        settings.extend(self.properties(|name| source::GROUP_MEMBER_SETTINGS.contains(&name)));
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
        set("group.id", self.group.clone());
        set("group.protocol", self.group_protocol.name().to_owned());
        set("isolation.level", "read_committed".to_owned());
        if let Some(name) = &self.instance_id {
            set("group.instance.id", name.clone());
        }
        if self.group_protocol == GroupProtocol::Classic {
            let session = self.session_timeout();
            set("session.timeout.ms", session.as_millis().to_string());
            set("heartbeat.interval.ms", (session / 3).as_millis().max(1).to_string());
            set("partition.assignment.strategy", "cooperative-sticky".to_owned());
        }
        settings
    }

    /// librdkafka's settings for the member of the group that reads the retry topics. It fetches little ahead,
    /// because records that are not due only take memory.
    pub fn retries_consumer(&self, memory: &Memory) -> HashMap<String, String> {
        let mut settings = self.consumer(memory);
        settings.insert("group.id".to_owned(), self.retries_group());
        settings.insert("queued.max.messages.kbytes".to_owned(), RETRIES_QUEUE_KIB.to_owned());
        settings.insert("fetch.message.max.bytes".to_owned(), RETRIES_FETCH_BYTES.to_owned());
        // A new group never skips waiting calls, even if the user's setting makes it skip row changes.
        settings.insert("auto.offset.reset".to_owned(), "earliest".to_owned());
        settings
    }

    /// The group that reads the retry topics.
    pub fn retries_group(&self) -> String {
        format!("{}-retries", self.group)
    }

    /// The group that reads the overflow log.
    pub fn overflow_group(&self) -> String {
        format!("{}-overflow", self.group)
    }

    /// librdkafka's settings for the member of the group that reads the overflow log.
    pub fn overflow_consumer(&self, memory: &Memory) -> HashMap<String, String> {
        let mut settings = self.retries_consumer(memory);
        settings.insert("group.id".to_owned(), self.overflow_group());
        settings
    }

    /// Max time until a new topic or partition is noticed: `topic.metadata.refresh.interval.ms`.
    pub fn metadata_refresh(&self) -> Duration {
        let set = self.properties.get(METADATA_REFRESH).unwrap_or(METADATA_REFRESH_MS);
        Duration::from_millis(set.parse().unwrap_or_default())
    }

    /// How long the group waits for a crashed member, with the classic protocol.
    pub fn session_timeout(&self) -> Duration {
        self.session_timeout.unwrap_or(SESSION_TIMEOUT)
    }

    /// Max time between two polls before the group removes the client as stuck. Everything that blocks a rebalance
    /// must be shorter.
    pub fn max_poll_interval(&self) -> Duration {
        let set = self.properties.get("max.poll.interval.ms").and_then(|value| value.parse().ok());
        set.map_or(MAX_POLL_INTERVAL, Duration::from_millis)
    }

    /// Finds the problems of the section alone.
    pub(super) fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut add = |key, wrong, help| problems.push(ConfigProblem::of_key(key, wrong, help));
        if self.brokers.trim().is_empty() {
            let help = "set it to host:port of one or more brokers, in the file or as OUTHOOK__KAFKA__BROKERS";
            add("kafka.brokers", "is not set", help);
        }
        for (key, value) in [("kafka.group", Some(&self.group)), ("kafka.instance_id", self.instance_id.as_ref())] {
            if value.is_some_and(|value| value.trim().is_empty()) {
                add(key, "is empty", "set it to a name, or remove it");
            }
        }
        if self.commit_interval.is_zero() {
            let wrong = "is 0s, so offsets would be committed without a pause";
            add("kafka.commit_interval", wrong, "set it to 100ms or more; 250ms is the default");
        }
        if self.max_uncommitted == 0 {
            add("kafka.max_uncommitted", NO_RECORDS, OVER_ZERO);
        }
        problems.extend(self.session_problem());
        let owned = self.owned_property_problems();
        // librdkafka would report an owned property a second time.
        if owned.is_empty() {
            problems.extend(self.librdkafka_problem());
        }
        problems.extend(owned);
        problems
    }

    fn session_problem(&self) -> Option<ConfigProblem> {
        let session = self.session_timeout();
        let (wrong, help) = if self.group_protocol == GroupProtocol::Consumer {
            self.session_timeout?;
            (
                format!("is {session:?}, but with kafka.group_protocol = \"consumer\" the broker decides"),
                "remove it and set group.consumer.session.timeout.ms at the broker, or use \"classic\"",
            )
        } else if session.is_zero() {
            (
                "is 0s, so the group would remove every member as dead".to_owned(),
                "set it to a value over 0; 10s is the default",
            )
        } else if session > self.max_poll_interval() {
            (
                format!("is {session:?}, longer than max.poll.interval.ms, {:?}", self.max_poll_interval()),
                "lower session_timeout, or raise max.poll.interval.ms in [kafka.properties]",
            )
        } else {
            return None;
        };
        Some(ConfigProblem::of_key("kafka.session_timeout", wrong, help))
    }

    fn owned_property_problems(&self) -> Vec<ConfigProblem> {
        let keys = [
            (["bootstrap.servers", "metadata.broker.list"].as_slice(), "brokers", self.brokers.clone()),
            (&["client.id"], "client_id", self.client_id.clone()),
            (&["group.id"], "group", self.group.clone()),
            (&["group.protocol"], "group_protocol", self.group_protocol.name().to_owned()),
            (&["group.instance.id"], "instance_id", self.instance_id.clone().unwrap_or("not set".to_owned())),
            (
                &["session.timeout.ms", "heartbeat.interval.ms"],
                "session_timeout",
                format!("{:?}", self.session_timeout()),
            ),
            (&["auto.commit.interval.ms"], "commit_interval", format!("{:?}", self.commit_interval)),
        ];
        let by_key = keys.iter().flat_map(|(names, key, value)| {
            names.iter().filter_map(move |name| {
                let given = self.properties.get(name)?;
                let message = format!("kafka.properties sets {name} = {given:?}, while kafka.{key} is {value:?}");
                Some(ConfigProblem::new(
                    format!("kafka.properties.{name}"),
                    message,
                    format!("remove it and set kafka.{key}"),
                ))
            })
        });
        let fixed = FIXED_PROPERTIES.iter().filter_map(|(name, needed, why)| {
            let given = self.properties.get(name)?;
            let message = format!("kafka.properties sets {name} = {given:?}, but Outhook sets {needed}: {why}");
            Some(ConfigProblem::new(format!("kafka.properties.{name}"), message, "remove it"))
        });
        by_key.chain(fixed).collect()
    }

    /// The problem of a client that can't be created although each setting is valid alone. librdkafka's reason names
    /// some settings.
    pub fn client_problem(&self, what: &str, reason: &str) -> ConfigProblem {
        let named: Vec<_> = self.properties.iter().filter(|(name, _)| reason.contains(name)).collect();
        let shown = |(name, value): &(&str, &str)| format!("{name} = {:?}", if is_secret(name) { "…" } else { value });
        let given = named.iter().map(shown).collect::<Vec<_>>().join(", ");
        let (key, given) = match named.first() {
            Some((name, _)) => (format!("kafka.properties.{name}"), format!(" with {given}")),
            None => ("kafka.properties".to_owned(), String::new()),
        };
        let message = format!("the Kafka client that {what} can't be created{given}: {reason}");
        ConfigProblem::new(key, message, format!("change the named settings in [kafka.properties]; {SETTINGS_HELP}"))
    }

    /// Lets librdkafka check names and values. That needs no broker.
    fn librdkafka_problem(&self) -> Option<ConfigProblem> {
        let client = self.consumer(&Memory::default()).into_iter().collect();
        let RefusedSetting { name, is_unknown, reason } = settings::refused(&client)?;
        let message = match self.properties.get(&name) {
            // The value of a misspelt name may be a secret, so it is not shown.
            Some(_) if is_unknown => {
                format!("librdkafka has no setting {name}, but kafka.properties sets it")
            }
            // librdkafka's reason may contain the value.
            Some(_) if is_secret(&name) => format!("librdkafka refuses the value of kafka.properties.{name}"),
            Some(value) => format!("librdkafka refuses kafka.properties.{name} = {value:?}: {reason}"),
            None => format!("librdkafka refuses {name}: {reason}"),
        };
        Some(ConfigProblem::new(format!("kafka.properties.{name}"), message, SETTINGS_HELP))
    }
}

/// Settings that the user may not change, each with Outhook's value and the reason. Another value would lose records
/// or show them before they are committed.
const FIXED_PROPERTIES: [(&str, &str, &str); 11] = [
    ("enable.auto.commit", "\"false\"", "offsets are committed only after their records are settled"),
    ("auto.commit.enable", "\"false\"", "offsets are committed only after their records are settled"),
    ("enable.auto.offset.store", "\"false\"", "offsets are committed only after their records are settled"),
    ("partition.assignment.strategy", "\"cooperative-sticky\"", "a rebalance must not stop partitions that stay"),
    ("isolation.level", "\"read_committed\"", "records of aborted transactions must not be sent"),
    ("transactional.id", "it for each writer", "writers of definitions fence each other by it"),
    ("enable.idempotence", "\"true\"", "a dead letter is written exactly once, in order"),
    ("acks", "\"all\"", "a dead letter counts only when all replicas have it"),
    ("request.required.acks", "\"all\"", "a dead letter counts only when all replicas have it"),
    ("enable.partition.eof", "it for each reader", "it detects the end of the definitions"),
    ("allow.auto.create.topics", "\"false\"", "a topic with the broker's default settings would be wrong"),
];
