//! Loads the definitions for `preview` and `explain`, from a file or from Kafka.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::CommandFailure;
use crate::config::Config;
use crate::definition::address_guard::AddressGuard;
use crate::definition::plan::{ApplyContext, Problems, plan};
use crate::definition::rules::{Policy, UnknownTablePolicy};
use crate::definition::yaml::{DefinitionFile, InvalidFile};
use crate::definition::{BadRecord, DefinitionChanges, Definitions, Event, Stamp, Webhook};
use crate::id::AccountId;
use crate::store;

/// Why the definitions of a file can't be loaded.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("can't read {}: {reason}", .path.display())]
    Read { path: PathBuf, reason: std::io::Error },
    #[error("{} is not a file of definitions: {reason}", .path.display())]
    Syntax { path: PathBuf, reason: InvalidFile },
    #[error("{} could not be applied:\n{problems}", .path.display())]
    Rules { path: PathBuf, problems: Problems },
    #[error(transparent)]
    Record(#[from] BadRecord),
}

/// Loaded definitions.
#[derive(Default)]
pub struct LoadedDefinitions {
    /// Events with their webhooks, sorted by names.
    pub events: Vec<(Webhook, Event)>,
    pub definitions: Definitions,
}

/// Loads the definitions of the file if there is one, else those in Kafka.
pub(super) async fn load(file: Option<&Path>, config: Option<&Config>) -> Result<LoadedDefinitions, CommandFailure> {
    let definitions = match (file, config) {
        (Some(file), config) => of_file(file, config)?,
        (None, Some(config)) => store::read(&config.definitions, &config.kafka.client()).await?,
        (None, None) => Definitions::default(),
    };
    let webhook = |event: &Event| definitions.webhook(event.webhook).cloned();
    let mut events: Vec<_> = definitions.events().filter_map(|event| Some((webhook(event)?, event.clone()))).collect();
    // The ids of a file's definitions are generated, so an order by names is more useful.
    events.sort_by(|(webhook, event), (other_webhook, other_event)| {
        let names = |webhook: &Webhook| (webhook.account.clone(), webhook.name.clone());
        let what = |event: &Event| (event.object_name.clone(), event.operation, event.object_fields.clone());
        (names(webhook), what(event)).cmp(&(names(other_webhook), what(other_event)))
    });
    Ok(LoadedDefinitions { events, definitions })
}

/// Fills bytes with the same values in each run of the command: the ids of a file's definitions are generated, and a
/// user who names an event by its id has the id from an earlier run.
fn repeatable() -> impl Fn(&mut [u8]) {
    let filled = Cell::new(0_u64);
    move |bytes| {
        for part in bytes.chunks_mut(SHA256_OUTPUT_LEN) {
            filled.set(filled.get() + 1);
            part.copy_from_slice(&digest(&SHA256, &filled.get().to_be_bytes()).as_ref()[..part.len()]);
        }
    }
}

/// Definitions that applying the file to an empty topic would create.
fn of_file(path: &Path, config: Option<&Config>) -> Result<Definitions, FileError> {
    let at = || path.to_owned();
    let text = super::read_text(path).map_err(|reason| FileError::Read { path: at(), reason })?;
    let file = DefinitionFile::parse(&text).map_err(|reason| FileError::Syntax { path: at(), reason })?;
    let account = config.map_or_else(|| Some(AccountId::default()), Config::only_account);
    // Nothing is sent, so http is always allowed, and without a configuration all addresses are.
    let policy =
        config.map_or_else(|| Policy { address_guard: AddressGuard::allow_all(), ..Policy::default() }, Config::policy);
    let policy = Policy { allow_http: true, unknown_tables: UnknownTablePolicy::Accept, ..policy };
    let terms = ApplyContext {
        account: account.as_ref(),
        prune: false,
        policy: &policy,
        // The stream may have shown fields that the file does not declare.
        seen_fields: &|_, _| None,
        stamp: &Stamp { at: "1970-01-01T00:00:00.0000000Z".to_owned(), by: "outhook preview".to_owned() },
        read_secret: &super::read_secret,
        random: &repeatable(),
    };
    let mut definitions = Definitions::default();
    let plan = plan(&definitions, &file, &terms).map_err(|problems| FileError::Rules { path: at(), problems })?;
    for record in plan.records() {
        definitions.apply(
            record.key.to_string().as_bytes(),
            record.value.as_deref(),
            &mut DefinitionChanges::default(),
        )?;
    }
    Ok(definitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_ids_of_a_file_are_the_same_at_each_load() {
        let path = std::env::temp_dir().join(format!("outhook-{}-ids.yaml", std::process::id()));
        let webhook =
            |name| format!("- {{Name: {name}, OutgoingUrls: ['https://a.example/{name}'], Events: [{EVENT}]}}\n");
        std::fs::write(&path, format!("Webhooks:\n{}{}", webhook("A"), webhook("B"))).unwrap();
        let ids = || {
            let definitions = of_file(&path, None).unwrap();
            let mut ids: Vec<String> = definitions.events().map(|event| event.id.to_string()).collect();
            ids.extend(definitions.webhooks().map(|webhook| webhook.id.to_string()));
            ids.sort();
            ids
        };
        let first = ids();
        assert_eq!(first, ids());
        assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 4, "{first:?}");
        std::fs::remove_file(path).unwrap();
    }

    const EVENT: &str = "{EventType: table.recordInsert, ObjectName: orders}";
}
