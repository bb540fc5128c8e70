//! Looks names up. In production with the system's resolver, which knows more spellings of an address than
//! URLs do: 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 are all 127.0.0.1. So what is checked is what it answers.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// How many look-ups there are at once. Each has a thread for as long as the system's resolver takes, though nobody may
/// wait for it any more; there are 512, and what else may block, such as a commit, needs some of them.
const LOOK_UPS: usize = 384;

type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// What a name stands for at the moment. A test can give answers that change from one look-up to the next.
#[derive(Clone)]
pub(in crate::deliver) struct Resolver(Arc<dyn Fn(&str) -> Answer + Send + Sync>);

impl Resolver {
    /// The system's own.
    pub fn system() -> Self {
        let places = Arc::new(Semaphore::new(LOOK_UPS));
        Self::new(move |name| {
            let (name, places) = (name.to_owned(), places.clone());
            async move {
                let place = places.acquire_owned().await.map_err(io::Error::other)?;
                let looking_up = tokio::task::spawn_blocking(move || {
                    let _place = place;
                    // It asks for a port, and gives it back with each address.
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

    /// The addresses of a URL's host, which may be one itself: one at least.
    ///
    /// # Errors
    /// What the resolver says, or it knows no address.
    pub async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = bare(host);
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => (self.0)(host).await?,
        };
        if addresses.is_empty() {
            return Err(io::Error::other("it has no address"));
        }
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

/// A host without the brackets of an IPv6 address, which belong to the URL alone.
pub(in crate::deliver) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}
