//! Which room of the crate may use which: the dependency rule as a table.

/// A room, and the rooms it may use. A room stands below all that it uses, so the rule has no cycles:
/// `the_table_points_only_up` holds the table to it.
pub struct Room {
    pub name: &'static str,
    pub may_use: &'static [&'static str],
    /// Without I/O and clock: see [`EFFECTS`].
    pub pure: bool,
}

/// In the order of a row change's journey, leaves first.
pub const ROOMS: &[Room] = &[
    leaf("id"),
    leaf("vocabulary"),
    leaf("json"),
    // Leaves that do touch the world: a drain watch, logs, the metrics' registry.
    room("lifecycle", &[]),
    room("telemetry", &[]),
    // Why Kafka does not answer, for all who ask it.
    room("brokers", &[]),
    // A topic read back from its end, whatever its records are.
    room("journal", &["id", "brokers"]),
    // What is told of attempts; who tells it stands below.
    room("message_log", &["journal", "id", "brokers"]),
    room("receipt", &["id"]),
    room("source", &["receipt", "id", "lifecycle", "telemetry", "brokers"]),
    pure("decode", &["id", "vocabulary", "json"]),
    pure("definition", &["id", "vocabulary", "json"]),
    pure("matching", &["definition", "decode", "id", "vocabulary", "json"]),
    // It follows the definitions into the index that matching reads.
    room("store", &["matching", "definition", "id", "vocabulary", "json", "lifecycle", "telemetry", "brokers"]),
    pure("render", &["matching", "definition", "decode", "id", "vocabulary", "json"]),
    // A message's target holds its endpoints and its secret, which are the definition's.
    room("deliver", &["render", "matching", "definition", "message_log", "receipt", "id", "lifecycle", "telemetry"]),
    room(
        "settle",
        &[
            "deliver",
            "render",
            "matching",
            "decode",
            "message_log",
            "receipt",
            "journal",
            "id",
            "lifecycle",
            "telemetry",
            "brokers",
        ],
    ),
    // How endpoints stand on each instance; the clock and the topic are handed in.
    room("endpoints", &["deliver", "id"]),
    // What tables and fields were seen; the clock and the topic are handed in.
    room("catalogue", &["decode", "id", "vocabulary", "json"]),
    room(
        "pipeline",
        &[
            "source",
            "decode",
            "matching",
            "render",
            "deliver",
            "settle",
            "endpoints",
            "catalogue",
            "receipt",
            "vocabulary",
            "id",
        ],
    ),
    // Records of the past go a pipeline's way once more.
    room("replay", &["pipeline", "settle", "render", "decode", "journal", "id"]),
    // It sums what is counted by event, and keeps that and the catalogue in a topic, which it reads like the store's.
    room(
        "stats",
        &["store", "matching", "catalogue", "endpoints", "journal", "id", "lifecycle", "telemetry", "brokers"],
    ),
    room(
        "api",
        &[
            "store",
            "stats",
            "catalogue",
            "definition",
            "decode",
            "matching",
            "render",
            "source",
            "deliver",
            "settle",
            "endpoints",
            "replay",
            "message_log",
            "journal",
            "id",
            "vocabulary",
            "json",
            "lifecycle",
            "telemetry",
        ],
    ),
    room(
        "config",
        &[
            "source",
            "decode",
            "definition",
            "store",
            "render",
            "deliver",
            "settle",
            "message_log",
            "stats",
            "api",
            "id",
            "vocabulary",
            "telemetry",
        ],
    ),
    room("topics", &["config", "store", "settle", "message_log", "stats", "id", "brokers"]),
    free("app"),
    free("dev"),
    free("cli"),
    free("main"),
];

/// Modules of rooms with effects that have none themselves.
pub const PURE_MODULES: &[&str] = &[
    "source::completion",
    "source::ledger",
    "journal::cursor",
    "journal::merge",
    "replay::range",
    "message_log::entry",
    "message_log::filter",
    "settle::letter",
    "settle::letter::filter",
    "deliver::classify",
    "deliver::schedule",
    "deliver::row_queue",
    "catalogue::type_inference",
    "catalogue::table_schema",
    "stats::record",
    "stats::sums",
];

/// What pure code does not name: the network, Kafka and the clock.
pub const EFFECTS: &[&str] = &[
    "tokio",
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
];

/// The rooms at the edge, which may read the environment; the others are told what they need to know.
pub const READ_THE_ENVIRONMENT: &[&str] = &["cli", "dev"];

/// Names that say nothing of what is inside.
pub const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc"];

const fn leaf(name: &'static str) -> Room {
    pure(name, &[])
}

const fn pure(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, may_use, pure: true }
}

const fn room(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, may_use, pure: false }
}

/// A room that puts others together and may use all of them.
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
