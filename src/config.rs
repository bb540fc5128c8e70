//! The configuration: a TOML file and environment overrides become one checked [`Config`]. Nothing else
//! reads either.
//!
//! Each part owns its section's type; this module composes them and holds them against each other. What
//! can't work together is refused before anything starts, with both values.

mod contradictions;
mod document;
mod kafka;
mod limits;
mod prefix;
mod problem;
mod properties;
mod reader;
mod secrets;
mod source;
mod topic_pattern;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::document::{ConfigDocument, Override};
pub use self::kafka::{GroupProtocol, Kafka};
pub use self::limits::{Drain, Limits, Memory, Render};
pub use self::prefix::Topics;
pub use self::problem::ConfigProblem;
pub use self::properties::Properties;
pub use self::secrets::in_file;
pub use self::source::SourceConfig;
pub use self::topic_pattern::TopicPattern;
use crate::definition::guard::Guard;
use crate::definition::rules::{self, Policy};
use crate::id::AccountId;
use crate::{api, deliver, message_log, settle, stats, store, telemetry};

/// What names of environment variables start with that override keys: `OUTHOOK__KAFKA__BROKERS` is
/// `kafka.brokers`.
pub const ENVIRONMENT_PREFIX: &str = "OUTHOOK__";

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The Kafka cluster, and this instance's place in its consumer group.
    pub kafka: Kafka,
    /// Topics with row changes, and how their records are read. `run` needs at least one.
    pub sources: Vec<SourceConfig>,
    /// What Outhook's own topics are called.
    pub topics: Topics,
    /// The topic that holds webhooks and events.
    pub definitions: store::Config,
    /// The topic for what will not be tried again.
    pub dead_letters: settle::Config,
    /// The topics in which calls wait for their next attempt.
    pub retries: settle::Retries,
    /// The topic in which calls wait for endpoints that take less than comes, or that fail.
    pub overflow: settle::Overflow,
    /// The topic through which the calls of webhooks go that want them in row order.
    pub row_order: settle::RowOrder,
    /// The topic for what operators should know of endpoints.
    pub operator_events: settle::OperatorEvents,
    /// The topic for what became of every attempt.
    pub message_log: message_log::Config,
    /// The topic for what is counted, and for the tables and fields that were seen.
    pub stats: stats::Config,
    /// How calls are made.
    pub delivery: deliver::Config,
    /// What is put into messages.
    pub render: Render,
    /// What accounts may ask for.
    pub limits: Limits,
    /// What may be in memory.
    pub memory: Memory,
    /// How a stop behaves.
    pub drain: Drain,
    /// Where the API, metrics and health are served.
    pub listen: api::Config,
    /// How clients of the API are known.
    pub api: api::Access,
    /// What is logged, and how.
    pub log: telemetry::Config,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no configuration: {} does not exist", .path.display())]
    Missing { path: PathBuf },
    #[error("can't read {}: {reason}", .path.display())]
    Unreadable { path: PathBuf, reason: std::io::Error },
    /// All problems that one look finds: a syntax or type error stands alone, contradictions come together.
    #[error("{}", problem::lines(.0))]
    Invalid(Vec<ConfigProblem>),
}

/// Where the configuration's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFile {
    /// Named by the user: it must be there.
    Named(PathBuf),
    /// The default place: it may be missing when the environment holds the configuration.
    Default(PathBuf),
}

impl Config {
    /// Reads the file, lays the overrides over it, and checks the whole.
    ///
    /// # Errors
    /// No file, or what is in it or in an override can't be used.
    pub fn load(file: &ConfigFile, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Error> {
        Self::load_for(file, environment, &|_| Vec::new())
    }

    /// The same for who does more with it, and finds more that is wrong with what holds together.
    ///
    /// # Errors
    /// The same, and what was found.
    pub fn load_for(
        file: &ConfigFile,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        find: &dyn Fn(&Config) -> Vec<ConfigProblem>,
    ) -> Result<Self, Error> {
        let (ConfigFile::Named(path) | ConfigFile::Default(path)) = file;
        let overrides = environment.into_iter().filter_map(our_variable).collect::<Result<Vec<_>, _>>()?;
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(reason) if reason.kind() != ErrorKind::NotFound => {
                return Err(Error::Unreadable { path: path.clone(), reason });
            }
            Err(_) if matches!(file, ConfigFile::Default(_)) && !overrides.is_empty() => String::new(),
            Err(_) => return Err(Error::Missing { path: path.clone() }),
        };
        Self::parse_for(path, &text, overrides, find)
    }

