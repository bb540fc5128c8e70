//! Tries to build the parts of an instance, without a broker and without side effects. Problems are found before a
//! start, each with the key that causes it.

use super::sources::SourceConfigs;
use crate::config::{Config, ConfigProblem};
use crate::kafka::settings::{ClientKind, try_client};
use crate::kafka::{ClientConfig, topic_reader};
use crate::lifecycle::Readiness;
use crate::{api, deliver, message_log, settle, source, stats, store};

/// Finds settings of a valid configuration that this machine or Kafka's client refuses.
pub fn problems(config: &Config) -> Vec<ConfigProblem> {
    let authorities = deliver::check_certificate_authorities(&config.delivery).err().map(ConfigProblem::of_part);
    let address = api::check_address(&config.listen).err().map(ConfigProblem::of_part);
    let mut problems: Vec<ConfigProblem> =
        authorities.into_iter().chain(address).chain(client_problems(config)).collect();
    problems.dedup();
    problems
}

/// A client with its purpose and kind.
type NamedClient = (&'static str, ClientKind, ClientConfig);

/// All clients that `run` creates. They include those of the commands.
fn clients(config: &Config) -> Vec<NamedClient> {
    use ClientKind::{Consumer, Producer};
    let kafka = config.kafka.client();
    let client: ClientConfig = kafka.clone().into_iter().collect();
    let readiness = Readiness::default();
    let read =
        |what, of: source::Config| source::client_configs(&of).into_iter().map(move |client| (what, Consumer, client));
    let SourceConfigs { changes, retries, overflow } = SourceConfigs::of(config, &readiness);
    let mut clients: Vec<NamedClient> = read("reads row changes", changes)
        .chain(read("reads waiting calls", retries))
        .chain(read("reads the overflow log", overflow))
        .collect();
    let (definitions_reader, definitions_writer) = store::client_configs(&config.definitions, &kafka);
    clients.extend([
        ("reads definitions", Consumer, definitions_reader),
        ("writes definitions", Producer, definitions_writer),
        ("writes counts", Producer, stats::client(&kafka)),
        ("writes the message log", Producer, message_log::client(&client)),
        ("reads topics on request", Consumer, topic_reader::client(&config.dead_letters.topic, client.clone())),
        ("asks about topics", Producer, client.clone()),
    ]);
    clients.extend(settle::client_configs(&client).map(|client| ("writes retries and dead letters", Producer, client)));
    clients
}

fn client_problems(config: &Config) -> Vec<ConfigProblem> {
    let mut problems: Vec<ConfigProblem> = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    for (what, kind, settings) in clients(config) {
        let Err(reason) = try_client(kind, settings) else { continue };
        // All clients are usually refused for the same reason.
        if !reasons.contains(&reason) {
            problems.push(config.kafka.client_problem(what, &reason));
            reasons.push(reason);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn told(properties: &str) -> Vec<String> {
        let text = format!("[kafka]\nbrokers = \"localhost:1\"\n{properties}");
        let config = Config::parse(Path::new("outhook.toml"), &text, Vec::new()).unwrap();
        problems(&config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn default_configuration_creates_valid_clients() {
        assert_eq!(told(""), Vec::<String>::new());
    }

    #[test]
    fn group_member_properties_are_not_passed_to_other_clients() {
        let properties = "properties.max.poll.interval.ms = 30000\nproperties.coordinator.query.interval.ms = 5000";
        assert_eq!(told(properties), Vec::<String>::new());
    }

    #[test]
    fn unusable_client_properties_are_reported_with_name_and_value() {
        for (properties, named) in [
            (
                "properties.security.protocol = \"sasl_plaintext\"\nproperties.sasl.mechanism = \"SCRAM-SHA-512\"",
                "sasl.",
            ),
            (
                "properties.security.protocol = \"ssl\"\nproperties.ssl.ca.location = \"/nowhere/ca.pem\"",
                "ssl.ca.location",
            ),
            ("properties.max.in.flight.requests.per.connection = 100", "max.in.flight"),
            ("properties.fetch.max.bytes = 1000", "fetch.max.bytes = \"1000\""),
        ] {
            let told = told(properties);
            assert!(!told.is_empty() && told.iter().any(|line| line.contains(named)), "{properties}: {told:?}");
        }
    }

    #[test]
    fn missing_ca_file_and_foreign_listen_address_are_reported() {
        let mut config = Config::default();
        config.delivery.ca_file = Some("/nowhere/ca.pem".into());
        config.listen.address = "192.0.2.1:8080".parse().unwrap();
        let problems = problems(&config);
        let [ca_file, address, ..] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!((ca_file.key.as_str(), address.key.as_str()), ("delivery.ca_file", "listen.address"));
        assert!(
            ca_file.message.starts_with("delivery.ca_file is \"/nowhere/ca.pem\", which can't be used: "),
            "{ca_file}"
        );
        assert!(
            address.message.starts_with("listen.address is \"192.0.2.1:8080\", which can't be bound: "),
            "{address}"
        );
    }
}
