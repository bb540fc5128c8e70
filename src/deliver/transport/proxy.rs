//! The proxy between Outhook and endpoints, if one is configured. It is asked to CONNECT to an address that the guard
//! allows, not to a host name: the proxy's own lookup could differ from the checked one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::failure::AttemptFailure;
use super::resolve::Resolver;
use crate::deliver::transport::happy_eyeballs::{self, ConnectError};
use crate::deliver::transport::head_limits::MAX_HEAD;

/// A proxy's URL. Its `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Proxy {
    host: Box<str>,
    port: u16,
    authorization: Option<HeaderValue>,
}

/// A destination that bypasses the proxy: a network, or a host with its subdomains.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum ProxyBypass {
    Network(IpNet),
    Host(Box<str>),
}

/// A text is not a proxy URL. The error does not show the text, which may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a proxy must be http://host:port or http://user:password@host:port, with reserved characters encoded (@ as %40)"
)]
pub struct BadProxy;

/// The proxy, and the destinations that bypass it.
pub(in crate::deliver) struct Egress {
    pub proxy: Option<Proxy>,
    pub bypass: Vec<ProxyBypass>,
}

impl Egress {
    /// Returns the proxy for an address of a host; None for a direct connection.
    pub fn proxy(&self, host: &str, address: IpAddr) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.bypass.iter().any(|direct| direct.matches(host, address)))
    }
}

impl ProxyBypass {
    fn matches(&self, host: &str, address: IpAddr) -> bool {
        match self {
            ProxyBypass::Network(network) => network.contains(&address.to_canonical()) || network.contains(&address),
            ProxyBypass::Host(name) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host.strip_suffix(&**name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
        }
    }
}

impl Proxy {
    /// Opens a connection to the address through the proxy.
    ///
    /// # Errors
    /// [`AttemptFailure::Proxy`]: the proxy can't be reached, or refuses.
    pub(in crate::deliver) async fn tunnel(
        &self,
        to: SocketAddr,
        resolver: &Resolver,
        deadline: Instant,
    ) -> Result<TcpStream, AttemptFailure> {
        let stream = self
            .connect(resolver, deadline)
            .await
            .map_err(|error| self.proxy_failure(format!("can't be reached: {error}")))?;
        let no_answer = |error: hyper::Error| self.proxy_failure(format!("gave no answer: {error}"));
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
        // Aborted when this future is dropped, so a proxy that never answers holds no resources.
        let mut driver = JoinSet::new();
        driver.spawn(connection.with_upgrades());
        let answer = sender.send_request(self.request(to)).await.map_err(no_answer)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(self.address_failure(to, Some(status.as_u16()), format!("answered {status}")));
        }
        let tunnel = hyper::upgrade::on(answer).await.map_err(no_answer)?;
        match tunnel.downcast::<TokioIo<TcpStream>>() {
            // The server behind the tunnel sends nothing before this side does.
            Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io.into_inner()),
            _ => Err(self.proxy_failure("sent data after its response".to_owned())),
        }
    }

    /// The error for a failure of the proxy itself.
    fn proxy_failure(&self, reason: String) -> AttemptFailure {
        self.failure(None, None, reason)
    }

    /// The error for an address that the proxy did not connect to.
    pub(in crate::deliver) fn address_failure(
        &self,
        to: SocketAddr,
        status: Option<u16>,
        reason: String,
    ) -> AttemptFailure {
        self.failure(Some(to), status, reason)
    }

    fn failure(&self, to: Option<SocketAddr>, status: Option<u16>, reason: String) -> AttemptFailure {
        AttemptFailure::Proxy {
            proxy: format!("{}:{}", self.host, self.port).into(),
            to,
            status,
            reason: reason.into(),
        }
    }

    /// Connects to the proxy. The guard does not check its address, because the operator configured it.
    async fn connect(&self, resolver: &Resolver, deadline: Instant) -> io::Result<TcpStream> {
        let addresses = resolver.look_up(&self.host, self.port).await?;
        let reached = happy_eyeballs::connect_first(addresses, deadline, TcpStream::connect).await;
        let stream = reached.map_err(|unreached| match unreached {
            ConnectError::Failed(reason) => reason,
            ConnectError::NoAnswer(_) => io::ErrorKind::TimedOut.into(),
        })?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn request(&self, to: SocketAddr) -> Request<Empty<Bytes>> {
        let to = to.to_string();
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&to).expect("an address is visible ASCII"));
        if let Some(authorization) = &self.authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        *request.uri_mut() = Uri::try_from(to).expect("an address with a port is an authority");
        request
    }
}