    /// The same from a text; `path` is what errors call it, and every pair of `overrides` is one.
    ///
    /// # Errors
    /// What is in the text or in an override can't be used.
    pub fn parse(path: &Path, text: &str, overrides: Vec<(String, String)>) -> Result<Self, Error> {
        Self::parse_for(path, text, overrides, &|_| Vec::new())
    }

    fn parse_for(
        path: &Path,
        text: &str,
        overrides: Vec<(String, String)>,
        find: &dyn Fn(&Config) -> Vec<ConfigProblem>,
    ) -> Result<Self, Error> {
        let alone = |problem| Error::Invalid(vec![problem]);
        let overrides = Override::all(overrides, text.len());
        let document = ConfigDocument::parse(path, text, &overrides).map_err(alone)?;
        let mut config: Self = document.read().map_err(alone)?;
        prefix::lay(&mut config, |key| document.has(key));
        let mut problems = contradictions::find(&config);
        if problems.is_empty() {
            problems = find(&config);
        }
        if problems.is_empty() {
            return Ok(config);
        }
        problems.iter_mut().for_each(|problem| document.locate(problem));
        Err(Error::Invalid(problems))
    }

    /// Refuses a configuration that gives `run` nothing to read; commands about definitions need no source.
    ///
    /// # Errors
    /// There is no source.
    pub fn require_sources(&self) -> Result<(), Error> {
        if !self.sources.is_empty() {
            return Ok(());
        }
        let help = "add [[sources]] with topics = [\"…\"] and format = \"outhook\" or \"debezium\"";
        Err(Error::Invalid(vec![ConfigProblem::with(
            "sources",
            "no sources are configured, so there is nothing to read",
            help,
        )]))
    }

    /// The account that all sources share; None when they differ. Without a source it is their default.
    pub fn only_account(&self) -> Option<AccountId> {
        let Some(first) = self.sources.first() else { return Some(AccountId::default()) };
        self.sources.iter().all(|source| source.account == first.account).then(|| first.account.clone())
    }

    /// What definitions may be, here.
    pub fn policy(&self) -> Policy {
        let deliver::Config { allow_http, allow_addresses, deny_addresses, .. } = &self.delivery;
        let addresses = Guard::new(allow_addresses.clone(), deny_addresses.clone());
        let call_throttling = self.limits.call_throttling.get();
        let limits = rules::DefinitionLimits { call_throttling, ..self.definitions.limits() };
        let unknown_tables = self.definitions.unknown_tables;
        Policy { allow_http: *allow_http, limits, unknown_tables, addresses }
    }

    /// The source that reads a topic: at most one, since sources that overlap are refused.
    pub fn source_of(&self, topic: &str) -> Option<&SourceConfig> {
        self.sources.iter().find(|source| source.reads(topic))
    }
}

/// A variable that overrides a key, with the value, which may be in the file that it names. It has to be text.
fn our_variable((name, value): (OsString, OsString)) -> Option<Result<(String, String), Error>> {
    let name = name.into_string().ok().filter(|name| name.starts_with(ENVIRONMENT_PREFIX))?;
    let bad = |message: String, help: &str| {
        let problem = ConfigProblem { place: name.clone(), ..ConfigProblem::with(&name, message, help) };
        Err(Error::Invalid(vec![problem]))
    };
    Some(match value.into_string() {
        Ok(path) if secrets::of_file(&name).is_some() => match secrets::in_file(&path) {
            Ok(value) => Ok((name, value)),
            Err(reason) => bad(reason, "let it name a file of text that this user may read"),
        },
        Ok(value) => Ok((name, value)),
        Err(_) => bad("the value of this variable is not UTF-8".to_owned(), "set it to text"),
    })
}

#[cfg(test)]
mod tests;
