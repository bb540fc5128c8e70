//! Where dead letters go, where calls wait and where they get their order: the `[dead_letters]`, `[retries]` and
//! `[row_order]` sections, and that of operator events.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::Deserialize;
use serde::de::Deserializer;

use super::Tiers;
use crate::kafka::topic_reader::days;

/// The topic for what will not be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The topic's name. Default "outhook.dead-letters".
    pub topic: String,
    /// How many partitions it is created with. Default 3.
    pub partitions: i32,
    /// How many replicas it is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
    /// How long dead letters are kept, for a topic that is created. Default 30d.
    #[serde(deserialize_with = "days")]
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topic: "outhook.dead-letters".to_owned(),
            partitions: 3,
            replication_factor: None,
            retention: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Config {
    /// # Errors
    /// A sentence that names the setting, its value and the mend.
    pub fn check(&self) -> Result<(), String> {
        if self.partitions < 1 {
            return Err(format!(
                "dead_letters.partitions is {}, but a topic has at least one: 3 is the default",
                self.partitions
            ));
        }
        if self.retention.is_zero() {
            return Err(
                "dead_letters.retention is 0s, so dead letters would be deleted unseen: 30d is the default".into()
            );
        }
        Ok(())
    }
}

/// The topics in which calls wait for their next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// What the names of the retry topics begin with: with "outhook.retry" that of the tier 5m is outhook.retry.5m. Default "outhook.retry".
    pub topic: String,
    /// The delays of the retry topics, the shortest first. A wait between two of them is spent in several. Default ["1s", "5s", "30s", "5m", "30m", "2h", "5h", "10h", "14h", "20h"].
    #[serde(deserialize_with = "durations")]
    pub tiers: Vec<Duration>,
    /// How many partitions each of them is created with: so many instances can work on it. Default 4.
    pub partitions: i32,
    /// How many replicas each of them is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
}

impl Default for Retries {
    fn default() -> Self {
        let tiers = [1, 5, 30, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000];
        Self {
            topic: "outhook.retry".to_owned(),
            tiers: tiers.map(Duration::from_secs).to_vec(),
            partitions: 4,
            replication_factor: None,
        }
    }
}

/// The topic in which calls wait that their endpoints don't take at once: because more comes than they take, or because
/// they fail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overflow {
    /// The topic's name. Default "outhook.overflow".
    pub topic: String,
    /// How many partitions it is created with: so many instances can work on it, and each is a share of what CallThrottling allows. Default 16.
    pub partitions: i32,
    /// How many replicas it is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
}

impl Default for Overflow {
    fn default() -> Self {
        Self { topic: "outhook.overflow".to_owned(), partitions: 16, replication_factor: None }
    }
}

impl Overflow {
    /// # Errors
    /// A sentence that names the setting, its value and the fix.
    pub fn check(&self) -> Result<(), String> {
        at_least_one("overflow.partitions", self.partitions, 16)
    }
}

/// The topic through which the calls of webhooks go that want them in row order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowOrder {
    /// The topic's name. Default "outhook.row-order".
    pub topic: String,
    /// How many partitions it is created with: so many instances can work on it. Another number later takes rows out of their order for a while. Default 4.
    pub partitions: i32,
    /// How many replicas it is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
}

impl Default for RowOrder {
    fn default() -> Self {
        Self { topic: "outhook.row-order".to_owned(), partitions: 4, replication_factor: None }
    }
}

impl RowOrder {
    /// # Errors
    /// A sentence that names the setting, its value and the mend.
    pub fn check(&self) -> Result<(), String> {
        at_least_one("row_order.partitions", self.partitions, 4)
    }
}

fn at_least_one(key: &str, partitions: i32, default: i32) -> Result<(), String> {
    match partitions {
        1.. => Ok(()),
        _ => Err(format!("{key} is {partitions}, but a topic has at least one: {default} is the default")),
    }
}

/// The topic for what operators should know of endpoints. Outhook reads it like a source, as row changes of the table
/// outhook.endpoints in the account of the webhook.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorEvents {
    /// The topic's name. Default "outhook.operator-events".
    pub topic: String,
    /// How many replicas it is created with. Default: as the broker's default.replication.factor says.
    pub replication_factor: Option<i32>,
}

impl Default for OperatorEvents {
    fn default() -> Self {
        Self { topic: "outhook.operator-events".to_owned(), replication_factor: None }
    }
}

/// The shortest delay of a retry topic: what is shorter is better waited for in memory.
const SHORTEST_TIER: Duration = Duration::from_millis(100);
/// The longest delay of the shortest tier: a call that its endpoint has no place for waits at least so long.
const LONGEST_FIRST_TIER: Duration = Duration::from_secs(60);

impl Retries {
    /// The topics.
    pub fn tiers(&self) -> Tiers {
        Tiers::new(&self.topic, &self.tiers)
    }

    /// # Errors
    /// A sentence that names the setting, its value and the mend.
    pub fn check(&self) -> Result<(), String> {
        if self.partitions < 1 {
            return Err(format!(
                "retries.partitions is {}, but a topic has at least one: 4 is the default",
                self.partitions
            ));
        }
        let Some(first) = self.tiers.first() else {
            return Err("retries.tiers is empty, so calls could wait nowhere: leave it out for the default".into());
        };
        if !(SHORTEST_TIER..=LONGEST_FIRST_TIER).contains(first) {
            return Err(format!("retries.tiers begins with {first:?}, but the first has to be from 100ms to 1m"));
        }
        if let Some(pair) = self.tiers.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(format!(
                "retries.tiers has {:?} before {:?}, but each has to be longer than the one before it",
                pair[0], pair[1]
            ));
        }
        match self.tiers.iter().find(|tier| tier.subsec_nanos() % 1_000_000 != 0) {
            Some(tier) => Err(format!("retries.tiers has {tier:?}, but a tier is whole milliseconds")),
            None => Ok(()),
        }
    }
}

fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Wait(#[serde(with = "duration")] Duration);
    Ok(Vec::<Wait>::deserialize(deserializer)?.into_iter().map(|wait| wait.0).collect())
}
