//! The configuration: a TOML file and environment overrides become one checked [`Config`]. No other module reads
//! either.
//!
//! Each part owns the type of its section. This module composes the sections and checks them against each other.
//! Settings that contradict each other are refused before anything starts. The error shows both values.

mod contradictions;
mod document;
mod kafka;
mod key_locations;
mod limits;
mod prefix;
mod problem;
mod properties;
mod reader;
mod secrets;
mod source;
mod topic_pattern;
mod value_error;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use self::document::{ConfigDocument, Override};
pub use self::kafka::{GroupProtocol, Kafka};
pub use self::limits::{Drain, Limits, Memory, Render};
pub use self::prefix::Topics;
pub use self::problem::ConfigProblem;
pub use self::properties::Properties;
pub use self::secrets::read_secret_file;
pub use self::source::SourceConfig;
pub use self::topic_pattern::TopicPattern;
use crate::definition::address_guard::AddressGuard;
use crate::definition::rules::{self, Policy};
use crate::id::AccountId;
use crate::{api, deliver, message_log, settle, stats, store, telemetry};

/// Prefix of environment variables that override keys: `OUTHOOK__KAFKA__BROKERS` sets `kafka.brokers`.
pub const ENVIRONMENT_PREFIX: &str = "OUTHOOK__";

/// The configuration of an instance.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The Kafka cluster and the consumer group of this instance.
    pub kafka: Kafka,
    /// Topics with row changes, and the format of their records. `run` needs at least one source.
    pub sources: Vec<SourceConfig>,
    /// Names of Outhook's own topics.
    pub topics: Topics,
    /// The definitions topic, which holds webhooks and events, and limits of definitions.
    pub definitions: store::Config,
    /// The dead-letter topic.
    pub dead_letters: settle::DeadLettersConfig,
    /// The retry topics, in which calls wait for their next attempt.
    pub retries: settle::RetriesConfig,
    /// The overflow log, in which calls of saturated and failing endpoints wait.
    pub overflow: settle::OverflowConfig,
    /// The row-order topic, for the calls of webhooks with row order.
    pub row_order: settle::RowOrderConfig,
    /// The operator events topic, for reports on endpoints.
    pub operator_events: settle::OperatorEventsConfig,
    /// The message log: a topic with the outcome of each attempt.
    pub message_log: message_log::Config,
    /// The stats topic, for counts and for the tables and fields that were seen.
    pub stats: stats::Config,
    /// Delivery of calls to endpoints.
    pub delivery: deliver::Config,
    /// Contents of messages.
    pub render: Render,
    /// Limits of the settings that accounts choose.
    pub limits: Limits,
    /// Memory limits.
    pub memory: Memory,
    /// Draining at a stop or a rebalance.
    pub drain: Drain,
    /// The HTTP listener of the API, metrics and health.
    pub listen: api::Config,
    /// Tokens of API clients.
    pub api: api::Access,
    /// Level and format of log lines.
    pub log: telemetry::Config,
}

/// Why the configuration can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no configuration: {} does not exist", .path.display())]
    Missing { path: PathBuf },
    #[error("can't read {}: {reason}", .path.display())]
    Unreadable { path: PathBuf, reason: std::io::Error },
    /// The problems found: one syntax or type error, or all contradictions together.
    #[error("{}", problem::lines(.0))]
    Invalid(Vec<ConfigProblem>),
}

/// Path of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFile {
    /// Named by the user. The file must exist.
    Named(PathBuf),
    /// The default path. The file may be missing if the environment holds the configuration.
    Default(PathBuf),
}

impl Config {
    /// Reads the file, applies the overrides, and checks the result.
    ///
    /// # Errors
    /// The file is missing or unreadable, or a value in it or in an override is invalid.
    pub fn load(file: &ConfigFile, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Error> {
        Self::load_for(file, environment, &|_| Vec::new())
    }

    /// Like [`load`](Self::load), with further checks: `find` runs if the configuration has no contradictions.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), and the problems that `find` returns.
    pub fn load_for(
        file: &ConfigFile,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        find: &dyn Fn(&Config) -> Vec<ConfigProblem>,
    ) -> Result<Self, Error> {
        let (ConfigFile::Named(path) | ConfigFile::Default(path)) = file;
        let overrides = environment.into_iter().filter_map(parse_override).collect::<Result<Vec<_>, _>>()?;
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

    /// Like [`load`](Self::load), from a text. `path` is the file name in errors. `overrides` are pairs of variable
    /// and value.
    ///
    /// # Errors
    /// A value in the text or in an override is invalid.
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
        let overrides = Override::from_variables(overrides, text.len());
        let document = ConfigDocument::parse(path, text, &overrides).map_err(alone)?;
        let mut config: Self = document.read().map_err(alone)?;
        prefix::apply_prefix(&mut config, |key| document.has(key));
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

    /// Refuses a configuration without sources, for `run`. Commands about definitions need no source.
    ///
    /// # Errors
    /// There is no source.
    pub fn require_sources(&self) -> Result<(), Error> {
        if !self.sources.is_empty() {
            return Ok(());
        }
        let help = "add [[sources]] with topics = [\"…\"] and format = \"outhook\" or \"debezium\"";
        Err(Error::Invalid(vec![ConfigProblem::new(
            "sources",
            "no sources are configured, so there is nothing to read",
            help,
        )]))
    }

    /// The account that all sources share, or None if they differ. Without a source it is the default account.
    pub fn only_account(&self) -> Option<AccountId> {
        let Some(first) = self.sources.first() else { return Some(AccountId::default()) };
        self.sources.iter().all(|source| source.account == first.account).then(|| first.account.clone())
    }

    /// The rules that definitions must follow with this configuration.
    pub fn policy(&self) -> Policy {
        let deliver::Config { allow_http, allow_addresses, deny_addresses, .. } = &self.delivery;
        let addresses = AddressGuard::new(allow_addresses.clone(), deny_addresses.clone());
        let call_throttling = self.limits.call_throttling.get();
        let limits = rules::DefinitionLimits { max_call_throttling: call_throttling, ..self.definitions.limits() };
        let unknown_tables = self.definitions.unknown_tables;
        Policy { allow_http: *allow_http, limits, unknown_tables, address_guard: addresses }
    }

    /// The source that reads a topic. There is at most one, because overlapping sources are refused.
    pub fn source_of(&self, topic: &str) -> Option<&SourceConfig> {
        self.sources.iter().find(|source| source.reads(topic))
    }
}

/// Name and value of a variable that overrides a key. The value may be in a file that the variable names. It must be
/// UTF-8.
fn parse_override((name, value): (OsString, OsString)) -> Option<Result<(String, String), Error>> {
    let name = name.into_string().ok().filter(|name| name.starts_with(ENVIRONMENT_PREFIX))?;
    let bad = |message: &dyn Display, help: &str| {
        let problem = ConfigProblem { location: name.clone(), ..ConfigProblem::new(&name, message.to_string(), help) };
        Err(Error::Invalid(vec![problem]))
    };
    Some(match value.into_string() {
        Ok(path) if secrets::strip_file_suffix(&name).is_some() => match secrets::read_secret_file(&path) {
            Ok(value) => Ok((name, value)),
            Err(reason) => bad(&reason, "set it to the path of a text file that this user may read"),
        },
        Ok(value) => Ok((name, value)),
        Err(_) => bad(&"the value of this variable is not UTF-8", "set it to text"),
    })
}

#[cfg(test)]
mod tests;
