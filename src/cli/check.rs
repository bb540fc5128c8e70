//! `outhook check`: checks everything that `outhook run` needs, and changes nothing.

mod report;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use self::report::CheckReport;
use super::{CommandFailure, print};
use crate::catalogue::Catalogue;
use crate::config::{Config, GroupProtocol, SourceConfig};
use crate::decode::{DATABASES_WITH_STABLE_IDENTITY, Format, UnknownChangePolicy};
use crate::definition::{Definitions, PendingDefinitions, TableKey, edit, rules};
use crate::id::AccountId;
use crate::kafka::admin::{AclOperation, DeletedUnread, ReadingGroup, deleted_unread};
use crate::matching::Index;
use crate::stats;
use crate::store::{FollowStatus, Store};
use crate::topics::{AccessReport, Cluster, MissingAcls, ResourceKind, TopicStatus, count_text, required_topics};

/// Max time to read the definitions.
const DEFINITIONS_TIMEOUT: Duration = Duration::from_secs(60);

/// Checks configuration, broker, topics and definitions, and says what `run` would do.
///
/// It changes nothing. The exit code is 1 if anything is wrong. Warnings alone leave it at 0.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checks only the configuration, without a broker
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(args: Args, config: &Config) -> Result<ExitCode, CommandFailure> {
    config.require_sources()?;
    let mut report = CheckReport::default();
    report.add_ok("configuration", format!("valid; {}", count_text(config.sources.len(), "source")));
    if !args.offline {
        check_online(config, &mut report).await?;
    }
    print(&report.to_string())?;
    Ok(if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn check_online(config: &Config, report: &mut CheckReport) -> Result<(), CommandFailure> {
    let cluster = Cluster::connect(config).await?;
    report
        .add_ok("broker", format!("{} answers; {}", config.kafka.brokers, count_text(cluster.broker_count, "broker")));
    let access = cluster.access(config).await;
    report_acls(&access.missing_on_own, report);
    match cluster.definitions_access(config).await {
        Ok(missing) => report_acls(&missing, report),
        Err(reason) => report.warning("access", reason.to_string()),
    }
    report_acls(&access.missing_on_sources, report);
    access.unknown_reasons.iter().for_each(|reason| report.warning("access", reason.clone()));
    let (mut definitions_usable, mut missing) = (false, Vec::new());
    // Without DescribeConfigs on a topic, its settings can't be checked.
    let lacks = |topic: &str, operation| access.lacks(ResourceKind::Topic, topic, operation);
    for topic in required_topics(config).into_iter().filter(|topic| !lacks(&topic.name, AclOperation::DescribeConfigs))
    {
        let is_log = topic.name == config.definitions.topic;
        match cluster.topic_status(&topic).await? {
            TopicStatus::Missing => {
                report.add_planned_step(format!("create the topic {topic}"));
                missing.push(topic);
            }
            TopicStatus::Correct { found } => {
                report.add_ok("topic", format!("{}: {found}", topic.name));
                definitions_usable |= is_log && !lacks(&topic.name, AclOperation::Read);
            }
            TopicStatus::Wrong(wrong) => {
                report.add_error("topic", wrong.to_string(), wrong.fix);
            }
        }
    }
    if !missing.is_empty() {
        report_acls(&cluster.missing_create_acls(&missing).await, report);
    }
    if definitions_usable {
        check_definitions(config, report).await?;
    }
    sources(config, &cluster, &access, report);
    if !access.lacks(ResourceKind::Group, &config.kafka.group, AclOperation::Read) {
        warn_of_deleted_unread(config, &cluster, report).await;
    }
    check_other_groups(config, &cluster, report).await;
    Ok(())
}

/// Reports the ACLs that this client lacks.
fn report_acls(missing: &[MissingAcls], report: &mut CheckReport) {
    missing.iter().for_each(|acls| report.add_error("access", acls.to_string(), acls.fix_command.clone()));
}

/// Warns of other groups that read the topics of waiting calls: both groups would send each call.
async fn check_other_groups(config: &Config, cluster: &Cluster, report: &mut CheckReport) {
    let own = [config.kafka.retries_group(), config.kafka.overflow_group()];
    let tiers = config.retries.tiers();
    let topics = tiers.iter().map(|tier| tier.topic.to_string());
    let others = [&config.overflow.topic, &config.row_order.topic].map(String::clone);
    match cluster.admin.groups_reading(topics.chain(others).collect()).await {
        Err(reason) => report.warning("groups", format!("can't find out which groups read topics: {reason}")),
        Ok(readers) => {
            for ReadingGroup { group, topics } in readers.into_iter().filter(|reader| !own.contains(&reader.group)) {
                let topics = topics.into_iter().collect::<Vec<_>>().join(", ");
                let warning = format!(
                    "group {group} reads {topics}, which group {} uses too, so both send each waiting call: set \
                     another topics.prefix for one of the installations",
                    config.kafka.group
                );
                report.warning("groups", warning);
            }
        }
    }
}

/// Reports the topics that each source reads now.
fn sources(config: &Config, cluster: &Cluster, access: &AccessReport, report: &mut CheckReport) {
    let (mut topics, mut partitions) = (0, 0);
    let noticed = config.kafka.metadata_refresh();
    let soon = match config.kafka.group_protocol {
        GroupProtocol::Classic => format!("within {noticed:?} of its creation"),
        GroupProtocol::Consumer => "when the broker next checks (group.consumer.regex.refresh.interval.ms)".to_owned(),
    };
    for source in &config.sources {
        let found: Vec<(&String, &usize)> = cluster.topics().iter().filter(|(topic, _)| source.reads(topic)).collect();
        let format = source.format.name();
        for (topic, count) in &found {
            report.add_ok(
                "source",
                format!("{topic} ({format}, account {}): {}", source.account, count_text(**count, "partition")),
            );
        }
        let is_away = |topic: &&String| !cluster.topics().contains_key(*topic) && !access.hides(topic);
        for missing in source.topics.iter().filter(is_away) {
            let warning = format!("topic {missing} does not exist; it is read within {noticed:?} of its creation");
            report.warning("source", warning);
        }
        if let (Some(pattern), []) = (&source.topics_regex, found.as_slice()) {
            report.warning(
                "source",
                format!("no topic that this client may read matches {pattern} yet; a new one is read {soon}"),
            );
        }
        if source.format == Format::Debezium {
            report.add_ok("source", format!("{source}: {}", republish_note()));
        }
        topics += found.len();
        partitions += found.iter().map(|(_, count)| **count).sum::<usize>();
    }
    for topic in cluster.topics().keys() {
        let readers: Vec<String> =
            config.sources.iter().filter(|s| s.reads(topic)).map(SourceConfig::to_string).collect();
        if let [_, _, ..] = readers.as_slice() {
            let error = format!("topic {topic} matches {} sources: {}", readers.len(), readers.join(" and "));
            report.add_error("source", error, "narrow their topics_regex until only one matches".to_owned());
        }
    }
    let (topics, partitions) = (count_text(topics, "topic"), count_text(partitions, "partition"));
    report.add_planned_step(format!("read {topics} with {partitions} as group {}", config.kafka.group));
}

/// Warns of records that retention deleted before the group read them.
async fn warn_of_deleted_unread(config: &Config, cluster: &Cluster, report: &mut CheckReport) {
    let source_topics = cluster.topics().iter().filter(|(topic, _)| config.source_of(topic).is_some());
    let topics = source_topics.map(|(topic, partitions)| (topic.clone(), *partitions)).collect();
    let client = config.kafka.client().into_iter().collect();
    let deleted = match deleted_unread(client, &config.kafka.group, &topics).await {
        Ok(deleted) => deleted,
        Err(error) => {
            let warning = format!("the offsets that group {} has committed are not known: {error}", config.kafka.group);
            return report.warning("source", warning);
        }
    };
    for DeletedUnread { topic, partition, offsets } in deleted {
        let (first, last) = (offsets.start, offsets.end - 1);
        report.warning(
            "source",
            format!(
                "offsets {first} to {last} of {topic}, partition {partition}, were deleted by the topic's retention \
                 before group {} had read them",
                config.kafka.group
            ),
        );
    }
}

/// Says whether a change keeps its message ids when a connector publishes it again, as it does after a crash. Only
/// the records show which connector it is.
fn republish_note() -> String {
    format!(
        "a change that Debezium publishes again keeps its message ids if it comes from {}; a change from another \
         connector gets new ids",
        DATABASES_WITH_STABLE_IDENTITY.join(", ")
    )
}

async fn check_definitions(config: &Config, report: &mut CheckReport) -> Result<(), CommandFailure> {
    let store = Store::start(&config.definitions, &config.kafka.client(), Arc::new(Index::default()))?;
    if tokio::time::timeout(DEFINITIONS_TIMEOUT, store.wait_until_caught_up()).await.is_err() {
        let error = format!("{} could not be read to its end within {DEFINITIONS_TIMEOUT:?}", config.definitions.topic);
        report.add_error("definitions", error, "try again, or check the broker's logs".to_owned());
        return Ok(());
    }
    let status = store.status();
    store.with(|definitions| {
        report_counts(definitions, report);
        warn_of_unsealed_secrets(config, definitions, report);
        warn_of_denied_addresses(config, definitions, report);
        warn_of_unknown_changes(config, definitions, report);
    });
    report_bad_definitions(&config.definitions.topic, &status, report);
    let declares = store.with(|definitions| definitions.declared().len() > 0);
    let seen = match declares {
        true => stats::catalogue(&config.stats, &config.kafka.client()).await,
        false => Ok(Catalogue::default()),
    };
    match seen {
        Ok(seen) => store.with(|definitions| warn_of_unknown_names(config, definitions, &seen, report)),
        Err(error) => {
            report.warning("definitions", format!("the fields that the stream has shown can't be read: {error}"))
        }
    }
    store.stop().await;
    Ok(())
}

/// Reports how many webhooks, events and tables are defined, then each table.
fn report_counts(definitions: &Definitions, report: &mut CheckReport) {
    let (webhooks, events) = (definitions.webhooks().len(), definitions.events().len());
    let tables = definitions.tables().len();
    let (webhooks, events) = (count_text(webhooks, "webhook"), count_text(events, "event"));
    report.add_ok("definitions", format!("{webhooks}, {events} on {}", count_text(tables, "table")));
    for table in definitions.tables() {
        report.add_ok("definitions", table_text(definitions, table));
    }
    if tables == 0 {
        report.warning(
            "definitions",
            "no events are defined, so nothing would be sent; define some with `outhook apply`".to_owned(),
        );
    }
    for event in definitions.orphans() {
        report.warning(
            "definitions",
            format!("event {} belongs to webhook {}, which does not exist", event.id, event.webhook),
        );
    }
}

/// Warns of secrets that are not sealed: every client that can read the topic can read them.
fn warn_of_unsealed_secrets(config: &Config, definitions: &Definitions, report: &mut CheckReport) {
    if config.definitions.secret_keys.is_empty() && definitions.webhooks().len() > 0 {
        let topic = &config.definitions.topic;
        let warning = format!(
            "the secrets of {} are not sealed, and every client that can read {topic} has them: set \
             definitions.secret_keys (`openssl rand -base64 32`), then run `outhook secrets reseal`",
            count_text(definitions.webhooks().len(), "webhook")
        );
        report.warning("definitions", warning);
    }
}

/// Warns of webhooks with an address that is never dialled. A new webhook like that is refused, but an existing one
/// may be older than the configuration.
fn warn_of_denied_addresses(config: &Config, definitions: &Definitions, report: &mut CheckReport) {
    let policy = config.policy();
    for webhook in definitions.webhooks() {
        if let Err(refusal) = rules::destinations(webhook, &policy) {
            report.warning("definitions", format!("webhook {} of account {}: {refusal}", webhook.id, webhook.account));
        }
    }
}

/// Max events named whose table lacks a field.
const MAX_NAMED_EVENTS: usize = 20;

/// Warns of events with an unknown table, or with a field that the table lacks. A new event like that is refused, but
/// an existing one may be older than the table's declaration.
fn warn_of_unknown_names(config: &Config, definitions: &Definitions, seen: &Catalogue, report: &mut CheckReport) {
    let (policy, draft) = (config.policy(), PendingDefinitions::new(definitions));
    let seen = |account: &AccountId, table: &str| seen.names(account.as_str(), table);
    let refused = definitions.events().filter_map(|event| {
        let webhook = definitions.webhook(event.webhook)?;
        let checked = edit::known_names(&draft, (event, None), &webhook.account, (&policy, &seen));
        Some(format!("event {} of webhook {}: {}", event.id, event.webhook, checked.err()?))
    });
    refused.take(MAX_NAMED_EVENTS).for_each(|warning| report.warning("definitions", warning));
}

/// Warns of events for selected fields that fire too often, because updates come without the old row.
fn warn_of_unknown_changes(config: &Config, definitions: &Definitions, report: &mut CheckReport) {
    let fires =
        |source: &SourceConfig| source.format == Format::Debezium && source.unknown_change == UnknownChangePolicy::Fire;
    for source in config.sources.iter().filter(|source| fires(source)) {
        let selected = definitions
            .tables()
            .filter(|table| table.account == source.account)
            .filter(|table| definitions.active_events(table).any(|(_, event)| !event.object_fields.is_empty()));
        let tables: Vec<&str> = selected.map(|table| table.table.as_str()).collect();
        if !tables.is_empty() {
            report.warning(
                "source",
                format!(
                    "{source}: events for selected fields ({}) fire for every update of a PostgreSQL table whose old \
                     rows are not sent; to send them: ALTER TABLE … REPLICA IDENTITY FULL",
                    tables.join(", ")
                ),
            );
        }
    }
}

fn table_text(definitions: &Definitions, table: &TableKey) -> String {
    let active = definitions.active_events(table).count();
    let idle = definitions.events_on(table).count() - active;
    let idle = if idle == 0 { String::new() } else { format!(", {idle} not active") };
    format!("table {} of account {}: {}{idle}", table.table, table.account, count_text(active, "active event"))
}

fn report_bad_definitions(topic: &str, status: &FollowStatus, report: &mut CheckReport) {
    for bad in &status.bad {
        let at = bad.offset.map_or(String::new(), |offset| format!(" at {topic}, offset {offset},"));
        let error = format!("{}{at} can't be used: {}", bad.key, bad.reason);
        report.add_error(
            "definitions",
            error,
            "apply it again, or delete its record; other definitions are not affected".to_owned(),
        );
    }
    if status.bad_total > status.bad.len() {
        let rest = status.bad_total - status.bad.len();
        report.warning("definitions", format!("{rest} more definitions can't be used"));
    }
    if status.ignored > 0 {
        let records = count_text(status.ignored as usize, "record");
        report.warning("definitions", format!("{records} of kinds that only a newer version of outhook knows"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::samples::webhook;
    use crate::definition::{DefinitionChanges, LogRecord};

    #[test]
    fn check_reports_webhook_urls_with_refused_addresses() {
        let mut hook = webhook("hook01", "A");
        hook.urls = vec!["https://a.example/".to_owned(), "https://10.1/".to_owned()];
        let record = LogRecord::webhook(&hook);
        let mut definitions = Definitions::default();
        let (key, value) = (record.key.to_string(), record.value.as_deref());
        definitions.apply(key.as_bytes(), value, &mut DefinitionChanges::default()).unwrap();
        let (mut report, mut config) = (CheckReport::default(), Config::default());
        warn_of_denied_addresses(&config, &definitions, &mut report);
        let told = report.to_string();
        assert!(
            told.contains("webhook hook01 of account acme: OutgoingUrls: \"https://10.1/\" leads to 10.0.0.1"),
            "{told}"
        );
        config.delivery.allow_addresses = vec!["10.0.0.0/8".parse().unwrap()];
        let mut report = CheckReport::default();
        warn_of_denied_addresses(&config, &definitions, &mut report);
        assert_eq!(report.to_string(), "no problems found\n");
    }
}
