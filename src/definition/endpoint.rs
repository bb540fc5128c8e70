//! An outgoing URL, checked and taken apart once.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::sync::Arc;

use http::Uri;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::CompiledTls;

/// What no path and no query may hold as it is (RFC 3986, 3.3 and 3.4): it is sent percent-encoded, as UTF-8. A `%`
/// begins what is encoded already.
const UNSENDABLE: &AsciiSet =
    &CONTROLS.add(b'"').add(b'<').add(b'>').add(b'[').add(b']').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// Where calls go: a URL that is http or https, has a host, no user info and no fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL as given.
    pub url: Arc<str>,
    /// As it is sent.
    pub uri: Uri,
    pub https: bool,
    pub host: Arc<str>,
    pub port: u16,
    /// Its webhook's own TLS, if it has any.
    pub tls: Option<Arc<CompiledTls>>,
    /// What it shares connections by: the URL, and with TLS of its own its fingerprint behind a `#`, which no URL has.
    pub lane: Arc<str>,
}

/// Why a text is no outgoing URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no outgoing URL: {reason}")]
pub struct BadUrl {
    /// As given, but for a user name and password.
    pub url: String,
    pub reason: Cow<'static, str>,
}

impl Endpoint {
    /// # Errors
    /// Not an absolute http or https URL with a host, or with user info or a fragment.
    pub fn parse(url: &str) -> Result<Endpoint, BadUrl> {
        let bad = |reason: &'static str| BadUrl { url: without_user_info(url), reason: reason.into() };
        if url.contains('#') {
            return Err(bad("a fragment (#…) is never sent; leave it out"));
        }
        let uri = sendable(url).map_err(|reason| BadUrl { url: without_user_info(url), reason })?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it must start with https://, or with http:// where the configuration allows that")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a user name or password in the URL would end up in logs; leave it out"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        if let Some(inside) = host.strip_prefix('[')
            && inside.trim_end_matches(']').parse::<Ipv6Addr>().is_err()
        {
            return Err(bad("what stands in brackets must be an IPv6 address, and without a zone"));
        }
        let port = match authority.port() {
            None if authority.as_str().ends_with(':') || authority.as_str().len() > host.len() => {
                return Err(bad("its port is no number from 1 to 65535"));
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
            return Err(bad("its port is no number from 1 to 65535"));
        }
        let url: Arc<str> = url.into();
        Ok(Endpoint { lane: url.clone(), url, host: host.into(), https, port, tls: None, uri })
    }

    /// Scheme, host and port, as logs and dead letters show it too.
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }

    /// Host and port, which is left out where it goes without saying.
    pub fn authority(&self) -> String {
        let default_port = if self.https { 443 } else { 80 };
        match self.port {
            port if port == default_port => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// The same with a webhook's own TLS. It shares no connection with an endpoint of other TLS: on one that was
    /// opened with it, others would be believed, or be taken for its webhook.
    pub fn with_tls(mut self, tls: Option<Arc<CompiledTls>>) -> Endpoint {
        self.lane = match &tls {
            Some(tls) => format!("{}#{}", self.url, tls.fingerprint).into(),
            None => self.url.clone(),
        };
        Endpoint { tls, ..self }
    }
}

/// The URL as it is sent.
fn sendable(url: &str) -> Result<Uri, Cow<'static, str>> {
    if url.contains(['\r', '\n']) {
        return Err("it has a line break; leave it out, or write %0A where it is meant".into());
    }
    if url.contains(char::is_whitespace) {
        return Err("it has a blank; leave it out, or write %20 where it is meant".into());
    }
    if url.contains('\\') {
        return Err("it has a backslash; write / or, where it is meant, %5C".into());
    }
    if let Some(control) = url.chars().find(|character| character.is_control()) {
        return Err(format!("it has the control character {}; leave it out", control.escape_unicode()).into());
    }
    if !url.contains("://") {
        return Err("it must start with https://, or with http:// where the configuration allows that".into());
    }
    let after_scheme = url.find("//").map_or(0, |at| at + 2);
    let (origin, target) = url.split_at(url[after_scheme..].find(['/', '?']).map_or(url.len(), |at| after_scheme + at));
    if let Some(other) = origin.chars().find(|character| !character.is_ascii()) {
        return Err(format!("its host has {other:?}; write the host in punycode, as xn--…").into());
    }
    if let Some(wrong) = wrong_encoding(target) {
        return Err(format!("it has {wrong:?}; two hexadecimal digits follow a %, and a % that is meant is %25").into());
    }
    let encoded = utf8_percent_encode(target, UNSENDABLE);
    // Without a path it is the root's, and the same URL as with it.
    let slash = if target.starts_with('?') { "/" } else { "" };
    format!("{origin}{slash}{encoded}").parse().map_err(|_| "it has characters or a form that a URL can't have".into())
}

/// The first `%` that encodes nothing, with what follows it.
fn wrong_encoding(text: &str) -> Option<String> {
    text.match_indices('%')
        .map(|(at, _)| text[at..].chars().take(3).collect::<String>())
        .find(|encoded| encoded.len() != 3 || !encoded[1..].bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// The URL with `…` for what stands before an `@`: it may be a password.
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
    fn what_a_request_target_may_not_hold_is_sent_encoded_and_shown_as_given() {
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
    fn what_is_no_url_is_told_with_its_mend() {
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
