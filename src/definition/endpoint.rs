//! An outgoing URL, validated and parsed once.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;

use http::Uri;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::CompiledTls;

/// Characters that a path or query may not contain unencoded (RFC 3986, 3.3 and 3.4). They are sent percent-encoded,
/// as UTF-8. A `%` is not among them, because it starts an existing encoding.
const PERCENT_ENCODED: &AsciiSet =
    &CONTROLS.add(b'"').add(b'<').add(b'>').add(b'[').add(b']').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Destination of calls: an http or https URL with a host, and without user info and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL as given.
    pub url: Arc<str>,
    /// The URL as sent.
    pub uri: Uri,
    pub https: bool,
    pub host: Arc<str>,
    pub port: u16,
    /// The webhook's own TLS, if any.
    pub tls: Option<Arc<CompiledTls>>,
    /// Endpoints with the same value share connections. It is the URL, followed by `#` and the fingerprint of the
    /// webhook's own TLS, if any. URLs of endpoints do not contain a `#`.
    pub lane_key: Arc<str>,
}

/// Why a text is not an outgoing URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not an outgoing URL: {reason}")]
pub struct BadUrl {
    /// As given, without user name and password.
    pub url: String,
    pub reason: Cow<'static, str>,
}

impl Endpoint {
    /// # Errors
    /// The URL is not an absolute http or https URL with a host, or it has user info or a fragment.
    pub fn parse(url: &str) -> Result<Endpoint, BadUrl> {
        let bad = |reason: &'static str| BadUrl { url: without_user_info(url), reason: reason.into() };
        if url.contains('#') {
            return Err(bad("a fragment (#…) is never sent; remove it"));
        }
        let uri = parse_sendable(url).map_err(|reason| BadUrl { url: without_user_info(url), reason })?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it must start with https://, or with http:// where the configuration allows that")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a user name or password in the URL would appear in logs; remove it"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        if let Some(inside) = host.strip_prefix('[')
            && inside.trim_end_matches(']').parse::<Ipv6Addr>().is_err()
        {
            return Err(bad("the host in brackets must be an IPv6 address without a zone"));
        }
        let port = match authority.port() {
            None if authority.as_str().ends_with(':') || authority.as_str().len() > host.len() => {
                return Err(bad("its port is not a number from 1 to 65535"));
            }
            None => {
                if https {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.as_u16(),
        };
        if port == 0 {
            return Err(bad("its port is not a number from 1 to 65535"));
        }
        let url: Arc<str> = url.into();
        Ok(Endpoint { lane_key: url.clone(), url, host: host.into(), https, port, tls: None, uri })
    }

    /// Scheme, host and port, as in logs and dead letters.
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// The host, and the port if it is not the scheme's default.
    pub fn authority(&self) -> String {
        let default_port = if self.https { 443 } else { 80 };
        match self.port {
            port if port == default_port => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// The same endpoint with a webhook's own TLS. Endpoints with different TLS share no connection: a connection
    /// that was opened with the other TLS trusts other authorities, or identifies itself as another webhook.
    pub fn with_tls(mut self, tls: Option<Arc<CompiledTls>>) -> Endpoint {
        self.lane_key = match &tls {
            Some(tls) => format!("{}#{}", self.url, tls.fingerprint).into(),
            None => self.url.clone(),
        };
        Endpoint { tls, ..self }
    }
}

/// The URL as sent.
fn parse_sendable(url: &str) -> Result<Uri, Cow<'static, str>> {
    if url.contains(['\r', '\n']) {
        return Err("it has a line break; remove it, or write %0A if it is intended".into());
    }
    if url.contains(char::is_whitespace) {
        return Err("it has a blank; remove it, or write %20 if it is intended".into());
    }
    if url.contains('\\') {
        return Err("it has a backslash; write / or, if it is intended, %5C".into());
    }
    if let Some(control) = url.chars().find(|character| character.is_control()) {
        return Err(format!("it has the control character {}; remove it", control.escape_unicode()).into());
    }
    if !url.contains("://") {
        return Err("it must start with https://, or with http:// where the configuration allows that".into());
    }
    let after_scheme = url.find("//").map_or(0, |at| at + 2);
    let (origin, target) = url.split_at(url[after_scheme..].find(['/', '?']).map_or(url.len(), |at| after_scheme + at));
    if let Some(other) = origin.chars().find(|character| !character.is_ascii()) {
        return Err(format!("its host has {other:?}; write the host in punycode, as xn--…").into());
    }
    if let Some(wrong) = find_invalid_encoding(target) {
        return Err(format!("it has {wrong:?}; write two hexadecimal digits after a %, and %25 for a literal %").into());
    }
    let encoded = utf8_percent_encode(target, PERCENT_ENCODED);
    // A URL without a path is the same as with the path `/`.
    let slash = if target.starts_with('?') { "/" } else { "" };
    format!("{origin}{slash}{encoded}").parse().map_err(|_| "it has characters or a form that a URL can't have".into())
}

/// The first `%` that does not encode a byte, with the characters behind it.
fn find_invalid_encoding(text: &str) -> Option<String> {
    text.match_indices('%')
        .map(|(at, _)| text[at..].chars().take(3).collect::<String>())
        .find(|encoded| encoded.len() != 3 || !encoded[1..].bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// The URL with `…` in place of the text before an `@`, which may be a password.
fn without_user_info(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((before, after)) => {
            let scheme = before.find("//").map_or("", |at| &before[..at + 2]);
            format!("{scheme}…@{after}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_target_characters_are_sent_encoded_and_shown_as_given() {
        for (given, sent) in [
            ("/hook", "/hook"),
            ("/ä", "/%C3%A4"),
            ("/%C3%A4/ä", "/%C3%A4/%C3%A4"),
            ("/a\"b<c>d", "/a%22b%3Cc%3Ed"),
            ("/{id}|^`[x]", "/%7Bid%7D%7C%5E%60%5Bx%5D"),
            ("/?q=日本&r={}", "/?q=%E6%97%A5%E6%9C%AC&r=%7B%7D"),
            ("?ü", "/?%C3%BC"),
            ("/a%2fb%25", "/a%2fb%25"),
            ("/-._~!$&'()*+,;=:@/?/?", "/-._~!$&'()*+,;=:@/?/?"),
            ("", "/"),
        ] {
            let url = format!("https://a.example{given}");
            let endpoint = Endpoint::parse(&url).unwrap();
            assert_eq!(endpoint.uri.path_and_query().unwrap().as_str(), sent, "{given}");
            assert_eq!((&*endpoint.url, &*endpoint.host), (&*url, "a.example"), "{given}");
        }
    }

    #[test]
    fn invalid_urls_are_rejected_with_the_fix() {
        for (url, told) in [
            ("https://a.example/%zz", "it has \"%zz\""),
            ("https://a.example/100%", "it has \"%\""),
            ("https://a.example/?a=%4", "it has \"%4\""),
            ("https://a.example/%4é", "it has \"%4é\""),
            ("https://a.example/%é", "it has \"%é\""),
            ("https://a.example/a b", "a blank"),
            (" https://a.example/", "a blank"),
            ("https://a.example/\u{a0}", "a blank"),
            ("https://a.example/\t", "a blank"),
            ("https://a.example/\n", "a line break"),
            ("https://a.example/\r\nHost: x", "a line break"),
            ("https://a.example\\hook", "a backslash"),
            ("https://a.example/\u{7}", "the control character \\u{7}"),
            ("https://bücher.example/", "its host has 'ü'; write the host in punycode"),
            ("https://例え.example?x", "punycode"),
            ("https://a.example/#top", "a fragment"),
            ("https://a%2eexample/", "a form that a URL can't have"),
            ("", "must start with https://"),
            ("a.example:8484/hook", "must start with https://"),
            ("htp://a.example/hook", "or with http:// where"),
        ] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(error.contains(told), "{url:?}: {error}");
        }
    }
}