impl TryFrom<String> for Proxy {
    type Error = BadProxy;

    fn try_from(url: String) -> Result<Self, BadProxy> {
        let uri: Uri = url.parse().map_err(|_| BadProxy)?;
        if uri.scheme_str() != Some("http") || uri.path() != "/" || uri.query().is_some() {
            return Err(BadProxy);
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(BadProxy)?;
        let port = authority.port_u16().filter(|port| *port != 0).ok_or(BadProxy)?;
        let authorization = match authority.as_str().rsplit_once('@') {
            Some((credentials, _)) => Some(authorization(credentials)?),
            None => None,
        };
        Ok(Self { host: authority.host().into(), port, authorization })
    }
}

/// A Basic authorization header from the user and password of a URL (RFC 7617).
fn authorization(credentials: &str) -> Result<HeaderValue, BadProxy> {
    let (user, password) = credentials.split_once(':').ok_or(BadProxy)?;
    let plain = [percent_decode_str(user).collect(), vec![b':'], percent_decode_str(password).collect()].concat();
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(plain))).map_err(|_| BadProxy)?;
    value.set_sensitive(true);
    Ok(value)
}

impl From<String> for ProxyBypass {
    fn from(text: String) -> Self {
        let address = text.parse().map(|address: IpAddr| address.into());
        match text.parse().or(address) {
            Ok(network) => ProxyBypass::Network(network),
            Err(_) => ProxyBypass::Host(text.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase().into()),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.authorization.is_some() { "…@" } else { "" };
        write!(f, "http://{user}{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_password_is_used_and_never_shown() {
        let proxy = Proxy::try_from("http://us:p%40ss:w%C3%B6rd@proxy.example:3128".to_owned()).unwrap();
        assert_eq!(format!("{proxy:?}"), "http://…@proxy.example:3128");
        assert_eq!(proxy.authorization.unwrap(), format!("Basic {}", STANDARD.encode("us:p@ss:wörd")));
        let plain = Proxy::try_from("http://[::1]:3128/".to_owned()).unwrap();
        assert_eq!((format!("{plain:?}").as_str(), plain.authorization), ("http://[::1]:3128", None));
        for bad in [
            "",
            "proxy:3128",
            "https://s3cret@proxy:3128",
            "http://proxy",
            "http://proxy:0",
            "http://proxy:3128/s3cret",
            "http://s3cret@proxy:3128",
            "socks5://us:s3cret@proxy:3128",
        ] {
            let error = Proxy::try_from(bad.to_owned()).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn no_proxy_entries_match_networks_hosts_and_subdomains() {
        let direct = ["10.0.0.0/8", "192.168.1.1", "Internal.example", ".corp", "*.lan"];
        let direct = direct.map(|text| ProxyBypass::from(text.to_owned())).to_vec();
        let proxy = Some(Proxy::try_from("http://proxy:1".to_owned()).unwrap());
        let egress = Egress { proxy, bypass: direct };
        let directly = |host: &str, address: &str| egress.proxy(host, address.parse().unwrap()).is_none();
        for (host, address) in [
            ("a.example", "10.1.2.3"),
            ("a.example", "::ffff:10.1.2.3"),
            ("a.example", "192.168.1.1"),
            ("internal.example", "8.8.8.8"),
            ("A.INTERNAL.example.", "8.8.8.8"),
            ("host.corp", "8.8.8.8"),
            ("host.lan", "8.8.8.8"),
        ] {
            assert!(directly(host, address), "{host} {address}");
        }
        for (host, address) in [
            ("a.example", "11.1.2.3"),
            ("a.example", "192.168.1.2"),
            ("notinternal.example", "8.8.8.8"),
            ("internal.example.org", "8.8.8.8"),
        ] {
            assert!(!directly(host, address), "{host} {address}");
        }
        assert!(Egress { proxy: None, bypass: vec![] }.proxy("a", "8.8.8.8".parse().unwrap()).is_none());
    }
}
