//! Secret values of the configuration. No error shows them, and each may be in a separate file.

use std::borrow::Cow;

use crate::definition::{SecretError, SecretReference};

/// Keys whose values are or contain secrets. Any setting of librdkafka may be a password under a misspelt name.
const SECRET_KEYS: [&str; 4] = ["api.token_key", "definitions.secret_keys", "delivery.proxy", "kafka.properties"];

/// Suffix of variables that hold the path of a file instead of the value.
const FILE_SUFFIX: &str = "_FILE";
/// Variables of keys whose own names end with this suffix.
const FILE_VARIABLES: [&str; 4] = [
    "OUTHOOK__DELIVERY__CA_FILE",
    "OUTHOOK__KAFKA__PROPERTIES__SASL_OAUTHBEARER_ASSERTION_FILE",
    "OUTHOOK__KAFKA__PROPERTIES__SASL_OAUTHBEARER_ASSERTION_JWT_TEMPLATE_FILE",
    "OUTHOOK__KAFKA__PROPERTIES__SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE",
];

/// Whether the value of a key must not be shown in errors.
pub(super) fn is_secret(key: &str) -> bool {
    let in_it = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    SECRET_KEYS.iter().any(|secret| key.strip_prefix(secret).is_some_and(in_it))
}

/// The variable without the suffix, if the variable names a file. None if it holds the value itself.
pub(super) fn strip_file_suffix(variable: &str) -> Option<&str> {
    variable.strip_suffix(FILE_SUFFIX).filter(|_| !FILE_VARIABLES.contains(&variable))
}

/// The secret, or the contents of the file that it names as `${file:/path}`.
///
/// # Errors
/// The file can't be read.
pub(super) fn resolve_reference(text: &str) -> Result<Cow<'_, str>, SecretError> {
    match SecretReference::of(text) {
        Some(SecretReference::File(path)) => read_secret_file(path).map(Cow::Owned),
        Some(SecretReference::Variable(_)) | None => Ok(Cow::Borrowed(text)),
    }
}

/// The text of a file without its final line break.
///
/// # Errors
/// The file can't be read.
pub fn read_secret_file(path: &str) -> Result<String, SecretError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.trim_end_matches('\r')).to_owned()),
        Err(reason) if path.starts_with(['/', '.']) => Err(SecretError::File { path: path.to_owned(), reason }),
        Err(reason) => Err(SecretError::HiddenFile(reason)),
    }
}
