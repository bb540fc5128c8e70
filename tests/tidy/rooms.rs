//! The dependency rule as a table: which room may use which. A crate in `crates` counts as a room.

/// A room, and the rooms it may use. All of them are above it in [`ROOMS`], so there are no cycles. The test
/// `rooms_use_only_rooms_above_them` checks that.
pub struct Room {
    pub name: &'static str,
    pub may_use: &'static [&'static str],
    /// Without I/O and clock: see [`EFFECTS`].
    pub pure: bool,
}

/// In the order of a row change's journey, leaves first.
pub const ROOMS: &[Room] = &[
    pure("id", &[]),
    pure("vocabulary", &[]),
    pure("json", &[]),
    // Leaves with effects: the clock, readiness and signals, logs and metrics.
    room("time", &[]),
    room("lifecycle", &[]),
    room("telemetry", &[]),
    // A crate: the parts of `outhook dev` around the program.
    room("outhook_dev", &[]),
    // The Kafka client: administration, producers, readers without a group, and what errors mean.
    room("kafka", &[]),
    // One entry per attempt.
    room("message_log", &["kafka", "id"]),
    room("receipt", &[]),
    room("source", &["receipt", "kafka", "telemetry", "lifecycle", "time", "id"]),
    pure("decode", &["json", "vocabulary", "id"]),
    pure("definition", &["json", "vocabulary", "id"]),
    // Compiled definitions. A rule contains counters and the flag that it has ended.
    pure("rules", &["definition", "json", "vocabulary", "id"]),
    pure("matching", &["rules", "definition", "decode", "json", "vocabulary", "id"]),
    // It reads the definitions topic into the index of matching.
    room("store", &["matching", "rules", "definition", "kafka", "id"]),
    pure("render", &["rules", "definition", "decode", "json", "id"]),
    // A message contains its target: the endpoints and secrets of the definition.
    room("deliver", &["render", "rules", "definition", "receipt", "message_log", "lifecycle", "time", "id"]),
    room("settle", &["deliver", "render", "matching", "rules", "decode", "receipt", "message_log", "kafka", "id"]),
    // Reads dead letters.
    room("dead_letters", &["settle", "kafka", "id"]),
    // The state of endpoints over the group. Clock and topic are arguments.
    room("endpoints", &["deliver", "id"]),
    // Tables and fields that were seen. Clock and topic are arguments.
    room("catalogue", &["decode", "json", "vocabulary"]),
    room(
        "pipeline",
        &[
            "catalogue",
            "endpoints",
            "settle",
            "deliver",
            "render",
            "matching",
            "rules",
            "decode",
            "source",
            "receipt",
            "time",
            "vocabulary",
            "id",
        ],
    ),
    // Sends again on request: redrive, resend, replay.
    room("redelivery", &["pipeline", "dead_letters", "settle", "render", "decode", "kafka", "id"]),
    // Counts per event, and the catalogue, in a topic.
    room("stats", &["catalogue", "endpoints", "matching", "rules", "kafka", "telemetry", "time", "id"]),
    room(
        "api",
        &[
            "stats",
            "redelivery",
            "catalogue",
            "endpoints",
            "dead_letters",
            "deliver",
            "render",
            "store",
            "matching",
            "rules",
            "definition",
            "decode",
            "message_log",
            "kafka",
            "telemetry",
            "time",
            "lifecycle",
            "json",
            "vocabulary",
            "id",
        ],
    ),
    room(
        "config",
        &[
            "api",
            "stats",
            "settle",
            "deliver",
            "render",
            "store",
            "definition",
            "decode",
            "source",
            "message_log",
            "kafka",
            "telemetry",
            "vocabulary",
            "id",
        ],
    ),
    room("topics", &["config", "stats", "settle", "store", "message_log", "kafka"]),
    free("app"),
    free("dev"),
    free("cli"),
    free("main"),
];

