//! An outgoing URL, checked and taken apart once.

use std::net::Ipv6Addr;
use std::sync::Arc;

use http::Uri;

use super::Tls;

/// Where calls go: a URL that is http or https, has a host, no user info and no fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL as given.
    pub url: Arc<str>,
    pub uri: Uri,
    pub https: bool,
    pub host: Arc<str>,
    pub port: u16,
    /// Its webhook's own TLS, if it has any.
    pub tls: Option<Arc<Tls>>,
    /// What it shares connections by: the URL, and with TLS of its own its fingerprint behind a `#`, which no URL has.
    pub lane: Arc<str>,
}

/// Why a text is no outgoing URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no outgoing URL: {reason}")]
pub struct BadUrl {
    /// As given, but for a user name and password.
    pub url: String,
    pub reason: &'static str,
}

impl Endpoint {
    /// # Errors
    /// Not an absolute http or https URL with a host, or with user info or a fragment.
    pub fn parse(url: &str) -> Result<Endpoint, BadUrl> {
        let bad = |reason| BadUrl { url: without_user_info(url), reason };
        if url.contains('#') {
            return Err(bad("a fragment (#…) is never sent; leave it out"));
        }
        let uri: Uri = url.parse().map_err(|_| bad("it has characters or a form that a URL can't have"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it must start with https://")),
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
    pub fn with_tls(mut self, tls: Option<Arc<Tls>>) -> Endpoint {
        self.lane = match &tls {
            Some(tls) => format!("{}#{}", self.url, tls.fingerprint).into(),
            None => self.url.clone(),
        };
        Endpoint { tls, ..self }
    }
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
