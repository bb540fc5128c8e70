//! The HTTP listener: one address, bound before anything starts and served until the stop.

mod connections;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::connections::{ConnectionEntry, Connections};
use super::Config;

/// Max open connections. For a further one an idle connection is closed. Until then it waits in the kernel's queue.
const MAX_CONNECTIONS: u32 = 256;
/// Max time for a request's head to arrive. It also bounds idle connections: between requests the server waits for
/// the next head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Max size of a request's head, in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Interval of the search for a connection to close while all permits are taken.
const EVICTION_INTERVAL: Duration = Duration::from_millis(250);
/// Max time for answers under way after a stop is requested.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after the operating system fails to accept a connection, mostly because file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why an address can't be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("can't listen on listen.address = \"{address}\": {reason}")]
    Listen {
        address: SocketAddr,
        #[source]
        reason: std::io::Error,
    },
    #[error(
        "listen.address is \"{address}\", which can't be bound: {reason}; use an address of this machine, or \
         0.0.0.0 for all of them"
    )]
    Foreign {
        address: SocketAddr,
        #[source]
        reason: std::io::Error,
    },
}

/// Checks that the address belongs to this machine. Its port may be taken, for instance by a running instance.
///
/// # Errors
/// [`BindError::Foreign`].
pub fn check_address(config: &Config) -> Result<(), BindError> {
    let Config { address } = *config;
    let bound = std::net::TcpListener::bind((address.ip(), 0));
    bound.map(drop).map_err(|reason| BindError::Foreign { address, reason })
}

impl Listener {
    /// Binds the address.
    ///
    /// # Errors
    /// [`BindError::Listen`]: the address is taken, not of this machine, or not permitted.
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let failed = |reason| BindError::Listen { address: config.address, reason };
        let socket = TcpListener::bind(config.address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    /// The bound address, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the stop, then waits for answers under way.
    pub async fn serve(self, router: Router, stopping: CancellationToken) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        let connections = Connections::new();
        for number in 0.. {
            let next = async {
                // Accept first: a permit is needed only for a connection that arrived.
                let accepted = self.socket.accept().await;
                (permit(&permits, &connections).await, accepted)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                next = next => next,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Without Nagle's algorithm the last bytes of an answer are sent immediately.
                    let _ = stream.set_nodelay(true);
                    let router = router.clone().layer(Extension(peer));
                    let entered = connections.add(number, peer.ip());
                    tokio::spawn(serve_one(stream, router, stopping.clone(), (permit, entered)));
                }
                Err(error) => {
                    warn!(%error, "the listener can't accept a connection and tries again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, permits.acquire_many(MAX_CONNECTIONS)).await;
    }
}

/// Takes a permit for one more connection. If all are taken, closes an idle connection or waits for one to end.
async fn permit(permits: &Arc<Semaphore>, connections: &Connections) -> OwnedSemaphorePermit {
    loop {
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            return permit;
        }
        connections.evict_idle();
        if let Ok(permit) = tokio::time::timeout(EVICTION_INTERVAL, permits.clone().acquire_owned()).await {
            return permit.expect("the semaphore is never closed");
        }
    }
}

/// Serves the requests of one connection, one after the other. Holds the permit until the connection ends.
async fn serve_one(
    stream: TcpStream,
    router: Router,
    stopping: CancellationToken,
    (permit, entered): (OwnedSemaphorePermit, ConnectionEntry),
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(entered.watch(stream)), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = entered.wait_until_closed() => Ok(()),
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to the listener ended early");
    }
    drop((entered, permit));
}

#[cfg(test)]
mod tests;
