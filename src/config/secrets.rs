//! Which values are secrets: no error shows them, and each may stand in a file of its own.

use std::borrow::Cow;

use crate::definition::SecretReference;

/// Keys whose values are secrets, or hold one. Any setting of librdkafka may be a password under a misspelt name.
const KEYS: [&str; 4] = ["api.token_key", "definitions.secret_keys", "delivery.proxy", "kafka.properties"];

/// What the names of variables end with that hold a file's path in place of the value.
const OF_FILE: &str = "_FILE";
/// Keys that end so themselves, by their variables.
const FILES: [&str; 4] = [
    "OUTHOOK__DELIVERY__CA_FILE",
    "OUTHOOK__KAFKA__PROPERTIES__SASL_OAUTHBEARER_ASSERTION_FILE",
    "OUTHOOK__KAFKA__PROPERTIES__SASL_OAUTHBEARER_ASSERTION_JWT_TEMPLATE_FILE",
    "OUTHOOK__KAFKA__PROPERTIES__SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE",
];

/// Whether no error may show what stands at a key.
pub(super) fn is_secret(key: &str) -> bool {
    let in_it = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    KEYS.iter().any(|secret| key.strip_prefix(secret).is_some_and(in_it))
}

/// The variable whose value is in a file that this one names; None for a variable that holds its value itself.
pub(super) fn of_file(variable: &str) -> Option<&str> {
    variable.strip_suffix(OF_FILE).filter(|_| !FILES.contains(&variable))
}

/// A secret, or what stands in the file that it names as `${file:/path}`.
///
/// # Errors
/// A sentence about the file that can't be read.
pub(super) fn resolved(text: &str) -> Result<Cow<'_, str>, String> {
    match SecretReference::of(text) {
        Some(SecretReference::File(path)) => in_file(path).map(Cow::Owned),
        Some(SecretReference::Variable(_)) | None => Ok(Cow::Borrowed(text)),
    }
}

/// The text of a file without the line break at its end.
///
/// # Errors
/// A sentence that names the file and the reason.
pub fn in_file(path: &str) -> Result<String, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.trim_end_matches('\r')).to_owned()),
        // What does not look like a path may be the secret itself, put there by mistake.
        Err(reason) if path.starts_with(['/', '.']) => Err(format!("the file {path} can't be read: {reason}")),
        Err(reason) => Err(format!("the file that it names can't be read: {reason}; is it a path, from / or . on?")),
    }
}
