//! Filters of dead letters, the same for the REST API and the command line.

use std::str::FromStr;

use http::Uri;
use jiff::Timestamp;

use super::{DeadLetter, DeadLetterKind};
use crate::id::{AccountId, EventId, MessageId, WebhookId};
use crate::kafka::topic_reader::Range;

/// Selects dead letters that match all conditions. The default selects all letters, but not redrive markers: those
/// need `kind`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    pub kind: Option<DeadLetterKind>,
    pub class: Option<String>,
    pub account: Option<AccountId>,
    pub webhook: Option<WebhookId>,
    pub event: Option<EventId>,
    pub message: Option<MessageId>,
    pub endpoint: Option<UrlPrefix>,
    /// Written at this time or later.
    pub since: Option<Timestamp>,
    /// Written before this time.
    pub until: Option<Timestamp>,
}

impl DeadLetterFilter {
    /// Whether this letter matches. A value that the letter lacks does not match.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        fn is<T: PartialEq>(expected: &Option<T>, actual: &Option<T>) -> bool {
            expected.is_none() || expected == actual
        }
        let kind = self.kind.is_some() || letter.kind != Some(DeadLetterKind::Redriven);
        kind && is(&self.kind, &letter.kind)
            && is(&self.class, &letter.class)
            && is(&self.account, &letter.account)
            && is(&self.webhook, &letter.webhook)
            && is(&self.event, &letter.event)
            && is(&self.message, &letter.message)
            && self.since.is_none_or(|since| letter.written_at >= since)
            && self.until.is_none_or(|until| letter.written_at < until)
            && self
                .endpoint
                .as_ref()
                .is_none_or(|prefix| letter.url.as_deref().is_some_and(|url| prefix.is_prefix_of(url)))
    }

    /// Time range of the topic that holds the selected letters.
    pub fn range(&self) -> Range {
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        Range { since_ms: ms(self.since), until_ms: ms(self.until), key: None }
    }
}

/// Prefix of URLs: a whole endpoint (scheme, host and port), and any part of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPrefix {
    https: bool,
    /// In lower case.
    host: String,
    port: u16,
    /// Path and query, at least a slash.
    path: String,
}

/// A text that is not the beginning of a URL, or not of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the beginning of a URL: use https://host or https://host:port, with or without a path")]
pub struct BadUrlPrefix(String);

impl UrlPrefix {
    /// Whether a URL begins with this prefix. `https://a.example` is not a prefix of `https://a.example.com/` or
    /// `https://a.example:8443/`.
    pub fn is_prefix_of(&self, url: &str) -> bool {
        Self::read(url).is_some_and(|url| {
            (url.https, &url.host, url.port) == (self.https, &self.host, self.port) && url.path.starts_with(&self.path)
        })
    }

    fn read(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        Some(Self { https, host: authority.host().to_ascii_lowercase(), port, path: rest })
    }
}

impl FromStr for UrlPrefix {
    type Err = BadUrlPrefix;

    fn from_str(text: &str) -> Result<Self, BadUrlPrefix> {
        Self::read(text).ok_or_else(|| BadUrlPrefix(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_prefix_matches_the_whole_origin_and_part_of_the_path() {
        let begins = |prefix: &str, url: &str| prefix.parse::<UrlPrefix>().unwrap().is_prefix_of(url);
        for (prefix, url) in [
            ("https://a.example", "https://a.example/hooks/1?token=x"),
            ("https://A.example:443/", "https://a.EXAMPLE/hooks/1"),
            ("https://a.example/hooks", "https://a.example/hooks/1"),
            ("https://a.example/hooks/1?to", "https://a.example/hooks/1?token=x"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://a.example", "https://a.example?token=x"),
        ] {
            assert!(begins(prefix, url), "{prefix} {url}");
        }
        for (prefix, url) in [
            ("https://a.example", "https://a.example.com/"),
            ("https://a.example", "http://a.example/"),
            ("https://a.example", "https://a.example:8443/"),
            ("https://a.example/hooks/2", "https://a.example/hooks/1"),
            ("https://a.example", "no url"),
        ] {
            assert!(!begins(prefix, url), "{prefix} {url}");
        }
        for bad in ["a.example", "ftp://a.example", "https://", "/hooks", "", "https:// a"] {
            assert!(bad.parse::<UrlPrefix>().unwrap_err().to_string().contains("beginning of a URL"), "{bad}");
        }
    }
}
