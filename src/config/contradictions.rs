//! Settings that are valid alone and contradict each other.

use super::{Config, ConfigProblem, SourceConfig};

/// Finds all problems of a configuration whose syntax and types are valid.
pub(super) fn find(config: &Config) -> Vec<ConfigProblem> {
    let mut problems = config.kafka.problems();
    for (index, source) in config.sources.iter().enumerate() {
        problems.extend(source.problems(&format!("sources[{index}]")));
    }
    problems.extend(overlaps(&config.sources));
    // With an invalid prefix, each topic with that prefix would be reported too.
    match config.topics.problems() {
        Some(problem) => problems.push(problem),
        None => problems.extend(topic_names(config)),
    }
    problems.extend(own_topic_conflicts(config));
    problems.extend(drain(config));
    problems.extend(replication(config));
    problems.extend(config.memory.problems());
    problems.extend(config.render.problems());
    problems.extend(config.dead_letters.check().err().map(ConfigProblem::of_part));
    problems.extend(config.retries.check().err().map(ConfigProblem::of_part));
    problems.extend(config.overflow.check().err().map(ConfigProblem::of_part));
    problems.extend(config.row_order.check().err().map(ConfigProblem::of_part));
    problems.extend(config.message_log.check().err().map(ConfigProblem::of_part));
    problems.extend(config.delivery.check().err().map(ConfigProblem::of_part));
    problems
}

/// Finds topics that two sources would read. Otherwise chance would decide which source's format applies.
fn overlaps(sources: &[SourceConfig]) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    let named =
        sources.iter().enumerate().flat_map(|(index, source)| source.topics.iter().map(move |topic| (index, topic)));
    let named: Vec<(usize, &String)> = named.collect();
    for (position, &(index, topic)) in named.iter().enumerate() {
        let key = format!("sources[{index}].topics");
        if let Some((first, _)) = named[..position].iter().find(|(_, other)| *other == topic) {
            let message = format!("the topic {topic:?} is in {key} and already in sources[{first}].topics");
            problems.push(ConfigProblem::new(&key, message, "list it once"));
        }
        for (other, source) in sources.iter().enumerate().filter(|(other, _)| *other != index) {
            if let Some(pattern) = source.topics_regex.as_ref().filter(|pattern| pattern.matches(topic)) {
                let message =
                    format!("the topic {topic:?} is in {key} and matches sources[{other}].topics_regex, {pattern:?}");
                problems.push(ConfigProblem::new(&key, message, "remove it from the list, or narrow the expression"));
            }
        }
    }
    problems
}

fn topic_names(config: &Config) -> Vec<ConfigProblem> {
    let own = own_topics(config).into_iter().map(|(key, topic)| (key.to_owned(), topic));
    let sources = config.sources.iter().enumerate();
    let sources = sources.flat_map(|(index, source)| {
        source.topics.iter().map(move |topic| (format!("sources[{index}].topics"), topic.clone()))
    });
    own.chain(sources)
        .filter(|(_, topic)| !is_topic_name(topic))
        .map(|(key, topic)| {
            let help = "a topic name has 1 to 249 of the characters a-z A-Z 0-9 . _ -; write a regular expression in topics_regex";
            ConfigProblem::of_key(key, format!("has {topic:?}, which is not a valid topic name"), help)
        })
        .collect()
}

/// Whether a text is a valid topic name, by the rules of Kafka's `Topic.validate`.
pub(super) fn is_topic_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

/// The topics that Outhook writes, each with the key of its name.
pub(super) fn own_topics(config: &Config) -> Vec<(&'static str, String)> {
    let one = [
        ("definitions.topic", &config.definitions.topic),
        ("dead_letters.topic", &config.dead_letters.topic),
        ("stats.topic", &config.stats.topic),
        ("overflow.topic", &config.overflow.topic),
        ("row_order.topic", &config.row_order.topic),
        ("operator_events.topic", &config.operator_events.topic),
        ("message_log.topic", &config.message_log.topic),
    ];
    let tiers = config.retries.tiers();
    let tiers = tiers.iter().map(|tier| ("retries.topic", tier.topic.to_string()));
    one.into_iter().map(|(key, topic)| (key, topic.clone())).chain(tiers).collect()
}

/// Finds own topics that share a name, and sources that read an own topic: dead letters would produce dead letters.
fn own_topic_conflicts(config: &Config) -> Vec<ConfigProblem> {
    let own = own_topics(config);
    let mut problems = Vec::new();
    for (position, (key, topic)) in own.iter().enumerate() {
        if let Some((first, _)) = own[..position].iter().find(|(_, other)| other == topic) {
            let message = format!("{key} and {first} are both {topic:?}");
            problems.push(ConfigProblem::new(*key, message, "each needs a separate topic"));
        }
    }
    for (index, source) in config.sources.iter().enumerate() {
        for (key, topic) in own.iter().filter(|(_, topic)| source.reads(topic)) {
            let message =
                format!("sources[{index}] reads {source}, and with it {key}, {topic:?}, which Outhook writes itself");
            problems.push(ConfigProblem::new(format!("sources[{index}]"), message, "narrow the source's topics"));
        }
    }
    problems
}

fn replication(config: &Config) -> impl Iterator<Item = ConfigProblem> {
    let factors = [
        ("definitions.replication_factor", config.definitions.replication_factor),
        ("dead_letters.replication_factor", config.dead_letters.replication_factor),
        ("stats.replication_factor", config.stats.replication_factor),
        ("retries.replication_factor", config.retries.replication_factor),
        ("overflow.replication_factor", config.overflow.replication_factor),
        ("row_order.replication_factor", config.row_order.replication_factor),
        ("operator_events.replication_factor", config.operator_events.replication_factor),
        ("message_log.replication_factor", config.message_log.replication_factor),
    ];
    factors.into_iter().filter_map(|(key, factor)| {
        let factor = factor.filter(|factor| !(1..=i32::from(i16::MAX)).contains(factor))?;
        Some(ConfigProblem::of_key(
            key,
            format!("is {factor}, but a topic has at least one replica"),
            "remove it to use the broker's default.replication.factor",
        ))
    })
}

/// Finds a drain deadline that is too long. A drain blocks the rebalance that requested it. Heartbeats continue
/// meanwhile, so the session does not end. But the client must poll again within `max.poll.interval.ms`.
fn drain(config: &Config) -> Option<ConfigProblem> {
    let (deadline, limit) = (config.drain.deadline, config.kafka.max_poll_interval());
    (deadline >= limit).then(|| {
        let wrong = format!(
            "is {deadline:?}, but max.poll.interval.ms is {limit:?}: the group would remove a draining instance as stuck"
        );
        ConfigProblem::of_key("drain.deadline", wrong, "lower drain.deadline, or raise max.poll.interval.ms in [kafka.properties]")
    })
}
