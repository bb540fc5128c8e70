//! The Kafka cluster and the consumer group: the `[kafka]` section.

use std::collections::HashMap;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as duration;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use serde::Deserialize;

use super::properties::is_secret;
use super::{ConfigProblem, Memory, Properties};
use crate::source;

/// After a crash a member's partitions are silent until its session ends, so Kafka's own 45 seconds are
/// 45 seconds without webhooks. Heartbeats come from a thread of librdkafka's own, which no load of ours
/// can hold up, so little speaks for waiting that long; 10 seconds outlast a failover of the group's broker
/// and stay over the 6 seconds that brokers accept by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker may take to answer, in milliseconds. One that hangs takes connections for a long time and says
/// nothing: its partitions have other leaders after 9 seconds (Kafka's `broker.session.timeout.ms`), but librdkafka looks for
/// them only once a request has timed out, with its own default after a minute. More than a rebalance takes with
/// [`SESSION_TIMEOUT`] and the drain's deadline as they are: commits are answered behind it.
const ANSWER_MS: &str = "20000";

/// What is fetched ahead of each partition of a retry topic, in KiB.
const RETRIES_QUEUE_KIB: &str = "1024";

/// How much of a partition is fetched at once, in bytes as they are in the log. librdkafka holds what is fetched
/// decompressed until all of it is consumed, and row changes are often a tenth of their size when compressed: with its
/// default of 1 MiB that took more memory than all else.
const FETCH_BYTES: &str = "262144";
/// The same of a retry topic, where most of what is fetched waits for its time.
const RETRIES_FETCH_BYTES: &str = "65536";

/// How often it is looked whether there are new topics and partitions, in milliseconds. librdkafka's own default is five
/// minutes, and Debezium makes a topic for each new table.
const METADATA_REFRESH_MS: &str = "10000";
const METADATA_REFRESH: &str = "topic.metadata.refresh.interval.ms";
/// Where people read of them.
const SETTINGS: &str = "its settings: https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md";

/// librdkafka's own default for `max.poll.interval.ms`.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(300);

/// The cluster, and this instance's place in its consumer group.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to start from, as `host:port` with commas between them. Required.
    pub brokers: String,
    /// The consumer group. Instances with the same group share the topics' partitions. The retry topics and the topic of row order are read by a group of the same name with -retries behind it, the overflow log by one with -overflow. Default "outhook".
    pub group: String,
    /// What brokers call this client in their logs and quotas. Default "outhook".
    pub client_id: String,
    /// How the group is run: "classic", with cooperative rebalancing by the members, or "consumer", by the broker (KIP-848, Kafka 4.0 and later), with which commits go on in a rebalance, but which has its own trouble when brokers fail (docs/delivery.md). Default "classic".
    pub group_protocol: GroupProtocol,
    /// How long the group waits for a member that has crashed before others take over its partitions. Kafka's own default is 45s, all of it silence for those partitions. Only with group_protocol = "classic"; otherwise it is the broker's group.consumer.session.timeout.ms. Default: 10s.
    #[serde(with = "duration::optional")]
    pub session_timeout: Option<Duration>,
    /// A name that stays the same over restarts makes the member static (KIP-345): a restart within session_timeout moves no partitions. Each instance needs its own. When Kafka was away for longer than the session timeout, it may shut a static member out: `run` then ends with 1, to be started again. Default none.
    pub instance_id: Option<String>,
    /// How often offsets of settled records are committed. After a crash, what was settled since the last commit is sent again. Default 250ms.
    #[serde(with = "duration::required")]
    pub commit_interval: Duration,
    /// How many records of one partition are done without a commit that says so until the partition is not read on, when Kafka takes no commits, such as in a rebalance. At half of it a commit does not wait for its turn. So many, and what was under way then, up to delivery.queue_calls of each endpoint, are sent again after a crash at most (docs/delivery.md). Default 20000.
    pub max_uncommitted: u64,
    /// Settings of librdkafka, passed on as they are: security above all. Those that Outhook must set itself are refused. Default none.
    pub properties: Properties,
}

