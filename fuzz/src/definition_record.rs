//! Records of the definitions topic → definitions, and back.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use outhook::definition::{BadReason, BadRecord, DefinitionChanges, Definitions, Keyring, LogRecord};

use super::{MARKER, is_only_in};

/// The places of a value that are stored like secrets.
const SECRETS: [&str; 8] = [
    "/secret",
    "/old_secret/secret",
    "/key",
    "/handling/headers/*",
    "/handling/authentication/Basic/Password",
    "/handling/authentication/Bearer/Token",
    "/handling/authentication/OAuth2/ClientSecret",
    "/handling/tls/ClientKey",
];

/// One key, so that seeds can have sealed secrets: the base64 of 32 bytes of 7.
static KEYS: LazyLock<Arc<Keyring>> = LazyLock::new(|| {
    let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_owned();
    Arc::new(Keyring::try_from(vec![key]).expect("the base64 of 32 bytes is a key"))
});

type Record<'b> = (&'b [u8], Option<&'b [u8]>);

/// The bytes are records, one `key value` a line. A line without a space is a tombstone.
///
/// - The last record of each key determines the state, in any order of the keys.
/// - All definitions of the state are named in its changes, because only those are compiled.
/// - Definitions that are written again give the same state. Their values and `Debug` texts show no secret.
/// - Without the key of a sealed secret the definitions are marked as incomplete.
/// - An error shows no secret.
pub fn definition_record(bytes: &[u8]) {
    let records: Vec<Record<'_>> = bytes.split(|byte| *byte == b'\n').map(record).collect();
    let mut changes = DefinitionChanges::default();
    let mut state = Definitions::with_keyring(KEYS.clone());
    for (key, value) in &records {
        if let Err(error) = state.apply(key, *value, &mut changes) {
            check_error(&error, value.unwrap_or_default());
        }
    }
    check_changes(&state, &changes);

    let mut seen = HashSet::new();
    let last: Vec<Record<'_>> = records.iter().rev().filter(|(key, _)| seen.insert(*key)).copied().collect();
    let (one, other) = (applied(last.iter().rev()), applied(last.iter()));
    assert_eq!(one, other, "the order of the keys does not count");
    assert_eq!(state.unopened(), one.unopened());
    if state.unopened().is_some() {
        return;
    }
    assert_eq!(state, one, "the last record of each key counts");
    check_written(&state, &last);
}

fn record(line: &[u8]) -> Record<'_> {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    }
}

fn applied<'b>(records: impl Iterator<Item = &'b Record<'b>>) -> Definitions {
    let mut state = Definitions::with_keyring(KEYS.clone());
    for (key, value) in records {
        let _ = state.apply(key, *value, &mut DefinitionChanges::default());
    }
    state
}

/// Whether a value has this text, and only in its secrets.
fn has_only_in_secrets(value: &[u8], text: &str) -> bool {
    std::str::from_utf8(value).is_ok_and(|value| is_only_in(value, text, &SECRETS))
}

fn check_error(error: &BadRecord, value: &[u8]) {
    let (text, reason) = (error.to_string(), error.reason.to_string());
    assert!(!reason.is_empty() && text.starts_with("definition record "), "{text}");
    // Keys are not secret, and errors show them.
    if has_only_in_secrets(value, MARKER) && !error.key.contains(MARKER) {
        assert!(!reason.contains(MARKER), "{text}");
    }
    if matches!(error.reason, BadReason::Value(_)) {
        let mut parts = reason.split("whsec_").skip(1);
        assert!(parts.all(|part| part.starts_with('…')), "{text}");
    }
}

fn check_changes(state: &Definitions, changes: &DefinitionChanges) {
    assert!(state.webhooks().all(|webhook| changes.webhooks.contains(&webhook.id)));
    assert!(state.events().all(|event| changes.events.contains(&event.id)));
    assert!(state.tables().all(|table| changes.tables.contains(table)));
    let of_events: usize = state.tables().map(|table| state.events_on(table).count()).sum();
    assert_eq!(of_events + state.orphans().count(), state.events().len(), "each event is on a table or an orphan");
}

fn check_written(state: &Definitions, records: &[Record<'_>]) {
    let webhooks: Vec<LogRecord> = state.webhooks().map(LogRecord::webhook).collect();
    let token_key = state.token_key().map(LogRecord::token_key);
    let with_secrets: Vec<LogRecord> = webhooks.into_iter().chain(token_key).collect();
    let others = state.events().map(LogRecord::event).chain(state.declared().map(LogRecord::table));
    let others = others.chain(state.clients().map(LogRecord::client));

    let mut again = Definitions::with_keyring(KEYS.clone());
    let mut without_key = Definitions::default();
    for record in with_secrets.iter().cloned().chain(others) {
        let key = record.key.to_string();
        let sealed = record.sealed(&KEYS, &|random| random.fill(9)).expect("a definition has a value");
        again
            .apply(key.as_bytes(), Some(&sealed), &mut DefinitionChanges::default())
            .expect("a written definition is read");
        let _ = without_key.apply(key.as_bytes(), Some(&sealed), &mut DefinitionChanges::default());
        let is_shown = |text: &str| {
            let read = records.iter().filter(|(name, _)| *name == key.as_bytes());
            let is_secret = read.filter_map(|(_, value)| *value).all(|value| has_only_in_secrets(value, text));
            is_secret && String::from_utf8_lossy(&sealed).contains(text)
        };
        assert!(!is_shown(MARKER) && !is_shown("whsec_"), "{key}: a sealed value shows a secret");
    }
    assert_eq!(&again, state, "written definitions are read the same");
    assert_eq!(without_key.unopened().is_some(), !with_secrets.is_empty());

    let values = || records.iter().filter_map(|(_, value)| *value).filter(|value| !value.is_empty());
    if values().all(|value| has_only_in_secrets(value, MARKER)) {
        assert!(!format!("{state:?}").contains(MARKER), "the Debug text shows a secret");
    }
}
