//! The open connections of the listener, and the choice of the one to close when all permits are taken.
//!
//! A client that takes all permits and does nothing, or never reads its answers, must not block health checks and
//! metrics of others. So a new connection replaces the longest idle one of the address with the most connections.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Min idle time before a connection may be closed for another one.
const MIN_IDLE_BEFORE_EVICTION: Duration = Duration::from_secs(1);

/// Max idle time of any connection: no byte was received, and the client accepted none.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// The open connections.
pub(super) struct Connections {
    started_at: Instant,
    open: Mutex<HashMap<u64, Arc<OpenConnection>>>,
}

struct OpenConnection {
    peer: IpAddr,
    /// Time of the last byte in either direction, in milliseconds since the listener started.
    last_activity_ms: AtomicU64,
    close_signal: Notify,
}

/// Entry of an open connection; dropping it removes the entry.
pub(super) struct ConnectionEntry {
    connections: Arc<Connections>,
    number: u64,
    open: Arc<OpenConnection>,
}

impl Connections {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { started_at: Instant::now(), open: Mutex::default() })
    }

    /// Adds a connection. `number` must be unique.
    pub fn add(self: &Arc<Self>, number: u64, peer: IpAddr) -> ConnectionEntry {
        let open = Arc::new(OpenConnection {
            peer,
            last_activity_ms: AtomicU64::new(self.now_ms()),
            close_signal: Notify::new(),
        });
        self.open().insert(number, open.clone());
        ConnectionEntry { connections: self.clone(), number, open }
    }

    /// Closes a connection, because all permits are taken: the longest idle one of the address with the most
    /// connections. Closes none if no connection has been idle for [`MIN_IDLE_BEFORE_EVICTION`].
    pub fn evict_idle(&self) {
        let before = self.now_ms().saturating_sub(MIN_IDLE_BEFORE_EVICTION.as_millis() as u64);
        let open = self.open();
        let mut connections_by_peer: HashMap<IpAddr, usize> = HashMap::new();
        open.values().for_each(|open| *connections_by_peer.entry(open.peer).or_default() += 1);
        let idle = open.values().filter(|open| open.last_activity_ms.load(Ordering::Relaxed) <= before);
        let first = idle.max_by_key(|open| {
            (connections_by_peer[&open.peer], std::cmp::Reverse(open.last_activity_ms.load(Ordering::Relaxed)))
        });
        if let Some(open) = first {
            open.close_signal.notify_one();
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenConnection>>> {
        self.open.lock()
    }
}

impl ConnectionEntry {
    /// Wraps the connection's stream to record its activity.
    pub fn watch<S>(&self, stream: S) -> WatchedStream<S> {
        WatchedStream { stream, connections: self.connections.clone(), open: self.open.clone() }
    }

    /// Resolves when the connection must close: another one needs its permit, or it was idle for [`MAX_IDLE`].
    pub async fn wait_until_closed(&self) {
        loop {
            let idle_ms = self.connections.now_ms().saturating_sub(self.open.last_activity_ms.load(Ordering::Relaxed));
            let left = MAX_IDLE.saturating_sub(Duration::from_millis(idle_ms));
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = self.open.close_signal.notified() => return,
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

impl Drop for ConnectionEntry {
    fn drop(&mut self) {
        self.connections.open().remove(&self.number);
    }
}

/// A stream that records the time of the last byte read or written.
pub(super) struct WatchedStream<S> {
    stream: S,
    connections: Arc<Connections>,
    open: Arc<OpenConnection>,
}

impl<S> WatchedStream<S> {
    fn record_activity(&self) {
        self.open.last_activity_ms.store(self.connections.now_ms(), Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.record_activity();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, data);
        if matches!(polled, Poll::Ready(Ok(1..))) {
            this.record_activity();
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
