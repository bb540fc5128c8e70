//! A webhook's settings of its calls, where they differ from the configuration. They are Outhook's extensions: Caspio
//! does not have them.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::authentication::Authentication;
use super::order::MessageOrder;
use super::rules::Violation;
use super::tls::TlsSettings;
use crate::definition::hidden_text::{HIDDEN_MARK, HiddenText, RetainedText};

/// A webhook's settings of its calls. A setting that is not given is as in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliverySettings {
    /// Timeout of an attempt, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Delay before each retry, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Vec<u32>>,
    /// Additional headers of each request, by name. They may hold credentials, so they are sealed like secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HiddenText>,
    /// Sets the Authorization header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// The webhook's own TLS settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSettings>,
    /// Whether the default payload omits the secret.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omit_secret: bool,
    /// The order in which its messages are sent.
    #[serde(skip_serializing_if = "MessageOrder::is_none")]
    pub order: MessageOrder,
}

/// Max timeout of an attempt, in seconds.
pub const MAX_TIMEOUT: u32 = 120;
/// Max retries.
pub const MAX_RETRIES: usize = 50;
/// Max sum of all delays, in seconds: 30 days, as long as a dead letter would be kept.
pub const MAX_RETRY_DELAY_SUM: u32 = 30 * 86_400;
/// Max headers.
pub const MAX_HEADERS: usize = 20;
/// Max length of a header name, in bytes.
pub const MAX_HEADER_NAME: usize = 100;
/// Max length of a header value, in bytes.
pub const MAX_HEADER_VALUE: usize = 4096;

/// Headers that Outhook sets, or that belong to the connection.
const RESERVED_HEADERS: [&str; 12] = [
    "expect",
    "host",
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "user-agent",
];
/// Prefixes of reserved headers. `svix-` is one of them because receivers' libraries prefer it to `webhook-`.
const RESERVED_PREFIXES: [&str; 4] = ["webhook-", "outhook-", "proxy-", "svix-"];

impl DeliverySettings {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// All texts that are stored like secrets, with the names of their fields.
    pub fn secrets_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut HiddenText)> {
        let headers = self.headers.values_mut().map(|value| ("Headers", value));
        let keys = self.tls.iter_mut().filter_map(|tls| Some(("Tls.ClientKey", tls.client_key.as_mut()?)));
        headers.chain(self.authentication.iter_mut().map(Authentication::secret_mut)).chain(keys)
    }

    /// Replaces hidden values by the present ones, and returns which ones were replaced.
    pub(in crate::definition) fn restore_hidden(&mut self, before: Option<&DeliverySettings>) -> Vec<RetainedText> {
        let mut retained = Vec::new();
        for (name, value) in &mut self.headers {
            if value.restore_hidden(before.and_then(|before| before.headers.get(name))) {
                retained.push(RetainedText::Header(name.clone()));
            }
        }
        if let Some(authentication) = &mut self.authentication
            && authentication.restore_hidden(before.and_then(|before| before.authentication.as_ref()))
        {
            retained.push(RetainedText::Credential(authentication.secret_mut().0));
        }
        if let Some(key) = self.tls.as_mut().and_then(|tls| tls.client_key.as_mut())
            && key.restore_hidden(before.and_then(|before| before.tls.as_ref()?.client_key.as_ref()))
        {
            retained.push(RetainedText::ClientKey);
        }
        retained
    }

    /// The same settings with hidden values.
    pub fn with_hidden_values(&self) -> Self {
        let mut hidden = self.clone();
        hidden.secrets_mut().for_each(|(_, secret)| HIDDEN_MARK.clone_into(&mut secret.0));
        hidden
    }

    /// Checks the settings. `allow_http` is whether a token URL may be http.
    ///
    /// # Errors
    /// The first rule that the settings break.
    pub(in crate::definition) fn check(&self, allow_http: bool) -> Result<(), Violation> {
        let invalid = |field, value: String, expected| Err(Violation::DeliverySetting { field, value, expected });
        if let Some(timeout) = self.timeout.filter(|timeout| !(1..=MAX_TIMEOUT).contains(timeout)) {
            return invalid("Timeout", timeout.to_string(), "give seconds from 1 to 120");
        }
        if let Some(retry) = &self.retry {
            if retry.len() > MAX_RETRIES {
                return invalid("RetrySchedule", format!("{} delays long", retry.len()), "at most 50 are allowed");
            }
            let sum = retry.iter().fold(0_u32, |sum, wait| sum.saturating_add(*wait));
            if sum > MAX_RETRY_DELAY_SUM {
                return invalid(
                    "RetrySchedule",
                    format!("{sum} in total"),
                    "its delays are seconds, at most 2592000 (30 days) in total",
                );
            }
        }
        if self.headers.len() > MAX_HEADERS {
            return invalid("Headers", format!("{} headers long", self.headers.len()), "at most 20 are allowed");
        }
        let mut names = HashSet::new();
        if let Some(name) = self.headers.keys().find(|name| !names.insert(normalized_header_name(name))) {
            return Err(Violation::Duplicate { field: "Headers", value: name.clone() });
        }
        self.headers.iter().try_for_each(|(name, value)| header(name, value))?;
        if let Some(tls) = &self.tls {
            tls.compile()?;
        }
        let Some(authentication) = &self.authentication else { return Ok(()) };
        if let Some(name) = self.headers.keys().find(|name| normalized_header_name(name) == "authorization") {
            let expected = "Authentication sets it, so omit one of the two";
            return Err(Violation::Header { name: name.clone(), expected });
        }
        authentication.check(allow_http)
    }
}

