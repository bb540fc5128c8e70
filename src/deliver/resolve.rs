//! Looks names up. In production with the system's resolver, which knows more spellings of an address than
//! URLs do: 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 are all 127.0.0.1. So what is checked is what it answers.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// What a name stands for at the moment. A test can give answers that change from one look-up to the next.
#[derive(Clone)]
pub(super) struct Resolver(Arc<dyn Fn(&str) -> Answer + Send + Sync>);

impl Resolver {
    /// The system's own.
    pub fn system() -> Self {
        Self::new(|name| {
            let name = name.to_owned();
            // It asks for a port, and gives it back with each address.
            async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) }
        })
    }

    pub fn new<F>(answer: impl Fn(&str) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(answer(name))))
    }

    /// The addresses of a URL's host, which may be one itself.
    ///
    /// # Errors
    /// What the resolver says.
    pub async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = bare(host);
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => (self.0)(host).await?,
        };
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

/// A host without the brackets of an IPv6 address, which belong to the URL alone.
pub(super) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
