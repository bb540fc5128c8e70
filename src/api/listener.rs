//! One address, bound before anything starts and served until the stop.

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
use tracing::{debug, warn};

use super::Config;
use crate::lifecycle::Stopping;

/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: u32 = 256;
/// How long a request's head may take to arrive. It bounds idle connections too: between requests the next
/// head is what is waited for.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How large a request's head may be.
const HEAD_BYTES: usize = 16 * 1024;
/// How long answers under way may take once a stop is asked for.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// The pause after the operating system refuses a connection, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// The address can't be bound.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on listen.address = \"{address}\": {reason}")]
pub struct BindError {
    pub address: SocketAddr,
    #[source]
    pub reason: std::io::Error,
}

impl Listener {
    /// Binds the address.
    ///
    /// # Errors
    /// It is taken, not this machine's, or not allowed.
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let failed = |reason| BindError { address: config.address, reason };
        let socket = TcpListener::bind(config.address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    /// The address with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the stop, then lets answers under way end.
    pub async fn serve(self, router: Router, mut stopping: Stopping) {
        let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
                (place, self.socket.accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                () = stopping.asked() => break,
                next = next => next,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // An answer's last bytes go out at once.
                    let _ = stream.set_nodelay(true);
                    let router = router.clone().layer(Extension(peer));
                    tokio::spawn(serve_one(stream, router, stopping.clone(), place));
                }
                Err(error) => {
                    warn!(%error, "the listener can't accept a connection and tries again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        let _ = tokio::time::timeout(LAST_ANSWERS, places.acquire_many(CONNECTIONS)).await;
    }
}

/// Serves one client's requests, one after the other; `place` is held as long as the connection.
async fn serve_one(stream: TcpStream, router: Router, mut stopping: Stopping, place: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to the listener ended early");
    }
    drop(place);
}

#[cfg(test)]
mod tests;
