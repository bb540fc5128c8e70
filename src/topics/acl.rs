//! Missing ACLs of this client, as text and as the command that adds them.

use std::fmt::Write as _;

use crate::config::Config;
use crate::kafka::admin::AclOperation;

/// Kind of resource of an ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    Topic,
    Group,
    TransactionalId,
}

/// Operations that this client lacks on one topic, group or transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MissingOperations {
    pub kind: ResourceKind,
    pub name: String,
    pub operations: Vec<AclOperation>,
}

/// Missing ACLs of this client that one command adds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this client lacks {} on {} {}", join_with_and(.operations), kind_noun(.names, *.kind), .names.join(", "))]
pub struct MissingAcls {
    kind: ResourceKind,
    operations: Vec<AclOperation>,
    names: Vec<String>,
    /// Common prefix of the names, if the ACLs should apply to all topics with it.
    prefix: Option<String>,
    /// The command that adds the ACLs.
    pub fix_command: String,
}

/// Principal and brokers of the ACLs, which are the same in all commands.
#[derive(Debug, Clone)]
pub(super) struct Grantee {
    principal: String,
    brokers: String,
    /// Prefix of the names of Outhook's own topics.
    prefix: String,
}

impl Grantee {
    pub fn of(config: &Config) -> Self {
        let property = |name| config.kafka.properties.get(name);
        // With other mechanisms, and with certificates, the brokers' settings determine the principal.
        let is_name = |mechanism: &str| mechanism == "PLAIN" || mechanism.starts_with("SCRAM-");
        let mechanism = property("sasl.mechanism").or(property("sasl.mechanisms"));
        let name = mechanism.filter(|mechanism| is_name(mechanism)).and_then(|_| property("sasl.username"));
        Self {
            principal: format!("User:{}", name.unwrap_or("<principal>")),
            brokers: config.kafka.brokers.clone(),
            prefix: format!("{}.", config.topics.prefix),
        }
    }

    /// Groups missing operations that one command adds.
    pub fn missing(&self, lacks: Vec<MissingOperations>) -> Vec<MissingAcls> {
        let mut missing: Vec<MissingAcls> = Vec::new();
        for MissingOperations { kind, name, operations } in lacks.into_iter().filter(|lack| !lack.operations.is_empty())
        {
            let prefix = (kind == ResourceKind::Topic && name.starts_with(&self.prefix)).then(|| self.prefix.clone());
            let needs_same_command = |other: &&mut MissingAcls| {
                (other.kind, &other.operations, &other.prefix) == (kind, &operations, &prefix)
            };
            match missing.iter_mut().find(needs_same_command) {
                Some(group) => group.names.push(name),
                None => missing.push(MissingAcls {
                    kind,
                    operations,
                    names: vec![name],
                    prefix,
                    fix_command: String::new(),
                }),
            }
        }
        for acls in &mut missing {
            acls.fix_command = self.command(acls);
        }
        missing
    }

    /// The missing ACL of one operation on one topic.
    pub fn missing_acl(&self, operation: AclOperation, topic: &str) -> MissingAcls {
        let lack = MissingOperations { kind: ResourceKind::Topic, name: topic.to_owned(), operations: vec![operation] };
        self.missing(vec![lack]).pop().expect("an operation is lacking")
    }

    fn command(&self, acls: &MissingAcls) -> String {
        let (brokers, principal) = (quoted(&self.brokers), quoted(&self.principal));
        let mut command = format!(
            "kafka-acls.sh --bootstrap-server {brokers} --command-config admin.properties --add --allow-principal {principal}"
        );
        // Writing to a String does not fail.
        for operation in &acls.operations {
            let _ = write!(command, " --operation {operation}");
        }
        let option = acls.kind.option();
        match &acls.prefix {
            Some(prefix) => {
                let _ = write!(command, " {option} {prefix} --resource-pattern-type prefixed");
            }
            None => acls.names.iter().for_each(|name| {
                let _ = write!(command, " {option} {}", quoted(name));
            }),
        }
        command
    }
}

impl MissingAcls {
    /// Whether one of the ACLs is for this topic, group or transactional id.
    pub fn covers(&self, kind: ResourceKind, name: &str) -> bool {
        self.kind == kind && self.names.iter().any(|known| known == name)
    }