/// A header's name as servers see it that pass headers on in variables, such as HTTP_WEBHOOK_ID (RFC 3875, 4.1.18).
/// All characters except letters and digits are the same there, so a receiver that looks for the signed webhook-id
/// could find webhook_id. Other names with an underscore, such as api_key, are left to receivers.
fn normalized_header_name(name: &str) -> String {
    name.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign.to_ascii_lowercase() } else { '-' }).collect()
}

fn header(name: &str, value: &HiddenText) -> Result<(), Violation> {
    let refused = |expected| Err(Violation::Header { name: name.to_owned(), expected });
    let merged = normalized_header_name(name);
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return refused("it is not a valid header name");
    }
    if RESERVED_HEADERS.contains(&&*merged) || RESERVED_PREFIXES.iter().any(|prefix| merged.starts_with(prefix)) {
        return refused(
            "Outhook or the connection sets it, or some servers confuse it with a header that they set: they treat - \
             and _ as the same",
        );
    }
    if name.len() > MAX_HEADER_NAME {
        return refused("a header name has at most 100 characters");
    }
    if let Err(expected) = value.check() {
        return refused(expected);
    }
    let HiddenText(value) = value;
    if value.len() > MAX_HEADER_VALUE || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return refused("its value must be visible ASCII, at most 4096 bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(headers: &[(&str, &str)]) -> DeliverySettings {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), HiddenText((*value).to_owned())));
        DeliverySettings { headers: headers.collect(), ..DeliverySettings::default() }
    }

    #[test]
    fn invalid_delivery_settings_are_rejected_and_values_never_shown() {
        for good in [&[("X-Api-Key", "s3cret"), ("Authorization", "Bearer x")][..], &[("api_key", "s3cret")]] {
            assert_eq!(headers(good).check(false), Ok(()));
        }
        let twice = headers(&[("x_key", "s3cret"), ("X-Key", "s3cret")]).check(false).unwrap_err().to_string();
        assert!(twice.contains("twice"), "{twice}");
        for (name, value) in [
            ("Webhook-Id", "s3cret"),
            ("HOST", "s3cret"),
            ("svix-id", "s3cret"),
            ("webhook_id", "s3cret"),
            ("Webhook_Signature", "s3cret"),
            ("webhook.timestamp", "s3cret"),
            ("outhook_sequence", "s3cret"),
            ("content_length", "s3cret"),
            ("Transfer_Encoding", "s3cret"),
            ("user~agent", "s3cret"),
            ("a b", "s3cret"),
            ("", "s3cret"),
            ("x", "s3cret\r\nx: y"),
            ("x", "s3crét"),
            ("x", "sealed:v1:s3cret"),
            ("x", "${s3cret}"),
            ("x", HIDDEN_MARK),
        ] {
            let error = headers(&[(name, value)]).check(false).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")) && !error.contains("s3cr"), "{error}");
        }
        for bad in [
            DeliverySettings { timeout: Some(0), ..DeliverySettings::default() },
            DeliverySettings { timeout: Some(121), ..DeliverySettings::default() },
            DeliverySettings { retry: Some(vec![1; 51]), ..DeliverySettings::default() },
            DeliverySettings { retry: Some(vec![2_592_000, 1]), ..DeliverySettings::default() },
        ] {
            assert!(bad.check(false).is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", headers(&[("x", "s3cret")])).contains("s3cret"));
    }

    #[test]
    fn an_authorization_header_and_authentication_exclude_each_other() {
        let token = HiddenText("s3cret".to_owned());
        let bearer = Some(Authentication::Bearer { token });
        let both = DeliverySettings { authentication: bearer.clone(), ..headers(&[("AUTHORIZATION", "Bearer x")]) };
        let error = both.check(false).unwrap_err().to_string();
        assert!(error.contains("\"AUTHORIZATION\"") && error.contains("omit one of the two"), "{error}");
        let one = DeliverySettings { authentication: bearer, ..headers(&[("X-Api-Key", "s3cret")]) };
        assert_eq!(one.check(false), Ok(()));
        assert!(!serde_json::to_string(&one.with_hidden_values()).unwrap().contains("s3cret"));
    }

    #[test]
    fn hidden_header_value_keeps_the_stored_one() {
        let before = headers(&[("x", "one"), ("y", "two")]);
        let mut after = headers(&[("x", HIDDEN_MARK), ("y", "three"), ("z", HIDDEN_MARK)]);
        after.restore_hidden(Some(&before));
        assert_eq!(after, headers(&[("x", "one"), ("y", "three"), ("z", HIDDEN_MARK)]));
        assert!(after.check(false).is_err());
        assert_eq!(before.with_hidden_values(), headers(&[("x", HIDDEN_MARK), ("y", HIDDEN_MARK)]));
    }
}