/// Rooms that are crates: `crate::` in their files is their root.
pub const CRATES: &[&str] = &["outhook_dev"];

/// Pure modules in rooms with effects.
pub const PURE_MODULES: &[&str] = &[
    "source::completion",
    "source::fetch_progress",
    "source::lines",
    "source::ledger",
    "kafka::topic_reader::cursor",
    "kafka::topic_reader::merge",
    "redelivery::replay::range",
    "message_log::entry",
    "message_log::filter",
    "dead_letters::letter",
    "dead_letters::letter::filter",
    "endpoints::group",
    "endpoints::orders",
    "endpoints::report",
    "deliver::policy",
    "deliver::policy::breaker",
    "deliver::policy::classify",
    "deliver::policy::concurrency",
    "deliver::policy::drain_rate",
    "deliver::policy::schedule",
    "deliver::lane::row_queue",
    "deliver::throttle::slots",
    "settle::tiers",
    "catalogue::type_inference",
    "catalogue::table_schema",
    "stats::record",
    "stats::sums",
];

/// Names that pure code may not use: the network, Kafka, the clock and random numbers.
pub const EFFECTS: &[&str] = &[
    "tokio",
    "tokio_util",
    "rdkafka",
    "hyper",
    "std::net::TcpStream",
    "std::fs",
    "std::time::Instant",
    "std::time::SystemTime",
    "jiff::Timestamp::now",
    "Timestamp::now",
    "Instant::now",
    "SystemTime::now",
    "Uuid::new_v4",
    "ring::rand",
    "fastrand",
    "crate::time",
];

/// Names of shared mutable state, and of types that can hide it. Pure code may not use them either.
pub struct SharedState {
    pub names: &'static [&'static str],
    /// Modules of pure rooms that may use it: all partitions look up and count in the same structures.
    pub modules: &'static [&'static str],
}

pub const SHARED_STATE: SharedState = SharedState {
    names: &["std::sync::atomic", "std::sync::Mutex", "std::sync::RwLock", "parking_lot", "std::any", "dashmap"],
    modules: &["decode::whole_tables", "endpoints::orders", "matching::index", "rules::counts", "rules::rule"],
};

/// A part of the program that is constructed once: by this function, called in `app` and in its own room.
pub struct Constructed {
    pub room: &'static str,
    pub of: &'static str,
    pub function: &'static str,
}

pub const CONSTRUCTED: &[Constructed] = &[
    constructed("store", "Store", "start"),
    constructed("message_log", "LogWriter", "new"),
    constructed("settle", "Settler", "new"),
    constructed("deliver", "Lanes", "new"),
    constructed("stats", "Stats", "start"),
    constructed("source", "Source", "start"),
];

/// Rooms that construct parts: `app` constructs all, `cli` those of a command.
pub const CONSTRUCT: &[&str] = &["app", "cli"];

/// Rooms at the edge, which may read the environment. Other rooms get the values as arguments.
pub const READ_THE_ENVIRONMENT: &[&str] = &["cli", "dev"];

/// Rooms that may name the library of the Kafka client: `source` has the group's consumer, `outhook_dev` the embedded
/// broker. Other rooms use `kafka`.
pub const NAME_RDKAFKA: &[&str] = &["kafka", "source", "outhook_dev"];

/// Names that do not describe the contents.
pub const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];

const fn constructed(room: &'static str, of: &'static str, function: &'static str) -> Constructed {
    Constructed { room, of, function }
}

const fn pure(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, may_use, pure: true }
}

const fn room(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, may_use, pure: false }
}

/// A room that connects others and may use all of them.
const fn free(name: &'static str) -> Room {
    room(name, &["*"])
}

impl Room {
    pub fn named(name: &str) -> Option<&'static Room> {
        ROOMS.iter().find(|room| room.name == name)
    }

    pub fn may_use(&self, other: &str) -> bool {
        self.name == other || self.may_use.iter().any(|allowed| *allowed == "*" || *allowed == other)
    }
}