/// Who assigns partitions to the group's members.
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
    /// librdkafka's settings for a client of any kind. What is about a group's members is not for those that are none:
    /// librdkafka would hold it against its own defaults for the rest.
    pub fn client(&self) -> HashMap<String, String> {
        let mut settings = HashMap::from([("socket.timeout.ms".to_owned(), ANSWER_MS.to_owned())]);
        settings.extend(self.properties(|name| !source::OF_MEMBERS.contains(&name)));
        settings.insert("bootstrap.servers".to_owned(), self.brokers.clone());
        settings.insert("client.id".to_owned(), self.client_id.clone());
        settings
    }

    fn properties(&self, chosen: impl Fn(&str) -> bool) -> impl Iterator<Item = (String, String)> {
        let chosen = self.properties.iter().filter(move |(name, _)| chosen(name));
        chosen.map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// librdkafka's settings for the member of the group. A property set by the user goes before a choice of
    /// ours, unless Outhook needs it.
    pub fn consumer(&self, memory: &Memory) -> HashMap<String, String> {
        let mut settings = HashMap::new();
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
        // A new group, and a partition added later, start where their records start: nothing is missed.
        set("auto.offset.reset", "earliest".to_owned());
        set("statistics.interval.ms", "5000".to_owned());
        set("queued.max.messages.kbytes", memory.fetch_queue_kib().to_string());
        // librdkafka waits this long once its queue is full; its default of 1 s starves a small queue.
        set("fetch.queue.backoff.ms", "5".to_owned());
        // A partition that is assigned, or has room again, is not read before the broker has answered the request
        // for the others: with librdkafka's default that is half a second where they are idle.
        set("fetch.wait.max.ms", "100".to_owned());
        set("fetch.message.max.bytes", FETCH_BYTES.to_owned());
        set(METADATA_REFRESH, METADATA_REFRESH_MS.to_owned());
        settings.extend(self.client());
        settings.extend(self.properties(|name| source::OF_MEMBERS.contains(&name)));
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

    /// The same for the member of the group that reads the retry topics: little of them is fetched ahead, since what is
    /// not due only takes memory.
    pub fn retries_consumer(&self, memory: &Memory) -> HashMap<String, String> {
        let mut settings = self.consumer(memory);
        settings.insert("group.id".to_owned(), self.retries_group());
        settings.insert("queued.max.messages.kbytes".to_owned(), RETRIES_QUEUE_KIB.to_owned());
        settings.insert("fetch.message.max.bytes".to_owned(), RETRIES_FETCH_BYTES.to_owned());
        // Whatever a new group skips of the changes: a call that waits is never skipped.
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

    /// The same for the member of the group that reads the overflow log.
    pub fn overflow_consumer(&self, memory: &Memory) -> HashMap<String, String> {
        let mut settings = self.retries_consumer(memory);
        settings.insert("group.id".to_owned(), self.overflow_group());
        settings
    }

    /// How long a new topic or partition may not be noticed: `topic.metadata.refresh.interval.ms`.
    pub fn metadata_refresh(&self) -> Duration {
        let set = self.properties.get(METADATA_REFRESH).unwrap_or(METADATA_REFRESH_MS);
        Duration::from_millis(set.parse().unwrap_or_default())
    }

    /// How long the group waits for a crashed member, with the classic protocol.
    pub fn session_timeout(&self) -> Duration {
        self.session_timeout.unwrap_or(SESSION_TIMEOUT)
    }

    /// How long the client may go without polling before the group takes it for stuck: the bound of whatever
    /// blocks a rebalance.
    pub fn max_poll_interval(&self) -> Duration {
        let set = self.properties.get("max.poll.interval.ms").and_then(|value| value.parse().ok());
        set.map_or(MAX_POLL_INTERVAL, Duration::from_millis)
    }

    /// What is wrong with the section by itself.
    pub(super) fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if self.brokers.trim().is_empty() {
            let help = "set it to host:port of one or more brokers, in the file or as OUTHOOK__KAFKA__BROKERS";
            problems.push(ConfigProblem::with("kafka.brokers", "kafka.brokers is not set", help));
        }
        for (key, value) in [("kafka.group", Some(&self.group)), ("kafka.instance_id", self.instance_id.as_ref())] {
            if value.is_some_and(|value| value.trim().is_empty()) {
                problems.push(ConfigProblem::with(key, format!("{key} is empty"), "give it a name, or leave it out"));
            }
        }
        if self.commit_interval.is_zero() {
            let message = "kafka.commit_interval is 0s, so offsets would be committed without pause";
            problems.push(ConfigProblem::with("kafka.commit_interval", message, "100ms is already very often"));
        }
        if self.max_uncommitted == 0 {
            let message = "kafka.max_uncommitted is 0, so no record could ever be read";
            problems.push(ConfigProblem::with(
                "kafka.max_uncommitted",
                message,
                "give it a value over 0, or leave it out",
            ));
        }
        problems.extend(self.session_problem());
        let owned = self.owned_properties();
        // librdkafka would name an owned property a second time.
        if owned.is_empty() {
            problems.extend(self.refused_by_librdkafka());
        }
        problems.extend(owned);
        problems
    }

    fn session_problem(&self) -> Option<ConfigProblem> {
        let session = self.session_timeout();
        let (message, help) = if self.group_protocol == GroupProtocol::Consumer {
            self.session_timeout?;
            (
                format!(
                    "kafka.session_timeout is {session:?}, but with kafka.group_protocol = \"consumer\" the broker decides"
                ),
                "remove it and set group.consumer.session.timeout.ms at the broker, or use \"classic\"".to_owned(),
            )
        } else if session.is_zero() {
            (
                "kafka.session_timeout is 0s, so every member would be taken for dead".to_owned(),
                "10s is the default".to_owned(),
            )
        } else if session > self.max_poll_interval() {
            let limit = self.max_poll_interval();
            (
                format!("kafka.session_timeout is {session:?}, longer than max.poll.interval.ms, {limit:?}"),
                "lower the one or raise the other in [kafka.properties]".to_owned(),
            )
        } else {
            return None;
        };
        Some(ConfigProblem::with("kafka.session_timeout", message, help))
    }

    fn owned_properties(&self) -> Vec<ConfigProblem> {
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
                Some(ConfigProblem::with(
                    format!("kafka.properties.{name}"),
                    message,
                    format!("remove it and set kafka.{key}"),
                ))
            })
        });
        let fixed = FIXED.iter().filter_map(|(name, needed, why)| {
            let given = self.properties.get(name)?;
            let message = format!("kafka.properties sets {name} = {given:?}, but Outhook sets {needed}: {why}");
            Some(ConfigProblem::with(format!("kafka.properties.{name}"), message, "remove it"))
        });
        by_key.chain(fixed).collect()
    }

    /// A client that can't be made though each of its settings is fine by itself: librdkafka's reason names some.
    pub fn refused_client(&self, what: &str, reason: &str) -> ConfigProblem {
        let named: Vec<_> = self.properties.iter().filter(|(name, _)| reason.contains(name)).collect();
        let shown = |(name, value): &(&str, &str)| format!("{name} = {:?}", if is_secret(name) { "…" } else { value });
        let given = named.iter().map(shown).collect::<Vec<_>>().join(", ");
        let (key, given) = match named.first() {
            Some((name, _)) => (format!("kafka.properties.{name}"), format!(" with {given}")),
            None => ("kafka.properties".to_owned(), String::new()),
        };
        let message = format!("the Kafka client that {what} can't be made{given}: {reason}");
        ConfigProblem::with(key, message, format!("change what it names in [kafka.properties]; {SETTINGS}"))
    }

    /// Lets librdkafka look at names and values, which needs no broker.
    fn refused_by_librdkafka(&self) -> Option<ConfigProblem> {
        let client: ClientConfig = self.consumer(&Memory::default()).into_iter().collect();
        let Err(KafkaError::ClientConfig(outcome, reason, name, _)) = client.create_native_config() else {
            return None;
        };
        let message = match self.properties.get(&name) {
            // Neither name nor reason says whether the value of a misspelt name is a secret.
            Some(_) if outcome == RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => {
                format!("librdkafka knows no setting {name}, which kafka.properties has")
            }
            // Its reason may hold the value.
            Some(_) if is_secret(&name) => format!("librdkafka refuses the value of kafka.properties.{name}"),
            Some(value) => format!("librdkafka refuses kafka.properties.{name} = {value:?}: {reason}"),
            None => format!("librdkafka refuses {name}: {reason}"),
        };
        Some(ConfigProblem::with(format!("kafka.properties.{name}"), message, SETTINGS))
    }
}

/// Settings that are not the user's: another value would lose records or have them seen before they count.
const FIXED: [(&str, &str, &str); 11] = [
    ("enable.auto.commit", "\"false\"", "offsets are committed only behind settled records"),
    ("auto.commit.enable", "\"false\"", "offsets are committed only behind settled records"),
    ("enable.auto.offset.store", "\"false\"", "offsets are committed only behind settled records"),
    ("partition.assignment.strategy", "\"cooperative-sticky\"", "a rebalance must not stop partitions that stay"),
    ("isolation.level", "\"read_committed\"", "what a transaction took back must not be sent"),
    ("transactional.id", "it for each writer", "writers of definitions fence each other by it"),
    ("enable.idempotence", "\"true\"", "a dead letter is written exactly once, in order"),
    ("acks", "\"all\"", "a dead letter counts only when all replicas have it"),
    ("request.required.acks", "\"all\"", "a dead letter counts only when all replicas have it"),
    ("enable.partition.eof", "it for each reader", "definitions are read to their end by it"),
    ("allow.auto.create.topics", "\"false\"", "a topic with the broker's defaults would be the wrong one"),
];
