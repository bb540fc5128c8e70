//! Closed vocabularies that row changes and definitions share: operations and event sources.

use std::fmt;
use std::str::FromStr;

/// Operation on a row. Definitions and messages spell it `table.recordInsert` and so on, records of the `outhook`
/// format `insert`, `update`, `delete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    Insert,
    Update,
    Delete,
}

impl Operation {
    pub const ALL: [Operation; 3] = [Operation::Insert, Operation::Update, Operation::Delete];

    /// The event type in definitions and messages: `table.recordInsert`.
    pub fn event_type(self) -> &'static str {
        match self {
            Operation::Insert => "table.recordInsert",
            Operation::Update => "table.recordUpdate",
            Operation::Delete => "table.recordDelete",
        }
    }

    /// Parses an event type, ignoring case.
    pub fn from_event_type(text: &str) -> Option<Operation> {
        Self::ALL.into_iter().find(|operation| operation.event_type().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
        })
    }
}

/// The kind of program that made a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventSource {
    Datasheet,
    DataPages,
    DataParts,
    Extensions,
    RestApis,
    TriggeredActions,
    Tasks,
}

impl EventSource {
    pub const ALL: [EventSource; 7] = [
        EventSource::Datasheet,
        EventSource::DataPages,
        EventSource::DataParts,
        EventSource::Extensions,
        EventSource::RestApis,
        EventSource::TriggeredActions,
        EventSource::Tasks,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EventSource::Datasheet => "Datasheet",
            EventSource::DataPages => "DataPages",
            EventSource::DataParts => "DataParts",
            EventSource::Extensions => "Extensions",
            EventSource::RestApis => "RESTAPIs",
            EventSource::TriggeredActions => "TriggeredActions",
            EventSource::Tasks => "Tasks",
        }
    }
}

impl fmt::Display for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not an event source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an event source: use Datasheet, DataPages, DataParts, Extensions, RESTAPIs, TriggeredActions or Tasks"
)]
pub struct UnknownEventSource(pub String);

impl FromStr for EventSource {
    type Err = UnknownEventSource;

    /// Parses an event source, ignoring case. `Datasheets`, from Caspio's own example, is `Datasheet`.
    fn from_str(text: &str) -> Result<Self, UnknownEventSource> {
        if text.eq_ignore_ascii_case("Datasheets") {
            return Ok(EventSource::Datasheet);
        }
        Self::ALL
            .into_iter()
            .find(|source| source.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownEventSource(text.to_owned()))
    }
}

/// A set of event sources. In a definition the empty set accepts all sources, including unknown ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventSources(u8);

impl EventSources {
    pub fn insert(&mut self, source: EventSource) {
        self.0 |= 1 << source as u8;
    }

    /// Whether the set accepts a change made by `source`. Only the empty set accepts a change without a known source.
    pub fn accept(self, source: Option<EventSource>) -> bool {
        self.0 == 0 || source.is_some_and(|source| self.0 & (1 << source as u8) != 0)
    }
}

impl FromIterator<EventSource> for EventSources {
    fn from_iter<I: IntoIterator<Item = EventSource>>(sources: I) -> Self {
        let mut set = Self::default();
        sources.into_iter().for_each(|source| set.insert(source));
        set
    }
}