    /// Whether one of the ACLs is this one.
    pub fn contains(&self, kind: ResourceKind, name: &str, operation: AclOperation) -> bool {
        self.covers(kind, name) && self.operations.contains(&operation)
    }
}

impl ResourceKind {
    pub(super) fn noun(self) -> &'static str {
        match self {
            ResourceKind::Topic => "topic",
            ResourceKind::Group => "group",
            ResourceKind::TransactionalId => "transactional id",
        }
    }

    /// The option of `kafka-acls.sh` for names of this kind.
    fn option(self) -> &'static str {
        match self {
            ResourceKind::Topic => "--topic",
            ResourceKind::Group => "--group",
            ResourceKind::TransactionalId => "--transactional-id",
        }
    }
}

/// `Read`, `Read and Write`, `Read, Write and Create`.
fn join_with_and(operations: &[AclOperation]) -> String {
    let names: Vec<String> = operations.iter().map(AclOperation::to_string).collect();
    match names.as_slice() {
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        names => names.concat(),
    }
}

fn kind_noun(names: &[String], kind: ResourceKind) -> String {
    format!("{}{}", kind.noun(), if names.len() == 1 { "" } else { "s" })
}

/// A word of a command, quoted for a shell if necessary.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:,/@=+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn grantee(properties: &str) -> Grantee {
        let text = format!("[kafka]\nbrokers = \"b:9092\"\n{properties}");
        Grantee::of(&Config::parse(Path::new("outhook.toml"), &text, Vec::new()).unwrap())
    }

    fn lack(kind: ResourceKind, name: &str, operations: &[AclOperation]) -> MissingOperations {
        MissingOperations { kind, name: name.to_owned(), operations: operations.to_vec() }
    }

    #[test]
    fn acls_that_one_command_adds_are_reported_together() {
        use AclOperation::{DescribeConfigs, Read, Write};
        let scram = "properties.sasl.mechanism = \"SCRAM-SHA-512\"\nproperties.sasl.username = \"etl\"";
        let missing = grantee(scram).missing(vec![
            lack(ResourceKind::Topic, "outhook.stats", &[Read, Write, DescribeConfigs]),
            lack(ResourceKind::Topic, "orders", &[Read]),
            lack(ResourceKind::Topic, "outhook.overflow", &[Read, Write, DescribeConfigs]),
            lack(ResourceKind::Topic, "customers", &[Read]),
            lack(ResourceKind::Topic, "fine", &[]),
            lack(ResourceKind::TransactionalId, "outhook.definitions", &[Write]),
        ]);
        let told: Vec<String> = missing.iter().map(|acls| format!("{acls}\n{}", acls.fix_command)).collect();
        let add = "kafka-acls.sh --bootstrap-server b:9092 --command-config admin.properties --add --allow-principal User:etl";
        let expected = [
            format!(
                "this client lacks Read, Write and DescribeConfigs on topics outhook.stats, outhook.overflow\n\
                 {add} --operation Read --operation Write --operation DescribeConfigs --topic outhook. \
                 --resource-pattern-type prefixed"
            ),
            format!(
                "this client lacks Read on topics orders, customers\n{add} --operation Read --topic orders --topic customers"
            ),
            format!(
                "this client lacks Write on transactional id outhook.definitions\n\
                 {add} --operation Write --transactional-id outhook.definitions"
            ),
        ];
        assert_eq!(told, expected);
        assert!(missing[0].contains(ResourceKind::Topic, "outhook.overflow", Write));
        assert!(!missing[1].contains(ResourceKind::Topic, "orders", Write));
    }

    #[test]
    fn shell_special_characters_are_quoted() {
        let oauth = "properties.sasl.mechanism = \"OAUTHBEARER\"\nproperties.sasl.username = \"etl\"";
        let missing = grantee(oauth).missing(vec![lack(ResourceKind::Group, "the CRM's", &[AclOperation::Read])]);
        assert_eq!(
            missing[0].fix_command,
            "kafka-acls.sh --bootstrap-server b:9092 --command-config admin.properties --add --allow-principal 'User:<principal>' --operation Read \
             --group 'the CRM'\\''s'"
        );
    }
}
