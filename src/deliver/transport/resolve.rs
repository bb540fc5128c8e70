//! Looks names up, in production with the system's resolver. It accepts more spellings of an address than URLs do:
//! 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 are all 127.0.0.1. So the addresses that it returns are checked.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Max concurrent lookups. Each occupies a thread for as long as the system's resolver takes, even when its caller no
/// longer waits. There are 512 blocking threads, and other blocking work, such as a commit, needs some of them.
const MAX_CONCURRENT_LOOKUPS: usize = 384;

type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks up the addresses of a name. A test can return different ones for each lookup.
#[derive(Clone)]
pub(in crate::deliver) struct Resolver(Arc<dyn Fn(&str) -> LookupFuture + Send + Sync>);

impl Resolver {
    /// The system's resolver.
    pub fn system() -> Self {
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_LOOKUPS));
        Self::new(move |name| {
            let (name, permits) = (name.to_owned(), permits.clone());
            async move {
                let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
                let looking_up = tokio::task::spawn_blocking(move || {
                    let _permit = permit;
                    // `to_socket_addrs` requires a port, and returns it with each address.
                    let addresses = (name.as_str(), 0).to_socket_addrs()?;
                    Ok(addresses.map(|address| address.ip()).collect())
                });
                looking_up.await.map_err(io::Error::other)?
            }
        })
    }

    pub fn new<F>(answer: impl Fn(&str) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(answer(name))))
    }

    /// Returns the addresses of a URL's host, at least one. The host may be an address.
    ///
    /// # Errors
    /// The resolver's error, or the name has no address.
    pub async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = strip_brackets(host);
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => (self.0)(host).await?,
        };
        if addresses.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

/// A host without the brackets that a URL has around an IPv6 address.
pub(in crate::deliver) fn strip_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
