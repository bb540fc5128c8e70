//! A stream wrapper that observes the response: how many bytes came, and the status.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::status_line::StatusLineParser;

/// What has been received on a stream so far.
#[derive(Debug, Default)]
pub(in crate::deliver) struct ResponseProgress {
    bytes_received: AtomicUsize,
    /// None until a part of the request was sent. Earlier bytes are not a response to it, but a notice of a server
    /// that is about to close the connection (408).
    status_line: Mutex<Option<StatusLineParser>>,
    /// The TLS error that ended the stream. On TLS 1.3 a server refuses or requires a client certificate only after
    /// the handshake has ended on this side.
    tls_error: OnceLock<rustls::Error>,
}

impl ResponseProgress {
    pub fn bytes(&self) -> usize {
        self.bytes_received.load(Ordering::Relaxed)
    }

    /// Bytes sent from here on belong to another request.
    pub fn begin_request(&self) {
        *self.lock_status_line() = None;
    }

    /// The status of the response to the last request, once its line is complete.
    pub fn status(&self) -> Option<u16> {
        self.lock_status_line().as_ref()?.status()
    }

    /// The TLS error that ended the stream.
    pub fn tls_error(&self) -> Option<&rustls::Error> {
        self.tls_error.get()
    }

    fn record_error(&self, reason: &io::Error) {
        if let Some(reason) = reason.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            let _ = self.tls_error.set(reason.clone());
        }
    }

    fn record_sent(&self, bytes: usize) {
        if bytes > 0 {
            self.lock_status_line().get_or_insert_default();
        }
    }

    fn record_received(&self, bytes: &[u8]) {
        self.bytes_received.fetch_add(bytes.len(), Ordering::Relaxed);
        if let Some(status_line) = &mut *self.lock_status_line() {
            status_line.feed(bytes);
        }
    }

    fn lock_status_line(&self) -> MutexGuard<'_, Option<StatusLineParser>> {
        self.status_line.lock()
    }
}

pub(in crate::deliver) struct ObservedStream<S> {
    stream: S,
    progress: Arc<ResponseProgress>,
}

impl<S> ObservedStream<S> {
    /// Wraps a stream. Also returns its progress, which can be read while the stream is in use elsewhere.
    pub fn new(stream: S) -> (Self, Arc<ResponseProgress>) {
        let seen = Arc::<ResponseProgress>::default();
        (Self { stream, progress: seen.clone() }, seen)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedStream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if let Poll::Ready(Err(reason)) = &polled {
            this.progress.record_error(reason);
        }
        let came = &buffer.filled()[before..];
        if !came.is_empty() {
            this.progress.record_received(came);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, data))?;
        this.progress.record_sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, data))?;
        this.progress.record_sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
