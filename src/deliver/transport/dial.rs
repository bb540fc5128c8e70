//! Opens connections: looks the name up, checks the addresses, connects, does the handshakes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::connection::{Connection, ConnectionInfo, Http1, Http2};
use super::failure::AttemptFailure;
use super::proxy::Egress;
use super::resolve::{Resolver, strip_brackets};
use super::response_progress::ObservedStream;
use super::tls::{TlsConnectors, TlsSettingsError};
use crate::definition::Endpoint;
use crate::definition::address_guard::{AddressGuard, AddressRefused};
use crate::deliver::Config;
use crate::deliver::transport::happy_eyeballs::{self, ConnectError};
use crate::deliver::transport::head_limits::{MAX_HEAD, MAX_HEADER_LIST};

/// An HTTP/2 connection without calls is not pinged. A connection whose pings stay unanswered is closed, so that calls
/// don't wait for their timeouts on a dead path.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Max requests on a new HTTP/2 connection before the endpoint has announced its limit. The endpoint may refuse
/// requests above its limit.
const INITIAL_STREAMS: usize = 1;

pub(in crate::deliver) struct Dialer {
    resolver: Resolver,
    tls: TlsConnectors,
    guard: AddressGuard,
    egress: Egress,
    allow_http: bool,
    max_age: Duration,
    pub connect_timeout: Duration,
}

/// The protocols that are offered to an endpoint by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum AlpnOffer {
    /// HTTP/2, then HTTP/1.1.
    Both,
    Http1,
}

impl Dialer {
    /// # Errors
    /// The certificate authorities can't be read.
    pub fn new(config: &Config, resolver: Resolver) -> Result<Self, TlsSettingsError> {
        Ok(Self {
            resolver,
            tls: TlsConnectors::new(config)?,
            egress: Egress { proxy: config.proxy.clone(), bypass: config.no_proxy.clone() },
            guard: AddressGuard::new(config.allow_addresses.clone(), config.deny_addresses.clone()),
            allow_http: config.allow_http,
            max_age: config.max_connection_age,
            connect_timeout: config.connect_timeout,
        })
    }

    /// Returns the TLS connector for an endpoint.
    pub fn connector(&self, endpoint: &Endpoint) -> TlsConnector {
        self.tls.connector(endpoint.tls.as_deref())
    }

    /// Opens a new connection to the endpoint, with its connector. Stops connecting at the deadline. The caller has to
    /// end a lookup or handshake that takes longer.
    pub async fn dial(
        &self,
        endpoint: &Endpoint,
        connector: &TlsConnector,
        offer: AlpnOffer,
        deadline: Instant,
    ) -> Result<Connection, AttemptFailure> {
        if !endpoint.https {
            if !self.allow_http {
                return Err(AttemptFailure::HttpRefused);
            }
            let tcp = self.connect(endpoint, deadline).await?;
            let opened = self.connection_info(&tcp);
            return http1(tcp, opened).await;
        }
        let name = ServerName::try_from(strip_brackets(&endpoint.host).to_owned())
            .map_err(|reason| AttemptFailure::Tls(io::Error::new(io::ErrorKind::InvalidInput, reason)))?;
        let tcp = self.connect(endpoint, deadline).await?;
        let opened = self.connection_info(&tcp);
        let connecting = match offer {
            AlpnOffer::Both => connector.connect(name, tcp),
            AlpnOffer::Http1 => connector.with_alpn(vec![b"http/1.1".to_vec()]).connect(name, tcp),
        };
        let tls = connecting.await.map_err(AttemptFailure::Tls)?;
        match tls.get_ref().1.alpn_protocol() {
            Some(b"h2") => http2(tls, opened).await,
            _ => http1(tls, opened).await,
        }
    }

    fn connection_info(&self, tcp: &TcpStream) -> ConnectionInfo {
        let age = Some(jittered(self.max_age)).filter(|age| !age.is_zero());
        ConnectionInfo { peer: tcp.peer_addr().ok(), expires_at: age.and_then(|age| Instant::now().checked_add(age)) }
    }

    /// Connects to the first allowed address that answers. The name is looked up once, and only the checked addresses
    /// are dialled: a name whose lookup result changes meanwhile gains nothing.
    async fn connect(&self, endpoint: &Endpoint, deadline: Instant) -> Result<TcpStream, AttemptFailure> {
        let host = &*endpoint.host;
        let addresses = self.resolver.look_up(host, endpoint.port).await.map_err(AttemptFailure::Resolve)?;
        let addresses = self.allowed(addresses)?;
        let reached =
            happy_eyeballs::connect_first(addresses, deadline, |address| self.connect_address(host, address, deadline))
                .await;
        let stream = reached.map_err(|unreached| match unreached {
            ConnectError::Failed(failure) => failure,
            ConnectError::NoAnswer(address) => self.no_answer(host, address),
        })?;
        // Without TCP_NODELAY small writes wait for acknowledgements: 44 ms a call on HTTP/2.
        stream.set_nodelay(true).map_err(AttemptFailure::Connect)?;
        Ok(stream)
    }

    async fn connect_address(
        &self,
        host: &str,
        address: SocketAddr,
        deadline: Instant,
    ) -> Result<TcpStream, AttemptFailure> {
        match self.egress.proxy(host, address.ip()) {
            Some(proxy) => proxy.tunnel(address, &self.resolver, deadline).await,
            None => TcpStream::connect(address).await.map_err(AttemptFailure::Connect),
        }
    }

    fn no_answer(&self, host: &str, address: SocketAddr) -> AttemptFailure {
        match self.egress.proxy(host, address.ip()) {
            Some(proxy) => proxy.address_failure(address, None, "gave no answer in time".to_owned()),
            None => AttemptFailure::NoAnswer(address),
        }
    }

    fn allowed(&self, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, AttemptFailure> {
        let mut first_refused: Option<AddressRefused> = None;
        let allowed: Vec<_> = addresses
            .into_iter()
            .filter(|address| match self.guard.check(address.ip()) {
                Ok(()) => true,
                Err(refused) => {
                    first_refused.get_or_insert(refused);
                    false
                }
            })
            .collect();
        match first_refused {
            Some(refused) if allowed.is_empty() => Err(AttemptFailure::RefusedAddress(refused)),
            _ => Ok(allowed),
        }
    }
}

/// The maximum less up to a fifth, so that connections which were opened together are not closed together.
fn jittered(max: Duration) -> Duration {
    max - (max / 5).mul_f64(fastrand::f64())
}

async fn http1<S>(stream: S, opened: ConnectionInfo) -> Result<Connection, AttemptFailure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stream, seen) = ObservedStream::new(stream);
    // Repairs headers that clients should repair (RFC 9112, 5.1 and 5.2), and skips other invalid headers.
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| AttemptFailure::Broken(error.to_string()))?;
    Ok(Connection::Http1(Http1::new(sender, connection, opened, seen)))
}

async fn http2<S>(stream: S, opened: ConnectionInfo) -> Result<Connection, AttemptFailure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stream, seen) = ObservedStream::new(stream);
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_max_send_streams(INITIAL_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| AttemptFailure::Broken(error.to_string()))?;
    Ok(Connection::Http2(Http2::serve(sender, connection, opened, seen)))
}
